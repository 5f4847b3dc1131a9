"""Intel's and Azure's caches, and ours, as a person looks at them. The files are written by hand."""

import hashlib
import os
import struct
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kept_world import CountingSource, anchor_of, machine_for, need_for, world_of

from dcap.formats.crl import Crl
from dcap.simulator import World
from dcap.simulator.platform import Platform
from dcap.sources.cache import CachedSource
from dcap.sources.cache_entry import Entry, read_dcap_cache
from dcap.sources.foreign_caches import (
    azure_cache_directory,
    intel_cache_directory,
    read_azure_cache,
    read_intel_cache,
)

EXPIRY = datetime(2026, 1, 8, tzinfo=UTC)
URL = b"https://localhost:8081/sgx/certification/v4/"
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


@pytest.fixture(scope="module")
def world() -> World:
    """One world for all: nobody moves its clock."""
    return world_of()


@pytest.fixture(scope="module")
def machine(world: World) -> Platform:
    """A multi-package machine."""
    return world.platform("node")


def address(what: bytes) -> str:
    """The name of an entry: the hash of what was asked for."""
    return hashlib.sha256(what).hexdigest()


def string(data: bytes) -> bytes:
    """A length and as many bytes."""
    return struct.pack("<I", len(data)) + data


def intel(kind: int, *strings: bytes, version: int = 1) -> bytes:
    """A file as Intel's library writes it."""
    header = struct.pack("<HIq", version, kind, int(EXPIRY.timestamp()))
    return header + b"".join(map(string, strings))


def azure(data: bytes, version: int = 1) -> bytes:
    """A file as Azure's client writes it."""
    return struct.pack("<Hq", version, int(EXPIRY.timestamp())) + data


def only(entries: list[Entry]) -> Entry:
    """The one entry of a cache."""
    (entry,) = entries
    return entry


def bodies(world: World, machine: Platform) -> dict[str, tuple[int, bytes]]:
    """What Intel's library stores: the type, and the body, of each thing."""
    collateral, tdx = world.collateral(machine), world.collateral(machine, "TDX")
    crl = Crl.parse(collateral.pck_crl)
    thim = {"pckCert": machine.pck().pem.decode(), "sgx-Tcbm": "00" * 18}
    return {
        "tcb-info SGX": (2, collateral.tcb_info),
        "tcb-info TDX": (2, tdx.tcb_info),
        "enclave-identity QE": (2, collateral.qe_identity),
        "enclave-identity TD_QE": (2, tdx.qe_identity),
        "pck-crl DER": (2, crl.der),
        "pck-crl PEM": (2, crl.to_pem()),
        "pck-crl hex": (2, crl.to_hex()),
        "root-ca-crl hex": (2, Crl.parse(collateral.root_ca_crl).to_hex()),
        "pck-certificate PEM": (1, machine.pck().pem),
        "pck-certificate JSON": (1, msgspec.json.encode(thim)),
    }


@pytest.mark.parametrize("what", list(bodies(world_of(), world_of().platform("node"))))
def test_what_intel_s_cache_holds_is_recognised(
    what: str, world: World, machine: Platform, tmp_path: Path
) -> None:
    """Each thing that Intel's library stores, in each of its encodings, with its dates."""
    kind, body = bodies(world, machine)[what]
    (tmp_path / address(URL)).write_bytes(intel(kind, HEADERS, body))
    entry = only(read_intel_cache(tmp_path))
    assert entry.content.kind == what.split(maxsplit=1)[0]
    assert (entry.expires, entry.trouble, entry.file) == (EXPIRY, "", address(URL))
    assert entry.content.issued is not None
    assert entry.content.issued <= world.at
    assert entry.content.next_update is not None
    assert entry.content.next_update > world.at
    if entry.content.kind in ("tcb-info", "pck-certificate"):
        assert entry.content.fmspc == machine.fmspc.hex()
    if entry.content.kind in ("tcb-info", "enclave-identity"):
        assert entry.content.about == what.split()[1]
        assert entry.content.evaluation_number == world.intel.standard


def test_all_certificates_of_a_machine_are_one_entry_without_its_name(
    world: World, machine: Platform, tmp_path: Path
) -> None:
    """MULTICERTS are told by FMSPC and number; the QE id in the file's name is masked."""
    tcb_info = world.collateral(machine).tcb_info
    chain = quote(world.intel.chain(world.intel.pck_ca(machine.ca))).encode()
    cert = {"cert": quote(machine.pck().pem), "tcbm": machine.certificates()[0].hex}
    strings = (machine.cpu_svn.hex().encode(), tcb_info, chain, msgspec.json.encode([cert, cert]))
    (tmp_path / f"{machine.qe_id.hex()}_0000").write_bytes(intel(4, *strings))
    entry = only(read_intel_cache(tmp_path))
    assert (entry.content.kind, entry.content.about) == ("multicerts", "2 certificates")
    assert entry.content.fmspc == machine.fmspc.hex()
    assert entry.file == "(identifier)_0000"
    assert machine.qe_id.hex() not in repr(entry)


def test_the_name_that_stands_for_any_machine_is_shown(tmp_path: Path) -> None:
    """A name of zeros identifies nobody."""
    (tmp_path / "0000000000000000_0000").write_bytes(intel(4, b"", b"{}", b"", b"[]"))
    entry = only(read_intel_cache(tmp_path))
    assert entry.file == "0000000000000000_0000"
    assert entry.trouble == "its TCB info cannot be read"


CORRUPT = {
    "empty": (b"", "ends within its header"),
    "header cut": (intel(2, HEADERS, b"{}")[:13], "ends within its header"),
    "body cut": (intel(2, HEADERS, b"{}")[:-1], "lengths"),
    "something after it": (intel(2, HEADERS, b"{}") + b"x", "lengths"),
    "another version": (intel(2, HEADERS, b"{}", version=2), "version 2"),
    "unknown type": (intel(3, HEADERS, b"{}"), "type 3"),
    "an error page": (intel(2, HEADERS, b"<html>"), "neither a document"),
}


@pytest.mark.parametrize(("content", "says"), CORRUPT.values(), ids=CORRUPT)
def test_what_is_wrong_with_an_entry_is_said(content: bytes, says: str, tmp_path: Path) -> None:
    """An entry that Intel's library would throw away is shown, with the reason."""
    (tmp_path / address(URL)).write_bytes(content)
    assert says in only(read_intel_cache(tmp_path)).trouble


def test_an_entry_has_two_limits(world: World, machine: Platform, tmp_path: Path) -> None:
    """It has expired after the cache's own limit, and after Intel's nextUpdate, whichever is first."""
    (tmp_path / address(URL)).write_bytes(intel(2, HEADERS, world.collateral(machine).tcb_info))
    entry = only(read_intel_cache(tmp_path))
    assert not entry.expired(world.at)
    assert entry.expired(EXPIRY)
    unlimited = msgspec.structs.replace(entry, expires=None)
    assert not unlimited.expired(EXPIRY)
    assert unlimited.expired(datetime(2027, 1, 1, tzinfo=UTC))


# Azure


def test_what_azure_s_cache_holds_is_recognised(
    world: World, machine: Platform, tmp_path: Path
) -> None:
    """Documents and their chains apart, the PCK behind its struct, and the region."""
    collateral = world.collateral(machine)
    chain = machine.pck_chain() + b"\0"
    config = struct.pack("<I16sHIQ", 1, bytes(16), 13, len(chain), 0x7F0012345678)
    issuers = quote(collateral.tcb_info_issuer_chain).encode()
    files = {
        address(URL + b"tcb"): collateral.tcb_info,
        address(URL + b"tcbIssuerChain"): issuers,
        address(URL + b"crl"): Crl.parse(collateral.pck_crl).to_pem(),
        address(URL + b"pckcert"): config + chain,
        address(b"region"): b"westus",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(azure(data))
    found = {entry.file: entry for entry in read_azure_cache(tmp_path)}
    assert [found[name].content.kind for name in files] == [
        "tcb-info",
        "issuer-chain",
        "pck-crl",
        "pck-certificate",
        "region",
    ]
    region = found[address(b"region")]
    assert (region.content.about, region.expires) == ("westus", None)
    pck = found[address(URL + b"pckcert")]
    assert (pck.content.fmspc, pck.expires, pck.trouble) == (machine.fmspc.hex(), EXPIRY, "")


@pytest.mark.parametrize("content", [b"", b"\1\0", azure(b"{}", version=3), azure(b"junk")])
def test_what_is_wrong_with_azure_s_entry_is_said(content: bytes, tmp_path: Path) -> None:
    """Short, of another version, or nothing that is known."""
    (tmp_path / address(URL)).write_bytes(content)
    assert only(read_azure_cache(tmp_path)).trouble


# Both


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), prefix=st.sampled_from(range(6)))
def test_garbage_is_an_entry_with_trouble_and_never_an_exception(
    data: bytes, prefix: int, tmp_path: Path
) -> None:
    """Whatever lies in these directories, listing them goes on."""
    start = [
        b"",
        intel(2, HEADERS, b"{")[:-1],
        intel(4, b"", b'{"tcbInfo":'),
        struct.pack("<Hq", 1, -(2**62)),
        struct.pack("<HIq", 1, 2, 2**62) + string(HEADERS) + string(data),
        azure(b"-----BEGIN CERTIFICATE-----\n"),
    ][prefix]
    (tmp_path / address(URL)).write_bytes(start + data)
    for entry in (only(read_intel_cache(tmp_path)), only(read_azure_cache(tmp_path))):
        assert entry.trouble


def test_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    """Folders, pipes and links are not opened; a directory that is not there holds nothing."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    assert read_intel_cache(tmp_path) == []
    assert read_azure_cache(tmp_path / "nowhere") == []


def test_control_characters_in_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    """A file's name is anyone's text."""
    (tmp_path / "\x1b[2Jx").write_bytes(b"")
    assert only(read_intel_cache(tmp_path)).file == "\\x1b[2Jx"


def test_intel_s_library_takes_the_first_place_that_is_there(tmp_path: Path) -> None:
    """$AZDCAP_CACHE, $XDG_CACHE_HOME, $HOME, $TMPDIR: the first with a .dcap-qcnl, not the first."""
    names = ("AZDCAP_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR")
    environ = {name: str(tmp_path / name) for name in names}
    for name in reversed(names):
        (tmp_path / name / ".dcap-qcnl").mkdir(parents=True)
        assert intel_cache_directory(environ, windows=False) == tmp_path / name / ".dcap-qcnl"


def test_azure_s_client_takes_the_first_place_that_is_named(tmp_path: Path) -> None:
    """Whether it is there or not."""
    environ = {"AZDCAP_CACHE": "", "HOME": str(tmp_path)}
    assert azure_cache_directory(environ) == tmp_path / ".az-dcap-client"
    assert azure_cache_directory({}) == Path("/tmp/.az-dcap-client")


# Ours


def test_our_own_cache_is_listed(world: World, machine: Platform, tmp_path: Path) -> None:
    """A set and a certificate, for what, from whom, since when; neither QE id nor PPID shown."""
    source = CountingSource(world, machine)
    cache = CachedSource(
        source, directory=tmp_path, anchor=anchor_of(world), clock=lambda: world.at
    )
    cache.collateral(need_for(machine, "TDX"))
    cache.pck_certificate(machine_for(machine))
    found = {entry.content.kind: entry for entry in read_dcap_cache(tmp_path)}
    fetched, pck = found["collateral"], found["pck-certificate"]
    assert fetched.content.about == f"TDX {machine.fmspc.hex()} platform standard"
    assert fetched.content.evaluation_number == world.intel.standard
    assert fetched.content.next_update is not None
    for entry in (fetched, pck):
        assert (entry.stored, entry.source, entry.trouble) == (world.at, source.name, "")
        assert entry.content.fmspc == machine.fmspc.hex()
        for secret in (machine.qe_id, machine.ppid):
            assert secret.hex() not in repr(entry)


def test_listing_removes_nothing(world: World, machine: Platform, tmp_path: Path) -> None:
    """A corrupt entry of ours is shown as such, and left for the cache to deal with."""
    cache = CachedSource(
        CountingSource(world, machine),
        directory=tmp_path,
        anchor=anchor_of(world),
        clock=lambda: world.at,
    )
    cache.collateral(need_for(machine))
    (path,) = tmp_path.glob("*.kept")
    path.write_bytes(path.read_bytes()[:-1])
    assert only(read_dcap_cache(tmp_path)).trouble
    assert path.exists()
