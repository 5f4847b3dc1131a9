"""Where each process keeps what it fetched: Intel's library, Azure's client, dcap; by account and root.

    intels_place(root, reader), azures_place(root, reader), own_place(root, reader)

Intel's library takes the first of its places that has a cache, else the first where it can make one;
Azure's client takes the first that is named. The same rules as `qpl.qcnl_environment` and
`sources.foreign_caches`, for another root and for accounts that are not ours. Not here: what lies there
(`caches`), whether that is well (`homes`).

Source: `quote-provider.md` §2.8, §4.3.
"""

import posixpath
from typing import Final

import msgspec

from dcap.doctor.accounts import SEARCH, WRITE, is_open_to_all, may
from dcap.doctor.configured import Reader
from dcap.qpl.discovery_root import Root
from dcap.qpl.qcnl_environment import CACHE_NAME
from dcap.sources.disk import cache_directory
from dcap.sources.foreign_caches import AZURE_DIRECTORY

TEMPORARY: Final = "/tmp"  # noqa: S108 - the libraries' own last resort
_OWN_TMP: Final = (TEMPORARY, "/var/tmp")  # noqa: S108
_VARIABLES: Final = ("AZDCAP_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR")


class CachePlace(msgspec.Struct, frozen=True, kw_only=True):
    """A cache of one process. `path` is empty where there is no place for one.

    `by` is the variable that led there, "" for the last resort; `passed` says which places before it
    could not be used, and why. `shared` is whether anybody may put files there, `mine` whether the
    account may write there; both are as well as can be told.
    """

    path: str
    by: str
    is_there: bool
    mine: bool
    shared: bool
    passed: tuple[tuple[str, str], ...] = ()


def intels_place(root: Root, reader: Reader) -> CachePlace:
    """The cache of Intel's library in that process."""
    bases = [(name, reader.environ[name]) for name in _VARIABLES if reader.environ.get(name)]
    bases.append(("", TEMPORARY))
    for name, base in bases:
        path = posixpath.join(base, CACHE_NAME)
        if not _is_apart(reader, base) and _sees(reader, path) and root.look(path).is_there:
            passed = [
                (other, why) for other, at in bases if (why := base_trouble(root, reader, at))
            ]
            before = tuple(pair for pair in passed if pair[0] != name)
            return _place(root, reader, path, name, before)
    passed = []
    for name, base in bases:
        why = base_trouble(root, reader, base)
        if not why:
            return _place(root, reader, posixpath.join(base, CACHE_NAME), name, tuple(passed))
        passed.append((name, why))
    return CachePlace(
        path="", by="", is_there=False, mine=False, shared=False, passed=tuple(passed)
    )


def azures_place(root: Root, reader: Reader) -> CachePlace:
    """The cache of Azure's client in that process: no second place is tried."""
    named = ((name, reader.environ[name]) for name in _VARIABLES if reader.environ.get(name))
    name, base = next(named, ("", TEMPORARY))
    why = base_trouble(root, reader, base)
    passed = ((name, why),) if why else ()
    return _place(root, reader, posixpath.join(base, AZURE_DIRECTORY), name, passed)


def own_place(root: Root, reader: Reader) -> CachePlace | None:
    """The cache of dcap itself; `None` where none is kept."""
    place = cache_directory(reader.environ, windows=False)
    return None if place is None else _place(root, reader, str(place), "", ())


def base_trouble(root: Root, reader: Reader, base: str) -> str:
    """Why no cache can be made in a folder; empty where one can."""
    if not base.startswith("/"):
        return f"{base} is no absolute path"
    if _is_apart(reader, base):
        return ""
    if not _sees(reader, base):
        return f"its unit hides {base} from it"
    place = root.look(base)
    if place.kind == "denied":
        return f"{base} is in a folder that cannot be entered"
    if not place.is_there:
        return f"there is no {base}"
    if place.kind != "folder":
        return f"{base} is no folder"
    if reader.account is not None and not may(root, reader.account, base, WRITE | SEARCH):
        return f"{reader.account.name} may not write to {base}"
    return ""


def _place(
    root: Root, reader: Reader, path: str, by: str, passed: tuple[tuple[str, str], ...]
) -> CachePlace:
    base = posixpath.dirname(path)
    apart = _is_apart(reader, base)
    is_there = not apart and root.look(path).is_there
    account = reader.account
    where = path if is_there else base
    return CachePlace(
        path=path,
        by=by,
        is_there=is_there,
        mine=apart or account is None or may(root, account, where, WRITE | SEARCH),
        shared=not apart and (is_open_to_all(root, base) or is_open_to_all(root, path)),
        passed=passed,
    )


def _is_apart(reader: Reader, base: str) -> bool:
    """Whether it is in a /tmp that this process has for itself."""
    own = reader.service is not None and reader.service.own_tmp
    return own and any(base == each or base.startswith(f"{each}/") for each in _OWN_TMP)


def _sees(reader: Reader, path: str) -> bool:
    return reader.service is None or reader.service.sees(path)
