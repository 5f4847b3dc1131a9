"""`platform_registration.uefi`: the BIOS's variables are read as Intel describes them, and only read."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.errors import FormatError
from dcap.platform_registration import uefi
from dcap.qpl.discovery_root import Root
from platform_registration import efivars


def read(root: Path) -> uefi.Variables:
    """What the root's variables say."""
    return uefi.read_variables(Root(root))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_manifest_is_what_stands_after_the_head(tmp_path: Path, version: int) -> None:
    """It is sent as the BIOS wrote it, its structure's head included."""
    efivars.write(tmp_path, request=efivars.request(efivars.manifest(), version))
    request = read(tmp_path).request
    assert request == uefi.Request("manifest", efivars.manifest())
    assert efivars.manifest().hex() not in repr(request)


def test_a_manifest_of_version_three_may_exceed_64_kib(tmp_path: Path) -> None:
    """That is what its longer size is for."""
    body = efivars.manifest(bytes(80_000))
    efivars.write(tmp_path, request=efivars.request(body, 3))
    assert read(tmp_path).request == uefi.Request("manifest", body)


def test_a_request_to_add_a_package_is_told_apart(tmp_path: Path) -> None:
    """It is no manifest, and nobody may take it for one."""
    body = efivars.structure(efivars.ADD_REQUEST, bytes(179))
    efivars.write(tmp_path, request=efivars.request(body))
    assert read(tmp_path).request == uefi.Request("add-request", body)


@pytest.mark.parametrize(("bits", "complete", "packages"), [(0, 0, 0), (1, 1, 0), (3, 1, 1)])
def test_the_state_says_what_is_done(
    tmp_path: Path, bits: int, complete: int, packages: int
) -> None:
    """Bit 0: registration is complete. Bit 1: the key blobs were read."""
    efivars.write(tmp_path, status=efivars.status(bits, 0xA5))
    state = read(tmp_path).state
    assert state is not None
    assert (state.is_complete, state.has_read_packages) == (complete, packages)
    assert uefi.told_error(state.error_code) == "the registration server cannot use the manifest"


@pytest.mark.parametrize(
    ("code", "part"), [(0, ""), (0x12, "BIOS"), (0x82, "proxy"), (0xFF, "not")]
)
def test_each_error_code_has_words(code: int, part: str) -> None:
    """Those of Intel's agent have the highest bit; without it, the BIOS has written them."""
    assert part in uefi.told_error(code)
    assert bool(uefi.told_error(code)) == bool(code)


@pytest.mark.parametrize(("flags", "keeps"), [(0, True), (1, False)])
def test_the_server_is_known_and_whether_it_keeps_keys(
    tmp_path: Path, flags: int, keeps: bool
) -> None:
    """Flag 0 forbids it: then only an indirect registration is left."""
    efivars.write(tmp_path, configuration=efivars.configuration(flags))
    expected = uefi.Server(url=efivars.INTEL.decode(), keeps_keys=keeps)
    assert read(tmp_path).server == expected


def test_a_variable_is_found_under_another_guid(tmp_path: Path) -> None:
    """Intel's GUID comes first where both are there; what is no GUID is another file."""
    folder = efivars.write(tmp_path) / efivars.FOLDER
    other = "SgxRegistrationStatus-ffffffff-a491-4bbe-bcdd-88885770df45"
    (folder / other).write_bytes(efivars.status(1))
    (folder / "SgxRegistrationStatus-old").write_bytes(efivars.status(0))
    assert read(tmp_path).state == uefi.State(1, 0)
    efivars.write(tmp_path, status=efivars.status(2))
    assert read(tmp_path).state == uefi.State(2, 0)


def test_a_machine_without_efi_has_none(tmp_path: Path) -> None:
    """No folder, no variables, no error."""
    assert read(tmp_path) == uefi.Variables()
    assert not read(tmp_path).is_multi_package


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (efivars.request(efivars.manifest())[:-1], "10271"),
        (efivars.request(efivars.manifest()) + b"\0", "10273"),
        (efivars.request(efivars.manifest(), 4), "version 4"),
        (efivars.request(efivars.structure(bytes(16), b"x")), "neither"),
        (b"\7\0\0", "bytes"),
        (b"", "root"),
    ],
)
def test_a_variable_that_is_wrong_hides_no_other(tmp_path: Path, content: bytes, why: str) -> None:
    """It is told by its name, without its bytes; the rest is read."""
    efivars.write(tmp_path, request=content, status=efivars.status(1))
    found = read(tmp_path)
    assert found.request is None
    assert found.state == uefi.State(1, 0)
    ((name, told),) = found.unreadable
    assert name == uefi.REQUEST
    assert why in told


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("status", b"\0" * 4, "4 bytes, not 3"),
        ("configuration", b"\0" * 200, "too short"),
        ("configuration", b"\0" * 34 + b"\xff\xff" + b"\0" * 300, "longer than 256"),
    ],
)
def test_a_value_of_another_shape_is_told(
    tmp_path: Path, name: str, value: bytes, why: str
) -> None:
    """Its head is true, and what it heads is not what Intel describes."""
    efivars.write(tmp_path, **{name: efivars.request(value, 1)})
    ((_, told),) = read(tmp_path).unreadable
    assert why in told


def test_nothing_is_written(tmp_path: Path) -> None:
    """Neither a variable nor its times change; a root that is read-only will do."""
    everything = {
        "request": efivars.request(efivars.manifest()),
        "status": efivars.status(),
        "configuration": efivars.configuration(),
        "package_info": efivars.request(bytes(40), 1),
        "response": efivars.request(bytes(40), 1),
    }
    folder = efivars.write(tmp_path, **everything) / efivars.FOLDER
    for path in folder.iterdir():
        path.chmod(0o444)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    found = read(tmp_path)
    assert found.has_package_info
    assert found.has_response
    assert found.unreadable == ()
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()}
    assert len(list(folder.iterdir())) == len(everything)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_garbage_is_a_format_error_or_nothing(data: bytes) -> None:
    """Only our error leaves the readers."""
    for reader in (uefi.read_request, uefi.read_state, uefi.read_server):
        try:
            reader(data)
        except FormatError as error:
            assert error.code == "registration-uefi"  # noqa: PT017
