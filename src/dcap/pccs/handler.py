"""The service on the wire: a Handler, byte-compatible with Intel's PCCS.

    handle = pccs_handler(service, authorise=tokens.check)
    response = handle(HttpRequest(target="/sgx/certification/v4/rootcacrl"))

1. A request id. 2. The route. 3. The token, before the body is looked at. 4. The request, read. 5. The
service. 6. The answer, written. 7. What every answer has: `Request-ID`, `ETag`, 304, `Warning` of v3.

Where Intel's differs it is a fault of that one: `Request-ID` of the caller is kept, a parameter that is
an object is 400 and not 500, HEAD changes nothing, the real cause stands in `Dcap-Cause`.

Not here: sockets, ready-made answers (`answers`), how each resource is written (`resources`), what is
served (`service`).

Source: `pccs-and-pcs-api.md` §1; `quote-provider.md` §4.2, §7.
"""

import base64
import hashlib
import html
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from dcap.api import pccs as api
from dcap.api import pccs_admin as admin
from dcap.api import pccs_responses as answers
from dcap.api import pcs
from dcap.api.http import Handler, Headers, HttpRequest, HttpResponse
from dcap.api.parameters import malformed
from dcap.api.pccs_admin import KEEP
from dcap.api.pccs_responses import CAUSE, FAILED, LEFT_OUT, RENEWED, REVOKED, WHY
from dcap.api.pcs_responses import REQUEST_ID, RETRY_AFTER, WARNING
from dcap.api.thim import CACHE_CONTROL
from dcap.errors import ConfigError, DcapError, FormatError, NotFound, printable
from dcap.pccs import removal
from dcap.pccs.auth import Role
from dcap.pccs.causes import NotServed, cause_of, not_served
from dcap.pccs.patience import WouldWait
from dcap.pccs.resources import with_headers, write_resource, write_thim_crl
from dcap.pccs.service import PccsService, Renewal

#: Whether a token, as it was sent, is one of the role's.
Authorise: TypeAlias = Callable[[str | None, Role], bool]

MAX_BODY: Final = 2 * 1024 * 1024
V3_WARNING: Final = (
    '299 - "PCS API version 3 is no longer available. Use version 4: put /v4/ in the URL."'
)
#: What a caller may name its request by.
REQUEST_ID_FORM: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_LONGEST_WHY: Final = 200
_KNOWN: Final = frozenset(
    {"qeid", "cpusvn", "pcesvn", "pceid", "encrypted_ppid", "ca", "encoding", "uri", "fmspc"}
    | {"update", "tcbEvaluationDataNumber", "type", "source", "platform", KEEP}
)
#: What Intel's PCCS lacks; asked as Intel's PCS is.
_BEYOND: Final[Mapping[tuple[str, str], type[Any]]] = {
    ("sgx", "qae/identity"): pcs.IdentityRequest,
    ("sgx", "tcbevaluationdatanumbers"): pcs.EvaluationNumbersRequest,
    ("tdx", "tcbevaluationdatanumbers"): pcs.EvaluationNumbersRequest,
    ("sgx", "fmspcs"): pcs.FmspcsRequest,
}
_ADMIN_RESOURCES: Final = frozenset(resource for _, resource in admin.ADMIN_ROUTES)


def new_identity() -> str:
    """A `Request-ID` that nobody had before."""
    return secrets.token_hex(16)


def identity_of(request: HttpRequest, new_id: Callable[[], str] = new_identity) -> str:
    """The `Request-ID` of an answer: the caller's, where it can be handed back, or a new one."""
    given = request.header(REQUEST_ID) or ""
    return given if REQUEST_ID_FORM.fullmatch(given) else new_id()


def pccs_handler(
    service: PccsService,
    *,
    authorise: Authorise,
    max_body: int = MAX_BODY,
    new_id: Callable[[], str] = new_identity,
    report: Callable[[BaseException], None] = lambda _: None,
) -> Handler:
    """The service as a Handler. `report` is told of errors that are answered with 500 or 503."""

    def handle(request: HttpRequest) -> HttpResponse:
        identity = identity_of(request, new_id)
        try:
            response = _answer(service, request, authorise, max_body)
        except DcapError as error:
            if isinstance(error, NotFound) and error.code == "pccs-route":
                response = _no_route(request)
            else:
                response = _refused(service, error, report)
        except WouldWait:
            raise  # no answer yet: whoever said that nothing is waited for asks again
        except Exception as error:  # noqa: BLE001 - one request must not end the service
            report(error)
            response = _refusal(NotServed("internal"))
        return _finished(request, response, identity)

    return handle


def _answer(
    service: PccsService, request: HttpRequest, authorise: Authorise, max_body: int
) -> HttpResponse:
    if request.path == removal.PATH:
        return _forgotten(service, request, authorise, max_body)
    place = api.place_of(request)
    if place is None:
        raise api.no_route()
    if place.tee == "sgx" and place.resource in _ADMIN_RESOURCES:
        method = "GET" if request.method == "HEAD" else request.method
        if (method, place.resource) in admin.ADMIN_ROUTES:
            return _administered(service, request, place, authorise, max_body)
    if len(request.body) > max_body:
        raise NotServed("too-large")
    beyond = _BEYOND.get((place.tee, place.resource))
    if beyond is not None and place.version > 3 and request.method in ("GET", "HEAD"):
        _expect_plain(request)
        return write_resource(service, beyond.from_http(place, request), request)
    by_uri = "uri" in request.query and "ca" not in request.query
    if (place.tee, place.resource) == ("sgx", "pckcrl") and by_uri:
        _expect_plain(request)
        return write_thim_crl(service, request)
    if any((place.tee, place.resource) == (one.tee, one.resource) for one in api.PCCS_ROUTES):
        _expect_plain(request)
    return write_resource(service, api.read_request(request), request)


def _expect_plain(request: HttpRequest) -> None:
    """`ca[x]=1` makes an object of a parameter; Intel's server fails over it."""
    for name in request.query:
        base, bracket, _ = name.partition("[")
        if bracket and base in _KNOWN:
            raise malformed(f"{base} is not one value")


# What wants a token


def _administered(
    service: PccsService,
    request: HttpRequest,
    place: pcs.Place,
    authorise: Authorise,
    max_body: int,
) -> HttpResponse:
    """What is of the administrator's resources: 1. the token, 2. the size, 3. the request."""
    registers = request.method == "POST" and place.resource == "platforms"
    header, role = (admin.USER_TOKEN, "user") if registers else (admin.ADMIN_TOKEN, "admin")
    if place.resource == "appraisalpolicy" and request.method in ("GET", "HEAD"):
        return write_resource(service, api.read_request(request), request)
    if not authorise(request.header(header), role):  # type: ignore[arg-type]
        raise NotServed("bad-token")
    if len(request.body) > max_body:
        raise NotServed("too-large")
    _expect_plain(request)
    looks = request.method == "HEAD"
    if looks and place.resource == "refresh":
        allowed: Headers = (("Allow", "GET, POST"), ("Content-Type", answers.SENTENCE))
        return HttpResponse(status=405, headers=allowed)
    asked = admin.read_admin_request(
        HttpRequest(
            method="GET" if looks else request.method,
            target=request.target,
            headers=request.headers,
            body=request.body,
        )
    )
    if isinstance(asked, admin.PlatformListRequest):
        keeps = looks or request.query.get(KEEP, "").lower() in ("1", "true")
        return _listed(service, asked, take=not keeps)
    if isinstance(asked, admin.RefreshRequest):
        return _renewed(service, asked)
    if isinstance(asked, admin.ImportRequest):
        return _imported(service, asked)
    return answers.write_text(_done(service, asked))


def _imported(service: PccsService, asked: admin.ImportRequest) -> HttpResponse:
    """200, as Intel's tool knows it; beside it what was not kept, for it has expired or is older."""
    left_out = service.import_collaterals(asked.body, asked.version)
    done = answers.write_text(answers.SUCCESS)
    if not left_out:
        return done
    why = ", ".join(f"{number} {what}" for what, number in left_out.items())
    count = (LEFT_OUT, str(sum(left_out.values())))
    return with_headers(done, count, (WHY, why[:_LONGEST_WHY]))


def _done(service: PccsService, asked: admin.PccsAdminRequest) -> str:
    """Do what is asked; what is said of it."""
    match asked:
        case admin.RegistrationRequest():
            service.register(asked.platform, asked.update, asked.version)
        case admin.SetPolicyRequest():
            fmspc = bytes.fromhex(asked.fmspc)
            return service.put_policy(asked.policy, fmspc, is_default=asked.is_default)
    return answers.SUCCESS


def _forgotten(
    service: PccsService, request: HttpRequest, authorise: Authorise, max_body: int
) -> HttpResponse:
    """A route of ours: forget a machine, or an item. 404 (`not-cached`) where there is none."""
    if not authorise(request.header(admin.ADMIN_TOKEN), "admin"):
        raise NotServed("bad-token")
    if request.method != "POST":
        refused: Headers = (("Allow", "POST"), ("Content-Type", answers.SENTENCE))
        return HttpResponse(status=405, headers=refused)
    if len(request.body) > max_body:
        raise NotServed("too-large")
    asked = removal.Removal.from_http(request)
    if asked.key is None:
        was_there = service.forget_machine(asked.qe_id, asked.pce_id)
    else:
        was_there = service.forget_item(asked.key)
    if not was_there:
        raise NotServed("not-cached")
    return answers.write_text(answers.SUCCESS)


def _listed(service: PccsService, asked: admin.PlatformListRequest, *, take: bool) -> HttpResponse:
    """Machines; nobody keeps a copy of it, and who was here before gets it anew."""
    if asked.fmspcs is not None:
        found = service.platforms(asked.fmspcs)
    else:
        found = service.waiting(asked.source, take=take)
    return with_headers(admin.write_platforms(found), (CACHE_CONTROL, "no-store"))


class _Unrenewed(NotServed):
    """Some could not be renewed; how many could."""

    def __init__(self, first: NotServed, status: int, renewal: Renewal) -> None:
        super().__init__(first.cause, status=status, retry_after=first.retry_after)
        self.renewal = renewal


def _renewed(service: PccsService, asked: admin.RefreshRequest) -> HttpResponse:
    """Renew, and say how many.

    Intel's statuses: 502 where upstream cannot be reached, else 404 for machines and 503.
    """
    if asked.certificates:
        renewal = service.refresh_certificates(asked.fmspcs)
    else:
        renewal = service.refresh_items()
    if not renewal.failed:
        return with_headers(answers.write_text(answers.SUCCESS), *_counts(renewal))
    causes = list(renewal.failed.values())
    unreached = next((one for one in causes if one.status == 502), None)
    if unreached is not None:
        raise _Unrenewed(unreached, 502, renewal)
    raise _Unrenewed(causes[0], 404 if asked.certificates else 503, renewal)


def _counts(renewal: Renewal) -> tuple[tuple[str, str], ...]:
    """How many of each kind; machines without a certificate were renewed too."""
    counted = ((FAILED, len(renewal.failed)), (REVOKED, renewal.revoked))
    worth_telling = [(name, str(number)) for name, number in counted if number]
    return ((RENEWED, str(renewal.renewed)), *worth_telling)


# Refusals, and what every answer has


def _refused(
    service: PccsService, error: DcapError, report: Callable[[BaseException], None]
) -> HttpResponse:
    if isinstance(error, ConfigError):
        report(error)
        return _counted(service, NotServed("internal"))
    if isinstance(error, FormatError) and error.code not in ("pcs-request", "pcs-media-type"):
        # What is kept can be read: this is not the caller's doing.
        report(error)
        return _counted(service, NotServed("internal"))
    refusal = not_served(error)
    if cause_of(error) in ("store-unavailable", "internal"):
        report(error)
    response = _counted(service, refusal)
    if isinstance(error, FormatError):
        return with_headers(response, (WHY, printable(error.what)[:_LONGEST_WHY]))
    return response


def _counted(service: PccsService, refusal: NotServed) -> HttpResponse:
    service.count(refusal.cause)
    return _refusal(refusal)


def _refusal(refusal: NotServed) -> HttpResponse:
    """The bare sentence of the status; nothing at all where a client asks again by itself."""
    sentence = answers.PccsRefusal(status=refusal.status)
    response = sentence.to_http(with_sentence=refusal.status != 503)
    extra: list[tuple[str, str]] = [(CAUSE, refusal.cause), (CACHE_CONTROL, "no-store")]
    if refusal.retry_after:
        extra.append((RETRY_AFTER, str(int(refusal.retry_after) + 1)))
    if isinstance(refusal, _Unrenewed):
        extra.extend(_counts(refusal.renewal))
    return with_headers(response, *extra)


def _no_route(request: HttpRequest) -> HttpResponse:
    """The page that Express has for it."""
    method = html.escape(request.method[:16])
    path = html.escape(request.path[:1024])
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n'
        f"</head>\n<body>\n<pre>Cannot {method} {path}</pre>\n</body>\n</html>\n"
    )
    headers: Headers = (
        ("Content-Security-Policy", "default-src 'none'"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Type", answers.SENTENCE),
    )
    return HttpResponse(status=404, headers=headers, body=page.encode("utf-8", "replace"))


def _finished(request: HttpRequest, response: HttpResponse, identity: str) -> HttpResponse:
    """`Request-ID`, the warning of v3, `ETag` and 304; to HEAD the headers alone."""
    headers: list[tuple[str, str]] = [(REQUEST_ID, identity), *response.headers]
    place = api.place_of(request)
    if place is not None and place.version == 3:
        headers.append((WARNING, V3_WARNING))
    body = response.body
    if body:
        tag = etag(body)
        headers.append(("ETag", tag))
        may_be_kept = response.header(CACHE_CONTROL) != "no-store"
        if response.status == 200 and may_be_kept and _is_known(request, tag):
            kept = tuple(one for one in headers if one[0] != "Content-Type")
            return HttpResponse(status=304, headers=kept)
    if request.method == "HEAD":
        headers.append(("Content-Length", str(len(body))))
        body = b""
    return HttpResponse(status=response.status, headers=tuple(headers), body=body)


def etag(body: bytes) -> str:
    """The weak tag that Express gives a body: its length, and its digest."""
    digest = hashlib.sha1(body, usedforsecurity=False).digest()
    return f'W/"{len(body):x}-{base64.b64encode(digest)[:27].decode()}"'


def _is_known(request: HttpRequest, tag: str) -> bool:
    """Whether the caller has these bytes (RFC 9110 §13.1.2), and does not insist."""
    if request.method not in ("GET", "HEAD"):
        return False
    if "no-cache" in (request.header(CACHE_CONTROL) or "").lower():
        return False
    given = request.header("If-None-Match") or ""
    if given.strip() == "*":
        return True
    weak = tag.removeprefix("W/")
    return any(one.strip().removeprefix("W/") == weak for one in given.split(","))
