"""Alibaba's DCAP service over a simulated Intel, as a Handler: the answers of a plain PCCS, no token.

Requests and encodings are a PCCS's, not Intel's (`api.pccs`). The service fills itself: what Intel has,
it has. As Intel's PCCS does, it ignores `tcbEvaluationDataNumber`, and it has no appraisal policies.

Source: `pccs-and-pcs-api.md` §1.3, §1.9, §5 "Alibaba".
"""

import re
from datetime import datetime

from dcap.api import pccs as api
from dcap.api import pccs_responses as answers
from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.parameters import malformed
from dcap.api.pcs_responses import IDENTITY_ISSUER_CHAIN, REQUEST_ID, WARNING
from dcap.simulator import pcs
from dcap.simulator.thim import by_qe_id
from dcap.simulator.world import World

_PCK_CRL = re.compile(r".*/pckcrl\?ca=(processor|platform)(&.*)?")


def alibaba(world: World) -> Handler:
    """The service."""

    def answer(request: HttpRequest) -> HttpResponse:
        at = pcs.instant(world, request)
        return _as_pccs(pcs.answered(world, request, lambda: _answer(world, request, at)))

    return answer


def _as_pccs(response: HttpResponse) -> HttpResponse:
    """What is refused, as a bare sentence; what is none of a PCCS's statuses as 404."""
    if response.status == 200:
        return response
    kept = tuple(header for header in response.headers if header[0] in (REQUEST_ID, WARNING))
    refused = answers.PccsRefusal(status=400 if response.status == 400 else 404).to_http()
    return HttpResponse(status=refused.status, headers=(*refused.headers, *kept), body=refused.body)


def _answer(world: World, request: HttpRequest, at: datetime) -> HttpResponse:
    match api.read_request(request):
        case api.PccsPckCertRequest() as asked:
            return _pck_cert(world, asked)
        case api.PccsPckCrlRequest() as asked:
            return answers.write_pck_crl(pcs.pck_crl(world, asked.ca, at), asked.encoding)
        case api.PccsTcbInfoRequest() as asked:
            generation = pcs.generation_of(world, asked.update, None)
            shape = 3 if asked.version > 3 else 2
            tcb_info = pcs.tcb_info(world, asked.tee.upper(), asked.fmspc, at, generation, shape)
            return answers.write_signed(tcb_info, answers.tcb_info_chain_header(asked.version))
        case api.PccsIdentityRequest() as asked:
            generation = pcs.generation_of(world, asked.update, None)
            identity = pcs.identity(world, asked.name, at, generation)
            return answers.write_signed(identity, IDENTITY_ISSUER_CHAIN)
        case api.RootCaCrlRequest():
            return answers.write_root_ca_crl(world.intel.root_ca_crl(at))
        case api.CrlRequest() as asked:
            return answers.write_crl(_crl_at(world, asked.uri, at))
        case api.PolicyRequest():
            raise pcs.Refused(404)


def _pck_cert(world: World, asked: api.PccsPckCertRequest) -> HttpResponse:
    """By QE id, which need not be hex; what is not known is looked up by encrypted PPID."""
    is_hex = re.fullmatch(r"([0-9A-F]{2})+", asked.qe_id)
    identifier = bytes.fromhex(asked.qe_id) if is_hex else b""
    known = any(machine.qe_id == identifier for machine in list(world.platforms.values()))
    if asked.encrypted_ppid is None and not known:
        raise malformed("encrypted_ppid is missing, and the platform is not known")
    machine = by_qe_id(world, identifier, asked.encrypted_ppid)
    if machine.pce_id != asked.pce_id:
        raise pcs.Refused(404)
    return answers.write_pck_cert(pcs.pck_cert(machine, asked.cpu_svn, asked.pce_svn))


def _crl_at(world: World, uri: str, at: datetime) -> bytes:
    """The list of a distribution point of Intel's."""
    if "/pckcrl?" not in uri:
        return world.intel.root_ca_crl(at)
    match = _PCK_CRL.fullmatch(uri)
    if match is None:
        raise malformed("uri is not that of a revocation list of Intel's")
    return world.intel.pck_crl(match[1], at)
