"""The service: what has expired, numbers, lists by their URI, policies, and what is counted."""

import base64
import json
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.errors import Unavailable
from dcap.pccs.causes import CAUSES, LASTING, NotServed
from dcap.pccs.items import CrlKey, IdentityKey, RootCrlKey, TcbInfoKey
from dcap.pccs.mode import Mode
from dcap.pccs.service import Expired
from dcap.simulator.events import (
    CrlReissued,
    EvaluationNumberRetired,
    RecoveryAnnounced,
    RecoveryPromoted,
)
from dcap.simulator.world import FMSPCS
from pccs.rig import ADMIN, JSON_TYPE, Rig, manifest_of, pck_line, record_of

FMSPC = FMSPCS["platform"]
KNOWN = FMSPC.hex().upper()
LATER = timedelta(days=60)
LINES = (f"tcb?fmspc={KNOWN}", "qe/identity", "qve/identity", "pckcrl?ca=platform")
ROOT_URI = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"


class Switch:
    """A wire that can be taken down."""

    def __init__(self) -> None:
        self.is_down = False

    def __call__(self, handler: Handler) -> Handler:
        """Around a handler."""

        def answer(request: HttpRequest) -> HttpResponse:
            if self.is_down:
                raise Unavailable("network-refused", "no connection is made")
            return handler(request)

        return answer


# What has expired


@pytest.mark.parametrize("line", LINES)
def test_what_has_expired_is_fetched_anew(tmp_path: Path, line: str) -> None:
    """LAZY never serves what is past its nextUpdate where something newer can be had."""
    rig = Rig(tmp_path)
    first = rig.ask(line)
    rig.world.advance(LATER)
    second = rig.ask(line)
    assert second.status == 200
    assert second.body != first.body
    assert len(rig.calls) == 2


@pytest.mark.parametrize("line", LINES)
def test_what_has_expired_and_cannot_be_renewed_is_refused(tmp_path: Path, line: str) -> None:
    """502 for an upstream that is down, with the cause; and it works again afterwards."""
    wire = Switch()
    rig = Rig(tmp_path, wire=wire)
    assert rig.ask(line).status == 200
    rig.world.advance(LATER)
    wire.is_down = True
    response = rig.ask(line)
    assert (response.status, response.header("Dcap-Cause")) == (502, "expired")
    assert rig.service.counts()["expired"] == 1
    wire.is_down = False
    rig.upstream.items.forget()
    assert rig.ask(line).status == 200


@pytest.mark.parametrize("mode", [Mode.REQ, Mode.OFFLINE])
@pytest.mark.parametrize("line", LINES)
def test_what_has_expired_is_404_where_nothing_is_fetched(
    tmp_path: Path, mode: Mode, line: str
) -> None:
    """REQ and OFFLINE refuse it: Intel's server would go on serving it for ever."""
    lazy = Rig(tmp_path)
    assert lazy.ask(line).status == 200
    rig = Rig(tmp_path, beside=lazy, store=lazy.store, mode=mode)
    assert rig.ask(line).status == 200
    rig.world.advance(LATER)
    response = rig.ask(line)
    assert (response.status, response.header("Dcap-Cause")) == (404, "expired")
    assert len(rig.calls) == 1


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("line", LINES)
def test_by_policy_what_has_expired_is_served_and_marked(
    tmp_path: Path, mode: Mode, line: str
) -> None:
    """With `Warning`, not to be kept, and counted; fresh ones are not marked."""
    wire = Switch()
    lazy = Rig(tmp_path, wire=wire)
    fresh = lazy.ask(line)
    wire.is_down = True
    rig = Rig(tmp_path, beside=lazy, store=lazy.store, mode=mode, wire=wire, expired=Expired.SERVE)
    assert rig.ask(line).header("Warning") is None
    rig.world.advance(LATER)
    response = rig.ask(line)
    assert (response.status, response.body) == (200, fresh.body)
    assert response.header("Warning") == '110 - "Response is Stale"'
    assert response.header("Cache-Control") == "max-age=0"
    assert rig.service.counts() == {"stale": 1}


def test_cache_control_never_outlives_the_item(tmp_path: Path) -> None:
    """A day at most, and no longer than to its nextUpdate."""
    rig = Rig(tmp_path, mode=Mode.OFFLINE)
    lazy = Rig(tmp_path, beside=rig, store=rig.store)
    assert lazy.ask("qe/identity").header("Cache-Control") == "max-age=86400"
    item = rig.store.items.get(IdentityKey("QE"))
    assert item is not None
    assert item.expires is not None
    rig.world.at = item.expires - timedelta(seconds=77)
    assert rig.ask("qe/identity").header("Cache-Control") == "max-age=77"
    rig.world.at = item.expires
    assert rig.ask("qe/identity").status == 404


# Generations


def test_a_number_is_served_by_whatever_is_of_it(tmp_path: Path) -> None:
    """Kept as standard, it need not be fetched by its number again; OFFLINE too."""
    lazy = Rig(tmp_path)
    first = lazy.ask(f"tcb?fmspc={KNOWN}")
    rig = Rig(tmp_path, beside=lazy, store=lazy.store, mode=Mode.OFFLINE)
    number = rig.world.intel.standard
    response = rig.ask(f"tcb?fmspc={KNOWN}&tcbEvaluationDataNumber={number}")
    assert (response.status, response.body) == (200, first.body)
    other = rig.ask(f"tcb?fmspc={KNOWN}&tcbEvaluationDataNumber={number + 1}")
    assert other.header("Dcap-Cause") == "not-cached"


def test_a_number_stays_when_standard_goes_on(tmp_path: Path) -> None:
    """Whoever pins a generation gets it as long as Intel has it, and then its cause."""
    rig = Rig(tmp_path)
    number = rig.world.intel.standard
    line = f"tcb?fmspc={KNOWN}&tcbEvaluationDataNumber={number}"
    assert rig.ask(line).status == 200
    RecoveryAnnounced().apply(rig.world)
    RecoveryPromoted().apply(rig.world)
    pinned = json.loads(rig.ask(line).body)["tcbInfo"]["tcbEvaluationDataNumber"]
    standard = json.loads(rig.ask(f"tcb?fmspc={KNOWN}").body)
    assert (pinned, standard["tcbInfo"]["tcbEvaluationDataNumber"]) == (number, number + 1)
    EvaluationNumberRetired(number).apply(rig.world)
    rig.world.advance(LATER)
    response = rig.ask(line)
    assert (response.status, response.header("Dcap-Cause")) == (404, "expired")
    fresh = f"tcb?fmspc=00A0A5000000&tcbEvaluationDataNumber={number}"
    assert rig.ask(fresh).header("Dcap-Cause") == "retired"


def test_early_is_not_answered_with_standard(tmp_path: Path) -> None:
    """They are two documents: OFFLINE, one does not stand for the other."""
    lazy = Rig(tmp_path)
    assert lazy.ask(f"tcb?fmspc={KNOWN}").status == 200
    rig = Rig(tmp_path, beside=lazy, store=lazy.store, mode=Mode.OFFLINE)
    assert rig.ask(f"tcb?fmspc={KNOWN}&update=early").status == 404


def test_version_3_is_served_where_it_was_imported(tmp_path: Path) -> None:
    """A TCB info of version 2 of its own row: it is not that of version 4."""
    rig = Rig(tmp_path)
    item = rig.upstream.item(TcbInfoKey("SGX", FMSPC))
    old = rig.simulated(HttpRequest(target=f"/sgx/certification/v3/tcb?fmspc={KNOWN}"))
    rig.store.items.put(replace(item, key=TcbInfoKey("SGX", FMSPC, 3), body=old.body))
    response = rig.ask(f"tcb?fmspc={KNOWN}", version=3)
    assert (response.status, response.body) == (200, old.body)
    names = [name for name, _ in response.headers if name.endswith("Chain")]
    assert names[0] == "SGX-TCB-Info-Issuer-Chain"
    rig.world.advance(LATER)
    assert rig.ask(f"tcb?fmspc={KNOWN}", version=3).status == 410


# Lists by their URI


def test_a_list_by_its_uri_is_the_list(tmp_path: Path) -> None:
    """`crl` and `rootcacrl` cost one call together, and agree."""
    rig = Rig(tmp_path)
    by_uri, by_route = rig.ask(f"crl?uri={ROOT_URI}"), rig.ask("rootcacrl")
    assert by_uri.body.hex().encode() == by_route.body
    assert len(rig.calls) == 1


def test_an_imported_list_serves_until_a_newer_one_is_here(tmp_path: Path) -> None:
    """OFFLINE, under the literal URI that it was imported with."""
    lazy = Rig(tmp_path)
    item = lazy.upstream.item(RootCrlKey())
    lazy.store.items.delete(RootCrlKey())
    lazy.store.items.put(replace(item, key=CrlKey(ROOT_URI)))
    rig = Rig(tmp_path, beside=lazy, store=lazy.store, mode=Mode.OFFLINE)
    assert rig.ask(f"crl?uri={ROOT_URI}").body == item.body
    CrlReissued().apply(rig.world)
    newer = lazy.upstream.item(RootCrlKey())
    assert newer.body != item.body
    assert rig.ask(f"crl?uri={ROOT_URI}").body == newer.body


def test_a_list_of_no_ca_is_400(tmp_path: Path) -> None:
    """The URI must say of which."""
    rig = Rig(tmp_path)
    uri = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?x=y"
    assert rig.ask(f"crl?uri={uri}").status == 400
    assert rig.calls == []


# Renewal by request


def test_a_refresh_renews_what_is_kept(tmp_path: Path) -> None:
    """Each item is asked for once more, and its new bytes are served."""
    rig = Rig(tmp_path)
    rig.fill(rig.world.platform())
    old = [rig.ask(line).body for line in LINES]
    kept = len(rig.store.items.summaries())
    rig.simulated.log.clear()
    rig.world.advance(timedelta(days=1))
    assert rig.ask("refresh", headers=ADMIN).status == 200
    assert len(rig.calls) == kept
    new = [rig.ask(line).body for line in LINES]
    assert all(before != after for before, after in zip(old, new, strict=True))
    assert len(rig.calls) == kept


def test_one_item_that_cannot_be_renewed_hurts_no_other(tmp_path: Path) -> None:
    """503 says that something failed, and how many; the others are new."""

    def without_early(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            if "update=early" in request.target and "/tdx/" in request.path and broken:
                return HttpResponse(status=404)
            return handler(request)

        return answer

    broken: list[bool] = []
    rig = Rig(tmp_path, wire=without_early)
    for line, tee in (("qe/identity?update=early", "tdx"), ("qe/identity", "sgx")):
        assert rig.ask(line, tee=tee).status == 200
    broken.append(True)
    rig.world.advance(timedelta(days=1))
    response = rig.ask("refresh", headers=ADMIN)
    assert (response.status, response.body) == (503, b"")
    assert (response.header("Dcap-Failed"), response.header("Dcap-Cause")) == ("1", "no-such-item")
    item = rig.store.items.get(IdentityKey("QE"))
    assert item is not None
    assert item.fetched_at == rig.clock()


def test_a_refresh_with_upstream_down_is_502(tmp_path: Path) -> None:
    """And what is kept stays."""
    wire = Switch()
    rig = Rig(tmp_path, wire=wire)
    rig.fill(rig.world.platform())
    rig.ask(pck_line(rig.world.platform()))
    wire.is_down = True
    rig.world.advance(timedelta(days=1))
    for query in ("", "?type=certs"):
        response = rig.ask(f"refresh{query}", headers=ADMIN)
        assert (response.status, response.header("Dcap-Cause")) == (502, "upstream-unreachable")
    assert rig.ask("qe/identity").status == 200


def test_certificates_are_renewed_with_their_raw_tcbs(tmp_path: Path) -> None:
    """After a recovery a machine's raw TCB is selected for anew; one that Intel lost is 404."""
    rig = Rig(tmp_path)
    one, many = rig.world.platform("one", ca="processor"), rig.world.platform("many")
    assert rig.register(record_of(one)).status == 200
    assert rig.register(manifest_of(many)).status == 200
    assert rig.ask(pck_line(many, with_ppid=False)).status == 200
    RecoveryAnnounced().apply(rig.world)
    for machine in (one, many):
        machine.update()
        line = pck_line(machine, with_ppid=False)
        assert rig.ask(line).header("SGX-TCBm") != machine.cpu_svn.hex().upper() + "0D00"
    assert rig.ask("refresh?type=certs", headers=ADMIN).status == 200
    for machine in (one, many):
        response = rig.ask(pck_line(machine, with_ppid=False))
        assert response.header("SGX-TCBm") == machine.cpu_svn.hex().upper() + "0D00"
    del rig.world.platforms["one"]
    response = rig.ask("refresh?type=certs", headers=ADMIN)
    assert (response.status, response.header("Dcap-Failed")) == (404, "1")
    assert rig.ask(pck_line(one, with_ppid=False)).status == 200


def test_certificates_of_named_fmspcs_alone_are_renewed(tmp_path: Path) -> None:
    """The others are left in peace."""
    rig = Rig(tmp_path)
    for name, ca in (("one", "processor"), ("many", "platform")):
        assert rig.register(record_of(rig.world.platform(name, ca=ca))).status == 200
    rig.simulated.log.clear()
    assert rig.ask(f"refresh?type=certs&fmspc={KNOWN}", headers=ADMIN).status == 200
    assert rig.calls.count("/sgx/certification/v4/pckcerts") == 1


# Appraisal policies

SGX, TDX_10, TDX_15, TD_QE = (
    "3123ec35-8d38-4ea5-87a5-d6c48b567570",
    "9eec018b-7481-4b1c-8e1a-9f7c0c8c777f",
    "f708b97f-0fb2-4e6b-8b03-8a5bcd1221d3",
    "3769258c-75e6-4bc7-8d72-d2b0e224cad2",
)


def jwt(*class_ids: str, mark: str = "") -> str:
    """A policy as Intel's tool signs it, without a signature that anybody could check."""
    array = [{"environment": {"class_id": class_id}} for class_id in class_ids]
    payload = {"policy_payload": json.dumps({"policy_array": array, "mark": mark})}
    parts = (b'{"alg":"ES384"}', json.dumps(payload).encode(), b"signature")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def put(rig: Rig, policy: object, *, is_default: object = True, fmspc: str = KNOWN) -> HttpResponse:
    """Keep a policy."""
    body = json.dumps({"is_default": is_default, "fmspc": fmspc, "policy": policy}).encode()
    return rig.ask("appraisalpolicy", method="PUT", headers=(*ADMIN, *JSON_TYPE), body=body)


@pytest.mark.parametrize(
    ("class_ids", "kind"),
    [((SGX,), 0), ((TDX_10,), 1), ((TDX_15,), 2), ((TD_QE, TDX_15), 2), ((SGX, "other"), 0)],
)
def test_a_policy_is_kept_under_its_digest(
    tmp_path: Path, class_ids: tuple[str, ...], kind: int
) -> None:
    """The answer is its id; the first class that is not the TD quoting enclave's is its type."""
    rig = Rig(tmp_path)
    policy = jwt(*class_ids)
    response = put(rig, policy)
    assert (response.status, response.header("Content-Type")) == (200, "text/html; charset=utf-8")
    kept = rig.store.policies.get(response.body.decode())
    assert kept is not None
    assert (kept.type, kept.policy, len(kept.id)) == (kind, policy, 96)
    served = rig.ask(f"appraisalpolicy?fmspc={KNOWN.lower()}")
    assert (served.status, served.body) == (200, policy.encode())


@pytest.mark.parametrize(
    "policy",
    [
        *("", "a.b", "a.!.c", f"a.{base64.b64encode(b'[]').decode()}.c", 7, None),
        *(jwt(), jwt("other"), jwt("other", SGX), jwt(TD_QE)),
    ],
)
def test_a_policy_that_is_none_is_400(tmp_path: Path, policy: object) -> None:
    """No JWT, no payload, no class that is known."""
    rig = Rig(tmp_path)
    response = put(rig, policy)
    assert (response.status, response.header("Dcap-Cause")) == (400, "bad-request")
    assert rig.store.policies.list() == ()


def test_one_policy_is_the_default(tmp_path: Path) -> None:
    """A new default takes the place of the old, of whichever type; others are kept and not served."""
    rig = Rig(tmp_path)
    first, second, third = jwt(SGX), jwt(TDX_15), jwt(SGX, mark="beside")
    assert put(rig, first).status == put(rig, second).status == 200
    assert put(rig, third, is_default=False).status == 200
    assert rig.ask(f"appraisalpolicy?fmspc={KNOWN}").body == second.encode()
    missing = rig.ask("appraisalpolicy?fmspc=00906ED50000", version=3)
    assert (missing.status, missing.header("Dcap-Cause")) == (404, "no-policy")
    for bad in ({"is_default": "yes"}, {"fmspc": "00"}):
        assert put(rig, first, **bad).status == 400  # type: ignore[arg-type]


# The table of causes


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_says_what_and_how_to_mend(cause: str) -> None:
    """Its status is one that a PCCS sends, and its code is stable."""
    error = NotServed(cause)
    assert error.status in (400, 401, 404, 410, 413, 460, 461, 462, 500, 502, 503)
    assert error.code == f"pccs-{cause}"
    assert error.what
    assert error.mend


def test_lasting_causes_are_causes() -> None:
    """The table refers to itself."""
    assert set(CAUSES) >= LASTING
