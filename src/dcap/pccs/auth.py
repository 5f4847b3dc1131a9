"""Tokens: who may register machines (user), and who may do everything else (admin).

    tokens = Tokens(settings.tokens_file, user=hashes, admin=hashes)
    tokens.check(request.header("user-token"), "user")

Kept are hashes alone: SHA-512, as Intel's PCCS has them in its configuration, so that its tokens go on
to work. That is enough for tokens of 256 random bits; chosen ones that could be guessed are refused. A
token is shown once, when it is made, and kept only then: whoever is interrupted in between has seen a
token that does not count, and no service has one that nobody knows. The file is read again when it
changes, so that what `dcap pccs token` does counts at once; while it cannot be opened, what was read
before holds. Tokens and hashes never stand in messages.

Source: `pccs-and-pcs-api.md` §1.1.
"""

import hashlib
import hmac
import os
import pwd
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from dcap.errors import ConfigError
from dcap.pccs.private_files import write_private

Role: TypeAlias = Literal["user", "admin"]
ROLES: Final[tuple[Role, ...]] = ("user", "admin")
#: What a chosen token must have at least: length, and different characters.
LEAST_LENGTH: Final = 20
LEAST_DIFFERENT: Final = 10
MOST_LENGTH: Final = 512


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token that is known: by a name, and its hash (SHA-512, hex)."""

    name: str
    role: Role
    hash: str
    created: datetime

    def __repr__(self) -> str:
        return f"<Token {self.name}>"


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    schema: int = 1
    tokens: tuple[Token, ...] = ()


def hash_of(token: str) -> str:
    """What is kept of a token: SHA-512 of the header's value, as Intel's PCCS has it."""
    # A header's bytes are Latin-1 here; what the client wrote was UTF-8.
    try:
        raw = token.encode("latin-1")
    except UnicodeEncodeError:
        raw = token.encode()
    return hashlib.sha512(raw).hexdigest()


def is_weak(token: str) -> bool:
    """Whether a chosen token could be guessed, or cannot be sent in a header."""
    sendable = token.isascii() and token.isprintable() and " " not in token
    return not (
        sendable
        and LEAST_LENGTH <= len(token) <= MOST_LENGTH
        and len(set(token)) >= LEAST_DIFFERENT
    )


class Tokens:
    """The tokens of a service: those of its file, and hashes from its settings. For threads."""

    def __init__(
        self,
        file: Path,
        *,
        user: Iterable[str] = (),
        admin: Iterable[str] = (),
        report: Callable[[ConfigError], None] = lambda _: None,
    ) -> None:
        """`report` is told, once a change, that the file cannot be read."""
        self._file = file
        self._report = report
        self._settings: Mapping[Role, tuple[str, ...]] = {
            "user": tuple(user),
            "admin": tuple(admin),
        }
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._kept: tuple[Token, ...] = ()
        self._fault: ConfigError | None = None

    def check(self, token: str | None, role: Role) -> bool:
        """Whether a token, as it was sent, is one of the role's."""
        if not token or len(token) > MOST_LENGTH:
            return False
        given = hash_of(token)
        # Every hash is compared, so that time tells nothing.
        found = [hmac.compare_digest(given, one) for one in self._hashes(role)]
        return any(found)

    def has(self, role: Role) -> bool:
        """Whether the role has any token."""
        return bool(self._hashes(role))

    def fault(self) -> ConfigError | None:
        """What keeps the file from being read as it is now, if anything does."""
        self._hashes("admin")
        with self._lock:
            return self._fault

    def all(self) -> tuple[Token, ...]:
        """The tokens of the file. Raises `ConfigError` (`pccs-tokens`)."""
        try:
            with self._file.open("rb") as opened:
                mode = os.fstat(opened.fileno()).st_mode
                data = opened.read()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise _shut(self._file, error) from None
        if mode & stat.S_IWOTH:
            raise _unusable(self._file, "everybody may write it", f"chmod o-w {self._file}")
        try:
            return msgspec.json.decode(data, type=_File).tokens
        except msgspec.MsgspecError:
            raise _unusable(
                self._file,
                "it is damaged",
                "restore it; or remove it, and with it all tokens: new ones are made at the next start",
            ) from None

    def new(
        self,
        name: str,
        role: Role,
        *,
        at: datetime,
        chosen: str | None = None,
        show: Callable[[str], None] = lambda _: None,
    ) -> str:
        """Make a token; gives it, for the only time. Raises `ConfigError` (`pccs-token`).

        `show` is told it before it is kept: what it raises is raised, and nothing is kept.
        """
        token = secrets.token_urlsafe(32) if chosen is None else chosen
        if is_weak(token):
            raise _refused(
                f"a token has at least {LEAST_LENGTH} characters of ASCII, {LEAST_DIFFERENT} of them "
                "different, and no blanks"
            )
        tokens = self.all()
        if any(one.name == name for one in tokens):
            raise _refused(
                f'there is a token "{name}" already',
                f"choose another name; or revoke it first: dcap pccs token revoke {name}",
            )
        if not name or len(name) > 64 or not name.isprintable():
            raise _refused(
                "its name is empty, longer than 64 characters, or not printable",
                "call it by its use, such as rack-7",
            )
        show(token)
        made = Token(name=name, role=role, hash=hash_of(token), created=at)
        self._write((*tokens, made))
        return token

    def revoke(self, name: str) -> None:
        """Forget a token. Raises `ConfigError` (`pccs-token`) where there is none of that name."""
        tokens = self.all()
        rest = tuple(one for one in tokens if one.name != name)
        if len(rest) == len(tokens):
            raise _refused(f'there is no token "{name}"', "`dcap pccs token list` shows the names")
        self._write(rest)

    def make_missing(self, *, at: datetime, show: Callable[[Role, str], None]) -> tuple[Role, ...]:
        """At the first start: a token for each role that has none, shown before it is kept."""
        missing = tuple(role for role in ROLES if not self.has(role))
        for role in missing:
            self.new(role, role, at=at, show=partial(show, role))
        return missing

    def _write(self, tokens: tuple[Token, ...]) -> None:
        write_private(self._file, msgspec.json.encode(_File(tokens=tokens)) + b"\n")
        with self._lock:
            self._stamp = None

    def _hashes(self, role: Role) -> list[str]:
        with self._lock:
            stamp = _stamp(self._file)
            if stamp != self._stamp:
                self._fault = None
                try:
                    self._kept = self.all()
                except ConfigError as error:
                    self._fault = error
                    self._report(error)
                    if not isinstance(error, _Shut):
                        self._kept = ()  # shut, rather than open
                    # Else nobody has revoked anything: what was read before holds.
                self._stamp = stamp
            kept = self._kept
        return [*self._settings[role], *(one.hash for one in kept if one.role == role)]


class _Shut(ConfigError):  # noqa: N818 - what it is
    """The file is there, and may not be opened."""


def _stamp(file: Path) -> tuple[int, ...]:
    """What changes with the file, its owner and its permissions."""
    try:
        status = file.stat()
    except OSError:
        return (0,)
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _refused(why: str, mend: str = "let `dcap pccs token new` make one") -> ConfigError:
    return ConfigError("pccs-token", f"the token is refused: {why}", mend=mend)


def _unusable(file: Path, why: str, mend: str) -> ConfigError:
    return ConfigError(
        "pccs-tokens", f"the file of tokens cannot be used: {why}", where=str(file), mend=mend
    )


def _shut(file: Path, error: OSError) -> ConfigError:
    why, user = error.strerror or "", _name(os.geteuid())
    with suppress(OSError):
        owner = file.stat().st_uid
        if owner != os.geteuid():
            why = f"it belongs to {_name(owner)}, and this is {user}"
    return _Shut(
        "pccs-tokens",
        f"the file of tokens cannot be opened: {why}",
        where=str(file),
        mend=f"give it to the user that the service runs as: sudo chown {user} {file}",
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
