"""The SGX extension of a PCK certificate: which platform it is for, at which TCB.

OID 1.2.840.113741.1.13.1 = SEQUENCE of SEQUENCE{OID, value}. Read in any order, each member at most
once, unknown members refused: Intel's profile closes the list. Five members under the Processor CA,
seven under the Platform CA.

Source: Intel PCK certificate and CRL profile, "SGX extensions"; `verification.md` §2.
"""

import re
from enum import IntEnum
from typing import Final

import msgspec

from dcap.errors import FormatError
from dcap.formats import der
from dcap.formats.certificate import SGX_EXTENSION
from dcap.formats.remembered import remembered

COMPONENTS = 16


class SgxType(IntEnum):
    """The kind of platform."""

    STANDARD = 0
    SCALABLE = 1
    SCALABLE_WITH_INTEGRITY = 2


class PckExtensions(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What Intel certified of the platform.

    `components` are the 16 TCB component SVNs, one byte each, in order. `platform_instance_id` and
    the three flags are `None` where absent (Processor CA). PPID and CPUSVN identify the machine:
    they are shown only on request.
    """

    ppid: bytes
    components: bytes
    pce_svn: int
    cpu_svn: bytes
    pce_id: bytes
    fmspc: bytes
    sgx_type: int
    platform_instance_id: bytes | None = None
    dynamic_platform: bool | None = None
    cached_keys: bool | None = None
    smt_enabled: bool | None = None

    def __repr__(self) -> str:
        return f"<PckExtensions of FMSPC {self.fmspc.hex()}>"

    @classmethod
    def parse(cls, data: bytes) -> "PckExtensions":
        """Read the extension's value. Raises `FormatError` (`pck-extensions`, or `der`)."""
        return _parse(data)

    def to_der(self) -> bytes:
        """The extension's value in Intel's member order."""
        members = [
            _member(_PPID, _octet_string(self.ppid)),
            _member(_TCB, der.element(der.SEQUENCE, self._tcb())),
            _member(_PCE_ID, _octet_string(self.pce_id)),
            _member(_FMSPC, _octet_string(self.fmspc)),
            _member(_TYPE, der.integer(self.sgx_type, der.ENUMERATED)),
        ]
        if self.platform_instance_id is not None:
            members.append(_member(_INSTANCE_ID, _octet_string(self.platform_instance_id)))
        flags = (self.dynamic_platform, self.cached_keys, self.smt_enabled)
        if any(flag is not None for flag in flags):
            members.append(
                _member(
                    _CONFIGURATION,
                    der.element(
                        der.SEQUENCE,
                        b"".join(
                            _member(_CONFIGURATION + bytes((i,)), b"\x01\x01" + _FLAG[flag])
                            for i, flag in enumerate(flags, 1)
                            if flag is not None
                        ),
                    ),
                )
            )
        return der.element(der.SEQUENCE, b"".join(members))

    def _tcb(self) -> bytes:
        svns = [*self.components, self.pce_svn]
        parts = [_member(_TCB + bytes((i,)), der.integer(svn)) for i, svn in enumerate(svns, 1)]
        return b"".join([*parts, _member(_TCB + b"\x12", _octet_string(self.cpu_svn))])


_PPID, _TCB, _PCE_ID, _FMSPC, _TYPE, _INSTANCE_ID, _CONFIGURATION = (
    SGX_EXTENSION + bytes((i,)) for i in range(1, 8)
)
_FLAG = {False: b"\x00", True: b"\xff", None: b""}
_OCTETS = {
    _PPID: ("ppid", 16),
    _PCE_ID: ("pce_id", 2),
    _FMSPC: ("fmspc", 6),
    _INSTANCE_ID: ("platform_instance_id", 16),
}
_FLAGS = {1: "dynamic_platform", 2: "cached_keys", 3: "smt_enabled"}
#: OBJECT IDENTIFIER of 11 bytes that begins with the TCB's.
_TCB_MEMBER = bytes((der.OBJECT_IDENTIFIER, len(_TCB) + 1)) + _TCB
_PCE_SVN_MEMBER = 17
_CPU_SVN_MEMBER = 18


@remembered(512)
def _parse(data: bytes) -> PckExtensions:
    return _parse_intels_own(data) or _parse_any(data)


def _parse_any(data: bytes) -> PckExtensions:
    """Every DER of the extension, whatever the order of its members; and every refusal."""
    fields: dict[str, object] = {}
    at, end = der.whole(data, der.SEQUENCE)
    while at < end:
        inner, at = der.span(data, at, end, der.SEQUENCE)
        start, inner = der.span(data, inner, at, der.OBJECT_IDENTIFIER)
        oid = data[start:inner]
        if oid in _OCTETS:
            name, size = _OCTETS[oid]
            start, stop = der.span(data, inner, at, der.OCTET_STRING)
            value: object = data[start:stop]
            if stop - start != size:
                raise _wrong(f"{name} has {stop - start} bytes, not {size}")
        elif oid == _TCB:
            start, stop = der.span(data, inner, at, der.SEQUENCE)
            _parse_tcb(data, start, stop, fields)
            name, value = "tcb", True
        elif oid == _TYPE:
            start, stop = der.span(data, inner, at, der.ENUMERATED)
            name, value = "sgx_type", der.unsigned(data, start, stop)
            if value not in _SGX_TYPES:
                raise _wrong(f"SGX type {value} is not known")
        elif oid == _CONFIGURATION:
            start, stop = der.span(data, inner, at, der.SEQUENCE)
            _parse_flags(data, start, stop, fields)
            name, value = "configuration", True
        else:
            raise _wrong("a member has an unknown object identifier")
        der.closed(stop, at, "SGX extension's member")
        if name in fields:
            raise _wrong(f"{name} occurs twice")
        fields[name] = value
    fields.pop("tcb", None)
    fields.pop("configuration", None)
    try:
        return PckExtensions(**fields)  # type: ignore[arg-type]
    except TypeError:
        missing = [n for n in PckExtensions.__struct_fields__[:7] if n not in fields]
        raise _wrong(f"{', '.join(missing)} missing") from None


_SGX_TYPES = frozenset(int(kind) for kind in SgxType)


def _parse_tcb(data: bytes, at: int, end: int, fields: dict[str, object]) -> None:
    """TCB = 16 component SVNs, PCESVN, CPUSVN, each {OID .2.n, value}."""
    svns: dict[int, int] = {}
    while at < end:
        # Every member is SEQUENCE{OID of 11 bytes, value}, shorter than 128 bytes: one length each.
        value = at + 17
        stop = at + 2 + data[at + 1] if value <= end else end + 1
        if (
            stop > end
            or not data.startswith(_TCB_MEMBER, at + 2)
            or data[at] != der.SEQUENCE
            or value + data[value - 1] != stop
            or (number := data[at + 14]) in svns
        ):
            raise _wrong("the TCB has an unknown, repeated or malformed member")
        tag = data[value - 2]
        if number == _CPU_SVN_MEMBER and tag == der.OCTET_STRING:
            if stop - value != COMPONENTS:
                raise _wrong("CPUSVN does not have 16 bytes")
            fields["cpu_svn"] = data[value:stop]
            svns[number] = 0
        elif number != _CPU_SVN_MEMBER and tag == der.INTEGER:
            octet = data[value] if stop - value == 1 else 0xFF
            svns[number] = octet if octet < 0x80 else der.unsigned(data, value, stop)
        else:
            raise _wrong("a member of the TCB is of the wrong type")
        at = stop
    try:
        fields["components"] = bytes([svns[i] for i in range(1, COMPONENTS + 1)])
        fields["pce_svn"] = svns[_PCE_SVN_MEMBER]
    except (KeyError, ValueError):
        raise _wrong("the TCB does not have 16 component SVNs of one byte and a PCESVN") from None
    if len(svns) != _CPU_SVN_MEMBER or svns[_PCE_SVN_MEMBER] > 0xFFFF:
        raise _wrong("the TCB has too many members or a PCESVN over 16 bits")


def _parse_flags(data: bytes, at: int, end: int, fields: dict[str, object]) -> None:
    while at < end:
        inner, at = der.span(data, at, end, der.SEQUENCE)
        start, inner = der.span(data, inner, at, der.OBJECT_IDENTIFIER)
        oid = data[start:inner]
        name = _FLAGS.get(oid[-1]) if oid[:-1] == _CONFIGURATION else None
        if name is None or name in fields:
            raise _wrong("the configuration has an unknown or repeated member")
        start, stop = der.span(data, inner, at, der.BOOLEAN)
        fields[name] = der.boolean(data, start, stop)
        der.closed(stop, at, "configuration member")


def _member(oid: bytes, value: bytes) -> bytes:
    return der.element(der.SEQUENCE, der.element(der.OBJECT_IDENTIFIER, oid) + value)


def _octet_string(value: bytes) -> bytes:
    return der.element(der.OCTET_STRING, value)


# Intel's own DER: the writer's order of members, seven or (Processor CA) five. One expression reads it
# in 4 µs instead of 20, and an import of machines reads ten of them a machine. It is made of what the
# writer makes; what it does not match, or whose lengths do not add up, `_parse_any` reads or refuses.


def _exactly(*elements: bytes) -> bytes:
    return b"".join(re.escape(element) for element in elements)


def _free(name: str, member: bytes, size: int, octets: bytes = b".") -> bytes:
    """A member as the writer makes it, its last `size` octets free."""
    return _exactly(member[:-size]) + b"(?P<%b>%b{%d})" % (name.encode(), octets, size)


def _of_octets(oid: bytes) -> bytes:
    name, size = _OCTETS[oid]
    return _free(name, _member(oid, _octet_string(bytes(size))), size)


def _component(number: int) -> bytes:
    """A component SVN: one octet, from 0x80 on after a zero."""
    low, high = (_member(_TCB + bytes((number,)), der.integer(svn))[:-1] for svn in (0, 0x80))
    return b"(?:%b(?=[\0-\x7f])|%b(?=[\x80-\xff]))(.)" % (_exactly(low), _exactly(high))


def _pce_svn() -> bytes:
    """Up to 0x7fff, which is beyond any of Intel's."""
    oid = _TCB + bytes((_PCE_SVN_MEMBER,))
    low, high = (_member(oid, der.integer(svn)) for svn in (0, 0x80))
    return b"(?:%b|%b(?P<high>\0[\x80-\xff]|[\x01-\x7f].))" % (
        _free("low", low, 1, b"[\0-\x7f]"),
        _exactly(high[:-2]),
    )


def _intels_own() -> re.Pattern[bytes]:
    opened = b"\x30\x82(?P<%b>..)"
    cpu_svn = _member(_TCB + bytes((_CPU_SVN_MEMBER,)), _octet_string(bytes(COMPONENTS)))
    flags = [
        _free(name, _member(_CONFIGURATION + bytes((i,)), b"\x01\x01\0"), 1, b"[\0\xff]")
        for i, name in _FLAGS.items()
    ]
    size_of_flags = 3 * len(_member(_CONFIGURATION + b"\1", b"\x01\x01\0"))
    configuration = _member(_CONFIGURATION, der.element(der.SEQUENCE, bytes(size_of_flags)))
    return re.compile(
        b"".join(
            (
                opened % b"whole",
                _of_octets(_PPID),
                opened % b"member" + _exactly(der.element(der.OBJECT_IDENTIFIER, _TCB)),
                opened % b"tcb",
                *(_component(number) for number in range(1, COMPONENTS + 1)),
                _pce_svn(),
                _free("cpu_svn", cpu_svn, COMPONENTS),
                _of_octets(_PCE_ID),
                _of_octets(_FMSPC),
                _free("sgx_type", _member(_TYPE, der.integer(0, der.ENUMERATED)), 1, b"[\0-\2]"),
                b"(?:" + _of_octets(_INSTANCE_ID),
                _exactly(configuration[:-size_of_flags]),
                *flags,
                b")?",
            )
        ),
        re.DOTALL,
    )


_INTELS_OWN: Final = _intels_own()
_COMPONENTS_AT: Final = _INTELS_OWN.groupindex["tcb"]
_SET: Final = {None: None, b"\0": False, b"\xff": True}


def _parse_intels_own(data: bytes) -> PckExtensions | None:
    found = _INTELS_OWN.fullmatch(data)
    if found is None:
        return None
    tcb_end = found.end("cpu_svn")
    for length, end in (("whole", len(data)), ("member", tcb_end), ("tcb", tcb_end)):
        if int.from_bytes(found[length], "big") != end - found.end(length):
            return None
    return PckExtensions(
        ppid=found["ppid"],
        components=b"".join(found.groups()[_COMPONENTS_AT : _COMPONENTS_AT + COMPONENTS]),
        pce_svn=int.from_bytes(found["low"] or found["high"], "big"),
        cpu_svn=found["cpu_svn"],
        pce_id=found["pce_id"],
        fmspc=found["fmspc"],
        sgx_type=found["sgx_type"][0],
        platform_instance_id=found["platform_instance_id"],
        dynamic_platform=_SET[found["dynamic_platform"]],
        cached_keys=_SET[found["cached_keys"]],
        smt_enabled=_SET[found["smt_enabled"]],
    )


def _wrong(what: str) -> FormatError:
    return FormatError("pck-extensions", f"SGX extension: {what}", where="PCK certificate")
