"""Appraisal policies of Intel's quote appraisal library: which FMSPC and kind of TEE a JWT is for.

The policy is kept as it was given, and its signature is the library's to check. Not here: our own
policies (`appraisal`), which have nothing to do with these.

Source: `pccs-and-pcs-api.md` §1.8.
"""

import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from dcap.api.parameters import malformed
from dcap.errors import FormatError
from dcap.pccs.items import AppraisalPolicy

#: class_id -> the type of the policy: SGX, TDX 1.0, TDX 1.5.
TYPES: Final[Mapping[str, int]] = {
    "3123ec35-8d38-4ea5-87a5-d6c48b567570": 0,
    "9eec018b-7481-4b1c-8e1a-9f7c0c8c777f": 1,
    "f708b97f-0fb2-4e6b-8b03-8a5bcd1221d3": 2,
}
#: The quoting enclave of TDX: beside another, and no policy of its own.
_SKIPPED: Final = "3769258c-75e6-4bc7-8d72-d2b0e224cad2"


def read_policy(text: str, fmspc: bytes, *, is_default: bool) -> AppraisalPolicy:
    """A policy from its JWT. Raises `FormatError` (`pcs-request`)."""
    return AppraisalPolicy(
        id=hashlib.sha384(text.encode("utf-8", "surrogatepass")).hexdigest(),
        type=_type_of(text),
        policy=text,
        is_default=is_default,
        fmspc=fmspc,
    )


def _type_of(text: str) -> int:
    """By the first class_id that is not skipped."""
    payload = _decode(_part(text))
    inner = payload.get("policy_payload") if isinstance(payload, dict) else None
    if not isinstance(inner, str):
        raise malformed("the policy's payload has no policy_payload, JSON in a string")
    document = _decode(inner.encode("utf-8", "surrogatepass"))
    entries = document.get("policy_array") if isinstance(document, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        environment = entry.get("environment") if isinstance(entry, dict) else None
        class_id = environment.get("class_id") if isinstance(environment, dict) else None
        if class_id == _SKIPPED:
            continue
        if isinstance(class_id, str) and class_id in TYPES:
            return TYPES[class_id]
        break
    raise malformed("the policy names no class_id that is known")


def _part(text: str) -> bytes:
    """The payload of a JWS in its compact form."""
    parts = text.split(".")
    if len(parts) != 3:
        raise malformed("the policy is not a JWT: three parts with points between them")
    try:
        return binascii.a2b_base64(parts[1].translate(_URL_SAFE) + "==")
    except (binascii.Error, ValueError):
        raise malformed("the policy's payload is not base64url") from None


_URL_SAFE: Final = str.maketrans("-_", "+/")


def _decode(data: bytes) -> Any:  # noqa: ANN401 - whatever JSON it is
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, FormatError, RecursionError, UnicodeError, ValueError):
        raise malformed("the policy's payload is not JSON") from None
