"""A certificate that was refused, in words: for whom it is, by whom, until when.

Nothing of it is believed. Not here: Intel's certificates (`formats.certificate`).

Source: RFC 5280.
"""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

#: More names than this are not read by anybody.
_NAMES = 5
_NAME_LENGTH = 200


def described(der: bytes | None) -> str:
    """Subject, issuer, other names and days of a certificate. Raises `ValueError`."""
    if der is None:
        return "none"
    try:
        certificate = x509.load_der_x509_certificate(der)
        return (
            f"subject {_name(certificate.subject)}, issuer {_name(certificate.issuer)}, "
            f"names {_names(certificate)}, "
            f"valid from {certificate.not_valid_before_utc:%Y-%m-%d} "
            f"to {certificate.not_valid_after_utc:%Y-%m-%d}"
        )
    except (UnsupportedAlgorithm, x509.InvalidVersion, TypeError) as error:
        raise ValueError("not a certificate") from error


def _name(name: x509.Name) -> str:
    return name.rfc4514_string()[:_NAME_LENGTH] or "(none)"


def _names(certificate: x509.Certificate) -> str:
    """The hosts that it is good for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return "(none)"
    names = [str(name.value)[:_NAME_LENGTH] for name in extension.value]
    return ", ".join(names[:_NAMES]) + (" …" if len(names) > _NAMES else "")
