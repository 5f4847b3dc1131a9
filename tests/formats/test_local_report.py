"""TARGETINFO and REPORT: the CPU's structures, of exactly their sizes."""

import pytest

from dcap import FormatError
from dcap.formats.local_report import REPORT_SIZE, TARGET_INFO_SIZE, LocalReport, TargetInfo
from dcap.formats.sgx_report import SgxReport


def test_a_target_lies_as_the_manual_has_it() -> None:
    """MEASUREMENT at 0, ATTRIBUTES at 32, CONFIGSVN at 50, MISCSELECT at 52, CONFIGID at 64."""
    octets = bytes(range(256)) * 2

    target = TargetInfo.parse(octets)

    assert target.mr_enclave == octets[:32]
    assert target.attributes == octets[32:48]
    assert target.cet_attributes == 48
    assert target.config_svn == 0x3332
    assert target.misc_select == 0x37363534
    assert target.config_id == octets[64:128]
    assert target.to_bytes() == octets


def test_a_report_is_a_body_a_key_id_and_a_mac() -> None:
    """The body's 384 bytes, which quotes have too, then 32 of the key's number and 16 of the MAC."""
    octets = (bytes(range(256)) * 2)[:REPORT_SIZE]

    report = LocalReport.parse(octets)

    assert report.body == SgxReport.parse(octets)
    assert report.body.report_data == octets[320:384]
    assert report.key_id == octets[384:416]
    assert report.mac == octets[416:]
    assert report.to_bytes() == octets


def test_an_enclave_is_a_target_by_its_body() -> None:
    """What a report says of an enclave is what another report is targeted by."""
    octets = (bytes(range(256)) * 2)[:384]
    body = SgxReport.parse(octets)

    target = TargetInfo.parse(TargetInfo.of(body).to_bytes())

    assert target.mr_enclave == body.mr_enclave
    assert target.attributes == body.attributes
    assert target.misc_select == body.misc_select
    assert target.config_id == body.config_id
    assert target.config_svn == body.config_svn
    assert not target.reserved3.strip(b"\0")


@pytest.mark.parametrize("read", [TargetInfo.parse, LocalReport.parse])
@pytest.mark.parametrize("change", [-1, 1])
def test_another_size_is_refused(read: type, change: int) -> None:
    """A byte more or less is no such structure."""
    size = TARGET_INFO_SIZE if read == TargetInfo.parse else REPORT_SIZE

    with pytest.raises(FormatError) as refused:
        read(bytes(size + change))

    assert refused.value.code == "local-report-size"
    assert str(size + change) in refused.value.what
