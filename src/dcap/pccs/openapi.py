"""`/openapi.json`: what may be asked, made of the tables of `api.pccs` and of the causes.

    document = openapi(version="0.1.0")

Not here: routing; the console, which is for people.

Source: OpenAPI 3.1.0.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dcap.api import pccs, pccs_admin
from dcap.api.pccs_responses import SENTENCES
from dcap.api.pcs import CAS, ENCRYPTED_PPID_DIGITS, EVALUATION_NUMBER, UPDATES
from dcap.pccs import removal
from dcap.pccs.causes import CAUSES

_JSON: Final = "application/json"
_PEM: Final = "application/x-pem-file"
_DER: Final = "application/pkix-crl"
_TEXT: Final = "text/html"


def _hex(digits: int) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^[0-9A-Fa-f]{{{digits}}}$"}


def _words(*words: str) -> dict[str, Any]:
    """Words, which are taken in any case."""
    return {"type": "string", "enum": list(words)}


_NUMBER: Final = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
_FMSPC: Final = _hex(12)
_EDITION: Final = {
    "update": (_words(*UPDATES), False, "which of the two; standard without it"),
    EVALUATION_NUMBER: (_NUMBER, False, "this one exactly; wins over update"),
}
#: Resource -> its parameters (schema, required, what), media type of 200, what it is.
_RESOURCES: Final[Mapping[str, tuple[Mapping[str, Any], str, str]]] = {
    "pckcert": (
        {
            "qeid": (
                {"type": "string", "minLength": 1, "maxLength": pccs.MAX_QE_ID},
                True,
                "the machine's QE id",
            ),
            "encrypted_ppid": (
                _hex(ENCRYPTED_PPID_DIGITS),
                False,
                "to look an unknown machine up",
            ),
            "cpusvn": (_hex(32), True, "raw CPUSVN"),
            "pcesvn": (_hex(4), True, "raw PCESVN, little-endian"),
            "pceid": (_hex(4), True, "little-endian"),
        },
        _PEM,
        "The PCK certificate of a machine for its raw TCB",
    ),
    "pckcrl": (
        {
            "ca": (_words(*CAS), True, "whose list"),
            "encoding": (_words("der", "pem"), False, "der; anything else gives hex"),
        },
        _PEM,
        "The revocation list of a PCK CA",
    ),
    "tcb": ({"fmspc": (_FMSPC, True, "of which platform"), **_EDITION}, _JSON, "A TCB info"),
    "qe/identity": (_EDITION, _JSON, "The identity of the quoting enclave"),
    "qve/identity": (_EDITION, _JSON, "The identity of the quote verification enclave"),
    "qae/identity": (_EDITION, _JSON, "The identity of the quote appraisal enclave"),
    "rootcacrl": ({}, _DER, "The root's revocation list, in hex"),
    "crl": (
        {
            "uri": (
                {"type": "string", "format": "uri", "maxLength": pccs.MAX_URI},
                True,
                "a distribution point of Intel's",
            )
        },
        _DER,
        "A revocation list by its address",
    ),
    "appraisalpolicy": (
        {"fmspc": (_FMSPC, True, "of which platform")},
        _TEXT,
        "The default appraisal policies",
    ),
    "tcbevaluationdatanumbers": ({}, _JSON, "Which TCB evaluation data numbers there are"),
    "fmspcs": (
        {"platform": (_words("all", "client", "E3", "E5"), False, "of which kind")},
        _JSON,
        "All FMSPCs",
    ),
}
#: What Intel's PCCS lacks: (TEE, resource), version 4 alone.
_BEYOND: Final = (
    ("sgx", "qae/identity"),
    ("sgx", "tcbevaluationdatanumbers"),
    ("tdx", "tcbevaluationdatanumbers"),
    ("sgx", "fmspcs"),
)
_PLATFORM: Final = {
    "type": "object",
    "required": ["qe_id", "pce_id"],
    "properties": {
        "qe_id": {"type": "string", "minLength": 1, "maxLength": pccs.MAX_QE_ID},
        "pce_id": _hex(4),
        "cpu_svn": _hex(32),
        "pce_svn": _hex(4),
        "enc_ppid": _hex(ENCRYPTED_PPID_DIGITS),
        "platform_manifest": {"type": ["string", "null"]},
    },
}
_REMOVAL: Final = {
    "type": "object",
    "properties": {
        "key": {"type": "string"},
        "qe_id": {"type": "string", "minLength": 1, "maxLength": pccs.MAX_QE_ID},
        "pce_id": _hex(4),
    },
}
_POLICY: Final = {
    "type": "object",
    "required": ["is_default", "fmspc", "policy"],
    "properties": {
        "is_default": {"type": "boolean"},
        "fmspc": _FMSPC,
        "policy": {"type": "string"},
    },
}
#: (method, resource) -> parameters, schema of the body, media type of 200, what it does.
_ADMIN: Final[Mapping[tuple[str, str], tuple[Mapping[str, Any], Any, str, str]]] = {
    ("POST", "platforms"): (
        {"update": (_words("standard", "early", "all"), False, "of which TCB infos")},
        _PLATFORM,
        _TEXT,
        "Register a machine",
    ),
    ("GET", "platforms"): (
        {
            "source": (
                {"type": "string"},
                False,
                "reg, reg_na, or FMSPCs in brackets; [] is all that are kept",
            ),
            "keep": (_words("true", "1"), False, "look into the queue without emptying it"),
        },
        None,
        _JSON,
        "Machines that wait (this empties the queue), or are kept",
    ),
    ("PUT", "platformcollateral"): (
        {},
        {"type": "object"},
        _TEXT,
        "Import platform_collaterals.json",
    ),
    ("GET", "refresh"): ({}, None, _TEXT, "Renew collateral"),
    ("POST", "refresh"): (
        {
            "type": (_words("certs"), False, "PCK certificates instead"),
            "fmspc": ({"type": "string"}, False, "of which; all, a list, or nothing"),
        },
        None,
        _TEXT,
        "Renew collateral, or PCK certificates",
    ),
    ("PUT", "appraisalpolicy"): ({}, _POLICY, _TEXT, "Keep an appraisal policy"),
}
_OPERATION: Final = {
    "/healthz/live": (_JSON, "Whether the process answers"),
    "/healthz/ready": (_JSON, "Whether it can be sent clients"),
    "/healthz/startup": (_JSON, "Whether it has started"),
    "/metrics": ("text/plain", "Metrics for Prometheus"),
    "/status.json": (_JSON, "What is kept, for how long it is good, how upstream does"),
    "/openapi.json": (_JSON, "This"),
}


def openapi(version: str) -> dict[str, Any]:
    """The whole document, as a value."""
    paths: dict[str, dict[str, Any]] = {}
    for tee, number, resource in _public():
        parameters, media_type, what = _RESOURCES[resource]
        path = f"/{tee}/certification/v{number}/{resource}"
        paths.setdefault(path, {})["get"] = {
            "summary": what,
            "operationId": f"get {tee} v{number} {resource}".replace(" ", "_").replace("/", "_"),
            "parameters": list(_parameters(parameters)),
            "responses": _responses(media_type, token=False),
        }
    for (method, resource), (parameters, schema, media_type, what) in _ADMIN.items():
        for number in (3, 4):
            path = f"/sgx/certification/v{number}/{resource}"
            paths.setdefault(path, {})[method.lower()] = _administered(
                method, number, resource, (parameters, schema, media_type, what)
            )
    paths[removal.PATH] = {
        "post": {
            "summary": "Forget a machine, or an item by its key",
            "operationId": "post_dcap_forget",
            "security": [{"admin": []}],
            "requestBody": {"required": True, "content": {_JSON: {"schema": _REMOVAL}}},
            "responses": _responses(_TEXT, token=True),
        }
    }
    for path, (media_type, what) in _OPERATION.items():
        responses = {"200": _answer(media_type, "as asked")}
        if path.startswith("/healthz"):
            responses["503"] = _answer(media_type, "not yet, or no longer")
        paths[path] = {"get": {"summary": what, "responses": responses}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dcap PCCS",
            "version": version,
            "description": "A caching service for SGX and TDX collateral, compatible with Intel's.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "user": {"type": "apiKey", "in": "header", "name": pccs_admin.USER_TOKEN},
                "admin": {"type": "apiKey", "in": "header", "name": pccs_admin.ADMIN_TOKEN},
            }
        },
    }


def _public() -> Iterator[tuple[str, int, str]]:
    for route in pccs.PCCS_ROUTES:
        for number in range(route.since, 5):
            yield route.tee, number, route.resource
    for tee, resource in _BEYOND:
        yield tee, 4, resource


def _administered(
    method: str, number: int, resource: str, row: tuple[Mapping[str, Any], Any, str, str]
) -> dict[str, Any]:
    parameters, schema, media_type, what = row
    registers = (method, resource) == ("POST", "platforms")
    operation: dict[str, Any] = {
        "summary": what,
        "operationId": f"{method.lower()}_sgx_v{number}_{resource}",
        "parameters": list(_parameters(parameters)),
        "security": [{"user" if registers else "admin": []}],
        "responses": _responses(media_type, token=True),
    }
    if schema is not None:
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema}}}
    return operation


def _parameters(rows: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, (schema, required, what) in rows.items():
        yield {
            "name": name,
            "in": "query",
            "required": required,
            "description": what,
            "schema": schema,
        }


def _responses(media_type: str, *, token: bool) -> dict[str, Any]:
    """What may come: 200, 304, and the sentences, each with the causes that lead to it."""
    found: dict[str, Any] = {"200": _answer(media_type, "what was asked for")}
    if not token:
        found["304"] = {"description": "the client has it (If-None-Match)"}
    for status, sentence in SENTENCES.items():
        causes = [name for name, cause in CAUSES.items() if cause.status == status]
        if status == 401 and not token:
            continue
        said = f"{sentence} Dcap-Cause: {', '.join(causes)}" if causes else sentence
        if status == 400:
            said += ". Dcap-Why: what of the request"
        answer: dict[str, Any] = {"description": said}
        if status != 503:
            answer["content"] = {_TEXT: {"schema": {"type": "string"}}}
        found[str(status)] = answer
    return found


def _answer(media_type: str, what: str) -> dict[str, Any]:
    schema = {} if media_type == _JSON else {"type": "string"}
    return {"description": what, "content": {media_type: {"schema": schema}}}
