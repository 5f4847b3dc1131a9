"""`POST /dcap/forget`: let a service of ours forget a machine, or one piece of collateral.

    {"qe_id": "…", "pce_id": "0000"}  or  {"key": "tcb/SGX/4/00906ED50000/STANDARD"}

It wants the admin token. For the machine whose QE id another took (`other-machine`), and the piece whose
number is ahead of Intel's (`rolled-back`). Intel's PCCS has nothing of the kind. The ids never stand in
the text of these values. Not here: what is forgotten with it (`service`).
"""

from typing import Any, Final

import msgspec

from dcap.api.http import Headers, HttpRequest
from dcap.api.parameters import HEX, malformed
from dcap.api.pccs import MAX_QE_ID
from dcap.api.pccs_admin import ADMIN_TOKEN
from dcap.api.pcs import JSON
from dcap.errors import FormatError
from dcap.formats.signed_json import decode, encode
from dcap.pccs.items import Key, read_key

PATH: Final = "/dcap/forget"
_PCE_ID_DIGITS: Final = 4


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be forgotten: an item by its key, or else a machine by its ids, in upper case."""

    key: Key | None = None
    qe_id: str = ""
    pce_id: str = "0000"

    def __repr__(self) -> str:
        return f"<Removal of {'a machine' if self.key is None else self.key.text}>"

    def to_http(self, token: str | None) -> HttpRequest:
        """The request on the wire."""
        machine = {"qe_id": self.qe_id, "pce_id": self.pce_id}
        body = encode(machine if self.key is None else {"key": self.key.text})
        headers: Headers = (("Content-Type", JSON),)
        if token is not None:
            headers = ((ADMIN_TOKEN, token), *headers)
        return HttpRequest(method="POST", target=PATH, headers=headers, body=body)

    @classmethod
    def from_http(cls, request: HttpRequest) -> "Removal":
        """Read it. Raises `FormatError` (`pcs-request`)."""
        try:
            given = decode(request.body, dict[str, Any], "request")
        except FormatError:
            raise malformed("the body is not one JSON object, each member once") from None
        if set(given) == {"key"} and isinstance(given["key"], str):
            try:
                return cls(key=read_key(given["key"]))
            except FormatError as error:
                raise malformed(error.what) from None
        qe_id, pce_id = given.get("qe_id"), given.get("pce_id", "0000")
        if not isinstance(qe_id, str) or not 1 <= len(qe_id) <= MAX_QE_ID:
            raise malformed(f"qe_id is not 1 to {MAX_QE_ID} characters, and there is no key")
        if (
            not isinstance(pce_id, str)
            or len(pce_id) != _PCE_ID_DIGITS
            or not HEX.fullmatch(pce_id)
        ):
            raise malformed(f"pce_id is not {_PCE_ID_DIGITS} hexadecimal digits")
        return cls(qe_id=qe_id.upper(), pce_id=pce_id.upper())
