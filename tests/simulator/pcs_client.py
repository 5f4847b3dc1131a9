"""A small client of Intel's PCS, over any Handler: what a verifier would fetch, piece by piece.

Not the package's own source of collateral: a second reading of the same services.
"""

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from dcap import Collateral, TrustAnchor
from dcap.api import pcs
from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.pcs_responses import PckCertResponse, PckCrlResponse, SignedResponse
from dcap.simulator import Platform, World
from dcap.simulator.tcb_model import PCE_SVN


def https(url: str, ca: Path, *, timeout: float = 10) -> Handler:
    """The network as a Handler: one connection a request, the server's certificate checked."""
    place = urlsplit(url)
    context = ssl.create_default_context(cafile=str(ca))

    def answer(request: HttpRequest) -> HttpResponse:
        connection = http.client.HTTPSConnection(
            place.hostname or "", place.port, timeout=timeout, context=context
        )
        try:
            connection.request(
                request.method, request.target, request.body or None, dict(request.headers)
            )
            response = connection.getresponse()
            return HttpResponse(
                status=response.status,
                headers=tuple(response.getheaders()),
                body=response.read(),
            )
        finally:
            connection.close()

    return answer


def pck_cert_request(machine: Platform, **changed: object) -> pcs.PckCertRequest:
    """What a PCCS asks for a machine's certificate."""
    asked: dict[str, object] = {
        "cpu_svn": machine.cpu_svn,
        "pce_svn": PCE_SVN,
        "pce_id": machine.pce_id,
        "encrypted_ppid": machine.encrypted_ppid,
    }
    return pcs.PckCertRequest(**{**asked, **changed})  # type: ignore[arg-type]


def fetch_collateral(
    send: Handler,
    machine: Platform,
    tee: str = "SGX",
    *,
    version: int = 4,
    update: str | None = None,
    number: int | None = None,
) -> Collateral:
    """All pieces for a machine, each from its route."""
    edition = {"version": version, "update": update, "number": number}
    place: pcs.Tee = "tdx" if tee == "TDX" else "sgx"
    name = "TD_QE" if tee == "TDX" else "QE"
    tcb_info = pcs.TcbInfoRequest(fmspc=machine.fmspc, tee=place, **edition)  # type: ignore[arg-type]
    identity = pcs.IdentityRequest(name=name, **edition)  # type: ignore[arg-type]
    crl = pcs.PckCrlRequest(ca=machine.ca, encoding="der", version=version)
    asked_crl = PckCrlResponse.from_http(send(crl.to_http()))
    asked_tcb_info = SignedResponse.from_http(send(tcb_info.to_http()))
    asked_identity = SignedResponse.from_http(send(identity.to_http()))
    pck = PckCertResponse.from_http(send(pck_cert_request(machine, version=version).to_http()))
    return Collateral(
        pck_crl_issuer_chain=asked_crl.issuer_chain,
        root_ca_crl=send(HttpRequest(target="/IntelSGXRootCA.der")).body,
        pck_crl=asked_crl.crl,
        tcb_info_issuer_chain=asked_tcb_info.issuer_chain,
        tcb_info=asked_tcb_info.body,
        qe_identity_issuer_chain=asked_identity.issuer_chain,
        qe_identity=asked_identity.body,
        pck_certificate_chain=pck.certificate + pck.issuer_chain,
    )


def anchor(world: World) -> TrustAnchor:
    """The world's root as an anchor."""
    return TrustAnchor.insecure_test_root(world.intel.root.certificate)
