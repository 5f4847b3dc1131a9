"""Who acts: sessions of the console, opened with the admin token, and what guards their forms.

    session = sign_in(parts, token)          # None where it is not an admin token
    session = session_of(parts, cookie)      # None where there is none, or it ended
    session.owns(form_token)                 # the form was made for this session

A session is 256 random bits in a cookie that scripts cannot read. The store keeps, as a lease that ends
by itself, the session's digest and a witness of the token that opened it: every worker and replica knows
the session, whoever reads the database can use none, and a token that is revoked ends its sessions.
What forms carry is derived from the session, one way. Not here: HTTP (`application`), tokens (`auth`).

Source: OWASP session management and CSRF cheat sheets; RFC 6265bis (`__Host-`).
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from dcap.errors import ConfigError
from dcap.pccs.assembly import Parts
from dcap.pccs.auth import hash_of

COOKIE: Final = "__Host-dcap-console"
#: How long a session lasts, whatever is done in it.
SESSION_SECONDS: Final = 4 * 3600
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")
#: What a browser says of a request that a person made in the console, or by typing.
_OURS: Final = ("same-origin", "none")


class Session(msgspec.Struct, frozen=True):
    """An open session. Its secret is the cookie's value."""

    secret: str

    def __repr__(self) -> str:
        return "<Session>"

    @property
    def form_token(self) -> str:
        """What each form of this session carries."""
        return self._derived("form")

    def owns(self, form_token: str) -> bool:
        """Whether a form was made for this session."""
        return hmac.compare_digest(self.form_token.encode(), form_token.encode())

    def handle(self, *parts: str) -> str:
        """A name for a row, of this session alone, that says nothing of its identifiers."""
        return self._derived("row", *parts)

    @property
    def lease(self) -> str:
        """The key that the store knows it by."""
        return f"console-session/{hashlib.sha256(self.secret.encode()).hexdigest()}"

    def _derived(self, *parts: str) -> str:
        state = hmac.new(self.secret.encode(), digestmod=hashlib.sha256)
        for part in parts:
            raw = part.encode("utf-8", "surrogatepass")
            state.update(len(raw).to_bytes(4, "big") + raw)
        return state.hexdigest()


def sign_in(parts: Parts, token: str) -> Session | None:
    """A new session for an admin token. Raises the store's errors."""
    if not parts.tokens.check(token, "admin"):
        parts.service.count("bad-token")
        return None
    session = Session(secrets.token_urlsafe(32))
    witness = _witness(hash_of(token))
    opened = parts.store.leases.acquire(session.lease, witness, SESSION_SECONDS)
    return session if opened else None


def session_of(parts: Parts, secret: str | None) -> Session | None:
    """The session of a cookie, if it is open and its token still counts. Raises the store's errors."""
    if secret is None or _SECRET.fullmatch(secret) is None:
        return None
    session = Session(secret)
    opened_by = parts.store.leases.holder(session.lease)
    return session if opened_by is not None and opened_by in _witnesses(parts) else None


def sign_out(parts: Parts, session: Session) -> None:
    """End a session, everywhere. Raises the store's errors."""
    opened_by = parts.store.leases.holder(session.lease)
    if opened_by is not None:
        parts.store.leases.release(session.lease, opened_by)


def _witnesses(parts: Parts) -> set[str]:
    """Of every admin token that counts now."""
    try:
        kept = parts.tokens.all()
    except ConfigError:
        kept = ()  # shut, rather than open
    hashes = (one.hash for one in kept if one.role == "admin")
    return {_witness(one) for one in (*parts.settings.admin_token_hash, *hashes)}


def _witness(token_hash: str) -> str:
    return hashlib.sha256(b"dcap console " + token_hash.encode()).hexdigest()


def is_from_here(headers: Mapping[str, str]) -> bool:
    """Whether a form was sent from a page of this console, by what the browser says of it.

    Browsers say one or both; who says neither is no browser, and has no cookies that others could use.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in _OURS
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    here = headers.get("host", "").lower()
    return parts.scheme == "https" and parts.netloc.lower() == here != ""
