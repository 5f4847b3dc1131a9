"""`platform_registration.platform_sources`: where a machine is told of, and how it adds up."""

import json
from pathlib import Path
from typing import Any

import pytest

from dcap.api.platform_list import members
from dcap.errors import AttesterError, ConfigError, DcapError, FormatError
from dcap.formats.quote import Quote
from dcap.platform_registration.platform_data import PlatformData
from dcap.platform_registration.platform_sources import TABLE, TOOL_FOLDER, Found, look
from dcap.qpl.discovery_root import Root
from dcap.simulator.platform import Platform
from dcap.simulator.world import World
from dcap.sources.need import machine_of
from pccs.rig import manifest_of, record_of
from platform_registration import efivars

COLUMNS = ("enc_ppid", "pce_id", "cpu_svn", "pce_svn", "qe_id", "platform_manifest")


@pytest.fixture(scope="module")
def small() -> Platform:
    """A machine of one package."""
    return World("registration").platform("small", ca="processor")


@pytest.fixture(scope="module")
def other(small: Platform) -> Platform:
    """Another machine."""
    return small.world.platform("other", ca="processor")


def table(machine: Platform, **other: str) -> bytes:
    """The table of Intel's tool."""
    record = {**record_of(machine), **other}
    return (",".join(str(record[name]) for name in COLUMNS) + "\n").encode()


def looked(root: Path, **given: Any) -> Found:
    """What is found in a root."""
    return look(Root(root), **given)


def written(path: Path, content: bytes) -> Path:
    """A file of this content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_table_tells_all_of_a_machine_of_one_package(tmp_path: Path, small: Platform) -> None:
    """The question for its certificate, and what a PCCS takes, are those of its quote."""
    found = looked(tmp_path, table=written(tmp_path / "t.csv", table(small)))
    data = found.expected()
    assert data.need() == machine_of(Quote.parse(small.quote(certification=3)))
    record = {name: value.upper() for name, value in record_of(small).items()}  # type: ignore[attr-defined]
    assert members(data.record()) == record
    assert (data.lacks("ppid"), data.lacks("manifest")) == ((), ("platform_manifest",))


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_a_quote_tells_its_machine(tmp_path: Path, small: Platform, kind: int) -> None:
    """Types 1 to 3 the raw TCB; type 3 alone an encrypted PPID that is of use."""
    quote = small.quote(certification=kind)
    data = looked(tmp_path, quote=(quote, "q")).expected()
    assert data.need() == machine_of(Quote.parse(quote))
    assert data.lacks("ppid") == (() if kind == 3 else ("enc_ppid",))


def test_a_quote_that_carries_a_certificate_says_so(tmp_path: Path, small: Platform) -> None:
    """Such a machine is registered: its certificate is there, and nothing is to be told."""
    data = looked(tmp_path, quote=(small.quote(), "q")).expected()
    assert data.certificate.startswith(b"-----BEGIN CERTIFICATE")
    assert data.need() is None


@pytest.mark.parametrize("form", ["list", "object"])
def test_a_list_or_what_the_tool_posts_is_read(tmp_path: Path, small: Platform, form: str) -> None:
    """An array of one machine, or the object alone."""
    record = record_of(small)
    content = json.dumps([record] if form == "list" else record).encode()
    data = looked(tmp_path, listed=written(tmp_path / "l.json", content)).expected()
    assert data.qe_id == small.qe_id.hex().upper()
    assert data.lacks("ppid") == ()


def test_the_manifest_of_the_bios_completes_a_table(tmp_path: Path, small: Platform) -> None:
    """The table's own manifest is older: the BIOS shows one while it is to be sent."""
    efivars.write(tmp_path, request=efivars.request(efivars.manifest()))
    old = written(tmp_path / "t.csv", table(small, platform_manifest="AB" * 40))
    data = looked(tmp_path, table=old).expected()
    assert data.manifest() == efivars.manifest()
    assert data.record().platform_manifest == efivars.manifest().hex().upper()
    assert data.record().enc_ppid == ""  # Intel's PCCS takes one or the other


def test_a_quote_tells_the_tcb_of_now(tmp_path: Path) -> None:
    """Where the table is older than a microcode update, the quote's raw TCB counts, as a whole."""
    machine = World("registration").platform("updated", ca="processor")
    before = written(tmp_path / "t.csv", table(machine))
    machine.svn -= 1
    quote = machine.quote(certification=1)
    data = looked(tmp_path, table=before, quote=(quote, "q")).expected()
    assert data.cpu_svn == machine.cpu_svn.hex().upper()
    assert data.enc_ppid == machine.encrypted_ppid.hex().upper()


def test_the_bios_alone_is_enough_for_intel(tmp_path: Path) -> None:
    """A manifest can be sent to Intel; a PCCS wants to know for which QE id."""
    efivars.write(tmp_path, request=efivars.request(efivars.manifest()))
    data = looked(tmp_path).expected()
    assert data.lacks("direct") == ()
    with pytest.raises(ConfigError) as caught:
        data.record()
    assert caught.value.code == "registration-incomplete"
    assert "QE id, PCE id" in caught.value.what


@pytest.mark.parametrize("folder", ["here", "root"])
def test_a_table_is_found_where_the_tool_leaves_it(
    tmp_path: Path, small: Platform, folder: str
) -> None:
    """In the folder of now, or in that of Intel's package."""
    here = tmp_path / "here"
    place = here if folder == "here" else tmp_path / TOOL_FOLDER.lstrip("/")
    written(place / TABLE, table(small))
    found = looked(tmp_path, here=here)
    assert found.expected().qe_id == small.qe_id.hex().upper()
    assert [one.is_there for one in found.places if one.source == "table"][-1]


def test_a_table_of_another_machine_that_lies_about_is_passed_over(
    tmp_path: Path, small: Platform, other: Platform
) -> None:
    """What was named counts; the place says why it was left out."""
    written(tmp_path / TABLE, table(other))
    found = looked(tmp_path, here=tmp_path, quote=(small.quote(certification=3), "q"))
    assert found.expected().qe_id == small.qe_id.hex().upper()
    (place,) = (one for one in found.places if one.where == TABLE)
    assert place.trouble == "it is of another machine"


def test_two_machines_that_are_named_are_refused(
    tmp_path: Path, small: Platform, other: Platform
) -> None:
    """Which of them would be registered is not for us to choose."""
    named = written(tmp_path / "t.csv", table(other))
    with pytest.raises(ConfigError) as caught:
        looked(tmp_path, table=named, quote=(small.quote(certification=3), "q"))
    assert caught.value.code == "registration-two-machines"


@pytest.mark.parametrize("count", [0, 2])
def test_a_file_holds_one_machine(tmp_path: Path, small: Platform, count: int) -> None:
    """A rack's list is not one machine's."""
    path = written(tmp_path / "t.csv", table(small) * count)
    with pytest.raises(ConfigError) as caught:
        looked(tmp_path, table=path)
    assert caught.value.code == "registration-many-machines"
    assert str(count) in caught.value.what


def test_a_ppid_of_zeros_is_none(tmp_path: Path, small: Platform) -> None:
    """The machine could not read its own: the place says so, and what is refused says how to mend it."""
    path = written(tmp_path / "t.csv", table(small, enc_ppid="00" * 384))
    found = looked(tmp_path, table=path)
    assert "zeros" in found.places[0].trouble
    with pytest.raises(ConfigError) as caught:
        found.expected().record()
    assert "/dev/sgx_provision" in caught.value.mend


def test_a_machine_that_goes_by_a_name_has_no_question(tmp_path: Path) -> None:
    """Without an enclave the tool writes a name where the QE id would be: it registers by manifest."""
    path = written(tmp_path / "t.csv", f",0000,,,RACK-7,{'ab' * 50}\n".encode())
    data = looked(tmp_path, table=path).expected()
    assert data.record().qe_id == "RACK-7"
    assert data.need() is None


def test_nothing_is_found_on_a_bare_machine(tmp_path: Path) -> None:
    """Exit status 7, and every place that was looked at is named."""
    with pytest.raises(AttesterError) as caught:
        looked(tmp_path, here=tmp_path).expected()
    assert caught.value.code == "registration-no-platform-data"
    for place in (TABLE, TOOL_FOLDER, efivars.FOLDER):
        assert place in caught.value.where


def test_what_lies_about_and_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A damaged table in the folder of now stops nobody, and explains why nothing was found."""
    written(tmp_path / TABLE, b"not,a,table\n")
    with pytest.raises(AttesterError) as caught:
        looked(tmp_path, here=tmp_path).expected()
    assert "3 of 6 fields" in caught.value.what


@pytest.mark.parametrize("content", [b"\0", b"1,2", b"[{}]", b"{", b"[1"])
def test_what_is_named_and_cannot_be_read_is_an_error_with_its_name(
    tmp_path: Path, content: bytes
) -> None:
    """Named as a table, as a list, or as a quote."""
    path = written(tmp_path / "named", content)
    for given in ({"table": path}, {"listed": path}):
        with pytest.raises(FormatError) as caught:
            looked(tmp_path, **given)
        assert str(path) in caught.value.where
    with pytest.raises(FormatError):
        looked(tmp_path, quote=(content, "q"))


def test_no_text_of_these_values_tells_the_machine(tmp_path: Path, small: Platform) -> None:
    """Neither a representation nor an error holds an identifier or the manifest."""
    path = written(tmp_path / "t.csv", table(small))
    found = looked(tmp_path, table=path)
    told = f"{found!r} {found.expected().record()!r}"
    error: DcapError
    with pytest.raises(ConfigError) as caught:
        PlatformData(qe_id=small.qe_id.hex(), enc_ppid="AB" * 384).record()
    error = caught.value
    record = manifest_of(small.world.platform("big"))
    for secret in (small.qe_id.hex(), small.encrypted_ppid.hex(), record["platform_manifest"]):
        assert str(secret)[:32].lower() not in f"{told} {error}".lower()
