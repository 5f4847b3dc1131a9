"""The SGX extension of a PCK certificate: a closed list of members, each at most once."""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dcap.errors import FormatError
from dcap.formats import der
from dcap.formats.certificate import Certificate
from dcap.formats.pck_extensions import PckExtensions, SgxType
from departures import FMSPC, World, oid

OID = "1.2.840.113741.1.13.1"
STANDARD = PckExtensions(
    ppid=bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"),
    components=bytes((4, 4, 2, 2, 4, 1, 0, 5, *bytes(8))),
    pce_svn=13,
    cpu_svn=bytes((4, 4, 2, 2, 4, 1, 0, 5, *bytes(8))),
    pce_id=bytes(2),
    fmspc=bytes.fromhex("90C06F000000"),
    sgx_type=0,
)


def platform(of: PckExtensions = STANDARD, **changes: Any) -> PckExtensions:
    """A platform that differs in what is named."""
    return msgspec.structs.replace(of, **changes)


SCALABLE = platform(
    sgx_type=1,
    platform_instance_id=bytes.fromhex("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"),
    dynamic_platform=True,
    cached_keys=False,
    smt_enabled=True,
)
#: What may be certified of a platform.
PLATFORMS: dict[str, PckExtensions] = {
    "Processor CA": STANDARD,
    "Platform CA": SCALABLE,
    "with integrity": platform(SCALABLE, sgx_type=2),
    "all flags off": platform(
        SCALABLE, dynamic_platform=False, cached_keys=False, smt_enabled=False
    ),
    "one flag alone": platform(smt_enabled=True),
    "SVNs of 255 and a PCESVN of 16 bits": platform(components=b"\xff" * 16, pce_svn=0xFFFF),
    "SVNs of 128 (a zero octet in DER)": platform(components=b"\x80" * 16, pce_svn=128),
    "all zero": platform(components=bytes(16), pce_svn=0, cpu_svn=bytes(16)),
    "CPUSVN unlike its components": platform(cpu_svn=b"\xee" * 16),
}


def refusal(data: bytes) -> FormatError:
    """The error with which an extension is refused."""
    with pytest.raises(FormatError) as raised:
        PckExtensions.parse(data)
    return raised.value


@pytest.mark.parametrize("name", PLATFORMS)
def test_platforms_are_read_and_written_back(name: str) -> None:
    """What Intel certifies of a platform, put together here, is read and writes back the same."""
    wanted = PLATFORMS[name]
    data = by_hand(wanted)

    read = PckExtensions.parse(data)

    assert read == wanted
    assert read.to_der() == data


def by_hand(of: PckExtensions) -> bytes:
    """The extension in Intel's member order, without the writer under test."""
    components = {f"m{i}": integer(svn) for i, svn in enumerate(of.components, 1)}
    flags = (of.dynamic_platform, of.cached_keys, of.smt_enabled)
    told = [member(f"7.{i}", boolean(flag)) for i, flag in enumerate(flags, 1) if flag is not None]
    instance = of.platform_instance_id
    return extension(
        m1=octets(of.ppid),
        m2=tcb(**components, m17=integer(of.pce_svn), m18=octets(of.cpu_svn)),
        m3=octets(of.pce_id),
        m4=octets(of.fmspc),
        m5=enumerated(of.sgx_type),
        m6=None if instance is None else octets(instance),
        m7=der.sequence(*told) if told else None,
    )


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_the_extension_of_a_certificate_is_read(world: World, ca: str) -> None:
    """The extension in a certificate of either CA has its FMSPC and type."""
    issued = world.pck(ca=ca)

    stated = Certificate.parse(issued.der).sgx_extension
    assert stated is not None
    read = PckExtensions.parse(stated)

    assert read.fmspc == FMSPC
    assert read.sgx_type == (SgxType.STANDARD if ca == "processor" else SgxType.SCALABLE)
    assert (read.platform_instance_id is None) == (ca == "processor")


def integer(value: int, tag: int = der.INTEGER) -> bytes:
    """An INTEGER of either sign, minimal two's complement."""
    size = max(value, ~value).bit_length() // 8 + 1
    return der.element(tag, value.to_bytes(size, "big", signed=True))


def enumerated(value: int) -> bytes:
    """An ENUMERATED of either sign."""
    return integer(value, der.ENUMERATED)


def octets(value: bytes) -> bytes:
    """An OCTET STRING."""
    return der.element(der.OCTET_STRING, value)


def boolean(value: bool) -> bytes:
    """A BOOLEAN; true is FF."""
    return der.element(der.BOOLEAN, b"\xff" if value else b"\x00")


NULL = der.element(der.NULL, b"")


def named(content: bytes, value: bytes) -> bytes:
    """A member by the content of its identifier."""
    return der.sequence(der.element(der.OBJECT_IDENTIFIER, content), value)


def member(suffix: str, value: bytes) -> bytes:
    """One member, by the last arcs of its identifier."""
    return named(oid(f"{OID}.{suffix}"), value)


def tcb(**changes: bytes | None) -> bytes:
    """The TCB, with members replaced (`m17=…`) or left out (`None`)."""
    parts: dict[str, bytes | None] = {f"m{i}": integer(i) for i in range(1, 18)}
    parts["m18"] = octets(b"c" * 16)
    parts |= changes
    return der.sequence(
        *(member(f"2.{name[1:]}", value) for name, value in parts.items() if value is not None)
    )


#: A sound set of members, by number.
MEMBERS: dict[int, bytes] = {
    1: octets(b"p" * 16),
    2: tcb(),
    3: octets(b"\0\0"),
    4: octets(b"\x90\xc0\x6f\0\0\0"),
    5: enumerated(1),
    6: octets(b"i" * 16),
    7: der.sequence(*(member(f"7.{i}", boolean(True)) for i in (1, 2, 3))),
}


def extension(*more: bytes, **changes: bytes | None) -> bytes:
    """The sound set with members replaced (`m4=…`) or left out (`None`), and more at its end."""
    parts = {f"m{number}": value for number, value in MEMBERS.items()} | changes
    return der.sequence(
        *(member(name[1:], value) for name, value in parts.items() if value is not None), *more
    )


def test_members_may_stand_in_any_order() -> None:
    """The order of members does not matter."""
    parts = [member(str(number), value) for number, value in MEMBERS.items()]
    expected = PckExtensions.parse(extension())

    for order in itertools.islice(itertools.permutations(parts), 0, 5040, 97):
        assert PckExtensions.parse(der.sequence(*order)) == expected


def flaws() -> Iterator[tuple[str, bytes]]:
    """Extensions with one thing wrong, by name."""
    for number in range(1, 6):
        yield f"member {number} missing", extension(**{f"m{number}": None})
    for number, value in MEMBERS.items():
        yield f"member {number} twice", extension(member(str(number), value))
    sizes: dict[int, int] = {1: 16, 3: 2, 4: 6, 6: 16}
    for number, size in sizes.items():
        for wrong in (0, size - 1, size + 1):
            value = octets(b"\0" * wrong)
            yield f"member {number} of {wrong} bytes", extension(**{f"m{number}": value})
        yield f"member {number} of another type", extension(**{f"m{number}": integer(1)})
    for number in range(1, 19):
        yield f"TCB without member {number}", extension(m2=tcb(**{f"m{number}": None}))
    some: dict[str, dict[str, Any]] = {
        "a component of 256": {"m1": integer(256)},
        "a negative component": {"m1": integer(-1)},
        "a component that is no integer": {"m1": octets(b"\1")},
        "a padded component": {"m1": der.element(2, b"\0\1")},
        "a PCESVN of 17 bits": {"m17": integer(65536)},
        "a CPUSVN of 15 bytes": {"m18": octets(b"c" * 15)},
        "a 19th member": {"m19": integer(0)},
        "a member 0": {"m0": integer(0)},
        "a member with more arcs": {"m1.1": integer(0)},
    }
    for name, changes in some.items():
        yield f"TCB with {name}", extension(m2=tcb(**changes))
    twice = der.sequence(
        *(member(f"2.{i}", integer(i)) for i in (*range(1, 18), 1)),
        member("2.18", octets(b"c" * 16)),
    )
    yield "TCB with a component twice", extension(m2=twice)
    yield "TCB of nothing", extension(m2=der.sequence())
    yield "type 3", extension(m5=enumerated(3))
    yield "a negative type", extension(m5=enumerated(-1))
    yield "a type of 32,000 bits", extension(m5=enumerated(1 << 32_000))
    yield "a type that is an integer", extension(m5=integer(1))
    flags = {
        "a fourth flag": [member("7.4", boolean(True))],
        "a flag twice": [member("7.1", boolean(True))] * 2,
        "a flag that is an integer": [member("7.1", integer(1))],
        "a flag of BER": [member("7.1", der.element(1, b"\1"))],
        "a flag of an empty identifier": [named(b"", boolean(True))],
        "a flag of another branch": [member("6.1", boolean(True))],
    }
    for name, parts in flags.items():
        yield name, extension(m7=der.sequence(*parts))
    yield "an eighth member", extension(member("8", NULL))
    yield "another identifier", extension(named(oid("1.2.3"), NULL))
    yield "an empty identifier", extension(named(b"", NULL))
    yield (
        "a member with something after it",
        extension(m4=octets(b"\x90\xc0\x6f\0\0\0") + NULL),
    )
    yield "bytes after it", extension() + b"\0"
    yield "nothing", b""
    yield "an empty sequence", der.sequence()
    yield "an octet string", octets(extension())


FLAWS = dict(flaws())


def test_the_sound_set_is_sound() -> None:
    """The set that the flaws below are made from is read."""
    assert PckExtensions.parse(extension()).components == bytes(range(1, 17))


@pytest.mark.parametrize("name", FLAWS)
def test_one_flaw_refuses_the_extension(name: str) -> None:
    """A member missing, twice, unknown, of another size or type refuses the whole extension."""
    assert refusal(FLAWS[name]).code in ("pck-extensions", "der")


def test_every_truncation_is_refused() -> None:
    """An extension cut anywhere is refused."""
    data = by_hand(SCALABLE)

    for size in range(len(data)):
        assert refusal(data[:size]).code in ("pck-extensions", "der")


def test_every_flip_is_read_or_refused() -> None:
    """No flipped byte makes anything else than an extension or our error come out."""
    data = by_hand(SCALABLE)

    for at in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            changed = data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :]
            try:
                read = PckExtensions.parse(changed)
            except FormatError:
                continue
            assert read != PckExtensions.parse(data)
            assert read.to_der() == changed
