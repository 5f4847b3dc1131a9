"""What lies in caches: ages and ends of collateral, of dcap, of QCNL and of Azure's client.

Intel's and Azure's libraries serve what they kept until their own limit, whatever Intel signed into it
as its end: a verifier then finds it expired. dcap never does. Entries are decoded by `sources`; what
identifies a machine is masked there. Not here: where caches lie (`cache_places`), who owns them
(`homes`).

Source: `quote-provider.md` §1.3, §2.8, §4.3, §6 (row 12).
"""

import os
import posixpath
import shlex
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import msgspec

from dcap.doctor.accounts import SEARCH, WRITE, may
from dcap.doctor.cache_places import CachePlace, azures_place, intels_place, own_place
from dcap.doctor.caches_ailments import AILMENTS
from dcap.doctor.configured import SHELL, Configured, Reader, configured, listed
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remarks, Right, Skipped
from dcap.doctor.scene import Scene
from dcap.doctor.services import services
from dcap.sources.cache_entry import Entry, read_dcap_cache
from dcap.sources.foreign_caches import read_azure_cache, read_intel_cache

__all__ = ["AILMENTS", "CHECKS"]

_SOON: Final = timedelta(days=3)
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
#: So many files are named one by one; more of them go by their folder.
_MOST_NAMED: Final = 6
_MOST_SHOWN: Final = 20
_MASK: Final = "(identifier)"
_OFFLINE: Final = "DCAP_OFFLINE"
_NO: Final = ("", "0", "false", "no")
_HOURS: Final = "verify_collateral_cache_expire_hours"
_KINDS: Final = {
    "collateral": "a set of collateral",
    "tcb-info": "TCB info",
    "enclave-identity": "enclave identity",
    "pck-crl": "CRL",
    "root-ca-crl": "CRL",
    "pck-certificate": "PCK certificate",
    "issuer-chain": "issuer chain",
    "multicerts": "certificates of a machine",
}
_READERS: Final[dict[str, Callable[[Path], list[Entry]]]] = {
    "intel": read_intel_cache,
    "azure": read_azure_cache,
    "dcap": read_dcap_cache,
}
_WHOSE: Final = {"intel": "Intel's library", "azure": "Azure's client", "dcap": "dcap"}


class _Cache(msgspec.Struct, frozen=True, kw_only=True):
    """A cache that is there, and who uses it."""

    kind: Literal["intel", "azure", "dcap"]
    path: str
    users: tuple[Reader, ...]
    file: Configured | None = None

    @property
    def who(self) -> str:
        return listed([reader.name for reader in self.users])

    @property
    def name(self) -> str:
        return f"the cache of {_WHOSE[self.kind]}, {self.path}"


def look_at_caches(scene: Scene) -> Remarks:
    """What each cache holds, and until when it is good."""
    files = configured(scene)
    found = list(_caches(scene, files))
    for cache in found:
        real = scene.root.look(cache.path).real
        if not _can_list(scene.root.host(real)):
            yield Skipped(cache.name, "its folder belongs to another account (run with sudo)")
            continue
        yield from _judged(scene, cache, _READERS[cache.kind](scene.root.host(real)))
    yield from _prepared(scene, files)
    if not found:
        yield Skipped("caches of collateral", "nobody here has kept anything")


CHECKS: Final[tuple[Check, ...]] = (Check("caches", look_at_caches, ("attester", "verifier")),)


def _caches(scene: Scene, files: tuple[Configured, ...]) -> Iterator[_Cache]:
    """Each folder once, whoever shares it."""
    root = scene.root
    found: dict[str, _Cache] = {}

    def add(kind: Literal["intel", "azure", "dcap"], place: CachePlace | None, by: Reader,
            file: Configured | None = None) -> None:  # fmt: skip
        if place is not None and place.is_there and root.look(place.path).kind == "folder":
            before = found.get(place.path)
            users = (*before.users, by) if before else (by,)
            found[place.path] = _Cache(kind=kind, path=place.path, users=users, file=file)

    for file in files:
        for reader in file.readers:
            add("intel", intels_place(root, reader), reader, file)
            add("azure", azures_place(root, reader), reader)
            if reader.name == SHELL:
                add("dcap", own_place(root, reader), reader)
    for each in services(scene):
        if each.work == "dcap" and each.told != "nothing":
            by = Reader(name=each.name, account=each.account, environ=each.environ, service=each)
            add("dcap", own_place(root, by), by)
    yield from found.values()


def _can_list(folder: Path) -> bool:
    try:
        with os.scandir(folder):
            return True
    except OSError:
        return False


def _judged(scene: Scene, cache: _Cache, entries: list[Entry]) -> Remarks:
    now = scene.clock()
    closed = [entry for entry in entries if entry.trouble.startswith("cannot be read")]
    broken = [entry for entry in entries if entry.trouble and entry not in closed]
    sound = [entry for entry in entries if not entry.trouble]
    if closed:
        yield Skipped(f"{len(closed)} of {cache.name}", closed[0].trouble)
    if broken:
        yield _broken(scene, cache, broken)
    if cache.kind == "dcap":
        yield from _own(scene, cache, sound, now)
        return
    past = [entry for entry in sound if _ended(entry, now) and _is_served(entry, now)]
    soon = [
        entry
        for entry in sound
        if not _ended(entry, now) and _ended(entry, now + _SOON) and _outlives(entry)
    ]
    if past:
        yield _expired(scene, cache, past, now)
    if soon:
        yield _expiring(scene, cache, soon, now)
    if not past and not soon:
        yield _sound(cache, sound, now)


def _ended(entry: Entry, at: datetime) -> bool:
    """Whether what Intel signed into it has passed by then."""
    return entry.content.next_update is not None and entry.content.next_update <= at


def _is_served(entry: Entry, at: datetime) -> bool:
    """Whether Intel's or Azure's library still takes it from the cache: its own limit alone counts."""
    return entry.expires is None or entry.expires > at


def _outlives(entry: Entry) -> bool:
    """Whether it will be served beyond its end."""
    end = entry.content.next_update
    return end is not None and (entry.expires is None or entry.expires > end)


# ── findings ────────────────────────────────────────────────────────────────────────────────────


def _expired(scene: Scene, cache: _Cache, entries: list[Entry], now: datetime) -> Finding:
    oldest = min(_end(entry) for entry in entries)
    return Finding(
        "caches-expired",
        f"{cache.name}, gives {cache.who} collateral that ended {_ago(now - oldest)} ago",
        evidence=_lines(cache, entries, now),
        mends=(*_clear(scene, cache, entries), *_shorter(cache)),
    )


def _expiring(scene: Scene, cache: _Cache, entries: list[Entry], now: datetime) -> Finding:
    first = min(_end(entry) for entry in entries)
    return Finding(
        "caches-expiring",
        f"{cache.name}, will go on giving {cache.who} collateral that ends in {_ago(first - now)}",
        evidence=_lines(cache, entries, now),
        mends=(*_clear(scene, cache, entries), *_shorter(cache)),
    )


def _broken(scene: Scene, cache: _Cache, entries: list[Entry]) -> Finding:
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    return Finding(
        "caches-corrupt",
        f"{cache.name}, has {count} that nobody can read",
        evidence=tuple(
            f"{posixpath.join(cache.path, entry.file)}: {entry.trouble}"
            for entry in entries[:_MOST_SHOWN]
        ),
        mends=tuple(_clear(scene, cache, entries)),
    )


def _own(scene: Scene, cache: _Cache, entries: list[Entry], now: datetime) -> Remarks:
    """Our own: what has ended is not served, and without a network nothing replaces it."""
    offline = scene.environ.get(_OFFLINE, "").strip().lower() not in _NO
    past = [entry for entry in entries if _ended(entry, now)]
    soon = [entry for entry in entries if not _ended(entry, now) and _ended(entry, now + _SOON)]
    if offline and (past or soon):
        first = min(_end(entry) for entry in (*past, *soon))
        when = f"ended {_ago(now - first)} ago" if past else f"ends in {_ago(first - now)}"
        yield Finding(
            "caches-offline",
            f"{_OFFLINE} is set, and what {cache.name}, holds {when}: nothing can replace it",
            evidence=_lines(cache, [*past, *soon], now),
            mends=(
                Mend(f"`{_OFFLINE}=0 dcap verify QUOTE`, once, where the network is"),
                Mend("or bring it: `dcap collateral get --help`"),
            ),
        )
        return
    yield _sound(cache, entries, now)


def _sound(cache: _Cache, entries: list[Entry], now: datetime) -> Right:
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    if not entries:
        return Right(f"{cache.name}, is empty", evidence=(f"used by {cache.who}",))
    oldest = max(now - entry.stored for entry in entries)
    ends = [end for entry in entries if (end := entry.content.next_update) and end > now]
    about = f"; the first ends {_day(min(ends))}" if ends else ""
    return Right(
        f"{cache.name}: {count}, the oldest of {_ago(oldest)}{about}",
        evidence=(f"used by {cache.who}", *_lines(cache, entries, now)),
    )


def _prepared(scene: Scene, files: tuple[Configured, ...]) -> Remarks:
    """`local_cache_only`: certificates come from prepared entries alone, so there has to be one."""
    if not scene.wants("attester"):
        return
    root, now = scene.root, scene.clock()
    for file in files:
        if file.reading is None or not file.reading.intel.local_cache_only:
            continue
        for reader in file.readers:
            place = intels_place(root, reader)
            folder = root.host(root.look(place.path or "/").real)
            entries = read_intel_cache(folder) if place.is_there and _can_list(folder) else []
            prepared = [entry for entry in entries if entry.content.kind == "multicerts"]
            if any(_is_served(entry, now) and not entry.trouble for entry in prepared):
                yield Right(f"{reader.name} has certificates prepared in {place.path}")
                continue
            if place.is_there and not _can_list(folder):
                yield Skipped(f"certificates prepared in {place.path}", "run the doctor with sudo")
                continue
            state = "they have ended" if prepared else "there are none"
            yield Finding(
                "caches-unprepared",
                f"local_cache_only is set in {file.path}, and {reader.name} has no certificates "
                f"prepared in {place.path or 'any cache'}: {state}",
                evidence=(f"{file.path}: local_cache_only true",),
                mends=(
                    Mend(
                        "`dcap pccs cache -i platform_list.json -o cache` makes entries, to be "
                        f"copied into {place.path or '.dcap-qcnl'}"
                    ),
                    Mend(f"or set local_cache_only to false in {file.path}, and ask a PCCS"),
                ),
            )


def _clear(scene: Scene, cache: _Cache, entries: list[Entry]) -> Iterator[Mend]:
    """Remove exactly these: beside them may lie what is sound, and cannot be had again today.

    Both libraries keep 20 entries in memory as well: restart who has them.
    """
    masked = [entry for entry in entries if _MASK in entry.file]
    suffix = ".kept" if cache.kind == "dcap" else ""
    sudo = "" if may(scene.root, scene.account, cache.path, WRITE | SEARCH) else "sudo "
    path = shlex.quote(cache.path)
    if masked or len(entries) > _MOST_NAMED:
        names = " -o ".join(
            f"-name {shlex.quote(entry.file.replace(_MASK, '*') + suffix)}" for entry in entries
        )
        command = f"{sudo}find {path} -type f \\( {names} \\) -delete"
    else:
        files = (posixpath.join(cache.path, entry.file + suffix) for entry in entries)
        command = f"{sudo}rm {' '.join(shlex.quote(file) for file in files)}"
    units = [
        reader.service.unit
        for reader in cache.users
        if reader.service and reader.service.pid and reader.service.unit
    ]
    again = f", then `sudo systemctl restart {' '.join(dict.fromkeys(units))}`" if units else ""
    programs = "" if units else ", and start the programs anew that have it in memory"
    yield Mend(f"`{command}`{again}{programs if cache.kind != 'dcap' else ''}")


def _shorter(cache: _Cache) -> Iterator[Mend]:
    """Keep it for less long, so that it does not come again."""
    if cache.kind == "azure":
        yield Mend("`export AZDCAP_CACHE_EXPIRY_IN_SECONDS=3600`, so that nothing is kept for long")
    elif cache.file is not None and cache.file.reading is not None:
        hours = cache.file.reading.intel.verify_collateral_cache_expire_hours
        if hours > _DAY / _HOUR:
            yield Mend(f"and lower {_HOURS} ({hours:g}) in {cache.file.path}, to 24 perhaps")


def _lines(cache: _Cache, entries: list[Entry], now: datetime) -> tuple[str, ...]:
    lines = [f"{posixpath.join(cache.path, entry.file)}: {_words(entry, now)}" for entry in entries]
    more = len(lines) - _MOST_SHOWN
    return (*lines[:_MOST_SHOWN], f"… and {more} more") if more > 0 else tuple(lines)


def _words(entry: Entry, now: datetime) -> str:
    content = entry.content
    words = [" ".join(filter(None, (_KINDS.get(content.kind, content.kind), content.about)))]
    if content.fmspc:
        words.append(f"FMSPC {content.fmspc.upper()}")
    words.append(f"kept {_ago(now - entry.stored)} ago")
    if content.next_update is not None:
        words.append(
            f"{'ended' if content.next_update <= now else 'ends'} {_day(content.next_update)}"
        )
    if entry.expires is not None:
        words.append(f"served until {_day(entry.expires)}")
    return ", ".join(words)


def _end(entry: Entry) -> datetime:
    assert entry.content.next_update is not None
    return entry.content.next_update


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _ago(span: timedelta) -> str:
    """A span in its largest unit; what lies ahead by a little counts as nothing."""
    span = max(span, timedelta(0))
    count, unit = (span // _DAY, "day") if span >= 2 * _DAY else (span // _HOUR, "hour")
    return f"{count} {unit}{'' if count == 1 else 's'}"
