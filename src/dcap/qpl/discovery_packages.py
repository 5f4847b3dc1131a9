"""Which package put a file where it is: dpkg's own lists, read from the root. Nothing is executed.

Of rpm it is only known that it is there: its database is not read. Not here: removing anything.

Spec: dpkg(1), dpkg-divert(1): `/var/lib/dpkg/info/*.list`, `/var/lib/dpkg/diversions`.
"""

import posixpath
from typing import Final, Literal

import msgspec

from dcap.qpl.discovery_root import Root

_INFO: Final = "/var/lib/dpkg/info"
_DIVERSIONS: Final = "/var/lib/dpkg/diversions"
_RPM: Final = ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
#: Only lists that hold this are read line by line.
_STEM: Final = b"libdcap_quoteprov"


class Owner(msgspec.Struct, frozen=True):
    """Whose a file is. `name` is empty where no package has it, or where rpm would have to be asked.

    `diverted_from` is the path under which the package ships it, where dpkg-divert has moved it.
    """

    manager: Literal["dpkg", "rpm", "none"]
    name: str = ""
    diverted_from: str = ""


class Packages:
    """What dpkg knows of plugins."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self._owners = self._listed()
        lines = root.text(_DIVERSIONS).splitlines()
        #: Path -> (where to, by which package, ":" for the administrator).
        self.diversions = {
            path: (to, by)
            for path, to, by in zip(lines[::3], lines[1::3], lines[2::3], strict=False)
        }
        self.has_rpm = any(root.look(folder).is_there for folder in _RPM)

    def _listed(self) -> dict[str, list[str]]:
        owners: dict[str, list[str]] = {}
        for file in self.root.names(_INFO):
            if not file.endswith(".list"):
                continue
            content = self.root.content(posixpath.join(_INFO, file))
            if _STEM not in content:
                continue
            package = file.removesuffix(".list").partition(":")[0]
            for line in content.decode("utf-8", "replace").splitlines():
                if "libdcap_quoteprov" in line:
                    owners.setdefault(self.root.look(line).name, []).append(package)
        return owners

    def owner(self, path: str) -> Owner:
        """Whose the file, or the link, at that path is."""
        name = self.root.look(path).name
        for given, (to, by) in self.diversions.items():
            named = self.root.look(given).name
            if self.root.look(to).name == name:
                others = [each for each in self._owners.get(named, ()) if each != by]
                return Owner("dpkg", others[0] if others else "", given)
            if named == name:
                mine = [each for each in self._owners.get(named, ()) if each == by]
                return Owner("dpkg", mine[0]) if mine else Owner("none")
        found = self._owners.get(name)
        if found:
            return Owner("dpkg", found[0])
        return Owner("rpm" if self.has_rpm else "none")
