"""A TLS certificate that a server has shown, in values: for whom, by whom, until when.

Nothing of it is believed; its text is safe for a terminal. Not here: whether it is trusted (OpenSSL
says so, in `probe`), and Intel's certificates (`formats.certificate`).

Source: RFC 5280, RFC 6125.
"""

import hashlib
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address

import msgspec

from dcap.errors import printable


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What it says. `fits` is whether it is for the host that was asked."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    self_signed: bool
    fits: bool
    fingerprint: str

    @property
    def evidence(self) -> tuple[str, ...]:
        """As lines."""
        names = ", ".join(self.names) or "none: new libraries do not look at the subject's name"
        by = "itself" if self.self_signed else self.issuer
        return (
            f"certificate of {self.subject}, issued by {by}",
            f"its names (SAN): {names}",
            f"valid from {self.not_before:%Y-%m-%d %H:%M} to {self.not_after:%Y-%m-%d %H:%M} UTC",
            f"SHA-256 {self.fingerprint}",
        )


def shown_by(der: bytes | None, host: str) -> Shown | None:
    """What a server has shown; `None` where that is no certificate that can be read."""
    from cryptography import x509  # noqa: PLC0415 - slow to load, and only TLS needs it
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415

    if der is None:
        return None
    try:
        read = x509.load_der_x509_certificate(der)
        names: list[str] = []
        with suppress(x509.ExtensionNotFound, x509.DuplicateExtension):
            extension = read.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            names = [printable(str(name.value)[:253]) for name in extension.value]
        return Shown(
            subject=printable(read.subject.rfc4514_string()[:200]) or "(no name)",
            issuer=printable(read.issuer.rfc4514_string()[:200]) or "(no name)",
            names=tuple(names[:20]),
            not_before=read.not_valid_before_utc,
            not_after=read.not_valid_after_utc,
            self_signed=read.subject == read.issuer,
            fits=any(_fits(name, host) for name in names),
            fingerprint=hashlib.sha256(der).hexdigest().upper(),
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _fits(name: str, host: str) -> bool:
    """Whether a name of a certificate is this host: an asterisk stands for one whole label."""
    with suppress(ValueError):
        return ip_address(name) == ip_address(host)
    wanted, given = host.lower().rstrip(".").split("."), name.lower().rstrip(".").split(".")
    if given[0] == "*":
        return wanted[1:] == given[1:] and len(given) > 2
    return wanted == given
