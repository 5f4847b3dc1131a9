"""The SGX extension of a PCK certificate: a closed list of members, each at most once."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from dcap.errors import FormatError
from dcap.formats.pck_extensions import PckExtensions, SgxType
from forge import Platform, World, der, pck

OID = pck.SGX_EXTENSIONS
SCALABLE = Platform(
    sgx_type=1,
    platform_instance_id=pck.PLATFORM_INSTANCE_ID,
    dynamic_platform=True,
    cached_keys=False,
    smt_enabled=True,
)
#: Platforms as the forge writes them, and what must be read of each.
PLATFORMS: dict[str, Platform] = {
    "Processor CA": Platform(),
    "Platform CA": SCALABLE,
    "with integrity": dataclasses.replace(SCALABLE, sgx_type=2),
    "all flags off": dataclasses.replace(
        SCALABLE, dynamic_platform=False, cached_keys=False, smt_enabled=False
    ),
    "one flag alone": Platform(smt_enabled=True),
    "SVNs of 255 and a PCESVN of 16 bits": Platform(components=(255,) * 16, pcesvn=0xFFFF),
    "SVNs of 128 (a zero octet in DER)": Platform(components=(128,) * 16, pcesvn=128),
    "all zero": Platform(components=(0,) * 16, pcesvn=0, cpusvn=bytes(16)),
    "CPUSVN unlike its components": Platform(cpusvn=b"\xee" * 16),
}


def refusal(data: bytes) -> FormatError:
    """The error with which an extension is refused."""
    with pytest.raises(FormatError) as raised:
        PckExtensions.parse(data)
    return raised.value


@pytest.mark.parametrize("name", PLATFORMS)
def test_platforms_are_read_and_written_back(name: str) -> None:
    """What Intel certifies of a platform is read, and writes back to the same DER."""
    platform = PLATFORMS[name]
    data = platform.encode()

    read = PckExtensions.parse(data)

    assert read == PckExtensions(
        ppid=platform.ppid,
        components=bytes(platform.components),
        pce_svn=platform.pcesvn,
        cpu_svn=platform.cpusvn,
        pce_id=platform.pceid,
        fmspc=platform.fmspc,
        sgx_type=platform.sgx_type,
        platform_instance_id=platform.platform_instance_id,
        dynamic_platform=platform.dynamic_platform,
        cached_keys=platform.cached_keys,
        smt_enabled=platform.smt_enabled,
    )
    assert read.to_der() == data


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_the_extension_of_a_certificate_is_read(world: World, ca: str) -> None:
    """The extension in a certificate of either CA has its FMSPC and type."""
    issued = world.pck(ca=ca)

    read = PckExtensions.parse(issued.platform.encode())

    assert read.fmspc == issued.fmspc
    assert read.sgx_type == (SgxType.STANDARD if ca == "processor" else SgxType.SCALABLE)
    assert (read.platform_instance_id is None) == (ca == "processor")


def member(suffix: str, value: bytes) -> bytes:
    """One member, by the last arcs of its identifier."""
    return der.sequence(der.oid(f"{OID}.{suffix}"), value)


def tcb(**changes: bytes | None) -> bytes:
    """The TCB, with members replaced (`m17=…`) or left out (`None`)."""
    parts: dict[str, bytes | None] = {f"m{i}": der.integer(i) for i in range(1, 18)}
    parts["m18"] = der.octets(b"c" * 16)
    parts |= changes
    return der.sequence(
        *(member(f"2.{name[1:]}", value) for name, value in parts.items() if value is not None)
    )


#: A sound set of members, by number.
MEMBERS: dict[int, bytes] = {
    1: der.octets(b"p" * 16),
    2: tcb(),
    3: der.octets(b"\0\0"),
    4: der.octets(b"\x90\xc0\x6f\0\0\0"),
    5: der.enumerated(1),
    6: der.octets(b"i" * 16),
    7: der.sequence(*(member(f"7.{i}", der.boolean(True)) for i in (1, 2, 3))),
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
    octets: dict[int, int] = {1: 16, 3: 2, 4: 6, 6: 16}
    for number, size in octets.items():
        for wrong in (0, size - 1, size + 1):
            value = der.octets(b"\0" * wrong)
            yield f"member {number} of {wrong} bytes", extension(**{f"m{number}": value})
        yield f"member {number} of another type", extension(**{f"m{number}": der.integer(1)})
    for number in range(1, 19):
        yield f"TCB without member {number}", extension(m2=tcb(**{f"m{number}": None}))
    some: dict[str, dict[str, Any]] = {
        "a component of 256": {"m1": der.integer(256)},
        "a negative component": {"m1": der.integer(-1)},
        "a component that is no integer": {"m1": der.octets(b"\1")},
        "a padded component": {"m1": der.tlv(2, b"\0\1")},
        "a PCESVN of 17 bits": {"m17": der.integer(65536)},
        "a CPUSVN of 15 bytes": {"m18": der.octets(b"c" * 15)},
        "a 19th member": {"m19": der.integer(0)},
        "a member 0": {"m0": der.integer(0)},
        "a member with more arcs": {"m1.1": der.integer(0)},
    }
    for name, changes in some.items():
        yield f"TCB with {name}", extension(m2=tcb(**changes))
    twice = der.sequence(
        *(member(f"2.{i}", der.integer(i)) for i in (*range(1, 18), 1)),
        member("2.18", der.octets(b"c" * 16)),
    )
    yield "TCB with a component twice", extension(m2=twice)
    yield "TCB of nothing", extension(m2=der.sequence())
    yield "type 3", extension(m5=der.enumerated(3))
    yield "a negative type", extension(m5=der.enumerated(-1))
    yield "a type of 32,000 bits", extension(m5=der.enumerated(1 << 32_000))
    yield "a type that is an integer", extension(m5=der.integer(1))
    flags = {
        "a fourth flag": [member("7.4", der.boolean(True))],
        "a flag twice": [member("7.1", der.boolean(True))] * 2,
        "a flag that is an integer": [member("7.1", der.integer(1))],
        "a flag of BER": [member("7.1", der.tlv(1, b"\1"))],
        "a flag of an empty identifier": [der.sequence(der.tlv(6, b""), der.boolean(True))],
        "a flag of another branch": [member("6.1", der.boolean(True))],
    }
    for name, parts in flags.items():
        yield name, extension(m7=der.sequence(*parts))
    yield "an eighth member", extension(member("8", der.null()))
    yield "another identifier", extension(der.sequence(der.oid("1.2.3"), der.null()))
    yield "an empty identifier", extension(der.sequence(der.tlv(6, b""), der.null()))
    yield (
        "a member with something after it",
        extension(m4=der.octets(b"\x90\xc0\x6f\0\0\0") + der.null()),
    )
    yield "bytes after it", extension() + b"\0"
    yield "nothing", b""
    yield "an empty sequence", der.sequence()
    yield "an octet string", der.octets(extension())


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
    data = SCALABLE.encode()

    for size in range(len(data)):
        assert refusal(data[:size]).code in ("pck-extensions", "der")


def test_every_flip_is_read_or_refused() -> None:
    """No flipped byte makes anything else than an extension or our error come out."""
    data = SCALABLE.encode()

    for at in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            changed = data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :]
            try:
                read = PckExtensions.parse(changed)
            except FormatError:
                continue
            assert read != PckExtensions.parse(data)
            assert read.to_der() == changed
