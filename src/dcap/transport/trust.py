"""Whose certificates a server may show: a file given, else the environment's, else the system's.

Not here: Intel's certificates (`verification.anchors`). TLS protects the way, and the privacy of what
is asked; what is fetched is proven by its own signatures, whatever the way was.

Source: RFC 5280; OpenSSL's `SSL_CERT_FILE`, `SSL_CERT_DIR` and `X509_V_FLAG_PARTIAL_CHAIN`.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dcap.errors import ConfigError

if TYPE_CHECKING:
    from dcap.transport.connection import TlsContext

#: Where systems keep their certificates, for a Python whose OpenSSL was built to look elsewhere.
_SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
#: Far more than any bundle has.
_MAX_CA_FILE = 16 * 1024 * 1024


class Trust:
    """The certificates of a `Network`; TLS contexts are made when the first one is needed.

    `checked` says whether a server has to show who it is. A file given is a pin: it is checked against
    even with `verify=False`.
    """

    def __init__(self, ca: Path | None, *, verify: bool, environ: Mapping[str, str]) -> None:
        self.checked = verify or ca is not None
        self._ca = None if ca is None else _read_certificates(ca)
        self._ca_name = "" if ca is None else str(ca)
        self._file = environ.get("SSL_CERT_FILE", "")
        self._directory = environ.get("SSL_CERT_DIR", "")
        self._contexts: dict[str, TlsContext] = {}
        self._lock = threading.Lock()

    def for_origin(self) -> "TlsContext":
        """For the server that is asked."""
        return self._context("pinned" if self._ca else "system" if self.checked else "none")

    def for_proxy(self) -> "TlsContext":
        """For a proxy that speaks TLS itself: a pin is about the origin, not about it."""
        return self._context("proxy")

    def for_a_look(self) -> "TlsContext":
        """Checks nothing: to say what a server that was refused had shown. Never to send anything."""
        return self._context("none")

    def _context(self, kind: str) -> "TlsContext":
        with self._lock:
            if kind not in self._contexts:
                self._contexts[kind] = self._make(kind)
            return self._contexts[kind]

    def _make(self, kind: str) -> "TlsContext":
        import ssl  # noqa: PLC0415 - only who speaks TLS pays for it

        from dcap.transport.connection import PROXY_HANDSHAKE, TlsContext  # noqa: PLC0415

        context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
        if kind == "proxy":
            context.phase = PROXY_HANDSHAKE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if kind == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        # Whatever is given is an end of the chain, also where it is no CA: `openssl req -x509`.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if kind == "pinned":
            _load(context, self._ca_name, cadata=self._ca)
        else:
            self._load_system(context)
        return context

    def _load_system(self, context: "TlsContext") -> None:
        """As OpenSSL does it: each variable stands in for its own half of the system's places."""
        import ssl  # noqa: PLC0415

        places = ssl.get_default_verify_paths()
        if self._file:
            _load(context, f"SSL_CERT_FILE={self._file}", cafile=self._file)
        elif Path(places.openssl_cafile).is_file():
            _load(context, places.openssl_cafile, cafile=places.openssl_cafile)
        directory = self._directory or places.openssl_capath
        for path in directory.split(":"):
            if Path(path).is_dir():
                _load(context, path, capath=path)
        if self._file or self._directory or Path(places.openssl_capath).is_dir():
            return
        for path in _SYSTEM_FILES:
            if Path(path).is_file():
                _load(context, path, cafile=path)
                return


def _read_certificates(path: Path) -> str:
    """The text of a file with certificates."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_CA_FILE + 1)
    except OSError as error:
        raise _unusable(f"the file cannot be read: {error.strerror}", str(path)) from None
    if b"-----BEGIN CERTIFICATE-----" not in text or len(text) > _MAX_CA_FILE:
        raise _unusable("the file holds no certificates in PEM", str(path))
    return "\n".join(_pem_blocks(text.decode("latin-1"), str(path)))


def _pem_blocks(text: str, where: str) -> list[str]:
    """The certificates alone: what stands between them may be in any encoding."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    found = []
    for part in text.split(begin)[1:]:
        body, closed, _ = part.partition(end)
        if not closed or not body.isascii():
            raise _unusable("a certificate in the file is cut off or garbled", where)
        found.append(f"{begin}{body}{end}\n")
    return found


def _load(
    context: "TlsContext",
    where: str,
    *,
    cafile: str | None = None,
    capath: str | None = None,
    cadata: str | None = None,
) -> None:
    try:
        context.load_verify_locations(cafile=cafile, capath=capath, cadata=cadata)
    except (OSError, ValueError):
        raise _unusable("there are no certificates that can be read", where) from None


def _unusable(what: str, where: str) -> ConfigError:
    return ConfigError(
        "network-ca",
        what,
        where=where,
        mend="give a file of certificates in PEM: the CA's, or the server's own",
    )
