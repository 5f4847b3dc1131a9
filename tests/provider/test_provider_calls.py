"""Every call of the provider, over its socket: what is handed out is what the service served."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from msgspec.structs import replace
from provider_client import OUT
from provider_site import Running, Site, down, myself, provider, site

from dcap.api.http import HttpRequest, HttpResponse
from dcap.formats import pem
from dcap.formats.collateral import FILE_NAMES
from dcap.verification.anchors import INTEL_SGX_ROOT


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Site]:
    """A simulated Intel, and a PCCS of its."""
    with site(tmp_path) as made:
        yield made


@pytest.fixture
def running(at: Site) -> Iterator[Running]:
    """A provider that has no configuration of its own."""
    with provider(at) as made:
        yield made


def obeying(at: Site, **settings: object) -> tuple[str, ...]:
    """The environment of a program with such a QCNL configuration."""
    return (f"QCNL_CONF_PATH={at.conf(**settings)}",)


def test_ping_says_who_answers(running: Running) -> None:
    """A ping is answered with name and version."""
    assert running.call("PING").out["SERVER"].startswith(b"dcap ")


@pytest.mark.parametrize(("tee", "name"), [(0, "SGX"), (0x81, "TDX")])
def test_collateral_is_what_intel_serves(at: Site, running: Running, tee: int, name: str) -> None:
    """The nine outputs of a set are Intel's bytes, lists in DER, under version 3.1."""
    answer = running.call("COLLATERAL", obeying(at, pccs_api_version="3.1"), **at.collateral(tee))
    truth = at.world.collateral(at.machine, name)
    assert answer.status == 0
    assert answer.out == {
        "VERSION": (0x10003).to_bytes(4, "little"),
        "TEE": tee.to_bytes(4, "little"),
        "PCK_CRL_ISSUER_CHAIN": truth.pck_crl_issuer_chain,
        "ROOT_CA_CRL": truth.root_ca_crl,
        "PCK_CRL": truth.pck_crl,
        "TCB_INFO_ISSUER_CHAIN": truth.tcb_info_issuer_chain,
        "TCB_INFO": truth.tcb_info,
        "QE_IDENTITY_ISSUER_CHAIN": truth.qe_identity_issuer_chain,
        "QE_IDENTITY": truth.qe_identity,
    }


def test_lists_are_hex_where_the_configuration_says_so(at: Site, running: Running) -> None:
    """API 3.0, also by default, hands out lists as hex text under version 3.0."""
    truth = at.world.collateral(at.machine)
    for settings in ({"pccs_api_version": "3.0"}, {}):
        environment = obeying(at, **settings)
        out = running.call("COLLATERAL", environment, **at.collateral()).out
        root = running.call("ROOT_CA_CRL", environment).out["ROOT_CA_CRL"]
        assert out["VERSION"] == b"\3\0\0\0"
        assert out["ROOT_CA_CRL"] == root == truth.root_ca_crl.hex().encode()
        assert out["PCK_CRL"] == truth.pck_crl.hex().encode()


def test_without_a_qcnl_configuration_lists_are_der(at: Site) -> None:
    """A source by name hands out DER, under version 3.1."""
    with provider(at, names=(at.pccs,)) as running:
        out = running.call("COLLATERAL", **at.collateral()).out
        root = running.call("ROOT_CA_CRL").out["ROOT_CA_CRL"]
    assert out["VERSION"] == b"\3\0\1\0"
    assert out["ROOT_CA_CRL"] == root == at.world.intel.root_ca_crl(at.world.at)


def test_a_folder_of_one_machines_collateral_serves_others(at: Site) -> None:
    """The CA of its PCK chain stands for the issuers of the list; single items it has none."""
    truth = at.world.collateral(at.machine)
    folder = at.folder / "saved"
    folder.mkdir()
    for piece, names in FILE_NAMES.items():
        if piece != "pck_crl_issuer_chain":
            (folder / names[0]).write_bytes(getattr(truth, piece))
    with provider(at, names=(str(folder),)) as running:
        found = running.call("COLLATERAL", **at.collateral())
        item = running.call("QVE_IDENTITY", LOG_LEVEL=0)
    assert found.out["PCK_CRL_ISSUER_CHAIN"] == truth.pck_crl_issuer_chain
    assert found.out["TCB_INFO"] == truth.tcb_info
    assert (item.status, item.log[0][1].endswith("[provider-no-item]")) == (0xE037, True)


def test_a_quote_gets_its_certificate(at: Site, running: Running) -> None:
    """The PCK chain is Intel's, leaf first, with the TCB that it is for."""
    answer = running.call("QUOTE_CONFIG", obeying(at), **at.quote_config())
    best = next(tcb for tcb in at.machine.certificates() if tcb.certificate is not None)
    assert answer.out == {
        "CERT_CPU_SVN": best.cpu_svn,
        "CERT_PCE_SVN": best.pce_svn.to_bytes(2, "little"),
        "CERT_DATA": at.machine.pck_chain(),
    }


def test_identities_are_intels(at: Site, running: Running) -> None:
    """The identities of QvE and QE are Intel's bytes, with their chain."""
    environment = obeying(at)
    intel = at.world.intel
    chain = intel.chain(intel.tcb_signing)
    for call, name, out in (
        ("QVE_IDENTITY", "QVE", "QVE_IDENTITY"),
        ("QE_IDENTITY", "QE", "QE_IDENTITY"),
    ):
        found = running.call(call, environment).out
        signed = intel.enclave_identity(name, at.world.at, intel.generation())
        assert found == {out: signed.envelope("enclaveIdentity"), f"{out}_ISSUER_CHAIN": chain}


URLS = {
    "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform": "pck_crl",
    "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der": "root_ca_crl",
}


def test_azures_old_call_hands_out_pem(at: Site, running: Running) -> None:
    """TCB info for an FMSPC, and for a URL the list that it means, with its issuer."""
    environment = obeying(at)
    truth = at.world.collateral(at.machine)
    info = {"TCB_INFO": truth.tcb_info, "TCB_INFO_ISSUER_CHAIN": truth.tcb_info_issuer_chain}
    fmspc = at.machine.fmspc
    assert running.call("REVOCATION_INFO", environment, FMSPC=fmspc, CRL_URLS="").out == info
    for url, piece in URLS.items():
        found = running.call("REVOCATION_INFO", environment, FMSPC=fmspc, CRL_URLS=url).out
        assert pem.blocks(found.pop("PCK_CRL"), "X509 CRL") == (getattr(truth, piece),)
        issuers = truth.pck_crl_issuer_chain
        if piece == "root_ca_crl":
            issuers = at.world.root_pem
        assert found.pop("PCK_CRL_ISSUER_CHAIN") == issuers
        assert found == info
        alone = running.call("REVOCATION_INFO", environment, CRL_URLS=url).out
        assert set(alone) == {"PCK_CRL", "PCK_CRL_ISSUER_CHAIN"}
    for wrong in ("https://x/y", "\n".join(URLS)):
        assert running.call("REVOCATION_INFO", environment, CRL_URLS=wrong).status == 0xE002


def test_a_custom_parameter_goes_with_every_request(at: Site, running: Running) -> None:
    """It is base64, escaped, on each of the four, each time anew; the answer is none from a cache."""
    environment = obeying(at, pccs_api_version="3.1")
    running.call("COLLATERAL", environment, **at.collateral())
    given = {**at.collateral(), "CUSTOM_PARAMETER": b"\xfb\xff>?"}
    for _ in range(2):
        at.asked.clear()
        assert running.call("COLLATERAL", environment, **given).status == 0
        assert len(at.asked) == 4
        for target in at.asked:
            assert unquote(target).endswith("customParameter=+/8+Pw==")
            assert target.endswith("customParameter=%2B%2F8%2BPw%3D%3D")


def test_a_policy_comes_from_the_pccs(at: Site, running: Running) -> None:
    """The policy of the FMSPC is asked of pccs_url and handed out as it is."""

    def with_policies(request: HttpRequest) -> HttpResponse:
        if request.path.endswith("/appraisalpolicy"):
            return HttpResponse(status=200, body=b"a policy")
        return at.services(request)

    at.answer = with_policies
    answer = running.call("PLATFORM_POLICY", obeying(at), FMSPC=at.machine.fmspc)
    assert answer.out == {"POLICY": b"a policy"}
    assert at.asked == [f"/alibaba/sgx/certification/v4/appraisalpolicy?fmspc={_hex(at)}"]


def test_what_does_not_prove_is_not_handed_out(at: Site, running: Running) -> None:
    """A forged document is an error with no output, and the program's log says why."""

    def forging(request: HttpRequest) -> HttpResponse:
        response = at.services(request)
        if not request.path.endswith(("/tcb", "qve/identity")):
            return response
        return replace(response, body=response.body.replace(b'"version":', b'"version": '))

    at.answer = forging
    for call, given in (("COLLATERAL", at.collateral()), ("QVE_IDENTITY", {})):
        answer = running.call(call, obeying(at), LOG_LEVEL=0, **given)
        assert (answer.status, answer.out) == (0xE01A, {})
        assert "[provider-unproven]" in answer.log[0][1]


def test_a_world_of_another_root_is_not_believed(at: Site) -> None:
    """With Intel's root believed, a simulated world's collateral is refused."""
    with provider(at, names=(at.pccs,), anchor=INTEL_SGX_ROOT) as running:
        assert running.call("COLLATERAL", **at.collateral()).status == 0xE01A
        assert running.call("QUOTE_CONFIG", **at.quote_config()).status == 0xE010
        assert running.call("QVE_IDENTITY").status == 0xE01A
        assert running.call("ROOT_CA_CRL").status == 0xE01A


def test_what_has_expired_is_not_handed_out(at: Site) -> None:
    """When everything's next update has passed and the service has no better, there is none."""
    later = datetime.now(UTC) + timedelta(days=3000)
    with provider(at, names=(at.pccs,), clock=lambda: later) as running:
        for call, given, status in (
            ("COLLATERAL", at.collateral(), 0xE01B),
            ("QVE_IDENTITY", {}, 0xE037),
            ("ROOT_CA_CRL", {}, 0xE01B),
        ):
            answer = running.call(call, LOG_LEVEL=0, **given)
            assert (answer.status, answer.out) == (status, {})
            assert "[provider-expired]" in answer.log[0][1]


def test_what_is_kept_serves_after_a_restart_while_intel_is_down(at: Site) -> None:
    """Another process, and no service: the set, the certificate and the items come from the disk."""
    environment = obeying(at)
    calls = [
        ("COLLATERAL", at.collateral()),
        ("QUOTE_CONFIG", at.quote_config()),
        ("QVE_IDENTITY", {}),
        ("ROOT_CA_CRL", {}),
    ]
    with provider(at) as running:
        first = [running.call(call, environment, **given) for call, given in calls]
    at.answer = down
    at.asked.clear()
    with provider(at) as running:
        second = [running.call(call, environment, **given) for call, given in calls]
    assert [answer.out for answer in second] == [answer.out for answer in first]
    assert all(answer.status == 0 for answer in second)
    assert at.asked == []


def test_what_is_due_serves_with_a_line_where_no_better_is_had(at: Site) -> None:
    """After its refresh time, an item that nobody gives anew is handed out, and the log says so."""
    now = [datetime.now(UTC)]
    with provider(at, names=(at.pccs,), clock=lambda: now[0]) as running:
        truth = running.call("QVE_IDENTITY").out
        at.answer = down
        now[0] += timedelta(days=2)
        running.callers.of((), myself()).ready.clear()
        answer = running.call("QVE_IDENTITY", LOG_LEVEL=1)
    assert answer.out == truth
    assert answer.log[0][0] == 1
    assert "kept since" in answer.log[0][1]


def test_clearing_the_cache_asks_anew(at: Site, running: Running) -> None:
    """Bit 2 forgets collateral, in memory and on the disk; bit 1 certificates; other bits are wrong."""
    environment = obeying(at)

    def asked() -> set[str]:
        at.asked.clear()
        running.call("COLLATERAL", environment, **at.collateral())
        running.call("QUOTE_CONFIG", environment, **at.quote_config())
        return {target.partition("?")[0].rpartition("/")[2] for target in at.asked}

    everything = asked()
    assert asked() == set()
    assert running.call("CLEAR_CACHE", environment, MASK=0).status == 0
    assert asked() == set()
    assert running.call("CLEAR_CACHE", environment, MASK=1).status == 0
    assert asked() == {"pckcert"}
    assert running.call("CLEAR_CACHE", environment, MASK=6).status == 0
    assert asked() == everything - {"pckcert"}
    assert running.call("CLEAR_CACHE", environment, MASK=8).status == 0xE002


def test_a_blob_is_stored_for_its_user_alone(at: Site) -> None:
    """It outlives the process, under a name that tells nothing, readable for its owner alone."""
    label = "ecdsa/../data blob"
    with provider(at) as running:
        assert running.call("READ_PERSISTENT", LABEL=label).status == 0xE045
        assert running.call("WRITE_PERSISTENT", LABEL=label, BLOB=b"sealed").status == 0
    with provider(at) as running:
        assert running.call("READ_PERSISTENT", LABEL=label).out == {"BLOB": b"sealed"}
        assert running.call("READ_PERSISTENT", LABEL="other").status == 0xE045
    (file,) = (at.folder / "home" / "state").glob("*.kept")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "ecdsa" not in file.name


MISSING = {
    "QUOTE_CONFIG": {"QE_ID": bytes(16), "CPU_SVN": bytes(16), "PCE_SVN": 1},
    "COLLATERAL": {"FMSPC": bytes(6), "CA": "platform"},
    "PLATFORM_POLICY": {},
    "CLEAR_CACHE": {},
    "REVOCATION_INFO": {"FMSPC": bytes(6)},
    "WRITE_PERSISTENT": {"LABEL": "l"},
    "READ_PERSISTENT": {},
}


def test_what_lacks_or_cannot_be_is_an_invalid_parameter(at: Site, running: Running) -> None:
    """A call without one of its inputs, of no CA or of no TEE is 0xE002, and nobody is asked."""
    environment = obeying(at)
    answers = [running.call(name, environment, **given) for name, given in MISSING.items()]
    answers.append(running.call("COLLATERAL", environment, **{**at.collateral(), "CA": "root"}))
    answers.append(running.call("COLLATERAL", environment, **at.collateral(7)))
    assert {(answer.status, len(answer.out)) for answer in answers} == {(0xE002, 0)}
    assert at.asked == []


def test_no_line_identifies_a_machine(at: Site, running: Running) -> None:
    """Where everything fails, neither the program's log nor the process's holds what was given."""
    at.answer = lambda request: HttpResponse(status=500, body=request.target.encode())
    calls = (("QUOTE_CONFIG", at.quote_config()), ("COLLATERAL", at.collateral()))
    said = []
    for call, given in calls:
        answer = running.call(call, obeying(at), LOG_LEVEL=2, **given)
        said += [text for _, text in answer.log]
    told = "\n".join((*said, *running.reports)).lower()
    assert told
    for secret in (at.machine.qe_id, at.machine.encrypted_ppid, at.machine.ppid):
        assert secret.hex() not in told


def test_a_warm_answer_asks_nobody_and_is_the_same(at: Site, running: Running) -> None:
    """The same question again is answered with the same bytes under its own id, from memory."""
    environment = obeying(at)
    with running.client() as client:
        first = client.call("COLLATERAL", environment, DEADLINE=30000, **at.collateral())
        at.asked.clear()
        at.answer = down
        second = client.call("COLLATERAL", environment, DEADLINE=7, CALLER="x", **at.collateral())
    assert second.out == first.out
    assert second.id == first.id + 1
    assert at.asked == []
    assert set(first.out) < set(OUT)


def _hex(at: Site) -> str:
    return at.machine.fmspc.hex().upper()
