"""What leaves a machine in a report: secrets by name and by looks are masked, and what explains stays.

That nothing of a whole machine leaks is in `cli/test_doctor`; here is the rule by itself.
"""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.doctor.redaction import MASK, Redactor

HEX = "0123456789abcdef" * 2


def clean(text: str) -> str:
    """As a part of a report goes through it: learnt, then masked."""
    redactor = Redactor()
    redactor.learn(text)
    return redactor(text)


@pytest.mark.parametrize(
    "text",
    [
        "DCAP_PCCS_TOKEN=s3cret-s3cret",
        "export APIKEY='s3cret-s3cret'",
        "Environment=A=1 DB_PASSWORD=s3cret-s3cret B=2",
        'Environment="DB_PASSWORD=s3cret-s3cret"',
        '{"ApiKey" : "s3cret-s3cret", "uri": "x"}',
        "{'password': 's3cret-s3cret'}",
        "api_key = s3cret-s3cret",
        "Ocp-Apim-Subscription-Key: s3cret-s3cret",
        "> user-token: s3cret-s3cret",
        "Authorization: Bearer s3cret-s3cret",
        "https://me:s3cret-s3cret@proxy:3128/",
        "https://pccs/?token=s3cret-s3cret&x=1",
        "https_proxy=http://me:p/s3cret@s3cret@proxy:3128",
        "https_proxy=me:s3cret-s3cret@proxy:3128",
        "ExecStart=/bin/curl -H 'Ocp-Apim-Subscription-Key: s3cret-s3cret' x",
        'curl -H "Authorization: Basic s3cret-s3cret"',
        "Authorization=Basic s3cret-s3cret",
        "ExecStart=/bin/x --user-token s3cret-s3cret -v",
        '{"headers": {"X-Mine": "s3cret-s3cret"}, "x": 1}',
        '{"get_cert": {"params" : {"code":"s3cret-s3cret", "b": "s3cret2"}}}',
        '"UserTokens": ["s3cret-s3cret", "x"]',
        'tokens = [\n  "s3cret-s3cret",\n]',
        "- api_key: s3cret-s3cret",
        "{api_key: s3cret-s3cret}",
        'DB_PASSWORD="s3cret s3cret',
        "qe_id: s3cret-s3cret",
        "-----BEGIN PRIVATE KEY-----\ns3cret-s3cret\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\ns3cret-s3cret",
    ],
)
def test_a_secret_by_its_name_is_masked(text: str) -> None:
    """In a shell, a unit, JSON, TOML, a header, a URL, a PEM block: not one half of it stays."""
    masked = clean(text)
    assert "s3cret" not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "text",
    [
        HEX,
        HEX.upper(),
        f"x{'ab' * 192}y".replace("x", "ppid ").replace("y", " end"),
        ":".join(HEX[at : at + 2] for at in range(0, 32, 2)),
        " ".join(HEX[at : at + 2] for at in range(0, 32, 2)),
        ", ".join(f"0x{HEX[at : at + 2]}" for at in range(0, 32, 2)),
        "304e0796-d515-4698-ac6e-e76cb1a71c28",
        "3q2-7wAAc2VjcmV0VG9rZW5PZk91cnMxMjM",
        "eyJhbGciOiJFUzI1NiJ9/AAAA+bbbb1111==",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    """Hex of 32 digits and more, in every spelling; UUIDs; long words that look random."""
    masked = clean(f"seen: {text} there")
    assert text not in masked
    assert "masked)" in masked
    assert masked.startswith("seen: ")
    assert masked.endswith(" there")


@pytest.mark.parametrize(
    "text",
    [
        "/usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1: not there",
        "libsgx-dcap-default-qpl 1.22.100.3-noble1",
        '"pccs_url": "https://pccs.example:8081/sgx/certification/v4/"',
        '"use_secure_cert": false',
        "0xE019 (0xB006): nothing listens at 127.0.0.1:8081",
        "FMSPC 00606A000000",
        "/dev/sgx_provision -rw-rw---- uid 0 gid 107",
        "retry_times=6",
        "2026-11-22T06:20:00+00:00",
    ],
)
def test_what_explains_stays(text: str) -> None:
    """Paths, versions, addresses, settings, codes: without these a report would say nothing."""
    assert clean(text) == text


@pytest.mark.parametrize(
    "piece", ["a.", "a-", "a", " ", "key ", 'key="', "://", "x=a:", '{"params":']
)
def test_no_text_holds_the_masking_up(piece: str) -> None:
    """A file of 256 KiB that was made for it takes about as long as any other, not hours."""
    begun = time.process_time()
    clean(piece * (256 * 1024 // len(piece)))
    assert time.process_time() - begun < 20


def test_a_secret_of_one_text_is_masked_in_every_other() -> None:
    """A token that a unit names and a comment repeats: the comment does not tell it."""
    redactor = Redactor()
    redactor.learn("DCAP_PCCS_TOKEN=correct horse")
    redactor.learn_all({"APIKEY": "battery-staple", "HOME": "/home/app"})
    masked = redactor("# was correct, then BATTERY-STAPLE, in /home/app")
    assert masked == f"# was {MASK}, then {MASK}, in /home/app"


def test_what_identifies_the_machine_is_masked_though_it_is_short() -> None:
    """What one knows of the machine is masked by itself, in either case."""
    redactor = Redactor()
    redactor.know("A1B2C3D4")
    assert redactor("qe a1b2c3d4 here") == f"qe {MASK} here"


def test_a_document_stays_one() -> None:
    """JSON keeps its shape: texts are masked, numbers and names stay."""
    value = {"ApiKey": "short", "list": [HEX, 5, None, True], "what": f"id {HEX}"}
    masked = Redactor().value(value)
    assert masked == {
        "ApiKey": MASK,
        "list": ["(32 hex digits masked)", 5, None, True],
        "what": "id (32 hex digits masked)",
    }
    json.dumps(masked)


@given(before=st.text(max_size=40), after=st.text(max_size=40), size=st.integers(32, 200))
def test_hex_is_masked_whatever_stands_around_it(before: str, after: str, size: int) -> None:
    """No text before or behind it lets a machine's identifier through."""
    digits = ("5cD7" * 50)[:size]
    assert digits not in clean(f"{before}{digits}{after}")


@given(st.text(max_size=200))
def test_any_text_goes_through(text: str) -> None:
    """Whatever a file holds, masking ends and gives a text."""
    assert isinstance(clean(text), str)
