"""Which of Intel's numbers each failure is, call by call: the table of `quote-provider.md` §2.5."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from provider_site import Running, Site, provider, site

from dcap.api.http import HttpRequest, HttpResponse
from dcap.qpl import quote3_errors
from dcap.sources.intel_codes import OURS
from dcap.transport import network

#: What fails, as the end of its path -> the call that meets it, and the number of its absence.
PIECES = {
    "/pckcert": ("QUOTE_CONFIG", 0xE011),
    "/pckcrl": ("COLLATERAL", 0xE01B),
    "/tcb": ("COLLATERAL", 0xE062),
    "/sgx/certification/v4/qe/identity": ("COLLATERAL", 0xE061),
    "/rootcacrl": ("COLLATERAL", 0xE01B),
    "/qve/identity": ("QVE_IDENTITY", 0xE037),
    "/v4/rootcacrl": ("ROOT_CA_CRL", 0xE01B),
}
ABSENT = 0
#: How the service answers -> the number, whatever the call; 404 is of each call its own.
ROWS = {
    "empty": 0xE001,
    "unchained": 0xE01A,
    "204": 0xE044,
    "302": 0xE044,
    "400": 0xE044,
    "401": 0xE044,
    "403": 0xE019,
    "404": ABSENT,
    "461": 0xE047,
    "462": 0xE049,
    "500": 0xE044,
    "503": 0xE040,
}
CASES = [
    (row, piece)
    for row in ROWS
    for piece in PIECES
    if not (row == "unchained" and piece.endswith("crl") and piece != "/pckcrl")
]


def failing(at: Site, request: HttpRequest) -> HttpResponse:
    """The answer of a service whose base says how it fails: /ROW/NUMBER OF THE PIECE/…"""
    _, row, number, rest = request.target.split("/", 3)
    ending = list(PIECES)[int(number)]
    response = at.services(HttpRequest(target=f"/{rest}", headers=request.headers))
    if not request.path.endswith(ending):
        return response
    if row == "empty":
        return HttpResponse(status=200, headers=response.headers)
    if row == "unchained":
        kept = tuple(one for one in response.headers if not one[0].lower().endswith("chain"))
        return HttpResponse(status=200, headers=kept, body=response.body)
    return HttpResponse(status=int(row), body=b"")


@pytest.fixture(scope="module")
def statuses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], int]]:
    """The status of each case; all of them are asked side by side, for a refusal is tried again."""
    folder = tmp_path_factory.mktemp("codes")
    with site(folder) as at, provider(at) as running, pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "FIRST_WAIT", 0.01)
        at.answer = lambda request: failing(at, request)

        def ask(case: tuple[str, str]) -> int:
            row, piece = case
            number = list(PIECES).index(piece)
            base = f"{at.url}/{row}/{number}/alibaba/sgx/certification/v4/"
            conf = folder / f"{row}-{number}.conf"
            conf.write_text(json.dumps({"pccs_url": base}))
            call = PIECES[piece][0]
            given = {"QUOTE_CONFIG": at.quote_config(), "COLLATERAL": at.collateral()}
            answer = running.call(call, (f"QCNL_CONF_PATH={conf}",), **given.get(call, {}))
            assert answer.out == {}
            return int(answer.status)

        with ThreadPoolExecutor(8) as pool:
            yield dict(zip(CASES, pool.map(ask, CASES), strict=True))


@pytest.mark.parametrize("row", ROWS)
def test_each_failure_of_each_call_has_intels_number(
    statuses: dict[tuple[str, str], int], row: str
) -> None:
    """One piece fails so, and the call that needs it has the number of the table."""
    expected = {case: ROWS[row] or PIECES[case[1]][1] for case in CASES if case[0] == row}
    assert {case: hex(statuses[case]) for case in expected} == {
        case: hex(number) for case, number in expected.items()
    }


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Site]:
    """A simulated Intel."""
    with site(tmp_path) as made:
        yield made


def test_a_service_that_is_not_there_is_a_network_error(
    at: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection is 0xE019, of whatever call."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(network, "FIRST_WAIT", 0.01)
    with provider(at, names=(f"https://127.0.0.1:{port}",)) as running:
        assert _all(running, at) == {0xE019}


def test_a_certificate_that_is_not_trusted_has_a_number_of_its_own(at: Site) -> None:
    """A service whose TLS certificate the process does not trust is 0xE065."""
    with provider(at, names=(at.pccs,), ca=at.root) as running:
        assert _all(running, at) == {0xE065}


def test_the_first_telling_failure_of_several_sources_counts(at: Site) -> None:
    """Of a source that has none and one that fails, the failure is told; of two that lack, the lack."""
    lacking = f"{at.url}/404/0/alibaba/sgx/certification/v4/"
    failed = f"{at.url}/500/0/alibaba/sgx/certification/v4/"
    at.answer = lambda request: failing(at, request)
    for names, status in (((lacking, failed), 0xE044), ((lacking, lacking), 0xE011)):
        with provider(at, names=names) as running:
            assert running.call("QUOTE_CONFIG", **at.quote_config()).status == status


def test_a_setting_that_is_wrong_is_told_by_the_calls(at: Site) -> None:
    """INIT succeeds, with a line; what would ask the sources is 0xE001, and says what is wrong."""
    with provider(at, names=("nonsense",)) as running:
        init = running.call("INIT", LOG_LEVEL=1)
        assert (init.status, "[source-spec]" in init.log[0][1]) == (0, True)
        answer = running.call("COLLATERAL", LOG_LEVEL=0, **at.collateral())
    assert (answer.status, answer.out) == (0xE001, {})
    assert "[source-spec]" in answer.log[0][1]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"pccs_url": "https://a/",}', "0xE067"),
        ('\n{"pccs_url": "https://a/",}', ""),
        ('{"tcb_update_type": "late"}', "0xE001"),
        ('{"use_secure_cert": "false"}', ""),
        ("{}", ""),
        ("", ""),
    ],
)
def test_init_says_what_intels_library_would_discard(at: Site, text: str, code: str) -> None:
    """`sgx_qpl_global_init` succeeds, and the log names the code that Intel's would have."""
    conf = at.folder / "own.conf"
    conf.write_text(text)
    with provider(at) as running:
        init = running.call("INIT", (f"QCNL_CONF_PATH={conf}",), LOG_LEVEL=1)
    assert init.status == 0
    assert [code in line for _, line in init.log if str(conf) in line] == ([True] if code else [])
    assert at.asked == []


def test_init_and_the_calls_agree_on_a_file(at: Site) -> None:
    """A file with a comma too many, which Intel's library discards, is obeyed by INIT and call alike."""
    conf = at.folder / "own.conf"
    conf.write_text(f'{{"pccs_url": "{at.pccs}", "use_secure_cert": false,}}')
    environment = (f"QCNL_CONF_PATH={conf}",)
    with provider(at) as running:
        assert running.call("INIT", environment).status == 0
        assert running.call("COLLATERAL", environment, **at.collateral()).status == 0


def test_our_own_errors_have_numbers_of_intels() -> None:
    """What Intel's provider cannot meet is nevertheless one of its numbers."""
    assert set(OURS.values()) <= {row[0] for row in quote3_errors.ROWS}


def _all(running: Running, at: Site) -> set[int]:
    calls = (
        ("QUOTE_CONFIG", at.quote_config()),
        ("COLLATERAL", at.collateral()),
        ("QVE_IDENTITY", {}),
        ("ROOT_CA_CRL", {}),
    )
    return {running.call(call, **given).status for call, given in calls}
