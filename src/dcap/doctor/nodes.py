"""Device nodes of a root: under which names they stand, whose they are, and who may open them.

A scratch root's nodes are plain files: nothing is opened, mode, owner and group are looked at. Access
lists (ACLs) are not read. Not here: what is wrong about a node (`devices`).

Source: `quote-provider.md` §5.3, §5.6; Linux, drivers/char/misc.c (0600 root unless a udev rule says).
"""

import stat
from typing import Final, Literal, TypeAlias

import msgspec

from dcap.doctor.processor import number_in
from dcap.doctor.scene import Account
from dcap.errors import printable
from dcap.qpl.discovery_root import Root

#: By use, today's name first; then that of the DCAP driver before Linux 5.11 (or a link that a udev
#: rule makes), and of the drivers before that.
ENCLAVE: Final = ("/dev/sgx_enclave", "/dev/sgx/enclave")
PROVISION: Final = ("/dev/sgx_provision", "/dev/sgx/provision", "/dev/sgx_prv")
EPID: Final = "/dev/isgx"
VIRTUAL: Final = "/dev/sgx_vepc"
TDX_GUEST: Final = ("/dev/tdx_guest", "/dev/tdx-guest", "/dev/tdx-attest")

#: To read and to write, of one digit of a mode.
_BOTH: Final = 0o6

Access: TypeAlias = Literal["owner", "group", "everyone", "root", "none"]


class Node(msgspec.Struct, frozen=True):
    """A node under one of its names; `group` is the group's name, or its number where it has none."""

    path: str
    real: str
    mode: int
    uid: int
    gid: int
    group: str

    def __str__(self) -> str:
        at = f"{self.path} -> {self.real}" if self.real != self.path else self.path
        return f"{at}: mode {self.mode:04o}, owner {self.uid}, group {self.group}"

    def access(self, account: Account) -> Access:
        """By what the account may open it, to read and write."""
        if account.uid == 0:
            return "root"
        if account.uid == self.uid:
            return "owner" if (self.mode >> 6) & _BOTH == _BOTH else "none"
        if self.gid in account.groups:
            return "group" if (self.mode >> 3) & _BOTH == _BOTH else "none"
        return "everyone" if self.mode & _BOTH == _BOTH else "none"

    @property
    def group_may(self) -> bool:
        """Whether membership of its group is what opens it: a group of its own, not root's."""
        return self.group != "root" and (self.mode >> 3) & _BOTH == _BOTH


def node(root: Root, path: str) -> Node | None:
    """What stands at that path; None where nothing does, or a link to nothing."""
    place = root.look(path)
    if not place.is_there or place.kind == "folder":
        return None
    try:
        about = root.host(place.real).stat()
    except OSError:
        return None
    name = next((name for name, (gid, _) in groups(root).items() if gid == about.st_gid), "")
    return Node(
        path,
        place.real,
        stat.S_IMODE(about.st_mode),
        about.st_uid,
        about.st_gid,
        name or str(about.st_gid),
    )


def first_node(root: Root, names: tuple[str, ...]) -> Node | None:
    """The node under the first of these names that it has."""
    return next((found for name in names if (found := node(root, name)) is not None), None)


def has_sgx_driver(root: Root) -> bool:
    """Whether any driver for SGX has made its node, whatever /proc/cpuinfo shows."""
    return first_node(root, (*ENCLAVE, EPID)) is not None


def groups(root: Root) -> dict[str, tuple[int, frozenset[str]]]:
    """/etc/group: name -> (number, the users that it names as members)."""
    found: dict[str, tuple[int, frozenset[str]]] = {}
    for line in root.text("/etc/group").splitlines():
        parts = line.split(":")
        if len(parts) >= 4 and parts[2].isdecimal():
            members = frozenset(name.strip() for name in parts[3].split(",") if name.strip())
            found[printable(parts[0])] = number_in(parts[2]), members
    return found
