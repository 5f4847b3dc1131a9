"""Intel's own DER is read by one expression: it says what the general reader says, or nothing at all.

`Certificate.parse` and `PckExtensions.parse` ask the quick reader first, and the general one where that
has nothing to say. So two things matter: that the quick one never says anything else (every flipped bit,
every edited element, Hypothesis), and that it speaks at all where machines of Intel's are concerned.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from dcap.errors import FormatError
from dcap.formats import certificate_extensions, der, pck_extensions, pem
from dcap.formats.certificate import SGX_EXTENSION, Certificate, Extension, profile_extensions
from dcap.formats.pck_extensions import PckExtensions
from departures import World
from formats.test_pck_extensions import FLAWS as FLAWS_OF_SGX
from formats.test_pck_extensions import PLATFORMS, SCALABLE, by_hand, extension
from properties.mutation import Mutation, mutate, some_mutations
from worlds import AT, Vector, vector_names, vectors_path

#: The identifier of the PCESVN.
_PCE_SVN = bytes.fromhex("060b") + SGX_EXTENSION + b"\x02\x11"

Read = Callable[[bytes], object]


class Readers(msgspec.Struct, frozen=True):
    """The two readers of one thing."""

    quick: Read
    general: Read


def _read_list(data: bytes) -> object:
    found = certificate_extensions.list_extensions(data, 0, len(data))
    return certificate_extensions._meaning(found)


SGX = Readers(pck_extensions._parse_intels_own, pck_extensions._parse_any)
LIST = Readers(
    lambda data: certificate_extensions._meaning_in_pck(data, 0, len(data)),
    _read_list,
)


def agreed(readers: Readers, data: bytes) -> bool:
    """Whether the quick reader speaks; what it says is what the general one says."""
    quick = readers.quick(data)
    if quick is None:
        return False
    assert quick == readers.general(data)
    return True


def refused(readers: Readers, data: bytes) -> bool:
    """Whether the general reader refuses the bytes."""
    try:
        readers.general(data)
    except FormatError:
        return True
    return False


def extension_list(**changes: Any) -> list[Extension]:
    """A PCK certificate's extensions in Intel's order, with other content where it is named."""
    content: dict[str, Any] = {
        "authority_key_id": b"a" * 20,
        "subject_key_id": b"s" * 20,
        "crl_url": "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform",
        "is_ca": False,
        "sgx_extension": by_hand(SCALABLE),
    }
    return profile_extensions(**(content | changes))


def listed(*extensions: Extension) -> bytes:
    """Extensions as a certificate has them."""
    return der.sequence(*(one.to_der() for one in extensions))


SOUND = {"SGX extension": (SGX, by_hand(SCALABLE)), "list": (LIST, listed(*extension_list()))}
both = pytest.mark.parametrize("name", SOUND)


@pytest.mark.parametrize("name", PLATFORMS)
def test_every_platform_is_read_alike(name: str) -> None:
    """What Intel may certify is read quickly, but for a flag alone and a PCESVN above 32,767."""
    slow = name in ("one flag alone", "SVNs of 255 and a PCESVN of 16 bits")
    assert agreed(SGX, by_hand(PLATFORMS[name])) is not slow


@pytest.mark.parametrize("pce_svn", [0, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF])
def test_every_length_of_the_pcesvn_is_read_alike(pce_svn: int) -> None:
    """One octet, two with a zero before, two without: the value is the same in both readers."""
    data = by_hand(msgspec.structs.replace(SCALABLE, pce_svn=pce_svn))
    assert agreed(SGX, data) is (pce_svn < 0x8000)
    assert PckExtensions.parse(data).pce_svn == pce_svn


def test_certificates_of_real_machines_are_read_quickly() -> None:
    """Every PCK certificate of Intel's is in the form that the expressions are made for."""
    names = vector_names("verifiable")
    if not names:
        pytest.skip(f"no vectors at {vectors_path()} (set DCAP_VECTORS)")
    leaves: set[bytes] = set()
    for name in names:
        texts = re.findall(b"-BEGIN CERTIFICATE-----(.*?)-----END", Vector(name).quote, re.DOTALL)
        leaves |= {block for text in texts if SGX_EXTENSION in (block := pem.decode(text))}
    assert leaves
    for leaf in leaves:
        sgx = Certificate.parse(leaf).sgx_extension
        assert sgx is not None
        assert agreed(SGX, sgx)
        assert agreed(LIST, leaf[leaf.index(b"\xa3\x82") + 4 : leaf.index(sgx) + len(sgx)])


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_simulated_certificates_are_read_quickly(ca: str) -> None:
    """The simulator writes as Intel does."""
    certificate = Certificate.parse(World(at=AT).pck(ca=ca).der)
    assert certificate.sgx_extension is not None
    assert agreed(SGX, certificate.sgx_extension)


@both
def test_every_flipped_bit_is_read_alike(name: str) -> None:
    """With any one bit another, the quick reader says what the general one says, or nothing."""
    readers, data = SOUND[name]
    assert agreed(readers, data)
    spoken = 0
    for at in range(len(data)):
        for bit in range(8):
            spoken += agreed(readers, data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :])
    assert spoken


@both
@settings(max_examples=400, deadline=None, database=None)
@given(mutations=some_mutations)
def test_mutations_are_read_alike(name: str, mutations: list[Mutation]) -> None:
    """Cut, repeated, spliced, with other lengths and tags: never anything else."""
    readers, data = SOUND[name]
    agreed(readers, mutate(data, mutations, SOUND["list"][1]))


@pytest.mark.parametrize("name", FLAWS_OF_SGX)
def test_flaws_of_the_sgx_extension_leave_the_quick_reader_silent(name: str) -> None:
    """What is refused is refused by the general reader, in its words."""
    assert refused(SGX, FLAWS_OF_SGX[name])
    assert not agreed(SGX, FLAWS_OF_SGX[name])


def _with_lengths(data: bytes, old: bytes, new: bytes) -> bytes:
    """The SGX extension with bytes of its TCB replaced, and the three lengths around it mended."""
    assert old in data
    out = bytearray(data.replace(old, new, 1))
    member = data.index(der.element(der.OBJECT_IDENTIFIER, SGX_EXTENSION + b"\x02")) - 2
    for at in (2, member, member + 16):
        size = int.from_bytes(out[at : at + 2], "big") + len(new) - len(old)
        out[at : at + 2] = size.to_bytes(2, "big")
    return bytes(out)


INTEGERS = {
    "a padded PCESVN": b"\x02\x02\x00\x0d",
    "a negative PCESVN": b"\x02\x01\x8d",
    "a PCESVN that says two octets and has one": b"\x02\x02\x0d",
    "a PCESVN that says one octet and has two": b"\x02\x01\x0d\x0d",
}


@pytest.mark.parametrize("name", INTEGERS)
def test_wrong_integers_in_right_lengths_leave_the_quick_reader_silent(name: str) -> None:
    """Every length around the integer adds up, and the integer is not DER."""
    value = INTEGERS[name]
    old = der.sequence(_PCE_SVN, b"\x02\x01\x0d")
    new = bytes((0x30, len(_PCE_SVN) + len(value))) + _PCE_SVN + value
    assert agreed(SGX, _with_lengths(by_hand(SCALABLE), old, old))
    data = _with_lengths(by_hand(SCALABLE), old, new)
    assert refused(SGX, data)
    assert not agreed(SGX, data)


URL = "https://pckcrl.example/"
#: Lists of extensions -> whether the quick reader has its say.
LISTS: dict[str, tuple[Callable[[], list[Extension]], bool]] = {
    "as Intel's": (extension_list, True),
    "of the Processor CA": (
        lambda: extension_list(sgx_extension=by_hand(PLATFORMS["Processor CA"])),
        True,
    ),
    "a long distribution point": (lambda: extension_list(crl_url=URL + "x" * 200), True),
    "an empty distribution point": (lambda: extension_list(crl_url=""), True),
    "a key identifier of 19 octets": (lambda: extension_list(subject_key_id=b"s" * 19), False),
    "a CA": (lambda: extension_list(is_ca=True), False),
    "a path length": (lambda: extension_list(path_length=0), False),
    "no SGX extension": (lambda: extension_list(sgx_extension=None), False),
    "a short SGX extension": (lambda: extension_list(sgx_extension=b"\x30\x00"), False),
    "reversed": (lambda: extension_list()[::-1], False),
    "the first two the other way round": (
        lambda: [extension_list()[i] for i in (1, 0, 2, 3, 4, 5)],
        False,
    ),
    "one more": (lambda: [Extension(b"\x2a\x03", b"\x05\0"), *extension_list()], False),
    "one more that is critical": (
        lambda: [Extension(b"\x2a\x03", b"\x05\0", critical=True), *extension_list()],
        False,
    ),
    "a critical authority key identifier": (
        lambda: [
            msgspec.structs.replace(extension_list()[0], critical=True),
            *extension_list()[1:],
        ],
        True,
    ),
    "a critical SGX extension": (
        lambda: [
            *extension_list()[:5],
            msgspec.structs.replace(extension_list()[5], critical=True),
        ],
        False,
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_extensions_are_read_alike(name: str) -> None:
    """What is not a PCK certificate's list in Intel's order is the general reader's alone."""
    make, quick = LISTS[name]
    assert agreed(LIST, listed(*make())) is quick


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("times", [0, 2])
def test_an_extension_missing_or_twice_leaves_the_quick_reader_silent(
    place: int, times: int
) -> None:
    """Each extension belongs there once."""
    parts = extension_list()
    data = listed(*parts[:place], *parts[place : place + 1] * times, *parts[place + 1 :])
    assert refused(LIST, data) is (times == 2)
    assert not agreed(LIST, data)


@pytest.mark.parametrize("value", [b"", b"\x04\x00", b"\x30\x01"], ids=["empty", "octets", "cut"])
@pytest.mark.parametrize("place", [0, 1])
def test_nonsense_in_what_is_of_the_ca_is_read_alike(place: int, value: bytes) -> None:
    """The two extensions that a CA's certificates share are the general reader's, and its refusals."""
    parts = extension_list()
    parts[place] = msgspec.structs.replace(parts[place], value=value)
    data = listed(*parts)
    assert refused(LIST, data)
    assert not agreed(LIST, data)


def test_lengths_that_are_not_minimal_leave_the_quick_reader_silent() -> None:
    """An SGX extension of 200 bytes whose lengths have two octets all the same is not DER."""
    value = b"\x04\x82\x00\xc8" + bytes(200)
    member = der.element(der.OBJECT_IDENTIFIER, SGX_EXTENSION) + value
    shared = [one.to_der() for one in extension_list()[:5]]
    data = der.sequence(*shared, b"\x30\x82" + len(member).to_bytes(2, "big") + member)
    assert refused(LIST, data)
    assert not agreed(LIST, data)


def test_the_extension_of_another_order_is_read_by_the_general_reader() -> None:
    """Silence is no refusal: members in another order are read as ever."""
    data = extension(m1=None)
    moved = der.sequence(
        data[4:], der.sequence(der.element(6, SGX_EXTENSION + b"\1"), b"\4\x10" + b"p" * 16)
    )
    assert SGX.quick(moved) is None
    assert PckExtensions.parse(moved).ppid == b"p" * 16
