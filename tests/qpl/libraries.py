"""Plugins for the tests of discovery: built once by gcc from a line of C each, and laid into roots.

Not the plugins that are called (`plugins`): these only have to look right from outside.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

MULTI_ARCH = "/usr/lib/x86_64-linux-gnu"
VERSIONED = "libdcap_quoteprov.so.1"
BARE = "libdcap_quoteprov.so"

_BOTH = (
    "sgx_ql_get_quote_config",
    "sgx_ql_free_quote_config",
    "sgx_ql_get_quote_verification_collateral",
    "sgx_ql_free_quote_verification_collateral",
    "sgx_ql_get_quote_verification_collateral_with_params",
    "tdx_ql_get_quote_verification_collateral",
    "tdx_ql_free_quote_verification_collateral",
    "sgx_ql_get_qve_identity",
    "sgx_ql_free_qve_identity",
    "sgx_ql_get_root_ca_crl",
    "sgx_ql_free_root_ca_crl",
)
INTEL = (
    *_BOTH,
    "sgx_ql_set_logging_callback",
    "sgx_qpl_clear_cache",
    "sgx_qpl_global_init",
    "sgx_qpl_global_cleanup",
    "tee_get_default_platform_policy",
    "tee_free_platform_policy",
)
AZURE = (*_BOTH, "sgx_ql_set_logging_function", "sgx_ql_get_revocation_info")
DCAP = (*INTEL, "sgx_ql_set_logging_function", "dcap_quoteprov_version")
EXPORTS = {"intel": INTEL, "azure": AZURE, "dcap": DCAP, "unknown": _BOTH}


def gcc() -> str:
    """The compiler; without one the test is skipped, aloud."""
    found = shutil.which("gcc")
    if found is None:
        pytest.skip("there is no gcc to build libraries with")
    return found


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Gone when the tests end."""
    return tempfile.TemporaryDirectory(prefix="dcap-libraries-")


@cache
def library(
    symbols: tuple[str, ...],
    *,
    soname: str = "",
    needed: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
    code: str = "",
) -> Path:
    """A shared library that exports `symbols` and says that it needs the libraries `needed`."""
    folder = Path(tempfile.mkdtemp(dir=_folder().name))
    source, built = folder / "library.c", folder / "library.so"
    source.write_text(code + "".join(f"int {name}(void) {{ return 0; }}\n" for name in symbols))
    others = []
    for name in needed:
        empty = folder / name
        _compile([], empty, f"-Wl,-soname,{name}", "-x", "c", "/dev/null")
        others.append(str(empty))
    named = [f"-Wl,-soname,{soname}"] if soname else []
    _compile(others, built, *named, *flags, str(source))
    return built


def _compile(libraries: Iterable[str], built: Path, *arguments: str) -> None:
    subprocess.run(
        [
            gcc(),
            "-shared",
            "-fPIC",
            "-nostdlib",
            "-Wl,--no-as-needed",
            "-o",
            built,
            *arguments,
            "-x",
            "none",
            *libraries,
        ],
        check=True,
        capture_output=True,
    )


@cache
def plugin(kind: str, *, needed: tuple[str, ...] = ()) -> bytes:
    """A plugin of that kind; Azure's has no SONAME."""
    soname = "" if kind == "azure" else VERSIONED
    return library(EXPORTS[kind], soname=soname, needed=needed).read_bytes()


def foreign(bits: int = 64, machine: int = 183) -> bytes:
    """A plugin for another machine (default: aarch64), by the two fields that say so."""
    head = bytearray(plugin("intel"))
    head[4] = bits // 32
    head[18:20] = machine.to_bytes(2, "little")
    return bytes(head)


class System:
    """A scratch root: files are laid into it, as packages and people lay them."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def put(self, path: str, content: bytes | str = b"") -> Path:
        """A file of these bytes."""
        file = self.top / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def link(self, path: str, target: str) -> Path:
        """A link as it would stand in the root."""
        link = self.top / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
        return link

    def package(self, name: str, *paths: str) -> None:
        """The list that dpkg keeps of a package."""
        self.put("/var/lib/dpkg/status", "")
        self.put(f"/var/lib/dpkg/info/{name}.list", "/.\n" + "".join(f"{one}\n" for one in paths))

    def intel(self, *, bare: bool = False) -> None:
        """Intel's runtime package as Debian's has it, and with `bare` the -dev package's link."""
        real = f"{MULTI_ARCH}/{VERSIONED}.13.100.4"
        self.put(real, plugin("intel"))
        self.link(f"{MULTI_ARCH}/{VERSIONED}", f"{VERSIONED}.13.100.4")
        self.package("libsgx-dcap-default-qpl", real, f"{MULTI_ARCH}/{VERSIONED}")
        self.put(f"{MULTI_ARCH}/libcurl.so.4", library(("curl_easy_init",)).read_bytes())
        if bare:
            self.link(f"{MULTI_ARCH}/{BARE}", VERSIONED)
            self.package("libsgx-dcap-default-qpl-dev", f"{MULTI_ARCH}/{BARE}")

    def azure(self) -> None:
        """Azure's package."""
        self.put(f"/usr/lib/{BARE}", plugin("azure"))
        self.package("az-dcap-client", f"/usr/lib/{BARE}")
