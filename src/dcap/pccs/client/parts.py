"""`platform_collaterals.json`, cut into parts that a PCCS takes one by one.

    parts = Parts.parse(data)
    cut = parts.cut(start=0, limit=2 * 1024 * 1024)     # cut.body, cut.end: where to go on

A service has a limit on bodies: 2 MB, some seventy machines. What all machines share goes first, TCB
infos next, then the machines, each part with the TCB infos of its own, without which Intel's PCCS takes
none. Every part is a file of the same form; what stood in the whole stands in the parts byte for byte.
A file that fits goes as it is.

Source: `pccs-and-pcs-api.md` §1.6, §4.3 ("Size").
"""

from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from dcap.api.pccs_admin import PlatformRecord
from dcap.api.pcs_responses import NOT_AVAILABLE
from dcap.api.platform_list import checked
from dcap.errors import ConfigError, FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.signed_json import decode_part
from dcap.pccs.transfer.wire import WireFile

#: What Intel's PCCS takes, and ours, unless they are told otherwise.
DEFAULT_LIMIT: Final = 2 * 1024 * 1024
#: 23 KB a machine: some 90,000 of them.
MAX_SIZE: Final = 2 * 1024 * 1024 * 1024
_FILE: Final = "platform_collaterals.json"
#: Members of `collaterals` that every part has, or has of its own.
_VERSION, _CHAINS, _CERTS, _INFOS = "version", "certificates", "pck_certs", "tcbinfos"


class _Whole(msgspec.Struct, frozen=True):
    platforms: list[msgspec.Raw]
    collaterals: dict[str, msgspec.Raw]


class _Certificate(msgspec.Struct, frozen=True):
    cert: str


class _Certified(msgspec.Struct, frozen=True):
    qe_id: str
    pce_id: str
    certs: list[_Certificate]

    def __repr__(self) -> str:
        return "<_Certified>"


class _Info(msgspec.Struct, frozen=True):
    fmspc: str


class Machine(NamedTuple):
    """One machine: its certificates and its entries in the list, as they stand; its FMSPC in hex."""

    certificates: bytes
    records: tuple[bytes, ...]
    fmspc: str

    @property
    def size(self) -> int:
        """In bytes, commas included."""
        return len(self.certificates) + sum(len(one) + 1 for one in self.records) + 1


class Cut(NamedTuple):
    """One part. `end` is the unit that the next one begins with; `machines` how many are in it."""

    body: bytes
    end: int
    machines: int


class Parts:
    """A file that can be cut. Its units: what all share, each TCB info, each machine."""

    def __init__(
        self,
        data: bytes,
        frame: dict[str, bytes],
        common: dict[str, bytes],
        infos: tuple[tuple[str, bytes], ...],
        machines: tuple[Machine, ...],
    ) -> None:
        self._data = data
        self._frame = frame
        self._common = common
        self._infos = infos
        self.machines = machines

    @classmethod
    def parse(cls, data: bytes, *, name: str = _FILE) -> "Parts":
        """Read the file of a name. Raises `FormatError` (`platform-collaterals`, `json`)."""
        # Whoever takes it reads all of it: what is wrong with it is said before anything is sent.
        decode_part(data, WireFile, name, MAX_SIZE)
        whole = decode_part(data, _Whole, name, MAX_SIZE)
        members = {name: _bytes(raw) for name, raw in whole.collaterals.items()}
        certified = _list(members.pop(_CERTS), _CERTS)
        infos = _list(members.pop(_INFOS), _INFOS)
        frame = {name: members.pop(name) for name in (_VERSION, _CHAINS) if name in members}
        records: dict[tuple[str, str], list[bytes]] = {}
        for place, raw in enumerate(whole.platforms, 1):
            where = f"{name}, platform {place}"
            named = checked(decode_part(_bytes(raw), PlatformRecord, where, MAX_SIZE), where)
            records.setdefault((named.qe_id, named.pce_id), []).append(_bytes(raw))
        machines = [
            _machine(raw, f"{name}, certificates of machine {place}", records)
            for place, raw in enumerate(certified, 1)
        ]
        if records:
            raise FormatError(
                "platform-collaterals",
                f"{len(records)} of the machines that are listed have no certificates",
                where=name,
                mend="fetch it again for these machines (`dcap pccs fetch`, Intel's pcsclient)",
            )
        return cls(
            data,
            frame,
            members,
            tuple((decode_part(one, _Info, _FILE).fmspc.upper(), one) for one in infos),
            # Those of one FMSPC follow each other, so that few TCB infos go with each part.
            tuple(sorted(machines, key=lambda machine: machine.fmspc)),
        )

    @property
    def units(self) -> int:
        """Where the last part ends."""
        return 1 + len(self._infos) + len(self.machines)

    def fits(self, limit: int) -> bool:
        """Whether the file goes as it is."""
        return len(self._data) <= limit

    def cut(self, start: int, limit: int = DEFAULT_LIMIT, *, alone: bool = False) -> Cut:
        """The part that begins with a unit: as much as fits, or that unit alone.

        Raises `ConfigError` (`put-piece-too-large`) where not even that unit does.
        """
        if start == 0 and self.fits(limit) and not alone:
            return Cut(self._data, self.units, len(self.machines))
        first_machine = 1 + len(self._infos)
        room = limit - len(self._written({}, (), ()))
        most = 1 if alone else self.units
        if start < first_machine:
            return self._public(start, min(first_machine, start + most), room)
        return self._private(start, first_machine, room, most)

    def _public(self, start: int, stop: int, room: int) -> Cut:
        """What all share, and TCB infos."""
        common = self._common if start == 0 else {}
        room -= sum(len(name) + len(value) + 4 for name, value in common.items())
        place = max(start, 1)
        chosen: list[bytes] = []
        while place < stop and room >= len(self._infos[place - 1][1]) + 1:
            chosen.append(self._infos[place - 1][1])
            room -= len(chosen[-1]) + 1
            place += 1
        if room < 0 or place == start:
            raise _too_large()
        return Cut(self._written(common, chosen, ()), place, 0)

    def _private(self, start: int, first_machine: int, room: int, most: int) -> Cut:
        """Machines, and the TCB infos that they need."""
        infos = dict(self._infos)
        chosen: list[Machine] = []
        needed: dict[str, bytes] = {}
        for machine in self.machines[start - first_machine :][:most]:
            info = infos.get(machine.fmspc, b"")
            size = machine.size + (0 if machine.fmspc in needed else len(info) + 1)
            if size > room:
                break
            room -= size
            chosen.append(machine)
            if info:
                needed[machine.fmspc] = info
        if not chosen:
            raise _too_large()
        return Cut(self._written({}, needed.values(), chosen), start + len(chosen), len(chosen))

    def _written(
        self, common: dict[str, bytes], infos: Iterable[bytes], machines: Iterable[Machine]
    ) -> bytes:
        """A file of these pieces."""
        members = {
            **({_VERSION: self._frame[_VERSION]} if _VERSION in self._frame else {}),
            _CERTS: _array(machine.certificates for machine in machines),
            _INFOS: _array(infos),
            **common,
            _CHAINS: self._frame.get(_CHAINS, b"{}"),
        }
        platforms = _array(record for machine in machines for record in machine.records)
        written = b",".join(b'"%b":%b' % (name.encode(), raw) for name, raw in members.items())
        return b'{"platforms":%b,"collaterals":{%b}}' % (platforms, written)


def _machine(raw: bytes, where: str, records: dict[tuple[str, str], list[bytes]]) -> Machine:
    certified = decode_part(raw, _Certified, where)
    pem = next((one.cert for one in certified.certs if one.cert != NOT_AVAILABLE), None)
    if pem is None:
        raise FormatError("platform-collaterals", "a machine has no certificates", where=where)
    try:
        extension = Certificate.parse_chain(unquote_to_bytes(pem))[0].sgx_extension
        fmspc = PckExtensions.parse(extension or b"").fmspc
    except FormatError as error:
        raise error.within(where) from None
    own = tuple(records.pop((certified.qe_id.upper(), certified.pce_id.upper()), ()))
    return Machine(raw, own, fmspc.hex().upper())


def _list(raw: bytes, member: str) -> list[bytes]:
    return [_bytes(one) for one in decode_part(raw, list[msgspec.Raw], member, MAX_SIZE)]


def _bytes(raw: msgspec.Raw) -> bytes:
    return bytes(memoryview(raw))


def _array(parts: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(parts) + b"]"


def _too_large() -> ConfigError:
    return ConfigError(
        "put-piece-too-large",
        "one piece of the file is larger than what the PCCS takes at once",
        where=_FILE,
        mend="raise the limit of the PCCS (MaxRequestBodySize, --max-body), and --max-body here",
    )
