"""Every fault has a check, every check a fault: steps 1 to 4 of the table, each tripped alone.

One departure a code. The departure trips exactly that code, unless a row names what must fail with
it. Step 5, the policy, is `tests/appraisal`'s.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from trial import assert_accepted, assert_rejected, endorsed, judged, pck_ca_twin, tcb_signing_twin

from dcap.formats.collateral import Collateral
from dcap.formats.containers import open_enclave
from dcap.verification.checks import CHECKS, EXIT_STATUS
from forge import World
from worlds import AT

DAY = timedelta(days=1)
SOON = AT + DAY
PCK_SERIAL_ELSEWHERE = 4711


class Departure(NamedTuple):
    """What is presented instead of the truth; a piece that is `None` stays true."""

    quote: bytes | None = None
    collateral: Collateral | None = None
    tee: str = "sgx"


Forge = Callable[[World], Departure]


def _quote(tee: str = "sgx", **draft: Any) -> Forge:
    return lambda world: Departure(quote=world.quote(tee=tee, **draft), tee=tee)


def _collateral(tee: str = "sgx", **changes: Any) -> Forge:
    return lambda world: Departure(collateral=endorsed(world, tee, **changes), tee=tee)


def _other(world: World) -> World:
    """A world of the same names under another root key."""
    return World(at=AT, seed=b"another root")


def _replaced(piece: str, content: Callable[[World], bytes]) -> Forge:
    return lambda world: Departure(collateral=endorsed(world, **{piece: content(world)}))


def _under(**changes: Any) -> Forge:
    """A PCK whose CA certificate differs from the genuine one in `changes`."""

    def forge(world: World) -> Departure:
        above = (pck_ca_twin(world, **changes), world.root)
        return Departure(quote=world.quote(pck=world.pck(chain=above)))

    return forge


def _under_another_root(world: World) -> Departure:
    other = _other(world)
    above = (pck_ca_twin(world, issuer=other.root), other.root)
    return Departure(quote=world.quote(pck=world.pck(chain=above)))


def _chain(piece: str, twin: Callable[..., Any], **changes: Any) -> Forge:
    """An issuer chain whose lower certificate differs from the genuine one in `changes`."""
    return _replaced(piece, lambda world: world.chain(twin(world, **changes), world.root))


def _chain_under_another_root(piece: str, twin: Callable[..., Any]) -> Forge:
    def content(world: World) -> bytes:
        other = _other(world)
        return world.chain(twin(world, issuer=other.root), other.root)

    return _replaced(piece, content)


def _chain_rows(name: str, piece: str, twin: Callable[..., Any]) -> dict[str, Forge]:
    return {
        f"{name}-format": _replaced(piece, lambda _: b"-----BEGIN CERTIFICATE-----\n"),
        f"{name}-roles": _replaced(piece, lambda world: world.chain(world.root)),
        f"{name}-root": _chain_under_another_root(piece, twin),
        f"{name}-signature": lambda world: _chain(piece, twin, signing_key=world.key("thief"))(
            world
        ),
        f"{name}-validity-start": _chain(piece, twin, not_before=SOON),
    }


def _crl_rows(name: str, piece: str) -> dict[str, Forge]:
    def by_a_thief(world: World) -> Departure:
        return _collateral(**{f"{piece}_signer": world.key("thief")})(world)

    def of_another(world: World) -> Departure:
        return _collateral(**{f"{piece}_issuer_name": world.name("Intel SGX Another CA")})(world)

    return {
        f"{name}-format": _replaced(piece, lambda _: b"<html>502 Bad Gateway</html>"),
        f"{name}-issuer": of_another,
        f"{name}-extensions": _collateral(**{f"{piece}_number": None}),
        f"{name}-signature": by_a_thief,
        f"{name}-validity-start": _collateral(**{f"{piece}_this_update": SOON}),
    }


def _document_rows(name: str, piece: str) -> dict[str, Forge]:
    def by_a_thief(world: World) -> Departure:
        return _collateral(**{f"{piece}_key": world.key("thief")})(world)

    return {
        f"{name}-signature": by_a_thief,
        f"{name}-format": _collateral(
            **{f"{piece}_edit": lambda document: document.pop("version")}
        ),
        f"{name}-validity-start": _collateral(**{f"{piece}_issue_date": SOON}),
    }


def _revoked_signer(piece: str) -> Forge:
    """The root's CRL revokes one TCB signing certificate; the other document has another one."""

    def forge(world: World) -> Departure:
        revoked = tcb_signing_twin(world, serial=PCK_SERIAL_ELSEWHERE)
        changes = {f"{piece}_issuer_chain": world.chain(revoked, world.root)}
        return _collateral(root_ca_crl_revoked=[revoked], **changes)(world)

    return forge


def _revoked_crl_issuer(world: World) -> Departure:
    """The PCK CRL comes with a revoked certificate of the CA; the PCK chain has a good one."""
    revoked = pck_ca_twin(world, serial=PCK_SERIAL_ELSEWHERE)
    chain = world.chain(revoked, world.root)
    return _collateral(root_ca_crl_revoked=[revoked], pck_crl_issuer_chain=chain)(world)


def _revoked_pck_ca(world: World) -> Departure:
    """The PCK chain has a revoked certificate of the CA; the PCK CRL comes with a good one."""
    revoked = pck_ca_twin(world, serial=PCK_SERIAL_ELSEWHERE)
    pck = world.pck(chain=(revoked, world.root))
    return Departure(world.quote(pck=pck), endorsed(world, root_ca_crl_revoked=[revoked]))


def _revoked_pck(world: World) -> Departure:
    return Departure(collateral=endorsed(world, pck_crl_revoked=[world.pck()]))


def _with_foreign_claims(world: World) -> Departure:
    claims = open_enclave.write_custom_claims([open_enclave.CustomClaim("key", b"the host's own")])
    return Departure(quote=open_enclave.write_evidence(world.quote(), custom_claims=claims))


def _of_a_thief(world: World) -> Departure:
    return Departure(quote=world.quote(qe_signing_key=world.key("thief")))


def _signed_by_a_thief(world: World) -> Departure:
    return Departure(quote=world.quote(signing_key=world.key("thief")))


def _too_old(world: World) -> Departure:
    return Departure(quote=world.quote(pck=world.pck(components=(0,) * 16)))


def _under_platform_ca(world: World) -> Departure:
    return Departure(world.quote(ca="platform"), endorsed(world, ca="processor"))


def _of_unknown_status(world: World) -> Departure:
    return _collateral(tcb_info_levels=[world.tcb_level("Splendid")])(world)


DEPARTURES: dict[str, Forge] = {
    "evidence-format": lambda world: Departure(quote=world.quote()[:-1]),
    "evidence-binding": _with_foreign_claims,
    **_chain_rows("crl-issuer-chain", "pck_crl_issuer_chain", pck_ca_twin),
    **_crl_rows("root-ca-crl", "root_ca_crl"),
    **_crl_rows("pck-crl", "pck_crl"),
    "crl-issuer-revocation": _revoked_crl_issuer,
    **_chain_rows("tcb-info-chain", "tcb_info_issuer_chain", tcb_signing_twin),
    "tcb-info-signer-revocation": _revoked_signer("tcb_info"),
    **_document_rows("tcb-info", "tcb_info"),
    **_chain_rows("qe-identity-chain", "qe_identity_issuer_chain", tcb_signing_twin),
    "qe-identity-signer-revocation": _revoked_signer("qe_identity"),
    **_document_rows("qe-identity", "qe_identity"),
    "pck-chain-present": _quote(cert_type=1),
    "pck-chain-format": _quote(cert_data=b"no PEM at all"),
    "pck-chain-roles": lambda world: Departure(quote=world.quote(cert_data=world.pck().pem)),
    "pck-chain-root": _under_another_root,
    "pck-chain-signature": lambda world: _under(signing_key=world.key("thief"))(world),
    "pck-chain-validity-start": _under(not_before=SOON),
    "pck-extensions": lambda world: Departure(
        quote=world.quote(pck=world.pck(sgx_extension_der=b"\x30\x00"))
    ),
    "pck-crl-coverage": _under_platform_ca,
    "pck-ca-revocation": _revoked_pck_ca,
    "pck-revocation": _revoked_pck,
    "qe-vendor": _quote(header={"vendor_id": bytes(16)}),
    "tcb-info-tee": _collateral("tdx", tcb_info_tee="SGX"),
    "fmspc": _collateral(tcb_info_fmspc=bytes(6)),
    "pce-id": _collateral(tcb_info_pceid=b"\x01\x00"),
    "tdx-module": _quote("tdx", body={"mrsignerseam": b"\x01" * 48}),
    "qe-report-signature": _of_a_thief,
    "qe-report-data": _quote(qe_report_data=bytes(64)),
    "qe-identity-tee": _collateral(qe_identity_id="TD_QE"),
    "qe-identity-match": _quote(qe_report={"isvprodid": 9}),
    "quote-signature": _signed_by_a_thief,
    "tcb-level": _too_old,
    "tdx-module-level": _quote("tdx", body={"tee_tcb_svn": bytes((0, 1, 3))}),
    "qe-level": _quote(qe_isvsvn=0),
    "tcb-status-known": _of_unknown_status,
}

#: Evidence that cannot be read is found under the reader's own code.
FOUND_AS = {"evidence-format": "quote-truncated"}
STEPS = ("1.", "2.", "3.", "4.")


@pytest.mark.parametrize("code", DEPARTURES)
def test_each_departure_trips_exactly_its_check(world: World, code: str) -> None:
    """One departure from an accepted truth fails one check, with that check's exit status."""
    departure = DEPARTURES[code](world)
    assert_accepted(judged(world, tee=departure.tee))
    result = judged(world, departure.quote, departure.collateral, tee=departure.tee)
    kind = CHECKS[code].kind
    assert_rejected(result, FOUND_AS.get(code, code), exit_status=EXIT_STATUS[kind])


@pytest.mark.parametrize("code", DEPARTURES)
def test_the_failed_finding_is_the_reason_and_says_how_to_mend_it(world: World, code: str) -> None:
    """The result's reason is the tripped check, with its step, its values and a cure."""
    departure = DEPARTURES[code](world)
    result = judged(world, departure.quote, departure.collateral, tee=departure.tee)
    reason = result.reason
    assert reason is not None
    assert reason.code == FOUND_AS.get(code, code)
    assert reason.step == CHECKS[code].step
    assert reason.message
    assert reason.message != CHECKS[code].passed
    assert reason.mend
    assert result.to_dict()["reason"] == reason.code
    assert reason.code in result.explain()


def test_no_check_of_truth_is_without_a_departure() -> None:
    """A code of steps 1 to 4 that enters the table needs a forged fault here, and nothing else."""
    assert set(DEPARTURES) == {c for c, row in CHECKS.items() if row.step.startswith(STEPS)}


def test_a_truth_passes_every_check_of_its_steps(world: World) -> None:
    """For a TDX 1.5 quote every code of steps 2 to 4 is found, and found good."""
    result = assert_accepted(
        judged(world, world.quote(5, "tdx"), endorsed(world, "tdx"), tee="tdx")
    )
    found = {finding.code for finding in result.findings}
    assert found >= {c for c, row in CHECKS.items() if row.step.startswith(STEPS[1:])}
    assert all(finding.ok for finding in result.findings)


def test_steps_are_unique_and_in_order() -> None:
    """Each code has a place of its own in the procedure, and the table stands in that order."""
    places = [tuple(int(part) for part in row.step.split(".")) for row in CHECKS.values()]
    assert len(set(places)) == len(places)
    assert [place[0] for place in places] == sorted(place[0] for place in places)
