"""The contract, what wants a token: registration, the queue, refresh, import.

Source: `pccs-and-pcs-api.md` §1.1-1.9; `quote-provider.md` §4.2, §7.
"""

import json
from pathlib import Path

import pytest

from dcap.api.http import Headers
from dcap.api.pccs_responses import SENTENCES
from dcap.errors import FormatError
from dcap.pccs.mode import Mode
from dcap.pccs.trust import Forged
from pccs.contract.expected import (
    BAD,
    JSON_UTF8,
    KNOWN,
    LARGE,
    NO_TOKEN,
    OK,
    SENTENCE_TYPE,
    UNKNOWN,
    expect_refused,
    expect_usual,
    in_mode,
)
from pccs.rig import ADMIN, JSON_TYPE, USER, Rig, manifest_of, pck_line, record_of


@pytest.mark.parametrize("token", [None, "", "wrong", "the user's token "])
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    ("method", "line", "header"),
    [
        ("POST", "platforms", "user-token"),
        ("GET", "platforms", "admin-token"),
        ("HEAD", "platforms", "admin-token"),
        ("PUT", "platformcollateral", "admin-token"),
        ("GET", "refresh", "admin-token"),
        ("POST", "refresh", "admin-token"),
        ("PUT", "appraisalpolicy", "admin-token"),
    ],
)
def test_a_wrong_token_is_401(
    full: Rig, method: str, line: str, header: str, version: int, token: str | None
) -> None:
    """And it is looked at before the body: a huge one makes no difference."""
    headers: Headers = () if token is None else ((header, token),)
    response = full.ask(
        line, version=version, method=method, headers=headers, body=b"x" * 3_000_000
    )
    assert response.status == NO_TOKEN
    assert response.header("Dcap-Cause") == "bad-token"
    expected = b"" if method == "HEAD" else SENTENCES[NO_TOKEN].encode()
    assert response.body == expected


def test_the_users_token_is_not_the_administrators(full: Rig) -> None:
    """Each route has its role."""
    token = USER[0][1]
    assert full.ask("platforms", headers=(("admin-token", token),)).status == NO_TOKEN


def test_a_body_over_the_limit_is_413(full: Rig) -> None:
    """With the right token."""
    response = full.ask(
        "platforms", method="POST", headers=(*USER, *JSON_TYPE), body=b"x" * 3_000_000
    )
    expect_refused(response, LARGE, "too-large")


GOOD = {
    "qe_id": "AA" * 16,
    "pce_id": "0000",
    "cpu_svn": "00" * 16,
    "pce_svn": "0000",
    "enc_ppid": "11" * 384,
}


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"[{}]",
        b'"text"',
        b"\xff",
        json.dumps({**GOOD, "qe_id": ""}).encode(),
        json.dumps({**GOOD, "qe_id": "A" * 261}).encode(),
        json.dumps({**GOOD, "qe_id": 7}).encode(),
        json.dumps({**GOOD, "pce_id": "00"}).encode(),
        json.dumps({**GOOD, "cpu_svn": ""}).encode(),
        json.dumps({**GOOD, "cpu_svn": "", "platform_manifest": "00"}).encode(),
        json.dumps({**GOOD, "pce_svn": "XXXX"}).encode(),
        json.dumps({**GOOD, "enc_ppid": "11" * 256}).encode(),
        json.dumps({**GOOD, "platform_manifest": 5}).encode(),
        json.dumps({**GOOD, "platform_manifest": "odd"}).encode(),
        json.dumps({name: GOOD[name] for name in ("qe_id", "pce_id")}).encode(),
        json.dumps({k: v for k, v in GOOD.items() if k != "enc_ppid"}).encode(),
    ],
)
def test_a_malformed_registration_is_400(full: Rig, body: bytes, version: int) -> None:
    """Bad JSON, a wrong type, a wrong length; and an empty SVN even beside a manifest."""
    response = full.ask(
        "platforms", version=version, method="POST", headers=(*USER, *JSON_TYPE), body=body
    )
    expect_usual(response, version)
    expect_refused(response, BAD, "bad-request")


def test_a_registration_of_another_media_type_is_400(full: Rig) -> None:
    """Its body counts as empty."""
    body = json.dumps(GOOD).encode()
    headers = (*USER, ("Content-Type", "text/plain"))
    response = full.ask("platforms", method="POST", headers=headers, body=body)
    expect_refused(response, BAD, "bad-request")


@pytest.mark.parametrize("update", ["late", "", "standard,early"])
def test_a_registration_of_an_unknown_update_is_400(full: Rig, update: str) -> None:
    """It is standard, early or all."""
    expect_refused(full.register(GOOD, line=f"platforms?update={update}"), BAD, "bad-request")


@pytest.mark.parametrize("update", ["", "?update=standard", "?update=early", "?update=ALL"])
def test_a_registration_succeeds(fresh: Rig, update: str) -> None:
    """200 with the sentence, and the machine's certificate can be had at once."""
    machine = fresh.world.platform()
    response = fresh.register(record_of(machine), line=f"platforms{update}")
    assert (response.status, response.body) == (OK, b"Operation successful.")
    assert response.header("Content-Type") == SENTENCE_TYPE
    assert fresh.ask(pck_line(machine, with_ppid=False)).status == OK


def test_unknown_members_of_a_registration_do_no_harm(fresh: Rig) -> None:
    """Tools send more than is asked for."""
    machine = fresh.world.platform()
    assert fresh.register(record_of(machine, colour="blue")).status == OK


def test_a_registration_as_a_form_succeeds(fresh: Rig) -> None:
    """Intel's server reads urlencoded bodies too."""
    record = record_of(fresh.world.platform())
    body = "&".join(f"{name}={value}" for name, value in record.items() if value).encode()
    headers = (*USER, ("Content-Type", "application/x-www-form-urlencoded"))
    assert fresh.ask("platforms", method="POST", headers=headers, body=body).status == OK


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("source", ["other", "[", "[00]", "[00906ED50000,]", "REG", ""])
def test_a_list_of_an_unknown_source_is_400(full: Rig, source: str, version: int) -> None:
    """It is reg, reg_na, or FMSPCs in brackets."""
    response = full.ask(f"platforms?source={source}", version=version, headers=ADMIN)
    expect_refused(response, BAD, "bad-request")


def test_the_queue_is_handed_out_once(fresh: Rig) -> None:
    """GET /platforms drains it, HEAD and `keep` do not; its members are as Intel's tool reads them."""
    offline = in_mode(fresh, Mode.OFFLINE)
    single, multi = fresh.world.platform("one", ca="processor"), fresh.world.platform("many")
    assert offline.register(record_of(single)).status == OK
    assert offline.register(manifest_of(multi)).status == OK
    head = offline.ask("platforms", method="HEAD", headers=ADMIN)
    assert (head.status, head.body, head.header("platform-count")) == (OK, b"", "2")
    kept = offline.ask("platforms?keep=true", headers=ADMIN)
    drained = offline.ask("platforms?source=reg", version=3, headers=ADMIN)
    assert json.loads(kept.body) == json.loads(drained.body)
    assert drained.header("Content-Type") == JSON_UTF8
    assert drained.header("platform-count") == "2"
    rows = {row["qe_id"]: row for row in json.loads(drained.body)}
    assert rows[single.qe_id.hex().upper()] == {
        "qe_id": single.qe_id.hex().upper(),
        "pce_id": "0000",
        "cpu_svn": single.cpu_svn.hex().upper(),
        "pce_svn": "0D00",
        "enc_ppid": single.encrypted_ppid.hex(),
        "platform_manifest": "",
    }
    assert rows[multi.qe_id.hex().upper()] == {
        "qe_id": multi.qe_id.hex().upper(),
        "pce_id": "0000",
        "cpu_svn": "",
        "pce_svn": "",
        "enc_ppid": "",
        "platform_manifest": multi.manifest.hex(),
    }
    again = offline.ask("platforms", headers=ADMIN)
    assert (again.body, again.header("platform-count")) == (b"[]", "0")


@pytest.mark.parametrize("source", ["[]", f"[{KNOWN}]", f"[{KNOWN.lower()},{UNKNOWN}]"])
def test_what_is_kept_is_listed(full: Rig, source: str) -> None:
    """Machines of the FMSPCs, or all, in upper case, once for each raw TCB; and it stays."""
    machine = full.world.platform()
    for _ in range(2):
        response = full.ask(f"platforms?source={source}", headers=ADMIN)
        assert response.header("platform-count") == "1"
        assert json.loads(response.body) == [
            {
                "qe_id": machine.qe_id.hex().upper(),
                "pce_id": "0000",
                "cpu_svn": machine.cpu_svn.hex().upper(),
                "pce_svn": "0D00",
                "enc_ppid": machine.encrypted_ppid.hex().upper(),
                "platform_manifest": "",
            }
        ]


def test_machines_of_other_fmspcs_are_not_listed(full: Rig) -> None:
    """The list is of the FMSPCs that are named."""
    response = full.ask(f"platforms?source=[{UNKNOWN}]", headers=ADMIN)
    assert (response.status, response.body) == (OK, b"[]")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "query",
    [
        "",
        "?type=certs",
        *(f"?type=certs&fmspc={of}" for of in ("", "all", "[]", KNOWN, f"[{KNOWN},{UNKNOWN}]")),
        f"?type=certs&fmspc={KNOWN},{UNKNOWN}",
    ],
)
def test_a_refresh_succeeds(full: Rig, method: str, query: str) -> None:
    """Of collateral or of certificates, of one, of a list in brackets or without, of all."""
    response = full.ask(f"refresh{query}", method=method, headers=ADMIN)
    assert (response.status, response.body) == (OK, b"Operation successful.")


@pytest.mark.parametrize("query", ["?type=other", "?type=", "?type=certs&fmspc=00"])
def test_a_malformed_refresh_is_400(full: Rig, query: str) -> None:
    """What is to be renewed must be said right."""
    expect_refused(full.ask(f"refresh{query}", headers=ADMIN), BAD, "bad-request")


@pytest.mark.parametrize("query", ["", "?type=certs"])
def test_a_refresh_offline_is_503(full: Rig, query: str) -> None:
    """With an empty body, as all 503 have: Intel's provider would append the next answer to it."""
    response = in_mode(full, Mode.OFFLINE).ask(f"refresh{query}", headers=ADMIN)
    expect_refused(response, 503, "offline")


def test_a_refresh_is_not_begun_by_head(full: Rig) -> None:
    """HEAD changes nothing: it is not a way to refresh."""
    before = len(full.calls)
    assert full.ask("refresh", method="HEAD", headers=ADMIN).status == 405
    assert len(full.calls) == before


@pytest.mark.parametrize("version", [3, 4])
def test_a_malformed_import_is_400(tmp_path: Path, version: int) -> None:
    """What cannot be read is the caller's fault."""

    def refuses(body: bytes, asked_version: int) -> None:
        assert (body, asked_version) == (b"{}", version)
        raise FormatError("json", "no platforms")

    rig = Rig(tmp_path, imports=refuses)
    response = rig.ask(
        "platformcollateral", version=version, method="PUT", headers=ADMIN, body=b"{}"
    )
    expect_refused(response, BAD, "bad-request")


def test_a_forged_import_is_460(tmp_path: Path) -> None:
    """What does not prove is told apart from what cannot be read."""

    def refuses(_body: bytes, _version: int) -> None:
        raise Forged("signature", "it does not prove")

    rig = Rig(tmp_path, imports=refuses)
    response = rig.ask("platformcollateral", method="PUT", headers=ADMIN, body=b"{}")
    expect_refused(response, 460, "forged")
