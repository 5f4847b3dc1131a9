"""`platform_registration.registrar`: who is told, what is sent, and what each refusal means."""

import json
from pathlib import Path

import pytest

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.pccs_admin import PlatformRecord
from dcap.api.pccs_responses import WHY
from dcap.api.registration import ERRORS
from dcap.errors import CollateralError, ConfigError, DcapError, Unavailable
from dcap.pccs.causes import CAUSES
from dcap.platform_registration.platform_data import of_record
from dcap.platform_registration.registrar import IntelRegistrar, PccsRegistrar, is_final
from dcap.simulator.platform import Platform
from pccs.rig import TOKENS, Rig, manifest_of, record_of

URL = "https://cache:8081"


def recorded(handler: Handler, log: list[HttpRequest]) -> Handler:
    """The handler, and what it was asked."""

    def answer(request: HttpRequest) -> HttpResponse:
        log.append(request)
        return handler(request)

    return answer


def record(machine: Platform) -> PlatformRecord:
    """A machine as it registers."""
    given = record_of(machine) if machine.ca == "processor" else manifest_of(machine)
    return of_record(PlatformRecord(**given)).record()  # type: ignore[arg-type]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A PCCS of ours, before a simulated Intel."""
    return Rig(tmp_path)


@pytest.mark.parametrize("ca", ["processor", "platform"])
@pytest.mark.parametrize(
    "path", ["", "/", "/sgx/certification/v4", "/sgx/certification/v4/platforms"]
)
def test_a_machine_registers_at_a_pccs(rig: Rig, ca: str, path: str) -> None:
    """By PPID or by manifest; the URL may be origin, base, or the resource. Twice is once."""
    machine = rig.world.platform("one", ca=ca)
    pccs = PccsRegistrar(URL + path, lambda _: rig.handler, token=TOKENS["user"], causes=CAUSES)
    pccs.register(record(machine))
    pccs.register(record(machine))
    assert pccs.base == f"{URL}/sgx/certification/v4/"
    assert rig.store.platforms.holding(machine.qe_id.hex().upper(), "0000") is not None
    assert rig.store.statistics().platforms == 1


def test_a_manifest_goes_without_what_it_replaces(rig: Rig) -> None:
    """Intel's PCCS refuses a member that is there and empty."""
    log: list[HttpRequest] = []
    machine = rig.world.platform("big")
    pccs = PccsRegistrar(URL, lambda _: recorded(rig.handler, log), token=TOKENS["user"])
    pccs.register(record(machine), "all")
    (asked,) = log
    assert (asked.method, asked.target.partition("/v4/")[2]) == ("POST", "platforms?update=all")
    assert asked.header("user-token") == TOKENS["user"]
    assert set(json.loads(asked.body)) == {"qe_id", "pce_id", "platform_manifest"}


@pytest.mark.parametrize(("token", "part"), [(None, "wants"), ("a wrong one", "refuses")])
def test_a_token_is_a_matter_of_the_command_line(rig: Rig, token: str | None, part: str) -> None:
    """401 says whether one was sent, and how to get one; it is never shown."""
    pccs = PccsRegistrar(URL, lambda _: rig.handler, token=token, causes=CAUSES)
    with pytest.raises(ConfigError) as caught:
        pccs.register(record(rig.world.platform("one", ca="processor")))
    assert caught.value.code == "registration-token"
    assert part in caught.value.what
    assert "a wrong one" not in f"{caught.value} {pccs!r}"
    assert is_final(caught.value)


def test_a_cause_that_our_pccs_names_is_told(rig: Rig) -> None:
    """A machine that Intel does not know: what to do stands in the error, its identifiers do not."""
    machine = rig.world.platform("big")
    machine.registered = False
    asked = PlatformRecord(**record_of(machine))  # type: ignore[arg-type]
    pccs = PccsRegistrar(URL, lambda _: rig.handler, token=TOKENS["user"], causes=CAUSES)
    with pytest.raises(CollateralError) as caught:
        pccs.register(asked)
    assert caught.value.code == "pccs-404"
    assert CAUSES["unregistered"].what in caught.value.what
    assert caught.value.mend == CAUSES["unregistered"].mend
    assert machine.qe_id.hex() not in str(caught.value).lower()


SENTENCE = b"No cache data for this platform."


@pytest.mark.parametrize(
    ("status", "body", "code", "mend", "final"),
    [
        (400, b"Invalid request parameters.", "registration-refused", "PCKIDRetrievalTool", True),
        (404, SENTENCE, "pccs-404", "manifest", False),
        (404, b"Cannot GET /", "pccs-404", "/sgx/certification/v4/", False),
        (429, b"", "pccs-429", "later", False),
        (462, b"", "pccs-462", "microcode", False),
        (502, b"", "pccs-502", "Intel", False),
        (503, b"", "pccs-503", "later", False),
        (302, b"", "pccs-status", "URL", False),
    ],
)
def test_each_refusal_of_intels_pccs_says_how_to_mend_it(
    status: int, body: bytes, code: str, mend: str, final: bool
) -> None:
    """It names no causes: status and sentence are all there is."""
    pccs = PccsRegistrar(URL, lambda _: lambda _: HttpResponse(status=status, body=body))
    with pytest.raises(CollateralError) as caught:
        pccs.register(PlatformRecord(qe_id="AB" * 16, pce_id="0000"))
    assert (caught.value.code, is_final(caught.value)) == (code, final)
    assert mend in caught.value.mend
    assert caught.value.where == f"{URL}/sgx/certification/v4/platforms"


def test_why_our_pccs_refuses_stands_in_the_error(rig: Rig) -> None:
    """Which member is wrong, and not its value."""
    pccs = PccsRegistrar(URL, lambda _: rig.handler, token=TOKENS["user"], causes=CAUSES)
    with pytest.raises(CollateralError) as caught:
        pccs.register(PlatformRecord(qe_id="AB" * 16, pce_id="0000", cpu_svn="CAFE"))
    assert caught.value.code == "registration-refused"
    assert "cpu_svn" in caught.value.what
    assert "CAFE" not in str(caught.value)


def test_an_answer_that_repeats_what_was_sent_stands_in_no_error() -> None:
    """A PCCS, or what stands in its place, tells the token and the machine; the error does not."""
    said = f"no {TOKENS['user']} for {'ab' * 16}, sorry"
    answer = HttpResponse(status=400, headers=((WHY, said),))
    pccs = PccsRegistrar(URL, lambda _: lambda _: answer, token=TOKENS["user"])
    with pytest.raises(CollateralError) as caught:
        pccs.register(PlatformRecord(qe_id="AB" * 16, pce_id="0000"))
    assert "HTTP 400: no … for …, sorry" in caught.value.what


@pytest.mark.parametrize("url", ["https://cache/other", "ftp://cache", "cache:8081"])
def test_a_url_that_is_no_pccs_is_refused(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError) as caught:
        PccsRegistrar(url, lambda _: pytest.fail("asked"))
    assert caught.value.code == "source-url"


def test_a_machine_registers_at_intel_directly(rig: Rig) -> None:
    """Then Intel knows it by its PPID, which stays Intel's answer and is told nobody."""
    machine = rig.world.platform("big")
    machine.registered = False
    IntelRegistrar(lambda _: rig.simulated).register(machine.manifest)
    assert machine.registered
    assert rig.calls == ["/sgx/registration/v1/platform"]


@pytest.mark.parametrize("code", [*ERRORS, "Invented", ""])
def test_each_error_code_of_intels_is_explained(code: str) -> None:
    """A refused manifest is final; the error says why, and how to mend it."""
    headers = (("Error-Code", code),) if code else ()
    answer = HttpResponse(status=400, headers=headers)
    with pytest.raises(CollateralError) as caught:
        IntelRegistrar(lambda _: lambda _: answer).register(b"manifest")
    assert caught.value.code == "registration-refused-by-intel"
    assert ERRORS.get(code, "refuses") in caught.value.what
    assert code in caught.value.what
    assert caught.value.mend
    assert is_final(caught.value)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (HttpResponse(status=503), "pcs-503"),
        (HttpResponse(status=200, body=b"AB" * 16), "pcs-status"),
        (HttpResponse(status=201, body=b"<html>"), "source-answer"),
    ],
)
def test_another_answer_of_intels_is_worth_another_attempt(answer: HttpResponse, code: str) -> None:
    """A failure that passes; and a page of a proxy is no success."""
    with pytest.raises(DcapError) as caught:
        IntelRegistrar(lambda _: lambda _: answer).register(b"manifest")
    assert (caught.value.code, is_final(caught.value)) == (code, False)


def test_who_does_not_answer_is_waited_for() -> None:
    """A cache that is not there yet is what --watch is for."""
    assert not is_final(Unavailable("network-refused", "nobody listens"))
