"""Whatever a service answers: what was asked, or a `CollateralError`. Nothing else escapes."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upstream import INTEL, PCCS, Upstream, machine_need, need, recovering

from dcap import CollateralError
from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.qpl.qcnl_values import QcnlConfig
from dcap.sources.azure_config import AzureConfig
from dcap.sources.endpoint import Connect
from dcap.sources.pccs import pccs
from dcap.sources.pcs import intel_pcs
from dcap.sources.qcnl import qcnl
from dcap.sources.source import Source
from dcap.sources.thim import AzureSource

WORLD = recovering("garbage")
NODE = WORLD.platform("node")
NEEDS = [need(NODE, tee) for tee in ("SGX", "TDX")]
MACHINE = machine_need(NODE)
SOURCES: dict[str, Callable[[Connect], Source]] = {
    "pcs": intel_pcs,
    "mirror": lambda connect: intel_pcs(connect, base="https://mirror.example"),
    "pccs": lambda connect: pccs(connect, PCCS),
    "qcnl": lambda connect: qcnl(
        QcnlConfig(pccs_api_version="3.1", local_pck_url="http://local/"), connect
    ),
    "azure": lambda connect: AzureSource(AzureConfig(), connect),
}
STATUSES = st.sampled_from((200, 200, 200, 204, 304, 400, 404, 429, 461, 500, 503, 599))
BODIES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        (
            b"",
            b"{",
            b"{}",
            b"[]",
            b'{"tcbInfo":{},"signature":""}',
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n",
            b"3000",
            b'{"compute":{"location":"x"}}',
            b'{"pckCert":"","sgx-Pck-Certificate-Issuer-Chain":"","sgx-Tcbm":""}',
            b"[" * 5000,
        )
    ),
)
NAMES = st.sampled_from(
    (
        "SGX-PCK-Certificate-Issuer-Chain",
        "SGX-PCK-CRL-Issuer-Chain",
        "TCB-Info-Issuer-Chain",
        "SGX-Enclave-Identity-Issuer-Chain",
        "SGX-TCBm",
        "SGX-FMSPC",
        "SGX-PCK-Certificate-CA-Type",
        "Retry-After",
        "Error-Message",
    )
)
HEADERS = st.lists(
    st.tuples(NAMES, st.one_of(st.text(max_size=40), st.just("%ff"), st.just("%2D" * 20))),
    max_size=6,
)


@pytest.mark.parametrize("kind", SOURCES)
@given(status=STATUSES, headers=HEADERS, body=BODIES)
@settings(max_examples=60, deadline=None)
def test_garbage(kind: str, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Any status, headers and body: a `CollateralError` that shows no query."""
    answer = HttpResponse(status=status, headers=tuple(headers), body=body)
    source = SOURCES[kind](lambda _origin: lambda _request: answer)
    for wanted in NEEDS:
        with pytest.raises(CollateralError) as caught:
            source.collateral(wanted)
        assert NODE.fmspc.hex() not in caught.value.where.lower()
    with pytest.raises(CollateralError) as caught:
        source.pck_certificate(MACHINE)
    assert NODE.qe_id.hex() not in str(caught.value).lower()


@pytest.mark.parametrize("kind", SOURCES)
@given(place=st.integers(0, 4000), value=st.integers(0, 255), is_cut=st.booleans())
@settings(max_examples=25, deadline=None)
def test_genuine_answers_with_a_wound(kind: str, place: int, value: int, *, is_cut: bool) -> None:
    """One byte of a genuine answer changed, or its end cut off: a set or a `CollateralError`."""

    def wounded(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            response = handler(request)
            body = response.body
            changed = body[:place] if is_cut else body[:place] + bytes((value,)) + body[place + 1 :]
            return HttpResponse(status=200, headers=response.headers, body=changed)

        return answer

    upstream = Upstream(WORLD)
    upstream.handlers["https://mirror.example"] = upstream.handlers[INTEL]
    upstream.handlers["https://localhost:8081"] = upstream.handlers[PCCS]
    for origin in upstream.handlers:
        upstream.change(origin, wounded)
    source = SOURCES[kind](upstream.connect)
    for ask in (lambda: source.collateral(NEEDS[0]), lambda: source.pck_certificate(MACHINE)):
        try:
            assert ask() is not None
        except CollateralError as error:
            assert error.mend  # noqa: PT017 - both outcomes are allowed
