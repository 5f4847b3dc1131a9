"""The contract: every row of Intel's PCCS API, asked of the Handler: status, headers, body.

Source: `pccs-and-pcs-api.md` §1.1-1.9; `quote-provider.md` §4.2, §7.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import pytest

from dcap.api.http import Headers, HttpRequest, HttpResponse
from dcap.api.pccs_responses import SENTENCES
from dcap.errors import FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.crl import Crl
from dcap.pccs.handler import etag
from dcap.pccs.mode import Mode
from dcap.pccs.trust import Forged
from dcap.simulator.world import FMSPCS
from pccs.rig import ADMIN, JSON_TYPE, USER, Rig, manifest_of, pck_line, record_of

KNOWN = FMSPCS["platform"].hex().upper()
UNKNOWN = "00FF00FF00FF"
ROOT_URI = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
CA_URI = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform"
SENTENCE_TYPE = "text/html; charset=utf-8"
JSON_UTF8 = "application/json; charset=utf-8"
PEM, CRL = "application/x-pem-file", "application/pkix-crl"
UTF8 = "; charset=utf-8"

OK, BAD, NO_TOKEN, MISS, GONE, LARGE = 200, 400, 401, 404, 410, 413


class Row(NamedTuple):
    """A request for what is there, in every mode, and the shape of its answer."""

    line: str
    tee: str
    versions: tuple[int, ...]
    media_type: str
    chain: tuple[str, ...]
    encoding: str


BOTH, FOUR = (3, 4), (4,)
TCB = ("TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain")
PCK_CRL = ("SGX-PCK-CRL-Issuer-Chain",)
IDENTITY = ("SGX-Enclave-Identity-Issuer-Chain",)

FOUND = (
    Row("pckcrl?ca=processor", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=PLATFORM", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=platform&encoding=pem", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=platform&encoding=", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=platform&encoding=der", "sgx", BOTH, CRL, PCK_CRL, "der"),
    Row("pckcrl?ca=platform&encoding=DER", "sgx", BOTH, CRL, PCK_CRL, "der"),
    Row("PckCrl/?ca=platform", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=platform&ca=processor", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("pckcrl?ca=platform&customParameter=YQ%3D%3D", "sgx", BOTH, PEM + UTF8, PCK_CRL, "hex"),
    Row("rootcacrl", "sgx", BOTH, CRL + UTF8, (), "hex"),
    Row("rootcacrl/", "sgx", BOTH, CRL + UTF8, (), "hex"),
    Row("rootcacrl?customParameter=YQ%3D%3D", "sgx", BOTH, CRL + UTF8, (), "hex"),
    Row(f"crl?uri={ROOT_URI}", "sgx", BOTH, CRL, (), "der"),
    Row(f"crl?uri={ROOT_URI}&customParameter=YQ%3D%3D", "sgx", BOTH, CRL, (), "der"),
    Row(f"crl?uri={quote(ROOT_URI, safe='')}", "sgx", BOTH, CRL, (), "der"),
    Row(f"crl?uri={CA_URI}&encoding=der", "sgx", BOTH, CRL, (), "der"),
    Row("qe/identity", "sgx", FOUR, JSON_UTF8, IDENTITY, "json"),
    Row("qe/identity?update=standard", "sgx", FOUR, JSON_UTF8, IDENTITY, "json"),
    Row("qe/identity?update=EARLY", "sgx", FOUR, JSON_UTF8, IDENTITY, "json"),
    Row("qve/identity?update=early", "sgx", FOUR, JSON_UTF8, IDENTITY, "json"),
    Row("qe/identity?update=standard", "tdx", FOUR, JSON_UTF8, IDENTITY, "json"),
    Row(f"tcb?fmspc={KNOWN}", "sgx", FOUR, JSON_UTF8, TCB, "json"),
    Row(f"tcb?fmspc={KNOWN.lower()}&update=standard", "sgx", FOUR, JSON_UTF8, TCB, "json"),
    Row(f"tcb?fmspc={KNOWN}&update=Early", "sgx", FOUR, JSON_UTF8, TCB, "json"),
    Row(f"tcb?fmspc={KNOWN}&tcbEvaluationDataNumber=17", "sgx", FOUR, JSON_UTF8, TCB, "json"),
    Row(f"TCB?fmspc={KNOWN}&update=early&x=y", "tdx", FOUR, JSON_UTF8, TCB, "json"),
)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A store with one machine and all collateral, in LAZY."""
    rig = Rig(tmp_path_factory.mktemp("full"))
    rig.fill(rig.world.platform())
    return rig


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A store without anything."""
    return Rig(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Rig]:
    """A store of the test's own."""
    rig = Rig(tmp_path)
    yield rig
    rig.store.close()


def in_mode(rig: Rig, mode: Mode) -> Rig:
    """The same store under another mode."""
    return Rig(Path(), beside=rig, store=rig.store, mode=mode)


def expect_usual(response: HttpResponse, version: int) -> None:
    """What every answer has."""
    request_id = response.header("Request-ID") or ""
    assert len(request_id) == 32
    assert set(request_id) <= set("0123456789abcdef")
    assert all(value for _, value in response.headers)
    warning = response.header("Warning")
    assert (warning is not None and warning.startswith('299 - "')) == (version == 3)
    if response.body:
        assert (response.header("ETag") or "").startswith('W/"')


def expect_refused(response: HttpResponse, status: int, cause: str) -> None:
    """The bare sentence (nothing for 503), and the real cause."""
    assert (response.status, response.header("Dcap-Cause")) == (status, cause)
    assert response.body.decode() == ("" if status == 503 else SENTENCES[status])
    assert response.header("Content-Type") == SENTENCE_TYPE
    assert response.header("Cache-Control") == "no-store"


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("row", "version"), [(row, version) for row in FOUND for version in row.versions]
)
def test_what_is_kept_is_served_alike_in_every_mode(
    full: Rig, mode: Mode, row: Row, version: int
) -> None:
    """Media type, chain headers and encoding are those of Intel's PCCS, whatever the mode."""
    before = len(full.calls)
    response = in_mode(full, mode).ask(row.line, tee=row.tee, version=version)
    expect_usual(response, version)
    assert response.status == OK
    assert response.header("Content-Type") == row.media_type
    chains = tuple(name for name, _ in response.headers if name.endswith("Issuer-Chain"))
    assert chains == row.chain
    for name in chains:
        value = response.header(name) or ""
        assert "+" not in value.replace("%2B", "")
        assert len(Certificate.parse_chain(unquote(value).encode())) == 2
    if row.encoding == "hex":
        assert response.body == Crl.parse(bytes.fromhex(response.body.decode())).to_hex()
    elif row.encoding == "der":
        assert Crl.parse(response.body).der == response.body
    else:
        assert set(json.loads(response.body)) in (
            {"tcbInfo", "signature"},
            {"enclaveIdentity", "signature"},
        )
    assert 0 < int((response.header("Cache-Control") or "").removeprefix("max-age=")) <= 86400
    assert len(full.calls) == before


def test_signed_documents_are_intels_bytes(full: Rig) -> None:
    """A TCB info leaves as it came: Intel's own answer has the same body."""
    target = f"/sgx/certification/v4/tcb?fmspc={KNOWN}"
    theirs = full.simulated(HttpRequest(target=target))
    assert full.ask(f"tcb?fmspc={KNOWN}").body == theirs.body


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("version", [3, 4])
def test_a_known_machine_gets_its_certificate(full: Rig, mode: Mode, version: int) -> None:
    """PEM that ends with a newline, TCBm, FMSPC, the CA in upper case, and the issuers."""
    machine = full.world.platform()
    line = pck_line(machine, with_ppid=mode is Mode.LAZY)
    response = in_mode(full, mode).ask(line, version=version)
    expect_usual(response, version)
    assert response.status == OK
    assert response.header("Content-Type") == PEM
    assert response.body.startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert response.body.endswith(b"-----END CERTIFICATE-----\n")
    assert response.header("SGX-TCBm") == machine.cpu_svn.hex().upper() + "0D00"
    assert response.header("SGX-FMSPC") == KNOWN
    assert response.header("SGX-PCK-Certificate-CA-Type") == "PLATFORM"
    chain = unquote(response.header("SGX-PCK-Certificate-Issuer-Chain") or "").encode()
    names = [certificate.common_name for certificate in Certificate.parse_chain(chain)]
    assert names == ["Intel SGX PCK Platform CA", "Intel SGX Root CA"]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    "other",
    [
        {"qeid": ""},
        {"qeid": "A" * 261},
        {"cpusvn": "00"},
        {"cpusvn": "Z" * 32},
        {"cpusvn": ""},
        {"pcesvn": "0D0"},
        {"pcesvn": "0D0000"},
        {"pceid": "0"},
        {"encrypted_ppid": "00"},
        {"encrypted_ppid": "0" * 512},
        {"encrypted_ppid": ""},
    ],
    ids=str,
)
@pytest.mark.parametrize("version", [3, 4])
def test_a_malformed_pckcert_is_400(
    full: Rig, mode: Mode, other: dict[str, str], version: int
) -> None:
    """Each parameter of `pckcert` has its form, and any other is refused."""
    line = pck_line(full.world.platform(), **other)
    response = in_mode(full, mode).ask(line, version=version)
    expect_usual(response, version)
    expect_refused(response, BAD, "bad-request")


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    "line",
    [
        "pckcert",
        "pckcert?qeid[a]=1",
        "pckcrl",
        "pckcrl?ca=",
        "pckcrl?ca=other",
        "pckcrl?ca[x]=1",
        "pckcrl?ca[]=processor",
        "tcb",
        "tcb?fmspc=",
        "tcb?fmspc=00",
        "tcb?fmspc=00906ED5000000",
        "tcb?fmspc=ZZ906ED50000",
        f"tcb?fmspc={KNOWN}&update=late",
        f"tcb?fmspc={KNOWN}&update=all",
        f"tcb?fmspc={KNOWN}&update[x]=early",
        "qe/identity?update=late",
        "qve/identity?update=",
        "crl",
        "crl?uri=",
        "crl?uri=https://example.com/IntelSGXRootCA.der",
        "crl?uri=http://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
        "crl?uri=https://certificates.trustedservices.intel.com/other.der",
        f"crl?uri=https://certificates.trustedservices.intel.com/IntelSGXRootCA.{'a' * 2048}",
        "appraisalpolicy",
        "appraisalpolicy?fmspc=00",
    ],
)
def test_a_malformed_question_is_400(full: Rig, mode: Mode, line: str, version: int) -> None:
    """What Intel's server refuses, and what it fails over, is refused."""
    response = in_mode(full, mode).ask(line, version=version)
    expect_usual(response, version)
    expect_refused(response, BAD, "bad-request")


@pytest.mark.parametrize(
    ("line", "tee"),
    [("tcb?fmspc=00", "tdx"), ("qe/identity?update=x", "tdx")],
)
def test_a_malformed_question_of_tdx_is_400(full: Rig, line: str, tee: str) -> None:
    """The TDX routes have the same forms."""
    expect_refused(full.ask(line, tee=tee), BAD, "bad-request")


ITEMS = (
    ("pckcrl?ca=processor", "sgx"),
    ("pckcrl?ca=platform&encoding=der", "sgx"),
    (f"tcb?fmspc={KNOWN}", "sgx"),
    (f"tcb?fmspc={KNOWN}&update=early", "tdx"),
    ("qe/identity", "sgx"),
    ("qe/identity", "tdx"),
    ("qve/identity", "sgx"),
    ("rootcacrl", "sgx"),
    (f"crl?uri={ROOT_URI}", "sgx"),
)


@pytest.mark.parametrize("mode", [Mode.REQ, Mode.OFFLINE])
@pytest.mark.parametrize(("line", "tee"), ITEMS)
def test_a_miss_outside_lazy_is_404(empty: Rig, mode: Mode, line: str, tee: str) -> None:
    """REQ and OFFLINE fetch nothing for who asks, and say so."""
    before = len(empty.calls)
    expect_refused(in_mode(empty, mode).ask(line, tee=tee), MISS, "not-cached")
    assert len(empty.calls) == before


@pytest.mark.parametrize(("line", "tee"), ITEMS)
def test_a_miss_in_lazy_is_fetched_once(fresh: Rig, line: str, tee: str) -> None:
    """LAZY fetches, keeps and answers; the second answer is the first one's bytes."""
    first = fresh.ask(line, tee=tee)
    assert first.status == OK
    calls = len(fresh.calls)
    assert calls == 1
    second = fresh.ask(line, tee=tee)
    assert (second.status, second.body) == (OK, first.body)
    assert len(fresh.calls) == calls


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("line", [line for line, tee in ITEMS if tee == "sgx"])
def test_a_miss_of_version_3(empty: Rig, mode: Mode, line: str) -> None:
    """Version 3 has ended: 410 in LAZY, and 404 where nothing would be fetched anyhow."""
    before = len(empty.calls)
    response = in_mode(empty, mode).ask(line, version=3)
    expect_usual(response, 3)
    lazy = mode is Mode.LAZY
    expect_refused(response, GONE if lazy else MISS, "v3-ended" if lazy else "not-cached")
    assert len(empty.calls) == before


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("mode", [Mode.REQ, Mode.OFFLINE])
def test_an_unknown_machine_outside_lazy_is_461(empty: Rig, mode: Mode, version: int) -> None:
    """It has to be registered first."""
    line = pck_line(empty.world.platform("stranger"))
    expect_refused(in_mode(empty, mode).ask(line, version=version), 461, "unknown-platform")


def test_an_unknown_machine_of_version_3_is_410(empty: Rig) -> None:
    """In LAZY it would have to be fetched, from a version that has ended."""
    line = pck_line(empty.world.platform("stranger"))
    expect_refused(empty.ask(line, version=3), GONE, "v3-ended")


def test_an_unknown_machine_without_ppid_is_400(empty: Rig) -> None:
    """Nothing else leads to its certificates."""
    line = pck_line(empty.world.platform("stranger"), with_ppid=False)
    expect_refused(empty.ask(line), BAD, "no-ppid")


def test_an_all_zero_ppid_is_404(empty: Rig) -> None:
    """A machine that cannot read its PPID sends zeros; nobody is asked about it."""
    before = len(empty.calls)
    line = pck_line(empty.world.platform("stranger"), encrypted_ppid="0" * 768)
    expect_refused(empty.ask(line), MISS, "zero-ppid")
    assert len(empty.calls) == before


def test_a_machine_that_intel_does_not_know_is_404(fresh: Rig) -> None:
    """A machine of several packages that never registered: the cause says so."""
    machine = fresh.world.platform("unregistered")
    machine.registered = False
    expect_refused(fresh.ask(pck_line(machine)), MISS, "unregistered")


def test_an_unknown_fmspc_is_404(fresh: Rig) -> None:
    """Intel has none: the same status as ever, and its cause."""
    expect_refused(fresh.ask(f"tcb?fmspc={UNKNOWN}"), MISS, "no-such-item")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("GET", "/sgx/certification/v2/rootcacrl"),
        ("GET", "/sgx/certification/v4pckcert"),
        ("GET", "/sgx/certification/v4/pckcerts"),
        ("GET", "/tdx/certification/v3/tcb"),
        ("GET", "/tdx/certification/v4/pckcrl?ca=platform"),
        ("GET", "/tdx/certification/v4/qve/identity"),
        ("GET", "/tdx/certification/v4/platforms"),
        ("GET", "/sgx/certification/v3/qae/identity"),
        ("POST", "/sgx/certification/v4/rootcacrl"),
        ("DELETE", "/sgx/certification/v4/platforms"),
        ("GET", "/sgx/certification/v4/platformcollateral"),
        ("GET", "/<script>alert(1)</script>"),
    ],
)
def test_no_such_route_is_the_page_of_express(full: Rig, method: str, target: str) -> None:
    """404 with "Cannot GET …" as HTML, by which clients tell it from a missing item."""
    response = full.handler(HttpRequest(method=method, target=target))
    assert response.status == MISS
    assert response.header("Content-Type") == SENTENCE_TYPE
    assert response.header("Content-Security-Policy") == "default-src 'none'"
    assert response.header("X-Content-Type-Options") == "nosniff"
    assert f"<pre>Cannot {method} ".encode() in response.body
    assert b"<script>" not in response.body


# What wants a token


@pytest.mark.parametrize("token", [None, "", "wrong", "the user's token "])
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    ("method", "line", "header"),
    [
        ("POST", "platforms", "user-token"),
        ("GET", "platforms", "admin-token"),
        ("HEAD", "platforms", "admin-token"),
        ("PUT", "platformcollateral", "admin-token"),
        ("GET", "refresh", "admin-token"),
        ("POST", "refresh", "admin-token"),
        ("PUT", "appraisalpolicy", "admin-token"),
    ],
)
def test_a_wrong_token_is_401(
    full: Rig, method: str, line: str, header: str, version: int, token: str | None
) -> None:
    """And it is looked at before the body: a huge one makes no difference."""
    headers: Headers = () if token is None else ((header, token),)
    response = full.ask(
        line, version=version, method=method, headers=headers, body=b"x" * 3_000_000
    )
    assert response.status == NO_TOKEN
    assert response.header("Dcap-Cause") == "bad-token"
    expected = b"" if method == "HEAD" else SENTENCES[NO_TOKEN].encode()
    assert response.body == expected


def test_the_users_token_is_not_the_administrators(full: Rig) -> None:
    """Each route has its role."""
    token = USER[0][1]
    assert full.ask("platforms", headers=(("admin-token", token),)).status == NO_TOKEN


def test_a_body_over_the_limit_is_413(full: Rig) -> None:
    """With the right token."""
    response = full.ask(
        "platforms", method="POST", headers=(*USER, *JSON_TYPE), body=b"x" * 3_000_000
    )
    expect_refused(response, LARGE, "too-large")


GOOD = {
    "qe_id": "AA" * 16,
    "pce_id": "0000",
    "cpu_svn": "00" * 16,
    "pce_svn": "0000",
    "enc_ppid": "11" * 384,
}


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"[{}]",
        b'"text"',
        b"\xff",
        json.dumps({**GOOD, "qe_id": ""}).encode(),
        json.dumps({**GOOD, "qe_id": "A" * 261}).encode(),
        json.dumps({**GOOD, "qe_id": 7}).encode(),
        json.dumps({**GOOD, "pce_id": "00"}).encode(),
        json.dumps({**GOOD, "cpu_svn": ""}).encode(),
        json.dumps({**GOOD, "cpu_svn": "", "platform_manifest": "00"}).encode(),
        json.dumps({**GOOD, "pce_svn": "XXXX"}).encode(),
        json.dumps({**GOOD, "enc_ppid": "11" * 256}).encode(),
        json.dumps({**GOOD, "platform_manifest": 5}).encode(),
        json.dumps({**GOOD, "platform_manifest": "odd"}).encode(),
        json.dumps({name: GOOD[name] for name in ("qe_id", "pce_id")}).encode(),
        json.dumps({k: v for k, v in GOOD.items() if k != "enc_ppid"}).encode(),
    ],
)
def test_a_malformed_registration_is_400(full: Rig, body: bytes, version: int) -> None:
    """Bad JSON, a wrong type, a wrong length; and an empty SVN even beside a manifest."""
    response = full.ask(
        "platforms", version=version, method="POST", headers=(*USER, *JSON_TYPE), body=body
    )
    expect_usual(response, version)
    expect_refused(response, BAD, "bad-request")


def test_a_registration_of_another_media_type_is_400(full: Rig) -> None:
    """Its body counts as empty."""
    body = json.dumps(GOOD).encode()
    headers = (*USER, ("Content-Type", "text/plain"))
    response = full.ask("platforms", method="POST", headers=headers, body=body)
    expect_refused(response, BAD, "bad-request")


@pytest.mark.parametrize("update", ["late", "", "standard,early"])
def test_a_registration_of_an_unknown_update_is_400(full: Rig, update: str) -> None:
    """It is standard, early or all."""
    expect_refused(full.register(GOOD, line=f"platforms?update={update}"), BAD, "bad-request")


@pytest.mark.parametrize("update", ["", "?update=standard", "?update=early", "?update=ALL"])
def test_a_registration_succeeds(fresh: Rig, update: str) -> None:
    """200 with the sentence, and the machine's certificate can be had at once."""
    machine = fresh.world.platform()
    response = fresh.register(record_of(machine), line=f"platforms{update}")
    assert (response.status, response.body) == (OK, b"Operation successful.")
    assert response.header("Content-Type") == SENTENCE_TYPE
    assert fresh.ask(pck_line(machine, with_ppid=False)).status == OK


def test_unknown_members_of_a_registration_do_no_harm(fresh: Rig) -> None:
    """Tools send more than is asked for."""
    machine = fresh.world.platform()
    assert fresh.register(record_of(machine, colour="blue")).status == OK


def test_a_registration_as_a_form_succeeds(fresh: Rig) -> None:
    """Intel's server reads urlencoded bodies too."""
    record = record_of(fresh.world.platform())
    body = "&".join(f"{name}={value}" for name, value in record.items() if value).encode()
    headers = (*USER, ("Content-Type", "application/x-www-form-urlencoded"))
    assert fresh.ask("platforms", method="POST", headers=headers, body=body).status == OK


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("source", ["other", "[", "[00]", "[00906ED50000,]", "REG", ""])
def test_a_list_of_an_unknown_source_is_400(full: Rig, source: str, version: int) -> None:
    """It is reg, reg_na, or FMSPCs in brackets."""
    response = full.ask(f"platforms?source={source}", version=version, headers=ADMIN)
    expect_refused(response, BAD, "bad-request")


def test_the_queue_is_handed_out_once(fresh: Rig) -> None:
    """GET /platforms drains it, HEAD and `keep` do not; its members are as Intel's tool reads them."""
    offline = in_mode(fresh, Mode.OFFLINE)
    single, multi = fresh.world.platform("one", ca="processor"), fresh.world.platform("many")
    assert offline.register(record_of(single)).status == OK
    assert offline.register(manifest_of(multi)).status == OK
    head = offline.ask("platforms", method="HEAD", headers=ADMIN)
    assert (head.status, head.body, head.header("platform-count")) == (OK, b"", "2")
    kept = offline.ask("platforms?keep=true", headers=ADMIN)
    drained = offline.ask("platforms?source=reg", version=3, headers=ADMIN)
    assert json.loads(kept.body) == json.loads(drained.body)
    assert drained.header("Content-Type") == JSON_UTF8
    assert drained.header("platform-count") == "2"
    rows = {row["qe_id"]: row for row in json.loads(drained.body)}
    assert rows[single.qe_id.hex().upper()] == {
        "qe_id": single.qe_id.hex().upper(),
        "pce_id": "0000",
        "cpu_svn": single.cpu_svn.hex().upper(),
        "pce_svn": "0D00",
        "enc_ppid": single.encrypted_ppid.hex(),
        "platform_manifest": "",
    }
    assert rows[multi.qe_id.hex().upper()] == {
        "qe_id": multi.qe_id.hex().upper(),
        "pce_id": "0000",
        "cpu_svn": "",
        "pce_svn": "",
        "enc_ppid": "",
        "platform_manifest": multi.manifest.hex(),
    }
    again = offline.ask("platforms", headers=ADMIN)
    assert (again.body, again.header("platform-count")) == (b"[]", "0")


@pytest.mark.parametrize("source", ["[]", f"[{KNOWN}]", f"[{KNOWN.lower()},{UNKNOWN}]"])
def test_what_is_kept_is_listed(full: Rig, source: str) -> None:
    """Machines of the FMSPCs, or all, in upper case, once for each raw TCB; and it stays."""
    machine = full.world.platform()
    for _ in range(2):
        response = full.ask(f"platforms?source={source}", headers=ADMIN)
        assert response.header("platform-count") == "1"
        assert json.loads(response.body) == [
            {
                "qe_id": machine.qe_id.hex().upper(),
                "pce_id": "0000",
                "cpu_svn": machine.cpu_svn.hex().upper(),
                "pce_svn": "0D00",
                "enc_ppid": machine.encrypted_ppid.hex().upper(),
                "platform_manifest": "",
            }
        ]


def test_machines_of_other_fmspcs_are_not_listed(full: Rig) -> None:
    """The list is of the FMSPCs that are named."""
    response = full.ask(f"platforms?source=[{UNKNOWN}]", headers=ADMIN)
    assert (response.status, response.body) == (OK, b"[]")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "query",
    [
        "",
        "?type=certs",
        *(f"?type=certs&fmspc={of}" for of in ("", "all", "[]", KNOWN, f"[{KNOWN},{UNKNOWN}]")),
        f"?type=certs&fmspc={KNOWN},{UNKNOWN}",
    ],
)
def test_a_refresh_succeeds(full: Rig, method: str, query: str) -> None:
    """Of collateral or of certificates, of one, of a list in brackets or without, of all."""
    response = full.ask(f"refresh{query}", method=method, headers=ADMIN)
    assert (response.status, response.body) == (OK, b"Operation successful.")


@pytest.mark.parametrize("query", ["?type=other", "?type=", "?type=certs&fmspc=00"])
def test_a_malformed_refresh_is_400(full: Rig, query: str) -> None:
    """What is to be renewed must be said right."""
    expect_refused(full.ask(f"refresh{query}", headers=ADMIN), BAD, "bad-request")


@pytest.mark.parametrize("query", ["", "?type=certs"])
def test_a_refresh_offline_is_503(full: Rig, query: str) -> None:
    """With an empty body, as all 503 have: Intel's provider would append the next answer to it."""
    response = in_mode(full, Mode.OFFLINE).ask(f"refresh{query}", headers=ADMIN)
    expect_refused(response, 503, "offline")


def test_a_refresh_is_not_begun_by_head(full: Rig) -> None:
    """HEAD changes nothing: it is not a way to refresh."""
    before = len(full.calls)
    assert full.ask("refresh", method="HEAD", headers=ADMIN).status == 405
    assert len(full.calls) == before


@pytest.mark.parametrize("version", [3, 4])
def test_a_malformed_import_is_400(tmp_path: Path, version: int) -> None:
    """What cannot be read is the caller's fault."""

    def refuses(body: bytes, asked_version: int) -> None:
        assert (body, asked_version) == (b"{}", version)
        raise FormatError("json", "no platforms")

    rig = Rig(tmp_path, imports=refuses)
    response = rig.ask(
        "platformcollateral", version=version, method="PUT", headers=ADMIN, body=b"{}"
    )
    expect_refused(response, BAD, "bad-request")


def test_a_forged_import_is_460(tmp_path: Path) -> None:
    """What does not prove is told apart from what cannot be read."""

    def refuses(_body: bytes, _version: int) -> None:
        raise Forged("signature", "it does not prove")

    rig = Rig(tmp_path, imports=refuses)
    response = rig.ask("platformcollateral", method="PUT", headers=ADMIN, body=b"{}")
    expect_refused(response, 460, "forged")


# What all answers have


def test_the_callers_request_id_is_kept(full: Rig) -> None:
    """Intel's server means to; a name that could break a log is replaced."""
    given = (("request-id", "Mine-123"),)
    assert full.ask("rootcacrl", headers=given).header("Request-ID") == "Mine-123"
    for bad in ("a b", "x" * 65, "a\r\nb", "é", ""):
        fresh_id = full.ask("rootcacrl", headers=(("Request-ID", bad),)).header("Request-ID")
        assert fresh_id != bad
        assert len(fresh_id or "") == 32


def test_two_answers_have_two_request_ids(full: Rig) -> None:
    """Refusals too."""
    ids = {full.ask(line).header("Request-ID") for line in ("rootcacrl", "tcb", "x", "rootcacrl")}
    assert len(ids) == 4


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_caller_has_is_304(full: Rig, method: str) -> None:
    """A tag of the same bytes, in any of its forms, and the caller does not insist."""
    response = full.ask("qe/identity")
    tag = response.header("ETag") or ""
    for given in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
        known = full.ask("qe/identity", method=method, headers=(("If-None-Match", given),))
        assert (known.status, known.body) == (304, b"")
        assert known.header("ETag") == tag
        assert known.header("Content-Type") is None
    other = full.ask("qe/identity", headers=(("If-None-Match", '"other"'),))
    assert (other.status, other.body) == (OK, response.body)
    insisting = (("If-None-Match", tag), ("Cache-Control", "no-cache"))
    assert full.ask("qe/identity", headers=insisting).status == OK


def test_a_refusal_is_never_304(full: Rig) -> None:
    """Only what is there can be unchanged."""
    tag = full.ask("tcb").header("ETag") or ""
    assert full.ask("tcb", headers=(("If-None-Match", tag),)).status == BAD


def test_the_tag_is_that_of_express() -> None:
    """Length in hex, a hyphen, 27 characters of the base64 of SHA-1: an example of its own."""
    assert etag(b"Hello World") == 'W/"b-Ck1VqNd45QIvq3AZd8XYQLvEhtA"'


@pytest.mark.parametrize("line", ["rootcacrl", "qe/identity", "tcb", "nothing"])
def test_head_has_gets_headers(full: Rig, line: str) -> None:
    """And no body, but its length."""
    get, head = full.ask(line), full.ask(line, method="HEAD")
    assert (head.status, head.body) == (get.status, b"")
    if line != "nothing":
        assert head.header("Content-Length") == str(len(get.body))
        assert head.header("ETag") == get.header("ETag")


# Azure's client


def test_azures_client_gets_json(full: Rig) -> None:
    """The certificate, its chain, its TCB, and for how long to keep it, by case-sensitive names."""
    machine = full.world.platform()
    extra = {"clientid": "production_client", "api-version": "2021-07-22-preview"}
    response = full.ask(pck_line(machine, with_ppid=False, **extra))
    assert (response.status, response.header("Content-Type")) == (OK, "application/json")
    body = json.loads(response.body)
    assert set(body) == {
        "pckCert",
        "sgx-Pck-Certificate-Issuer-Chain",
        "sgx-Tcbm",
        "cacheMaxAge",
    }
    plain = full.ask(pck_line(machine))
    assert body["pckCert"].encode() == plain.body
    chain = plain.header("SGX-PCK-Certificate-Issuer-Chain")
    assert body["sgx-Pck-Certificate-Issuer-Chain"] == chain
    assert body["sgx-Tcbm"] == plain.header("SGX-TCBm")
    assert int(body["cacheMaxAge"]) <= 86400


@pytest.mark.parametrize("encoded", [1, 2])
@pytest.mark.parametrize(
    ("uri", "issuer"),
    [
        (
            "https://certificates.trustedservices.intel.com/intelsgxpckprocessor.crl",
            "Intel SGX PCK Processor CA",
        ),
        (
            "https://api.trustedservices.intel.com/sgx/certification/v3/pckcrl?ca=platform&encoding=pem",
            "Intel SGX PCK Platform CA",
        ),
        (
            "https://certificates.trustedservices.intel.com/intelsgxrootca.crl",
            "Intel SGX Root CA",
        ),
    ],
)
def test_azures_client_gets_lists_in_pem(full: Rig, uri: str, issuer: str, encoded: int) -> None:
    """By their URI, encoded once or twice, with the issuer's chain and `Cache-Control`."""
    for _ in range(encoded):
        uri = quote(uri, safe="")
    response = full.ask(f"pckcrl?uri={uri}&clientid=c&api-version=2020-02-12-preview")
    assert response.status == OK
    assert response.body.startswith(b"-----BEGIN X509 CRL-----")
    assert Crl.parse(response.body).issuer_common_name == issuer
    chain = unquote(response.header("SGX-PCK-CRL-Issuer-Chain") or "").encode()
    assert Certificate.parse_chain(chain)[0].common_name == issuer
    assert response.header("Cache-Control") is not None


@pytest.mark.parametrize("uri", ["https://example.com/x.crl", "x", ""])
def test_azures_client_gets_no_list_of_others(full: Rig, uri: str) -> None:
    """Only Intel's own."""
    line = f"pckcrl?uri={quote(uri, safe='')}&clientid=c&api-version=1"
    expect_refused(full.ask(line), BAD, "bad-request")


# Beyond Intel's


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_evaluation_numbers_are_served(full: Rig, tee: str) -> None:
    """As Intel's PCS serves them."""
    response = full.ask("tcbevaluationdatanumbers", tee=tee)
    assert response.status == OK
    assert json.loads(response.body)["tcbEvaluationDataNumbers"]["id"] == tee.upper()
    assert response.header("TCB-Evaluation-Data-Numbers-Issuer-Chain") is not None


def test_fmspcs_are_served(full: Rig) -> None:
    """All of them, or those of one kind."""
    listed = json.loads(full.ask("fmspcs").body)
    assert {"fmspc": KNOWN, "platform": "E5"} in listed
    assert json.loads(full.ask("fmspcs?platform=client").body) == []
    expect_refused(full.ask("fmspcs?platform=other"), BAD, "bad-request")


def test_the_identity_of_the_qae_is_served(full: Rig) -> None:
    """Intel's PCCS has no such route."""
    body = json.loads(full.ask("qae/identity").body)
    assert body["enclaveIdentity"]["id"] == "QAE"


@pytest.mark.parametrize("number", ["x", "-1", "99999999999"])
def test_a_number_that_is_none_is_400(full: Rig, number: str) -> None:
    """Where Intel's PCCS would ignore it."""
    line = f"tcb?fmspc={KNOWN}&tcbEvaluationDataNumber={number}"
    expect_refused(full.ask(line), BAD, "bad-request")


def test_a_number_that_intel_lacks_is_404(full: Rig) -> None:
    """One that is yet to come."""
    line = f"tcb?fmspc={KNOWN}&tcbEvaluationDataNumber=99"
    expect_refused(full.ask(line), MISS, "no-such-item")
