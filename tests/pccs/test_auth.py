"""`dcap.pccs.auth`: who has a token, and that nobody else has one."""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dcap.errors import ConfigError
from dcap.pccs.auth import ROLES, Tokens, is_weak

AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_token_opens_its_own_role_alone(tmp_path: Path) -> None:
    """A user token is no admin token, and nothing else is a token."""
    tokens = Tokens(tmp_path / "tokens.json")
    user = tokens.new("rack 1", "user", at=AT)
    assert tokens.check(user, "user")
    for wrong in (None, "", user[:-1], user + "x", user.lower(), "é" * 30, "x" * 10_000):
        assert not tokens.check(wrong, "user")
    assert not tokens.check(user, "admin")


def test_the_file_has_hashes_alone_and_one_owner(tmp_path: Path) -> None:
    """Neither the token nor anything like it stands in the file; it is 0600."""
    file = tmp_path / "tokens.json"
    tokens = Tokens(file)
    token = tokens.new("a", "admin", at=AT)
    assert token.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert token not in repr(tokens.all())
    assert tokens.all()[0].hash not in repr(tokens.all())


def test_tokens_of_intels_pccs_go_on_to_work(tmp_path: Path) -> None:
    """The hash of its configuration, SHA-512 of what is sent, opens the same door."""
    intels = hashlib.sha512(b"chosen long ago").hexdigest()
    tokens = Tokens(tmp_path / "tokens.json", user=[intels])
    assert tokens.check("chosen long ago", "user")
    assert not tokens.check("chosen long ago", "admin")
    accented = hashlib.sha512("pässwörd".encode()).hexdigest()
    tokens = Tokens(tmp_path / "tokens.json", admin=[accented])
    sent = "pässwörd".encode().decode("latin-1")
    assert tokens.check(sent, "admin")


def test_what_another_process_does_counts_at_once(tmp_path: Path) -> None:
    """A token made elsewhere opens; once it is revoked there, it does not."""
    file = tmp_path / "tokens.json"
    serving, administrator = Tokens(file), Tokens(file)
    assert not serving.check("x", "admin")
    token = administrator.new("a", "admin", at=AT)
    assert serving.check(token, "admin")
    administrator.revoke("a")
    assert not serving.check(token, "admin")
    assert not serving.has("admin")


def test_a_file_that_is_damaged_opens_nothing(tmp_path: Path) -> None:
    """Shut rather than open; hashes from the settings still hold, and the administrator is told."""
    file = tmp_path / "tokens.json"
    tokens = Tokens(file, user=[hashlib.sha512(b"u").hexdigest()])
    admin = tokens.new("a", "admin", at=AT)
    file.write_bytes(file.read_bytes()[:-20])
    assert not tokens.check(admin, "admin")
    assert tokens.check("u", "user")
    with pytest.raises(ConfigError) as caught:
        tokens.all()
    assert caught.value.code == "pccs-tokens"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "password",
        "a" * 40,
        "abababababababababababababab",
        "with blanks in it 1234567",
        "é" * 30,
    ],
)
def test_weak_tokens_are_refused(tmp_path: Path, token: str) -> None:
    """Short, of few characters, or not to be sent in a header: nothing is kept, nothing is shown."""
    assert is_weak(token)
    tokens = Tokens(tmp_path / "tokens.json")
    with pytest.raises(ConfigError) as caught:
        tokens.new("a", "user", at=AT, chosen=token)
    assert caught.value.code == "pccs-token"
    assert not token or token not in str(caught.value)
    assert tokens.all() == ()


def test_a_good_token_of_ones_own_is_taken(tmp_path: Path) -> None:
    """Long, of many characters."""
    tokens = Tokens(tmp_path / "tokens.json")
    own = "correct-horse-battery-staple-7"
    assert tokens.new("a", "user", at=AT, chosen=own) == own
    assert tokens.check(own, "user")


def test_the_first_start_makes_what_is_missing(tmp_path: Path) -> None:
    """A token for each role without one, once; a role with a hash in the settings needs none."""
    tokens = Tokens(tmp_path / "tokens.json", user=["ab" * 64])
    shown: dict[str, str] = {}
    assert tokens.make_missing(at=AT, show=shown.__setitem__) == ("admin",)
    assert len(shown["admin"]) >= 43
    assert tokens.check(shown["admin"], "admin")
    assert tokens.make_missing(at=AT, show=shown.__setitem__) == ()


class Ended(Exception):  # noqa: N818 - what it is
    """The process ends here."""


def test_whoever_ends_a_first_start_has_seen_what_counts(tmp_path: Path) -> None:
    """At whichever token it ends, every role has one that was seen, or is given one at the next."""
    tokens = Tokens(tmp_path / "tokens.json")
    seen: dict[str, str] = {}

    def killed(role: str, token: str) -> None:
        if role == "admin":
            raise Ended
        seen[role] = token

    with pytest.raises(Ended):
        tokens.make_missing(at=AT, show=killed)
    assert [one.role for one in tokens.all()] == ["user"]
    tokens.make_missing(at=AT, show=seen.__setitem__)
    assert all(tokens.check(seen[role], role) for role in ROLES)


def test_a_token_that_could_not_be_shown_is_not_kept(tmp_path: Path) -> None:
    """Its name is free again."""
    tokens = Tokens(tmp_path / "tokens.json")

    def fail(_: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        tokens.new("a", "user", at=AT, show=fail)
    assert tokens.all() == ()
    assert tokens.check(tokens.new("a", "user", at=AT), "user")


def test_names_are_told_apart(tmp_path: Path) -> None:
    """A second token of a name, and the revocation of none, are refused."""
    tokens = Tokens(tmp_path / "tokens.json")
    tokens.new("a", "user", at=AT)
    for act in (lambda: tokens.new("a", "admin", at=AT), lambda: tokens.revoke("b")):
        with pytest.raises(ConfigError) as caught:
            act()
        assert caught.value.code == "pccs-token"
    with pytest.raises(ConfigError):
        tokens.new("x" * 65, "user", at=AT)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_opens_nothing(tmp_path: Path) -> None:
    """Permissions that are wrong shut the door too."""
    tokens = Tokens(tmp_path / "tokens.json")
    token = tokens.new("a", "user", at=AT)
    (tmp_path / "tokens.json").chmod(0)
    assert not Tokens(tmp_path / "tokens.json").check(token, "user")


def test_tokens_hold_while_their_file_cannot_be_opened(tmp_path: Path) -> None:
    """What was read before counts on, and the log is told once; what then is there counts again."""
    file, aside = tmp_path / "tokens.json", tmp_path / "aside"
    told: list[ConfigError] = []
    tokens = Tokens(file, report=told.append)
    token = Tokens(file).new("a", "admin", at=AT)
    assert tokens.check(token, "admin")
    assert tokens.fault() is None
    file.rename(aside)
    file.mkdir()  # what not even root can open as a file
    assert tokens.check(token, "admin")
    fault = tokens.fault()
    assert fault is not None
    assert "cannot be opened" in fault.what
    assert tokens.has("admin")
    assert [error.code for error in told] == ["pccs-tokens"]
    assert "chown" in told[0].mend
    file.rmdir()
    assert not tokens.check(token, "admin")
    aside.rename(file)
    assert tokens.check(token, "admin")
    assert tokens.fault() is None


def test_a_change_of_permissions_alone_is_noticed(tmp_path: Path) -> None:
    """Everybody may write the file: it opens nothing, until nobody else may."""
    file = tmp_path / "tokens.json"
    tokens = Tokens(file)
    token = tokens.new("a", "admin", at=AT)
    assert tokens.check(token, "admin")
    file.chmod(0o666)
    assert not tokens.check(token, "admin")
    file.chmod(0o600)
    assert tokens.check(token, "admin")


def test_a_refusal_says_what_helps(tmp_path: Path) -> None:
    """A name that is taken is not mended by making a token, nor one that nobody has."""
    tokens = Tokens(tmp_path / "tokens.json")
    tokens.new("a", "user", at=AT)
    with pytest.raises(ConfigError) as taken:
        tokens.new("a", "user", at=AT)
    with pytest.raises(ConfigError) as unknown:
        tokens.revoke("b")
    assert "revoke a" in taken.value.mend
    assert "token list" in unknown.value.mend
