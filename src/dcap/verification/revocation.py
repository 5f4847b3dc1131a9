"""Revocation lists: is this list genuine, of this issuer, and is that certificate on it?

The issuer is always a certificate of a chain already read, never one that the list brings along
(pitfall 17). A list without a next update is refused: it would be good for ever.

Source: RFC 5280 §6.3; Intel's CRL profile; `verification.md` §4.
"""

from datetime import datetime
from typing import Protocol

from dcap.errors import FormatError
from dcap.formats.certificate import Certificate, organization
from dcap.formats.crl import Crl
from dcap.verification.chain import Window
from dcap.verification.findings import Ledger
from dcap.verification.signature import Signatures


class Issuer(Protocol):
    """Who issues a list: a certificate, or the trust anchor itself."""

    @property
    def subject(self) -> bytes:
        """Its Name, in DER."""

    @property
    def public_key(self) -> bytes:
        """Its key, 64 bytes X‖Y."""

    @property
    def subject_key_id(self) -> bytes | None:
        """The identifier of its key."""

    @property
    def common_name(self) -> str:
        """Its name, for people."""


def read(name: str, data: bytes, ledger: Ledger) -> Crl | None:
    """Step 1 of a list: read it."""
    try:
        crl = Crl.parse(data)
    except FormatError as error:
        ledger.failed(f"{name}-format", str(error))
        return None
    ledger.passed(f"{name}-format")
    return crl


def prove(
    name: str,
    crl: Crl,
    issuer: Issuer,
    at: datetime,
    signatures: Signatures,
    ledger: Ledger,
) -> bool:
    """Steps 2 to 5 of a list: it is by `issuer` and already issued."""
    same = crl.issuer == issuer.subject and (
        crl.authority_key_id is None or crl.authority_key_id == issuer.subject_key_id
    )
    named = ledger.check(
        f"{name}-issuer",
        same,
        lambda: _another(crl, issuer),
    )
    lacking = _lacking(crl)
    complete = ledger.check(f"{name}-extensions", not lacking, lacking)
    signed = ledger.check(
        f"{name}-signature",
        signatures.valid(issuer.public_key, crl.signature, crl.tbs),
        lambda: f'the list is not signed by the key of "{issuer.common_name}"',
    )
    issued = ledger.check(
        f"{name}-validity-start",
        crl.this_update <= at,
        lambda: f"issued at {crl.this_update:%Y-%m-%dT%H:%M:%SZ}, after {at:%Y-%m-%dT%H:%M:%SZ}",
    )
    return named and complete and signed and issued


def _another(crl: Crl, issuer: Issuer) -> str:
    """Whose the list is instead, by what tells the two apart: name, organization, or key."""
    name = issuer.common_name
    if crl.issuer_common_name != name:
        return f'the list is of "{crl.issuer_common_name}", not of "{name}"'
    if crl.issuer == issuer.subject:
        keys = f"{_key(crl.authority_key_id)}, not {_key(issuer.subject_key_id)}"
        return f'the list is of another key of "{name}": {keys}'
    theirs, ours = organization(crl.issuer), organization(issuer.subject)
    if theirs == ours:
        return f'the list is of another "{name}": the rest of its name differs'
    return f'the list is of the "{name}" of "{theirs}", not of that of "{ours}"'


def _key(identifier: bytes | None) -> str:
    return "none is named" if identifier is None else identifier.hex()[:16]


def _lacking(crl: Crl) -> str:
    if crl.next_update is None:
        return "the list has no next update: it would never expire"
    if crl.crl_number is None:
        return "the list has no CRL number"
    if crl.authority_key_id is None:
        return "the list has no authority key identifier"
    if crl.unknown_critical:
        return "the list has a critical extension that is not of the profile"
    return ""


def not_revoked(code: str, certificate: Certificate, crl: Crl, ledger: Ledger) -> bool:
    """Whether a certificate of the list's issuer is not on it."""
    return ledger.check(
        code,
        not crl.lists(certificate.serial),
        lambda: (
            f'"{certificate.common_name}" is on the revocation list '
            f"{crl.crl_number} of {crl.this_update:%Y-%m-%d}"
        ),
    )


def window(name: str, crl: Crl) -> Window:
    """From this update to next update."""
    return Window(name, crl.this_update, crl.next_update or crl.this_update, crl.this_update)
