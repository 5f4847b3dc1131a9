"""HOME and cache folders, of each process with its own account: made, owned and shared by whom.

A cache that cannot be kept is no error to anybody: every quote then asks the PCCS, and fails with it.
Not here: what lies in the caches (`caches`).

Source: `quote-provider.md` §2.8, §4.3, §6 (row 13).
"""

import posixpath
import shlex
from collections.abc import Iterator
from typing import Final

from dcap.doctor.accounts import WRITE, may, owner_name, status
from dcap.doctor.cache_places import (
    CachePlace,
    azures_place,
    base_trouble,
    intels_place,
    own_place,
)
from dcap.doctor.configured import SHELL, Reader, has_intels_library, readers
from dcap.doctor.finding import Finding, Mend, Remarks, Right, Skipped
from dcap.doctor.scene import Account, Scene
from dcap.doctor.services import Service, services
from dcap.doctor.variables import azure_plugin
from dcap.qpl.discovery_root import Root

_NAMED: Final = ("AZDCAP_CACHE", "XDG_CACHE_HOME")
#: Entries of a cache that are looked at for their owner.
_MOST_ENTRIES: Final = 1000
_OTHERS: Final = 0o022


def look_at_homes(scene: Scene) -> Remarks:
    """Each process's HOME and the caches that follow from it."""
    found = services(scene)
    for each in found:
        if each.unseen:
            instead = " (its unit is read instead)" if each.told == "unit" else ""
            yield Skipped(f"the environment of {each.name}{instead}", each.unseen)
    is_azure = azure_plugin(scene.root) != ""
    is_intels = has_intels_library(scene.root) or not is_azure
    for reader in readers(scene, found):
        if reader.service is None and not _concerns_shell(scene, reader, is_azure):
            yield Skipped(
                f"caches of Intel's and Azure's libraries for {SHELL}", "neither of them is here"
            )
            continue
        yield from _bases(scene, reader)
        if is_intels:
            yield from _cache(scene, reader, intels_place(scene.root, reader), "Intel's library")
        if is_azure:
            yield from _cache(scene, reader, azures_place(scene.root, reader), "Azure's client")
    yield from _own(scene, found)


def _concerns_shell(scene: Scene, reader: Reader, is_azure: bool) -> bool:  # noqa: FBT001
    there = intels_place(scene.root, reader).is_there or azures_place(scene.root, reader).is_there
    return is_azure or there or has_intels_library(scene.root)


def _bases(scene: Scene, reader: Reader) -> Iterator[Finding]:
    """The folders that variables name for caches, on purpose."""
    for name in _NAMED:
        base = reader.environ.get(name, "")
        why = base_trouble(scene.root, reader, base) if base else ""
        if why:
            yield Finding(
                "surroundings-cache-base",
                f"{name} of {reader.name} names a folder in which no cache can be made: {why}",
                evidence=(f"{name}={base}", _said(reader)),
                mends=tuple(_make_folder(scene, reader, base)),
            )


def _make_folder(scene: Scene, reader: Reader, base: str) -> Iterator[Mend]:
    path, account = shlex.quote(base), reader.account
    name = account.name if account else "USER"
    above = posixpath.dirname(base)
    if not scene.root.look(base).is_there:
        is_mine = reader.service is None and may(scene.root, scene.account, above, WRITE)
        if is_mine:
            # A relative one is another folder for each program, by where it was started.
            safe = base.startswith("/")
            yield Mend(f"`mkdir -p -- {path}`", command=("mkdir", "-p", "--", base), safe=safe)
        else:
            yield Mend(f"`sudo install -d -o {name} {path}`")
    else:
        yield Mend(f"`sudo chown {name}: {path}`")
    yield Mend("or name another folder, which has to be there already")


def _cache(scene: Scene, reader: Reader, place: CachePlace, who: str) -> Remarks:
    root, account = scene.root, reader.account
    if account is None:
        yield Skipped(f"the cache of {who} in {reader.name}", "its account is not known here")
        return
    if not place.path or (not place.is_there and not place.mine):
        yield _nowhere(reader, place, who)
        return
    if place.is_there and (stranger := _stranger(root, account, place.path)):
        yield Finding(
            "surroundings-cache-owner",
            f"{reader.name} cannot use its cache {place.path}: {stranger}",
            evidence=(f"{reader.name} runs as {account.name}", _said(reader)),
            mends=(
                Mend(f"`sudo chown -R {account.name}: {shlex.quote(place.path)}`"),
                Mend("and run what quotes or verifies without sudo from then on"),
            ),
        )
        return
    if place.by in ("", "TMPDIR") and (trouble := _home_trouble(root, reader)):
        yield _fallen_back(reader, place, who, trouble)
        return
    if place.shared:
        yield Finding(
            "surroundings-cache-shared",
            f"{who} in {reader.name} keeps its cache in {place.path}, where every account may write",
            evidence=(f"chosen by {place.by or 'no variable: the last resort'}", _said(reader)),
            mends=tuple(_own_folder(reader, place)),
        )
        return
    state = "is there" if place.is_there else "will be made"
    yield Right(
        f"the cache of {who} in {reader.name}: {place.path} {state}",
        evidence=(f"by {place.by or 'the last resort'}, for {account.name}",),
    )


def _nowhere(reader: Reader, place: CachePlace, who: str) -> Finding:
    why = place.passed or (("", "none of its places can be written"),)
    return Finding(
        "surroundings-home",
        f"{who} in {reader.name} has no place for its cache: "
        + "; ".join(dict.fromkeys(each for _, each in why)),
        evidence=(_said(reader),),
        mends=tuple(_own_folder(reader, place)),
    )


def _fallen_back(reader: Reader, place: CachePlace, who: str, trouble: str) -> Finding:
    shared = ", which all accounts share" if place.shared else ""
    return Finding(
        "surroundings-home",
        f"{reader.name}: {trouble}; {who} keeps its cache in {place.path}{shared}",
        evidence=(_said(reader),),
        mends=tuple(_own_folder(reader, place)),
    )


def _home_trouble(root: Root, reader: Reader) -> str:
    home = reader.environ.get("HOME", "")
    return base_trouble(root, reader, home) if home else "HOME is not set"


def _own_folder(reader: Reader, place: CachePlace) -> Iterator[Mend]:
    """A folder of its own, for a daemon or for a person."""
    service, account = reader.service, reader.account
    if service is not None and service.unit:
        folder = f"/var/cache/{service.unit}"
        owner = account.name if account else service.unit
        yield Mend(
            f"`sudo install -d -m 700 -o {owner} {folder}`, then `sudo systemctl edit {service.unit}`: "
            f"[Service] Environment=AZDCAP_CACHE={folder}, and {service.restart}"
        )
    elif account is not None:
        yield Mend(
            f"set HOME to a folder that {account.name} may write ({account.home} by /etc/passwd); in a "
            "container `docker run -e HOME=/home/app` with such a folder in the image"
        )
        yield Mend("or `export AZDCAP_CACHE=DIR`, with a folder that is there")
    if place.is_there and place.shared:
        yield Mend(f"then `sudo rm -r {shlex.quote(place.path)}`, or it is found first again")


def _stranger(root: Root, account: Account, path: str) -> str:
    """Why a cache that is there cannot be used by an account; empty where it can."""
    about = status(root, path)
    if about is None:
        return ""
    if root.look(path).kind != "folder":
        return "it is no folder"
    if not may(root, account, path, WRITE):
        return f"it belongs to {owner_name(root, about.st_uid)}, and {account.name} may not write to it"
    for name in root.names(path)[:_MOST_ENTRIES]:
        entry = posixpath.join(path, name)
        its = status(root, entry)
        if its is not None and not may(root, account, entry, WRITE):
            return f"entries in it belong to {owner_name(root, its.st_uid)}"
    return ""


def _said(reader: Reader) -> str:
    """What of the environment decided, and where it was read."""
    names = ("AZDCAP_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR")
    values = [f"{name}={reader.environ[name]}" for name in names if reader.environ.get(name)]
    where = _source(reader.service)
    return f"{' '.join(values) or 'neither HOME nor TMPDIR is set'} ({where})"


def _source(service: Service | None) -> str:
    if service is None:
        return "the shell's environment"
    if service.told == "process":
        return f"/proc/{service.pid}/environ"
    return f"by the unit of {service.unit}"


# ── dcap's own ──────────────────────────────────────────────────────────────────────────────────


def _own(scene: Scene, found: tuple[Service, ...]) -> Remarks:
    mine = Reader(name=SHELL, account=scene.account, environ=scene.environ)
    ours = [
        Reader(name=each.name, account=each.account, environ=each.environ, service=each)
        for each in found
        if each.work == "dcap" and each.told != "nothing"
    ]
    for reader in (mine, *ours):
        place = own_place(scene.root, reader)
        if place is None:
            yield Right(
                f"dcap in {reader.name} keeps nothing on the disk",
                evidence=("DCAP_CACHE is off, or there is no HOME",),
            )
        elif reader.account is None:
            yield Skipped(f"dcap's cache in {reader.name}", "its account is not known here")
        else:
            yield _own_cache(scene, reader, reader.account, place)


def _own_cache(
    scene: Scene, reader: Reader, account: Account, place: CachePlace
) -> Finding | Right:
    about = status(scene.root, place.path)
    if about is None:
        return Right(f"dcap's cache in {reader.name}: {place.path} will be made when it is needed")
    path = shlex.quote(place.path)
    if about.st_uid not in {0, account.uid}:
        owner = owner_name(scene.root, about.st_uid)
        why = f"it belongs to {owner}, not to {account.name}"
        mend = Mend(f"`sudo chown -R {account.name}: {path}`")
    elif about.st_mode & _OTHERS:
        why = "others may write to it"
        is_mine = about.st_uid == scene.account.uid
        command = ("chmod", "go-w", place.path)
        mend = Mend(
            f"`{'' if is_mine else 'sudo '}chmod go-w {path}`",
            command=command if is_mine else ("sudo", *command),
            safe=is_mine,
        )
    elif not place.mine:
        why = f"{account.name} may not write to it"
        mend = Mend(f"`sudo chown -R {account.name}: {path}`")
    else:
        return Right(f"dcap's cache in {reader.name}: {place.path} is {account.name}'s alone")
    return Finding(
        "surroundings-own-cache",
        f"dcap in {reader.name} does not use its cache {place.path}: {why}",
        evidence=(f"mode {about.st_mode & 0o7777:04o}", _said(reader)),
        mends=(mend, Mend("or `export DCAP_CACHE=DIR`, a folder that dcap makes for you alone")),
    )
