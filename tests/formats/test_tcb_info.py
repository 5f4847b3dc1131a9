"""TCB infos, enclave identities and evaluation numbers: read, written back, and refused where odd."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from dcap.errors import FormatError
from dcap.formats import enclave_identity, tcb_info
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.tcb_evaluation_numbers import TcbEvaluationNumbers
from dcap.formats.tcb_info import TcbInfo
from dcap.simulator.documents import ENCLAVES
from dcap.simulator.tcb_model import FIRST, PCE_SVN
from departures import FMSPC, World
from departures.documents import EVALUATION

Edit = Callable[[dict[str, Any]], object]

NUMBERS = (
    b'{"id":"SGX","version":1,"issueDate":"2025-12-31T00:00:00Z","nextUpdate":"2026-01-30T00:00:00Z",'
    b'"tcbEvalNumbers":[{"tcbEvaluationDataNumber":18,"tcbRecoveryEventDate":"2025-02-11T00:00:00Z",'
    b'"tcbDate":"2025-05-14T00:00:00Z"}]}'
)
KINDS: dict[str, dict[str, Any]] = {
    "v2 SGX": {"tee": "SGX", "version": 2},
    "v3 SGX": {"tee": "SGX"},
    "v3 TDX": {"tee": "TDX"},
    "v3 TDX without module identities": {
        "tee": "TDX",
        "edit": lambda document: document.pop("tdxModuleIdentities"),
    },
}


def component(document: dict[str, Any], kind: str = "sgxtcbcomponents") -> list[dict[str, Any]]:
    """The components of the first level."""
    found: list[dict[str, Any]] = document["tcbLevels"][0]["tcb"][kind]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_read_and_written_back(world: World, kind: str) -> None:
    """A TCB info of every version and TEE writes back to the bytes that were signed."""
    body = world.tcb_info(**KINDS[kind])

    wire = tcb_info.parse_wire(body)

    assert tcb_info.write_wire(wire) == body


@pytest.mark.parametrize("kind", KINDS)
def test_both_versions_mean_the_same(world: World, kind: str) -> None:
    """FMSPC, dates, number and levels are read alike of both versions."""
    body = world.tcb_info(**KINDS[kind])
    document = json.loads(body)

    info = TcbInfo.parse(body)

    assert info.body == body
    assert info.version == document["version"]
    assert info.id == KINDS[kind]["tee"]
    assert (info.fmspc, info.pce_id) == (FMSPC, bytes(2))
    assert info.evaluation_data_number == EVALUATION
    assert info.issue_date == datetime(2025, 12, 31, tzinfo=UTC)
    assert info.next_update == datetime(2026, 1, 30, tzinfo=UTC)
    assert [
        (level.status, level.components, level.pce_svn, level.advisory_ids) for level in info.levels
    ] == [(rung.status, rung.components, PCE_SVN, rung.advisory_ids) for rung in FIRST.platform]
    assert all((level.tdx_components is None) == (info.id == "SGX") for level in info.levels)


def test_modules_of_a_td_document_are_read(world: World) -> None:
    """A TDX document names the module of major version 0, and the identities of the others."""
    info = TcbInfo.parse(world.tcb_info("TDX"))

    assert info.tdx_module is not None
    assert (info.tdx_module.mr_signer, info.tdx_module.attributes_mask) == (bytes(48), b"\xff" * 8)
    assert info.tdx_module_identities is not None
    assert [identity.id for identity in info.tdx_module_identities] == ["TDX_01", "TDX_03"]
    assert [level.isv_svn for level in info.tdx_module_identities[0].levels] == [6, 4, 2]
    assert TcbInfo.parse(world.tcb_info("SGX")).tdx_module is None


@pytest.mark.parametrize("order", ["as given", "reversed", "shuffled"])
def test_levels_are_sorted_whatever_their_order(world: World, order: str) -> None:
    """Levels come out highest first, in whichever order Intel sends them (pitfall 5)."""
    levels = world.tcb_levels("TDX")[::2]
    mixed = {
        "as given": levels,
        "reversed": levels[::-1],
        "shuffled": [levels[2], levels[0], levels[3], levels[1]],
    }

    info = TcbInfo.parse(world.tcb_info("TDX", levels=mixed[order]))

    assert [level.status for level in info.levels] == [
        "UpToDate",
        "ConfigurationNeeded",
        "OutOfDate",
        "Revoked",
    ]


def test_pcesvn_and_tdx_components_break_ties(world: World) -> None:
    """Of levels with equal components the higher PCESVN, then the higher TDX components, lead."""
    levels = [
        world.tcb_level("OutOfDate", pce_svn=5, tdx=(9,) * 16),
        world.tcb_level("SWHardeningNeeded", pce_svn=300, tdx=(1,) * 16),
        world.tcb_level("UpToDate", pce_svn=300, tdx=(2,) * 16),
    ]

    info = TcbInfo.parse(world.tcb_info("TDX", levels=levels))

    assert [level.status for level in info.levels] == ["UpToDate", "SWHardeningNeeded", "OutOfDate"]


def test_components_come_before_the_pcesvn(world: World) -> None:
    """The level of higher components leads, however low its PCESVN: components are compared first."""
    levels = [
        world.tcb_level("OutOfDate", (1,) * 16, pce_svn=300),
        world.tcb_level("UpToDate", (2,) * 16, pce_svn=5),
    ]

    info = TcbInfo.parse(world.tcb_info(levels=levels))

    assert [level.status for level in info.levels] == ["UpToDate", "OutOfDate"]


def test_names_of_components_are_read(world: World) -> None:
    """Category and type of a component are Intel's words for what raises it."""

    def name(document: dict[str, Any]) -> None:
        component(document)[0] |= {"category": "BIOS", "type": "Early Microcode Update"}
        component(document)[1] = {"svn": 3}

    info = TcbInfo.parse(world.tcb_info("SGX", edit=name))

    assert (info.component_names[0].category, info.component_names[0].type) == (
        "BIOS",
        "Early Microcode Update",
    )
    assert (info.component_names[1].category, info.component_names[1].type) == ("", "")


def test_fmspc_is_bytes_of_either_case(world: World) -> None:
    """FMSPCs come in both cases and mean the same."""
    body = world.tcb_info("SGX")

    assert TcbInfo.parse(body.replace(b"90C06F", b"90c06f")).fmspc == TcbInfo.parse(body).fmspc


#: What is done to a sound TDX document, and the code with which it is refused.
FLAWS: dict[str, tuple[Edit, str]] = {
    "version 1": (lambda d: d.update(version=1), "tcb-info"),
    "version 4": (lambda d: d.update(version=4), "tcb-info"),
    "version as text": (lambda d: d.update(version="3"), "json"),
    "version 2 in the shape of 3": (lambda d: d.update(version=2), "json"),
    "no version": (lambda d: d.pop("version"), "json"),
    "another id": (lambda d: d.update(id="SEV"), "tcb-info"),
    "id in lower case": (lambda d: d.update(id="tdx"), "tcb-info"),
    "SGX with TDX components": (lambda d: d.update(id="SGX"), "tcb-info"),
    "no id": (lambda d: d.pop("id"), "json"),
    "tcbType 1": (lambda d: d.update(tcbType=1), "tcb-info"),
    "no tcbType": (lambda d: d.pop("tcbType"), "json"),
    "no levels": (lambda d: d.update(tcbLevels=[]), "tcb-info"),
    "no tcbLevels": (lambda d: d.pop("tcbLevels"), "json"),
    "15 components": (lambda d: component(d).pop(), "tcb-info"),
    "17 components": (lambda d: component(d).append({"svn": 0}), "tcb-info"),
    "15 TDX components": (lambda d: component(d, "tdxtcbcomponents").pop(), "tcb-info"),
    "no TDX components": (
        lambda d: d["tcbLevels"][1]["tcb"].pop("tdxtcbcomponents"),
        "tcb-info",
    ),
    "an SVN of 256": (lambda d: component(d)[0].update(svn=256), "json"),
    "a negative SVN": (lambda d: component(d)[0].update(svn=-1), "json"),
    "a PCESVN of 17 bits": (lambda d: d["tcbLevels"][0]["tcb"].update(pcesvn=65536), "json"),
    "two equal levels": (lambda d: d["tcbLevels"].append(d["tcbLevels"][0]), "tcb-info"),
    "equal levels of different status": (
        lambda d: d["tcbLevels"].append({**d["tcbLevels"][0], "tcbStatus": "Revoked"}),
        "tcb-info",
    ),
    "no status": (lambda d: d["tcbLevels"][0].pop("tcbStatus"), "json"),
    "a status of 1000 letters": (lambda d: d["tcbLevels"][0].update(tcbStatus="x" * 1000), "json"),
    "no TDX module": (lambda d: d.pop("tdxModule"), "tcb-info"),
    "a module's signer cut": (lambda d: d["tdxModule"].update(mrsigner="00" * 47), "hex"),
    "a module's mask cut": (lambda d: d["tdxModule"].update(attributesMask="FF" * 7), "hex"),
    "a module identity's attributes cut": (
        lambda d: d["tdxModuleIdentities"][0].update(attributes=""),
        "hex",
    ),
    "two module levels of one isvsvn": (
        lambda d: d["tdxModuleIdentities"][0]["tcbLevels"].append(
            d["tdxModuleIdentities"][0]["tcbLevels"][0]
        ),
        "levels-repeated",
    ),
    "FMSPC of 5 bytes": (lambda d: d.update(fmspc="90C06F0000"), "hex"),
    "FMSPC that is no hex": (lambda d: d.update(fmspc="90C06F00000G"), "hex"),
    "PCE id of 3 bytes": (lambda d: d.update(pceId="000000"), "hex"),
    "a date that is none": (lambda d: d.update(issueDate="yesterday"), "json"),
    "a date without a zone": (lambda d: d.update(issueDate="2025-12-31T00:00:00"), "json"),
    "a next update without a zone": (lambda d: d.update(nextUpdate="2026-01-30T00:00:00"), "json"),
    "a level's date without a zone": (
        lambda d: d["tcbLevels"][0].update(tcbDate="2025-05-14T00:00:00"),
        "json",
    ),
    "a module level's date without a zone": (
        lambda d: d["tdxModuleIdentities"][0]["tcbLevels"][0].update(tcbDate="2025-05-14T00:00:00"),
        "json",
    ),
    "a date as a number": (lambda d: d.update(issueDate=1735689600), "json"),
    "advisories that are no list": (
        lambda d: d["tcbLevels"][1].update(advisoryIDs="INTEL-SA-00615"),
        "json",
    ),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_one_flaw_refuses_the_document(world: World, flaw: str) -> None:
    """A sound document with one thing wrong is refused, by the code of what is wrong."""
    edit, code = FLAWS[flaw]

    with pytest.raises(FormatError) as raised:
        TcbInfo.parse(world.tcb_info("TDX", edit=edit))

    assert raised.value.code == code


@pytest.mark.parametrize("member", ["tdxModule", "tdxModuleIdentities"])
def test_an_sgx_document_names_no_modules(world: World, member: str) -> None:
    """TDX members in an SGX document are refused, as QVL does."""
    given = json.loads(world.tcb_info("TDX"))[member]

    with pytest.raises(FormatError, match="names TDX modules"):
        TcbInfo.parse(world.tcb_info("SGX", edit=lambda document: document.update({member: given})))


def test_members_nobody_knows_are_let_be(world: World) -> None:
    """Intel may add members, at the top and in levels."""

    def extend(document: dict[str, Any]) -> None:
        document["new"] = {"x": [1, {"y": None}]}
        document["tcbLevels"][0]["new"] = "z"

    assert TcbInfo.parse(world.tcb_info("TDX", edit=extend)).levels[0].status == "UpToDate"


@pytest.mark.parametrize("name", sorted(ENCLAVES))
def test_identities_are_read_and_written_back(world: World, name: str) -> None:
    """The identity of each of Intel's enclaves is read, and writes back to the signed bytes."""
    body = world.qe_identity(name)
    mr_signer, isv_prod_id = ENCLAVES[name]

    identity = EnclaveIdentity.parse(body)

    assert enclave_identity.write_wire(enclave_identity.parse_wire(body)) == body
    assert (identity.body, identity.id, identity.version) == (body, name, 2)
    assert (identity.mr_signer, identity.isv_prod_id) == (bytes.fromhex(mr_signer), isv_prod_id)
    assert identity.attributes == bytes.fromhex("11" + "00" * 15)
    assert identity.attributes_mask == bytes.fromhex("fbffffffffffffff" + "00" * 8)
    assert (identity.misc_select, identity.misc_select_mask) == (bytes(4), b"\xff" * 4)
    assert [level.isv_svn for level in identity.levels] == [8, 7, 6, 5, 4]


def test_identity_levels_are_sorted(world: World) -> None:
    """Levels of an identity come out highest first."""
    levels = world.isvsvn_levels()

    identity = EnclaveIdentity.parse(world.qe_identity(levels=levels[::-1]))

    assert [level.isv_svn for level in identity.levels] == [8, 7, 6, 5, 4]


def test_version_3_is_of_the_td_qe_alone(world: World) -> None:
    """Version 3 of an identity is read of TD_QE, refused of the others."""
    assert EnclaveIdentity.parse(world.qe_identity("TD_QE", version=3)).version == 3
    with pytest.raises(FormatError) as raised:
        EnclaveIdentity.parse(world.qe_identity("QE", version=3))
    assert raised.value.code == "enclave-identity"


IDENTITY_FLAWS: dict[str, tuple[Edit, str]] = {
    "version 1": (lambda d: d.update(version=1), "enclave-identity"),
    "version 4": (lambda d: d.update(version=4), "enclave-identity"),
    "another id": (lambda d: d.update(id="PCE"), "enclave-identity"),
    "no id": (lambda d: d.pop("id"), "json"),
    "miscselect cut": (lambda d: d.update(miscselect="000000"), "hex"),
    "miscselect's mask cut": (lambda d: d.update(miscselectMask=""), "hex"),
    "attributes cut": (lambda d: d.update(attributes="11"), "hex"),
    "attributes' mask too long": (lambda d: d.update(attributesMask="00" * 17), "hex"),
    "signer cut": (lambda d: d.update(mrsigner="00" * 31), "hex"),
    "product id of 17 bits": (lambda d: d.update(isvprodid=65536), "json"),
    "isvsvn of 17 bits": (lambda d: d["tcbLevels"][0]["tcb"].update(isvsvn=65536), "json"),
    "two levels of one isvsvn": (
        lambda d: d["tcbLevels"].append(d["tcbLevels"][0]),
        "levels-repeated",
    ),
    "a date without a zone": (lambda d: d.update(nextUpdate="2026-01-30T00:00:00"), "json"),
    "no levels member": (lambda d: d.pop("tcbLevels"), "json"),
}


@pytest.mark.parametrize("flaw", IDENTITY_FLAWS)
def test_one_flaw_refuses_the_identity(world: World, flaw: str) -> None:
    """A sound identity with one thing wrong is refused, by the code of what is wrong."""
    edit, code = IDENTITY_FLAWS[flaw]

    with pytest.raises(FormatError) as raised:
        EnclaveIdentity.parse(world.qe_identity(edit=edit))
    assert raised.value.code == code


def test_evaluation_numbers_are_read_and_written_back() -> None:
    """The list of generations is read, and writes back to the signed bytes."""
    numbers = TcbEvaluationNumbers.parse(NUMBERS)

    assert numbers.to_bytes() == NUMBERS
    assert numbers.id == "SGX"
    assert [n.tcb_evaluation_data_number for n in numbers.tcb_eval_numbers] == [18]
    assert numbers.tcb_eval_numbers[0].tcb_date == datetime(2025, 5, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b'"version":1', b'"version":2', "tcb-evaluation-numbers"),
        (b'"SGX"', b'"QE"', "tcb-evaluation-numbers"),
        (b'"tcbEvaluationDataNumber":18', b'"tcbEvaluationDataNumber":-1', "json"),
        (b'"version":1', b'"version":1,"version":1', "json-repeated-member"),
        (b"2025-12-31T00:00:00Z", b"2025-12-31T00:00:00", "json"),
    ],
)
def test_other_evaluation_numbers_are_refused(old: bytes, new: bytes, code: str) -> None:
    """Another version, id or number is refused."""
    with pytest.raises(FormatError) as raised:
        TcbEvaluationNumbers.parse(NUMBERS.replace(old, new))
    assert raised.value.code == code
