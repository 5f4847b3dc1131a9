"""Which packages a root has, and in which version: dpkg's status, read. Nothing is executed.

Rpm's database is not read: there it is only known that nothing is known. Not here: whose a plugin is
(`qpl.discovery_packages`), which packages belong together (`platform_packages`).

Spec: dpkg(1), deb-control(5): `/var/lib/dpkg/status`, and `status.d/` of images without dpkg.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from dcap.errors import printable
from dcap.qpl.discovery_root import Root

_STATUS: Final = "/var/lib/dpkg/status"
_RPM: Final = ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
_PARTS: Final = "/var/lib/dpkg/status.d"


def installed(root: Root) -> dict[str, str] | None:
    """Each installed package and its version; None where there is no dpkg to know it."""
    texts = [root.text(_STATUS)]
    texts += [root.text(f"{_PARTS}/{name}") for name in root.names(_PARTS)]
    if not any(texts):
        return None
    return dict(_stanzas("\n\n".join(texts)))


def install_command(root: Root, names: Iterable[str]) -> str:
    """How packages are installed here: Intel names them alike for dpkg and rpm."""
    has_dpkg = root.look("/var/lib/dpkg").is_there
    has_rpm = any(root.look(folder).is_there for folder in _RPM)
    tool = "dnf" if has_rpm and not has_dpkg else "apt"
    return f"sudo {tool} install {' '.join(names)}"


def _stanzas(text: str) -> Iterator[tuple[str, str]]:
    for stanza in text.split("\n\n"):
        if not stanza.strip():
            continue
        fields = {
            key: value.strip()
            for key, colon, value in (line.partition(":") for line in stanza.splitlines())
            if colon and not key.startswith((" ", "\t"))
        }
        name, state = fields.get("Package", ""), fields.get("Status", "install ok installed")
        if name and state.split()[-1:] == ["installed"]:
            yield printable(name), printable(fields.get("Version", ""))
