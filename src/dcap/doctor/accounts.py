"""Accounts of a root, and what they may do with its files, by owner and mode.

    account = account_named(root, "aesmd")
    may(root, account, "/var/opt/aesmd", WRITE)

Judged by `/etc/passwd`, `/etc/group` and the mode bits alone: access lists, capabilities and mandatory
access control are not seen. Not here: which account a service has (`services`).
"""

import os
import posixpath
import stat
from collections.abc import Iterable
from typing import Final

from dcap.doctor.processor import number_in
from dcap.doctor.scene import Account
from dcap.qpl.discovery_root import Root

_MOST_DIGITS: Final = 20

READ: Final = 4
WRITE: Final = 2
SEARCH: Final = 1
_PASSWD_FIELDS: Final = 7
_GROUP_FIELDS: Final = 4


def account_named(root: Root, name: str) -> Account | None:
    """An account by its name, or by its number as text; `None` where the root does not know it."""
    for row in _rows(root, "/etc/passwd", _PASSWD_FIELDS):
        if name in (row[0], row[2]):
            return _account(root, row)
    return None


def account_numbered(root: Root, uid: int) -> Account | None:
    """The account of a number."""
    for row in _rows(root, "/etc/passwd", _PASSWD_FIELDS):
        if row[2] == str(uid):
            return _account(root, row)
    return None


def owner_name(root: Root, uid: int) -> str:
    """Who has that number, as `ls -l` would say it."""
    account = account_numbered(root, uid)
    return account.name if account else str(uid)


def may(root: Root, account: Account, path: str, want: int) -> bool:
    """Whether an account may do all of `want` there; not where there is nothing."""
    place = root.look(path)
    if not place.is_there:
        return False
    if account.uid == 0:
        return True
    above = posixpath.dirname(place.real)
    while True:
        if not _allows(root, account, above, SEARCH):
            return False
        if above == "/":
            return _allows(root, account, place.real, want)
        above = posixpath.dirname(above)


def is_open_to_all(root: Root, path: str) -> bool:
    """Whether anybody may write into a folder, as into `/tmp`."""
    about = status(root, path)
    return about is not None and bool(about.st_mode & stat.S_IWOTH)


def status(root: Root, path: str) -> os.stat_result | None:
    """Owner, mode and times of what stands there, links followed within the root."""
    place = root.look(path)
    if not place.is_there:
        return None
    try:
        return root.host(place.real).stat()
    except OSError:
        return None


def _allows(root: Root, account: Account, real: str, want: int) -> bool:
    about = status(root, real)
    if about is None:
        return False
    if about.st_uid == account.uid:
        granted = about.st_mode >> 6
    elif about.st_gid in account.groups:
        granted = about.st_mode >> 3
    else:
        granted = about.st_mode
    return granted & want == want


def _account(root: Root, row: list[str]) -> Account:
    groups = {number_in(row[3])} if _is_id(row[3]) else set()
    for group in _rows(root, "/etc/group", _GROUP_FIELDS):
        if row[0] in group[3].split(",") and _is_id(group[2]):
            groups.add(number_in(group[2]))
    uid = number_in(row[2]) if _is_id(row[2]) else -1
    return Account(name=row[0], uid=uid, groups=frozenset(groups), home=row[5])


def _is_id(text: str) -> bool:
    """Whether a system has an account or group of that number: nobody has one of more digits."""
    return text.isdecimal() and len(text) <= _MOST_DIGITS


def _rows(root: Root, path: str, fields: int) -> Iterable[list[str]]:
    rows = (line.split(":") for line in root.text(path).splitlines())
    return (row for row in rows if len(row) >= fields)
