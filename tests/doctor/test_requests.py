"""Real requests, replayed: rows 1, 5, 10, 15, 17, 18 of `quote-provider.md` §6, each set up on loopback.

Truth is a PCCS that has everything; each test changes one answer, or one setting.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from asked_machine import PATH, Machine, asked, closed_port, instead, need
from scratch import Seen, process, say, write

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.pccs_responses import CAUSE
from dcap.doctor import requests
from dcap.formats.certification import CertificationType
from dcap.formats.crl import Crl
from dcap.simulator import World, wire_faults
from dcap.simulator.alibaba import alibaba
from dcap.sources.need import MachineNeed


@pytest.fixture(scope="module")
def world() -> World:
    """One world for all of them: nothing here changes it."""
    made = World("doctor's requests")
    made.platform("machine")
    return made


def examined(
    top: Path,
    world: World,
    handler: Handler | None = None,
    *,
    machine: MachineNeed | None = None,
    path: str = PATH,
    roles: tuple[str, ...] = ("attester", "verifier"),
    **settings: object,
) -> Seen:
    """What is said of a machine of the world whose PCCS answers so."""
    with asked(top, world, handler=handler, path=path, **settings) as (here, _):
        known = machine or need(world)
        return say(requests.CHECKS, here.scene(machine=known, roles=frozenset(roles)))


def identifiers(world: World) -> list[str]:
    """All that would tell which machine it is, in hex."""
    machine = world.platform("machine")
    return [value.hex() for value in (machine.qe_id, machine.encrypted_ppid, machine.ppid)]


def test_a_pccs_that_has_everything_gives_no_finding(tmp_path: Path, world: World) -> None:
    """Certificate, lists, TCB infos and identities of SGX and TDX: eight requests, all answered."""
    seen = examined(tmp_path, world)
    assert seen.codes == []
    (right,) = seen.rights
    assert "answers 8 of 8 requests" in right.what
    assert all("→ 200, " in line for line in right.evidence)


def test_what_identifies_the_machine_is_shown_nowhere(tmp_path: Path, world: World) -> None:
    """Neither QE id nor PPID nor CPUSVN stands in what is said, whatever the service repeats of them."""
    machine = world.platform("machine")

    def echoing(request: HttpRequest) -> HttpResponse:
        return HttpResponse(
            status=400, headers=(("Warning", request.target),), body=request.target.encode()
        )

    for seen in (examined(tmp_path / "a", world), examined(tmp_path / "b", world, echoing)):
        said = repr(seen).lower()
        assert "qeid=…" in said
        assert machine.cpu_svn.hex() not in said
        assert not [value for value in identifiers(world) if value in said or value[:24] in said]


def test_secrets_of_the_configuration_are_shown_nowhere(tmp_path: Path, world: World) -> None:
    """A key that the configuration sends is not told again, though the service repeats it."""

    def echoing(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=401, body=(request.header("x-key") or "").encode())

    options = {"get_cert": {"headers": {"x-key": "my key"}, "params": {"user": "my-name"}}}
    seen = examined(tmp_path, world, echoing, custom_request_options=options)
    assert "pckcert" in seen.finding("request-refused").what
    assert "my key" not in repr(seen)
    assert "my-name" not in repr(seen)


def test_processes_that_share_a_configuration_are_told_once(tmp_path: Path, world: World) -> None:
    """A daemon of other proxies asks the same: what the PCCS lacks is one finding."""
    with asked(tmp_path, world, handler=instead(alibaba(world), {"/crl?": None})) as (here, _):
        process(here.root, 700, "aesm_service", environ={"no_proxy": "127.0.0.1"})
        assert say(requests.CHECKS, here.scene()).codes == ["collateral-absent"]


def test_the_fmspc_comes_from_the_certificate(tmp_path: Path, world: World) -> None:
    """Where there is no quote, the certificate that was just had says of which kind the machine is."""
    seen = examined(tmp_path, world)
    fmspc = world.platform("machine").fmspc.hex().upper()
    assert any(f"tcb?fmspc={fmspc}" in line for line in seen.rights[0].evidence)


def test_without_ids_the_certificate_is_not_asked_for(tmp_path: Path, world: World) -> None:
    """Where nothing identifies the machine, that one request is skipped, and it is said why."""
    with asked(tmp_path, world) as (here, _):
        seen = say(requests.CHECKS, here.scene())
    assert seen.codes == []
    assert ["not known here" in each.why for each in seen.skipped] == [True]


def test_row_1_the_machine_is_not_registered(tmp_path: Path, world: World) -> None:
    """Row 1, 0xE011: 404 for the certificate alone; the mend is to register, with the sockets' step."""
    seen = examined(tmp_path, world, instead(alibaba(world), {"pckcert": None}))
    finding = seen.finding("pck-certificate-absent")
    assert seen.codes == ["pck-certificate-absent"]
    assert "HTTP 404, 0xE011" in finding.what
    assert "0xE011 SGX_QL_NO_PLATFORM_CERT_DATA (QCNL 0xB00F)" in finding.evidence[0]
    assert '"No cache data for this platform."' in finding.evidence[0]
    assert "dcap register submit" in seen.mends("pck-certificate-absent")
    assert "mpa_registration_tool" in seen.mends("pck-certificate-absent")
    assert "zeros" not in finding.what


def test_row_1_a_ppid_of_zeros(tmp_path: Path, world: World) -> None:
    """Row 1: a PPID that the host could not read goes out as zeros; cause and group are named."""
    unread = need(world, encrypted_ppid=None)
    handler = instead(alibaba(world), {"encrypted_ppid=" + "0" * 768: None})
    seen = examined(tmp_path, world, handler, machine=unread)
    assert "its encrypted PPID is all zeros" in seen.finding("pck-certificate-absent").what
    assert "usermod -aG sgx_prv" in seen.mends("pck-certificate-absent")


def test_row_1_what_our_pccs_says_itself(tmp_path: Path, world: World) -> None:
    """Row 1: a PCCS of ours says why; its stable word is shown, and its mend comes first."""
    refusal = HttpResponse(
        status=404, headers=((CAUSE, "wrong-key"),), body=b"No cache data for this platform."
    )
    seen = examined(tmp_path, world, instead(alibaba(world), {"pckcert": refusal}))
    finding = seen.finding("pck-certificate-absent")
    assert f"{CAUSE}: wrong-key" in finding.evidence[0]
    assert "give the service the right API key" in finding.mends[0].text


def test_row_1_a_missing_slash(tmp_path: Path, world: World) -> None:
    """Row 1: `…/v4` becomes `…/v4pckcert`, 404 throughout; the mend has the slash."""
    with asked(tmp_path, world, path=PATH.rstrip("/")) as (here, server):
        seen = say(requests.CHECKS, here.scene(machine=need(world)))
    assert seen.codes == ["request-missing-slash"]
    finding = seen.finding("request-missing-slash")
    assert any("/v4pckcert?" in line for line in finding.evidence)
    assert f"write {server.url}{PATH} there" in finding.mends[0].text


def test_row_1_a_wrong_path(tmp_path: Path, world: World) -> None:
    """Row 1: a web server that has no such path says so in a page; the mend is the path of a PCCS."""
    page = HttpResponse(status=404, body=b"<!DOCTYPE html><pre>Cannot GET /pckcert</pre>")
    seen = examined(tmp_path, world, lambda _: page, path="/pccs/")
    assert seen.codes == ["request-wrong-path"]
    assert "/sgx/certification/v4/" in seen.mends("request-wrong-path")


Fault = Callable[[Handler], Handler]
#: Fault of the service -> code, a word of what is said, and the code of Intel's.
FAULTS: dict[str, tuple[Fault, str, str, str]] = {
    "400": (lambda _: lambda _: HttpResponse(status=400, body=b"Invalid request parameters."),
            "request-refused", "400, the request is malformed", "0xE044"),
    "401": (wire_faults.unauthorised, "request-refused", "401, it wants a key", "0xE044"),
    "403": (lambda _: lambda _: HttpResponse(status=403), "request-refused", "no PCCS says", "0xE019"),
    "429": (wire_faults.throttling, "request-refused", "429, too many", "0xE044"),
    "500": (wire_faults.failing, "service-failing", "500", "0xE044"),
    "502": (lambda _: lambda _: HttpResponse(status=502), "service-failing", "502", "0xE044"),
    "503": (lambda _: lambda _: HttpResponse(status=503, body=b"busy"), "service-failing",
            "its body spoils the answer", "0xE040"),
    "no headers": (wire_faults.missing_headers, "answer-unusable", "something else", "0xE01A"),
    "empty": (wire_faults.empty, "answer-unusable", "empty", "0xE001"),
    "cut off": (wire_faults.cut_off, "request-unanswered", "no whole answer", "0xE019"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_row_5_what_a_service_may_answer(tmp_path: Path, world: World, fault: str) -> None:
    """Row 5, one code to Intel's library: each status is told apart, with the body and the code."""
    faulty, code, word, intels = FAULTS[fault]
    seen = examined(tmp_path, world, faulty(alibaba(world)))
    assert seen.codes == [code]
    finding = seen.finding(code)
    assert word in finding.what
    assert any(intels in line for line in finding.evidence)
    assert finding.mends


def test_row_5_one_request_that_leads_on(tmp_path: Path, world: World) -> None:
    """Row 5: a redirect of the certificate alone is 0xE044, and its query is not repeated."""
    onward = HttpResponse(status=302, headers=(("Location", "https://elsewhere.invalid/?qeid=1"),))
    seen = examined(tmp_path, world, instead(alibaba(world), {"pckcert": onward}))
    assert "3xx, it leads on" in seen.finding("request-refused").what
    assert "elsewhere.invalid" in seen.finding("request-refused").evidence[0]


def test_row_5_intels_own_service_as_pccs_url(tmp_path: Path, world: World) -> None:
    """Row 5: Intel's PCS as `pccs_url` is wrong for quoting alone, and no identifier is sent there."""
    targets: list[str] = []
    truth = alibaba(world)

    def intels(request: HttpRequest) -> HttpResponse:
        targets.append(request.target)
        return truth(HttpRequest(target=request.target.removeprefix("/trustedservices.intel.com")))

    seen = examined(
        tmp_path, world, intels, path="/trustedservices.intel.com" + PATH, roles=("attester",)
    )
    assert seen.codes == ["pcs-for-machines"]
    assert "0xE044" in seen.finding("pcs-for-machines").what
    assert "dcap qcnl write --intel-pcs --pccs" in seen.mends("pcs-for-machines")
    assert not [target for target in targets if "pckcert" in target]


def test_row_10_lists_in_hex(tmp_path: Path, world: World) -> None:
    """Row 10, 0xE038: API 3.0 means hex, which Java and OpenSSL do not read; the mend is 3.1."""
    seen = examined(tmp_path, world, pccs_api_version="3.0")
    assert seen.codes == ["crl-hex"]
    assert '"pccs_api_version": "3.1"' in seen.mends("crl-hex")


def test_row_10_who_does_not_verify_needs_no_lists(tmp_path: Path, world: World) -> None:
    """Row 10: on a machine that only attests, hex is nobody's trouble."""
    assert examined(tmp_path, world, pccs_api_version="3.0", roles=("attester",)).codes == []


@pytest.mark.parametrize("encoding", ["PEM", "hex", "none of the three"])
def test_row_10_lists_in_another_encoding(tmp_path: Path, world: World, encoding: str) -> None:
    """Row 10: a cache that sends PEM or hex where DER was asked for is found by the bytes."""
    truth = alibaba(world)

    def other(request: HttpRequest) -> HttpResponse:
        response = truth(request)
        if "/pckcrl" not in request.path:
            return response
        crl = Crl.parse(response.body)
        body = {"PEM": crl.to_pem(), "hex": crl.der.hex().encode()}.get(encoding, b"?!" * 99)
        return HttpResponse(status=200, headers=response.headers, body=body)

    seen = examined(tmp_path, world, other)
    if encoding == "none of the three":
        assert seen.codes == ["answer-unusable"]
    else:
        assert f"comes in {encoding}" in seen.finding("crl-encoding").what
        assert "0xE038" in seen.finding("crl-encoding").what


def test_row_10_intels_own_lists_are_stamped_hex(tmp_path: Path, world: World) -> None:
    """Row 10: Intel's service without 3.1 gives DER under the version of hex."""
    truth = alibaba(world)

    def intels(request: HttpRequest) -> HttpResponse:
        return truth(HttpRequest(target=request.target.removeprefix("/trustedservices.intel.com")))

    path = "/trustedservices.intel.com" + PATH
    with asked(tmp_path, world, handler=intels, path=path, pccs_api_version="3.0") as (here, _):
        # The root's list would come from Intel itself.
        off = {"https_proxy": f"http://127.0.0.1:{closed_port()}", "no_proxy": "127.0.0.1"}
        seen = say(requests.CHECKS, here.scene(roles=frozenset({"verifier"}), environ=off))
    assert "crl-stamp" in seen.codes


def test_row_17_tdx_is_not_there(tmp_path: Path, world: World) -> None:
    """Row 17, 0xE062 and 0xE061: SGX has collateral and TDX none, as with a PCCS before v4."""
    seen = examined(tmp_path, world, instead(alibaba(world), {"/tdx/": None}))
    assert seen.codes == ["tdx-collateral-absent"]
    finding = seen.finding("tdx-collateral-absent")
    assert "tcb for TDX, qe/identity for TDX" in finding.what
    assert any("0xE062" in line for line in finding.evidence)
    assert any("0xE061" in line for line in finding.evidence)


def test_row_17_tdx_concerns_who_has_it(tmp_path: Path, world: World) -> None:
    """Row 17: to a machine that only attests enclaves it is nothing; to a trust domain it is."""
    handler = instead(alibaba(world), {"/tdx/": None})
    assert examined(tmp_path / "a", world, handler, roles=("attester",)).codes == []
    with asked(tmp_path / "b", world, handler=handler) as (here, _):
        write(here.root, "/dev/tdx_guest")
        seen = say(requests.CHECKS, here.scene(roles=frozenset({"attester"})))
    assert seen.codes == ["tdx-collateral-absent"]


def test_row_17_the_old_api(tmp_path: Path, world: World) -> None:
    """Row 17: /v3/ has no TDX; the mend migrates the file."""
    seen = examined(tmp_path, world, path="/sgx/certification/v3/")
    assert "/v3/, which has no TDX" in seen.finding("tdx-collateral-absent").what
    assert "dcap qcnl write --migrate" in seen.mends("tdx-collateral-absent")


def test_row_17_an_api_that_has_ended(tmp_path: Path, world: World) -> None:
    """Row 17: 410 says that v3 is over; the mend is the address with /v4/."""
    ended = HttpResponse(status=410, body=b"The Intel PCS API version 3 reached planned EOL.")
    with asked(
        tmp_path,
        world,
        handler=instead(alibaba(world), {"tcb": ended, "identity": ended}),
        path="/sgx/certification/v3/",
    ) as (here, server):
        seen = say(requests.CHECKS, here.scene(machine=need(world)))
    assert seen.codes == ["api-retired"]
    assert f"{server.url}{PATH}" in seen.mends("api-retired")


def test_row_17_an_unknown_fmspc(tmp_path: Path, world: World) -> None:
    """Row 17, 0xE062: no TCB info for this kind of machine, while all else is there."""
    seen = examined(tmp_path, world, instead(alibaba(world), {"/tcb?": None}))
    fmspc = world.platform("machine").fmspc.hex().upper()
    assert seen.codes == ["fmspc-unknown"]
    assert f"FMSPC {fmspc}" in seen.finding("fmspc-unknown").what
    assert f"--fmspc {fmspc} --source pcs" in seen.mends("fmspc-unknown")


def test_row_17_collateral_that_was_never_brought(tmp_path: Path, world: World) -> None:
    """Row 17, 0xE01B: the root's list is missing; one finding names it and how it gets there."""
    seen = examined(tmp_path, world, instead(alibaba(world), {"/crl?": None}))
    assert seen.codes == ["collateral-absent"]
    assert "the root's list" in seen.finding("collateral-absent").what
    assert "0xE01B" in seen.finding("collateral-absent").evidence[0]
    assert "dcap pccs refresh" in seen.mends("collateral-absent")


def test_the_list_of_the_other_ca_may_be_absent(tmp_path: Path, world: World) -> None:
    """A PCCS that holds the list of one CA alone has what its machines need."""
    assert examined(tmp_path, world, instead(alibaba(world), {"ca=processor": None})).codes == []


@pytest.mark.parametrize(
    ("status", "code", "intels", "mend"),
    [
        (461, "machine-unknown", "0xE047", "dcap pccs get"),
        (462, "machine-tcb-uncertified", "0xE049", "update BIOS and microcode"),
    ],
)
def test_row_18_a_pccs_that_asks_nobody(
    tmp_path: Path, world: World, status: int, code: str, intels: str, mend: str
) -> None:
    """Row 18: 461 is REQ or OFFLINE without the machine, 462 a TCB that nobody certifies."""
    refusal = HttpResponse(status=status)
    seen = examined(tmp_path, world, instead(alibaba(world), {"pckcert": refusal}))
    assert seen.codes == [code]
    assert intels in seen.finding(code).what
    assert any(intels in line for line in seen.finding(code).evidence)
    assert mend in seen.mends(code)
    assert "dcap register submit" in seen.mends(code)


def test_row_12_a_service_that_was_not_renewed(tmp_path: Path, world: World) -> None:
    """What a service hands out past its end is told by name, with when it ended."""
    with asked(tmp_path, world) as (here, _):
        later = world.at + timedelta(days=40)
        changes = {"clock": lambda: later, "machine": need(world)}
        found = say(requests.CHECKS, here.scene(**changes)).finding("served-expired")
    assert "hands out what has ended: " in found.what
    assert [found.what.count(name) for name in ("ended 20", "tcb", "pckcrl")] == [6, 2, 2]
    assert "`dcap pccs refresh --url https://" in found.mends[0].text


def test_a_body_beyond_sixteen_bits(tmp_path: Path, world: World) -> None:
    """An answer that Intel's library would die of is found before it does."""
    truth = alibaba(world)

    def padded(request: HttpRequest) -> HttpResponse:
        response = truth(request)
        if "identity" not in request.path:
            return response
        body = response.body + b" " * 65_536
        return HttpResponse(status=200, headers=response.headers, body=body)

    assert examined(tmp_path, world, padded).codes == ["answer-too-large"]


def test_what_is_not_reached_is_not_asked(tmp_path: Path, world: World) -> None:
    """Where the way is barred, requests are skipped: the network says what is wrong."""
    machine = Machine(tmp_path, world)
    machine.configure(f"https://127.0.0.1:{closed_port()}{PATH}")
    seen = say(requests.CHECKS, machine.scene(machine=need(world)))
    assert seen.codes == []
    assert [each.why for each in seen.skipped] == ["it is not reached: see network"]


def test_ids_come_from_a_quote_that_carries_no_certificate(tmp_path: Path, world: World) -> None:
    """A quote of type 3 names its machine: the certificate is asked for by what it says."""
    quote = world.platform("machine").quote(certification=CertificationType.PPID_RSA3072_ENCRYPTED)
    with asked(tmp_path, world) as (here, _):
        seen = say(requests.CHECKS, here.scene(quote=quote))
    assert seen.codes == []
    assert re.search(r"pckcert\?qeid=…&encrypted_ppid=….* → 200", seen.rights[0].evidence[0])


def test_every_code_of_requests_is_in_the_table() -> None:
    """What can be found is what is documented, each once, each with its mends."""
    codes = [ailment.code for ailment in requests.AILMENTS]
    assert len(set(codes)) == len(codes)
    assert all(ailment.mends and ailment.causes and ailment.rows for ailment in requests.AILMENTS)
