"""Who is sent Intel's subscription key, and who is asked without TLS: nobody but who should be."""

import pytest

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.errors import CollateralError, ConfigError
from dcap.pccs.assembly import suppliers_of
from dcap.pccs.config import read_settings
from dcap.pccs.suppliers import Supplier
from dcap.sources.endpoint import origin_of

PATH = "/sgx/certification/v4/"
INTEL = f"https://api.trustedservices.intel.com{PATH}"
MIRROR, OTHER = (f"https://{name}.example{PATH}" for name in ("mirror", "other"))
KEY = "the subscription key"


def told(*upstream: str, key: str = KEY, **settings: str) -> set[str]:
    """The origins that are sent the key when machines are looked up."""
    got: set[str] = set()

    def connect(origin: str) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            if any(value == KEY for _, value in request.headers):
                got.add(origin)
            return HttpResponse(status=404)

        return answer

    environ = {"DCAP_PCCS_API_KEY": key} if key else {}
    found = read_settings({"data": ".", "upstream": upstream, **settings}, environ)
    for one in suppliers_of(found, connect):
        _look_up(one)
    return got


def _look_up(one: Supplier) -> None:
    with pytest.raises(CollateralError):
        one.service.pck_certs(pce_id=bytes(2), encrypted_ppid=bytes(range(1, 129)) * 3)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("upstream", "takers"),
    [
        ((INTEL,), [INTEL]),
        ((MIRROR,), [MIRROR]),
        ((f"pcs+{MIRROR}", INTEL), [INTEL]),
        ((INTEL, MIRROR, OTHER), [INTEL]),
    ],
)
def test_the_key_goes_to_intel_or_to_the_only_one(
    upstream: tuple[str, ...], takers: list[str]
) -> None:
    """A mirror beside Intel's service learns nothing of it."""
    assert told(*upstream) == {origin_of(one) for one in takers}
    assert told(*upstream, key="") == set()


def test_a_key_that_could_be_for_several_is_refused() -> None:
    """Of two mirrors nobody knows whose it is."""
    with pytest.raises(ConfigError, match="upstream-key"):
        told(MIRROR, OTHER)
    assert told(MIRROR, OTHER, key="") == set()


@pytest.mark.parametrize(
    "url", [f"http://mirror.example{PATH}", f"pccs+http://10.0.0.5:8081{PATH}"]
)
def test_plain_http_wants_to_be_asked_for_and_never_has_a_key(url: str) -> None:
    """Beyond this machine; on it, nobody is on the way."""
    with pytest.raises(ConfigError, match="upstream-plain"):
        told(url, key="")
    with pytest.raises(ConfigError, match="never sent"):
        told(url, insecure_upstream="true")
    settings = read_settings({"data": ".", "upstream": (url,), "insecure_upstream": "true"}, {})
    assert len(suppliers_of(settings, lambda _: lambda _: HttpResponse())) == 1
    for host in ("127.0.0.1:9", "[::1]:9", "localhost:9"):
        assert told(f"http://{host}{PATH}") == {f"http://{host}"}
