"""The package's build: the quote provider library is compiled where a C compiler is at hand.

Without `make` and a compiler, on another system than Linux, or with DCAP_NO_PLUGIN=1, the wheel is pure
Python, and `dcap provider install` compiles the library from the sources in it. A compiler that fails is
told, and is no reason not to install: nothing but that library needs it.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = "src/dcap/provider/native"
LIBRARY = "libdcap_quoteprov.so.1"
#: A build that hangs must not hang an installation.
SECONDS = 120


class QuoteProviderHook(BuildHookInterface):  # type: ignore[type-arg] # its configuration is not ours
    """Adds the library to the wheel, and the platform to its name."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is put together; `version` is "standard" or "editable"."""
        del version
        if not self._compiled(Path(self.root, NATIVE)):
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["artifacts"].append(f"{NATIVE}/{LIBRARY}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"

    def _compiled(self, native: Path) -> bool:
        if sys.platform != "linux" or os.environ.get("DCAP_NO_PLUGIN") == "1":
            return False
        if not shutil.which("make") or not shutil.which(os.environ.get("CC", "cc").split()[0]):
            self.app.display_info("no C compiler: without the quote provider library")
            return False
        made = subprocess.run(  # noqa: S603 - its arguments are ours
            ["make", "-s", "-C", str(native), "WERROR="],  # noqa: S607 - found on the PATH
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if made.returncode:
            self.app.display_warning(f"without the quote provider library: {made.stderr.strip()}")
        return made.returncode == 0
