"""What the simulator makes is what it claims to be: said by dcap, by dcap-qvl and by OpenSSL.

Every combination of quote version, TEE, body, certification type, CA and TCB status; determinism and
time; and that nothing simulated passes for the real thing.
"""

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from dcap import AttestationResult, Collateral, Policy, appraise
from dcap.appraisal.policy import ACCEPTABLE
from dcap.formats import pem
from dcap.simulator import Platform, World
from dcap.verification import TrustAnchor

#: (TEE, quote version, body type)
KINDS = (
    ("SGX", 3, 1),
    ("SGX", 4, 1),
    ("SGX", 5, 1),
    ("TDX", 4, 2),
    ("TDX", 5, 2),
    ("TDX", 5, 3),
    ("TDX", 5, 4),
)
NOT_SUPPORTED = "TCB_NOT_SUPPORTED"
#: TCB status -> the advisories of its level in the simulator's first generation.
STATUSES: dict[str, set[str]] = {
    "UpToDate": set(),
    "SWHardeningNeeded": {"INTEL-SA-00615"},
    "ConfigurationNeeded": {"INTEL-SA-00289"},
    "ConfigurationAndSWHardeningNeeded": {"INTEL-SA-00289", "INTEL-SA-00615"},
    "OutOfDate": {"INTEL-SA-00615", "INTEL-SA-00837"},
    "OutOfDateConfigurationNeeded": {"INTEL-SA-00289", "INTEL-SA-00837"},
    "TDRelaunchAdvised": {"INTEL-SA-00615", "INTEL-SA-00837"},
    "TDRelaunchAdvisedConfigurationNeeded": {"INTEL-SA-00289", "INTEL-SA-00837"},
    "Revoked": {"INTEL-SA-00161"},
    NOT_SUPPORTED: set(),
}
RELAUNCH = {"TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded"}
#: Bodies that say both what a TD was launched under and what is loaded now.
RELAUNCHABLE = {3, 4}
CERTIFICATIONS = (1, 2, 3, 4, 5)
CAS = ("platform", "processor")
COMBINATIONS = [
    (kind, certification, ca, status)
    for kind, certification, ca, status in product(KINDS, CERTIFICATIONS, CAS, STATUSES)
    if status not in RELAUNCH or kind[2] in RELAUNCHABLE
]
ANY = Policy(identity="any", accepted_tcb_statuses=ACCEPTABLE)
#: What dcap-qvl says where it refuses for the platform's state.
ITS_WORDS = {
    "Revoked": "TCB status is invalid: Revoked",
    NOT_SUPPORTED: "No matching TCB level found",
}
_DIVERGENCES = tomllib.loads(
    (Path(__file__).parent.parent / "conformance" / "simulator.toml").read_text()
)

Combination = tuple[tuple[str, int, int], int, str, str]


@cache
def shared_world() -> World:
    """One world for all combinations; its machines stay on their rungs."""
    return World("independent")


def made(combination: Combination) -> tuple[bytes, Collateral]:
    """The quote and the collateral of a combination."""
    (tee, version, body_type), certification, ca, status = combination
    world = shared_world()
    machine = world.platform(f"{ca} {status}", ca=ca)
    machine.set_status(status)
    quote = machine.quote(
        b"nonce", tee=tee, version=version, body_type=body_type, certification=certification
    )
    return quote, world.collateral(machine, tee)


def anchor_of(world: World) -> TrustAnchor:
    """The simulated root as a test root."""
    return TrustAnchor.insecure_test_root(world.intel.root.certificate)


def judged(
    world: World, quote: bytes, collateral: Collateral, at: datetime | None = None
) -> AttestationResult:
    """The judgement under the simulated root, whatever the platform's state."""
    return appraise(quote, collateral, ANY, at=at or world.at, anchor=anchor_of(world))


def failed(result: AttestationResult) -> set[str]:
    """The codes of the checks that failed."""
    return {finding.code for finding in result.failures}


def name_of(combination: Combination) -> str:
    """A combination in a few words."""
    (tee, version, body_type), certification, ca, status = combination
    return f"{tee}-{version}-{body_type}-cert{certification}-{ca}-{status}"


@pytest.mark.parametrize("combination", COMBINATIONS, ids=name_of)
def test_every_combination_is_appraised_as_expected(combination: Combination) -> None:
    """Each quote is genuine, and its machine has the status and advisories it was put into."""
    kind, certification, ca, status = combination
    quote, collateral = made(combination)

    result = judged(shared_world(), quote, collateral)

    refusal = {"Revoked": {"tcb-status"}, NOT_SUPPORTED: {"tcb-level"}}.get(status, set())
    assert failed(result) == refusal
    assert result.accepted == (not refusal)
    assert result.tcb_status == status
    assert result.claims["report_data"] == b"nonce".ljust(64, b"\0").hex()
    assert result.evidence is not None
    found = result.evidence.quote
    assert (found.tee, found.header.version, found.body_type) == kind
    assert found.certification.type == certification
    assert result.to_dict()["platform"]["ca"] == ca
    assert set(result.tcb.advisory_ids if result.tcb else ()) == STATUSES[status]


def test_every_status_and_body_is_combined() -> None:
    """The combinations are all there are: ten statuses, seven bodies, five types, two CAs."""
    assert len(COMBINATIONS) == 5 * 2 * (5 * 8 + 2 * 10)
    assert {status for *_, status in COMBINATIONS} == {*ACCEPTABLE, "Revoked", NOT_SUPPORTED}


# dcap-qvl


@pytest.mark.parametrize("combination", COMBINATIONS, ids=name_of)
def test_an_independent_verifier_agrees(combination: Combination) -> None:
    """dcap-qvl under the simulated root finds the same status and advisories, but for listed kinds."""
    dcap_qvl = pytest.importorskip("dcap_qvl", reason="dcap-qvl is not installed (dev group)")
    (tee, version, body_type), _, _, status = combination
    quote, collateral = made(combination)
    world = shared_world()
    pieces = dcap_qvl.QuoteCollateralV3.from_json(collateral.to_json().decode())
    root = world.intel.root.certificate.der

    said, advisories, words = "", set[str](), ""
    try:
        report = dcap_qvl.verify_with_root_ca(quote, pieces, root, int(world.at.timestamp()))
        said, advisories = report.status, set(report.advisory_ids)
    except ValueError as error:
        words = str(error)

    if f"{tee}-{version}-{body_type}" in _DIVERGENCES["combinations"]:
        assert "SGX TEE quote must have version 3" in words, "no longer diverges: take it out"
    elif status in ITS_WORDS:
        assert ITS_WORDS[status] in words
    else:
        assert (said, advisories) == (status, STATUSES[status]), words


def test_divergent_combinations_are_there() -> None:
    """A divergence of a combination that is not made would never be looked at."""
    assert set(_DIVERGENCES["combinations"]) <= {f"{t}-{v}-{body}" for t, v, body in KINDS}


# OpenSSL


def openssl(*arguments: str, stdin: bytes = b"") -> str:
    """What the command line of OpenSSL answers; skips where there is none."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl on this machine")
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, check=False)
    answer = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, answer
    return answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The simulated Intel's certificates and lists as files."""
    world = World("openssl")
    intel = world.intel
    files = {
        "root.pem": intel.root.pem,
        "platform_ca.pem": intel.platform_ca.pem,
        "processor_ca.pem": intel.processor_ca.pem,
        "signer.pem": intel.tcb_signing.pem,
        "platform.pem": world.platform("many").pck().pem,
        "processor.pem": world.platform("one", ca="processor").pck().pem,
        "root.crl": pem.encode(intel.root_ca_crl(world.at), "X509 CRL"),
        "platform.crl": pem.encode(intel.pck_crl("platform", world.at), "X509 CRL"),
        "processor.crl": pem.encode(intel.pck_crl("processor", world.at), "X509 CRL"),
        "at": str(int(world.at.timestamp())).encode(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("ca", CAS)
def test_openssl_verifies_the_pck_chain_and_its_lists(folder: Path, ca: str) -> None:
    """Leaf, CA and root verify, strictly, with both CRLs checked."""
    answer = openssl(
        "verify", "-x509_strict", "-crl_check_all",
        "-attime", (folder / "at").read_text(),
        "-CAfile", str(folder / "root.pem"),
        "-untrusted", str(folder / f"{ca}_ca.pem"),
        "-CRLfile", str(folder / "root.crl"),
        "-CRLfile", str(folder / f"{ca}.crl"),
        str(folder / f"{ca}.pem"),
    )  # fmt: skip
    assert answer.strip().endswith(": OK")


def test_openssl_verifies_the_tcb_signer(folder: Path) -> None:
    """The signer of documents verifies under the root, strictly."""
    answer = openssl(
        "verify", "-x509_strict", "-attime", (folder / "at").read_text(),
        "-CAfile", str(folder / "root.pem"), str(folder / "signer.pem"),
    )  # fmt: skip
    assert answer.strip().endswith(": OK")


@pytest.mark.parametrize(
    ("crl", "issuer"),
    [("root", "root"), ("platform", "platform_ca"), ("processor", "processor_ca")],
)
def test_openssl_verifies_each_list(folder: Path, crl: str, issuer: str) -> None:
    """Each CRL parses, names its number, and is signed by its issuer."""
    text = openssl(
        "crl", "-in", str(folder / f"{crl}.crl"), "-noout", "-text",
        "-CAfile", str(folder / f"{issuer}.pem"),
    )  # fmt: skip
    assert "verify OK" in text
    assert "X509v3 CRL Number" in text
    assert "X509v3 Authority Key Identifier" in text


def test_openssl_refuses_what_intel_revoked(folder: Path) -> None:
    """A revoked leaf is on the list that OpenSSL reads."""
    world = World("openssl")
    machine = world.platform("many")
    from dcap.simulator.intel import Revocation  # noqa: PLC0415 - the one event of this file

    serial = machine.pck().certificate.serial
    world.intel.revoked["platform"].append(Revocation(serial, world.at - timedelta(days=1)))
    crl = world.intel.pck_crl("platform", world.at)

    text = openssl("crl", "-inform", "DER", "-noout", "-text", stdin=crl)

    assert f"{serial:X}" in text.upper().replace(":", "")
    assert "Key Compromise" in text


# Nothing simulated passes for the real thing


def test_the_default_verifier_refuses_simulated_evidence() -> None:
    """Without the test root, every chain ends in a root that is nobody's, and only that is wrong."""
    world = shared_world()
    machine = world.platform()

    result = appraise(machine.quote(), world.collateral(machine), ANY, at=world.at)

    chains = ("crl-issuer-chain", "tcb-info-chain", "qe-identity-chain", "pck-chain")
    assert failed(result) == {f"{chain}-root" for chain in chains}
    assert (result.verdict, result.exit_status) == ("rejected", 3)
    assert result.trust_root == "intel"
    assert result.verified is None


def test_the_verdict_under_the_test_root_says_so() -> None:
    """With the test root it is accepted, and text and JSON name the root as simulated."""
    world = shared_world()
    machine = world.platform()

    result = judged(world, machine.quote(), world.collateral(machine))

    assert result.accepted
    assert result.trust_root == "simulated"
    assert result.to_dict()["trust_root"] == "simulated"
    assert "SIMULATED: a test root" in result.explain()


def test_the_simulated_root_differs_from_intels_in_name_and_key() -> None:
    """Neither subject nor key is Intel's, so that no verifier can take one for the other."""
    from dcap.verification import INTEL_SGX_ROOT  # noqa: PLC0415 - only to compare with

    root = shared_world().intel.root.certificate
    assert root.subject != INTEL_SGX_ROOT.subject
    assert root.public_key != INTEL_SGX_ROOT.public_key


# Determinism and time


def everything(world: World) -> Iterator[bytes]:
    """All that a world says: certificates, lists, documents, quotes of each kind."""
    intel = world.intel
    for authority in (intel.root, intel.platform_ca, intel.processor_ca, intel.tcb_signing):
        yield authority.certificate.der
    for ca in CAS:
        machine = world.platform(ca, ca=ca)
        yield from (machine.encrypted_ppid, machine.manifest, machine.pck_chain())
        for tee in ("SGX", "TDX"):
            yield world.collateral(machine, tee).to_json()
            yield intel.evaluation_numbers(tee, world.at).body
        for tee, version, body_type in KINDS:
            for kind in CERTIFICATIONS:
                yield machine.quote(
                    b"x", tee=tee, version=version, body_type=body_type, certification=kind
                )
    yield world.collateral(world.platform(), tcb_info_version=2).to_json()


def keys_of(world: World) -> set[bytes]:
    """Every public key and every identifier of machines."""
    intel = world.intel
    authorities = (intel.root, intel.platform_ca, intel.processor_ca, intel.tcb_signing)
    found = {authority.key.public_key for authority in authorities}
    for ca in CAS:
        machine: Platform = world.platform(ca, ca=ca)
        found |= {machine.pck().key.public_key, machine.ppid, machine.qe_id}
        found |= {machine.draft(tee=t).attestation_key.public_key for t in ("SGX", "TDX")}
    return found


def test_the_same_seed_and_clock_give_the_same_bytes() -> None:
    """Two worlds of one seed and one instant say the same, signatures included."""
    assert list(everything(World("same"))) == list(everything(World("same")))


def test_another_seed_shares_no_key() -> None:
    """Worlds of two seeds have no key and no machine in common, and do not vouch for each other."""
    one, other = World("one"), World("other")

    assert not keys_of(one) & keys_of(other)
    machine = other.platform()
    result = judged(one, machine.quote(), other.collateral(machine))
    assert "pck-chain-root" in failed(result)


def test_time_travels_forth_and_back() -> None:
    """Collateral expires as time passes, fresh collateral does not, and the past is as it was."""
    world = World("time")
    machine = world.platform()
    quote, collateral = machine.quote(), world.collateral(machine)
    began = world.at

    world.advance(timedelta(days=29))
    assert judged(world, quote, collateral).accepted
    world.advance(timedelta(days=2))
    stale = judged(world, quote, collateral)
    assert failed(stale) == {"pck-crl-expiry", "tcb-info-expiry", "qe-identity-expiry"}
    assert judged(world, quote, world.collateral(machine)).accepted
    assert "tcb-info-validity-start" in failed(
        judged(world, quote, world.collateral(machine), began)
    )
    world.advance(began - world.at)
    assert world.collateral(machine) == collateral
