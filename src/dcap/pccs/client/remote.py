"""A PCCS over the network, as its administrator asks it: Intel's, and ours.

    pccs = RemotePccs(connect, "https://localhost:8081", token=…)
    pccs.waiting("reg", take=True)          # bytes of each machine's entry
    pccs.put(body)                          # `platform_collaterals.json`, or a part of it

`put` may be repeated without harm, and is, where the network or the service fails for a moment. Reading
a queue is not: what Intel's PCCS has answered, it has forgotten. Tokens never stand in errors.

Source: `pccs-and-pcs-api.md` §1.4-1.9.
"""

import re
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from dcap.api import pccs_admin as admin
from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.pccs_admin import KEEP
from dcap.api.pccs_responses import CAUSE, LEFT_OUT, WHY, PccsRefusal
from dcap.api.platform_list import MAX_SIZE
from dcap.errors import (
    ConfigError,
    DcapError,
    FormatError,
    Unavailable,
    VerificationError,
    printable,
)
from dcap.pccs.causes import CAUSES
from dcap.sources.endpoint import Connect, origin_of, placed

#: Where a PCCS is, unless it is told.
DEFAULT_URL: Final = "https://localhost:8081"
_DIGITS, _LONGEST_WHY = 9, 200
#: Resources whose whole URL Intel's tool is given.
_RESOURCES: Final = ("platforms", "platformcollateral", "appraisalpolicy", "refresh")
_BASE: Final = re.compile(r"(.*)/sgx/certification/v([34])/?")
_WAITS: Final = (1.0, 3.0, 9.0)
_PASSING: Final = (429, 502, 503, 504)


class LeftOut(NamedTuple):
    """How many pieces of a file a service did not keep, and which, in its words."""

    number: int
    why: str


class TooLarge(ConfigError):  # noqa: N818 - what the service says
    """The body is beyond what the service takes (413)."""


class RemotePccs:
    """One PCCS. `url` is its origin, its base, or one of its resources as Intel's tool has it."""

    def __init__(
        self,
        connect: Connect,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.origin = origin_of(url)
        path = url[len(self.origin) :].partition("?")[0].rstrip("/")
        for resource in _RESOURCES:
            path = path.removesuffix(f"/{resource}")
        match = _BASE.fullmatch(path or "/sgx/certification/v4")
        if match is None:
            raise ConfigError(
                "source-url",
                "its path is not that of a PCCS",
                where=self.origin + path,
                mend="give scheme, host and port: https://host:8081",
            )
        self.version = int(match[2])
        self.base = f"{self.origin}{match[1]}/sgx/certification/v{self.version}/"
        self._prefix = match[1]
        self._connect = connect
        self._token = token
        self._sleep = sleep
        self._handler: Handler | None = None

    def __repr__(self) -> str:
        return f"<RemotePccs {self.base}>"

    def waiting(self, queue: admin.Queue, *, take: bool) -> tuple[bytes, ...]:
        """The entries of a queue, byte for byte; with `take` they leave it.

        Intel's PCCS knows nothing of `take`: there they leave it in any case.
        """
        asked = self._request(admin.PlatformListRequest(token=self._token, source=queue))
        if not take:
            asked = msgspec.structs.replace(asked, target=f"{asked.target}&{KEEP}=true")
        return self._listed(asked)

    def platforms(self, fmspcs: tuple[str, ...]) -> tuple[bytes, ...]:
        """The entries of the machines that are kept, of these FMSPCs or of all."""
        return self._listed(
            self._request(admin.PlatformListRequest(token=self._token, fmspcs=fmspcs))
        )

    def put(self, body: bytes) -> LeftOut | None:
        """Import a file; what of it the service did not keep, where it says so (ours does).

        Raises `TooLarge`, and what the service refuses.
        """
        answer = self._done(
            self._request(admin.ImportRequest(token=self._token, body=body)), again=True
        )
        count = answer.header(LEFT_OUT) or ""
        if not (count.isascii() and count.isdigit() and len(count) <= _DIGITS):
            return None
        return LeftOut(int(count), printable(answer.header(WHY) or "")[:_LONGEST_WHY])

    def set_policy(self, fmspc: str, policy: str, *, is_default: bool) -> str:
        """Keep an appraisal policy; gives its id."""
        asked = admin.SetPolicyRequest(
            token=self._token, fmspc=fmspc, policy=policy, is_default=is_default
        )
        return self._done(self._request(asked), again=True).body.decode("utf-8", "replace")

    def _request(self, asked: admin.PccsAdminRequest) -> HttpRequest:
        return msgspec.structs.replace(asked, version=self.version).to_http(self._prefix)

    def _listed(self, asked: HttpRequest) -> tuple[bytes, ...]:
        body = self._done(asked, again=False).body
        if len(body) > MAX_SIZE:
            raise FormatError("platform-list", "the list is larger than any", where=self.base)
        try:
            entries = msgspec.json.decode(body, type=list[msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise FormatError(
                "platform-list",
                "the answer is no list of machines",
                where=self.base,
                mend="see with `curl -v` what answers there",
            ) from None
        return tuple(bytes(memoryview(entry)) for entry in entries)

    def _done(self, asked: HttpRequest, *, again: bool) -> HttpResponse:
        """The answer, which says 200. What may be repeated is, after a wait."""
        waits = _WAITS if again else ()
        for wait in (*waits, None):
            try:
                answer = self._ask(asked)
            except Unavailable:
                if wait is None:
                    raise
            else:
                if wait is None or answer.status not in _PASSING or _is_final(answer):
                    return self._accepted(answer)
            self._sleep(wait)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def _ask(self, asked: HttpRequest) -> HttpResponse:
        try:
            if self._handler is None:
                self._handler = self._connect(self.origin)
            return self._handler(asked)
        except Unavailable as error:
            raise placed(error, self.base) from None

    def _accepted(self, answer: HttpResponse) -> HttpResponse:
        if answer.status != 200:
            raise _refusal(answer, self.base)
        return answer


def _is_final(answer: HttpResponse) -> bool:
    """Whether asking again is of no use: our PCCS says so by its cause."""
    return answer.header(CAUSE) in ("offline", "refresh-failed")


def _refusal(answer: HttpResponse, where: str) -> DcapError:
    """What a refusal means for whoever administers. 401 is a matter of the command line."""
    cause = answer.header(CAUSE) or ""
    known = CAUSES.get(cause)
    said = f" ({known.what})" if known else ""
    why = printable(answer.header(WHY) or "")[:_LONGEST_WHY]
    if answer.status == 401:
        return ConfigError(
            "pccs-token-refused",
            "the PCCS refuses the token",
            where=where,
            mend="give the admin token in --token-file or $DCAP_PCCS_TOKEN; "
            "`dcap pccs token new` makes another on the PCCS's host",
        )
    if answer.status == 413:
        return TooLarge(
            "put-too-large",
            "the PCCS takes no body of that size",
            where=where,
            mend="give a smaller --max-body, or raise the limit of the PCCS",
        )
    if answer.status == 460:
        return VerificationError(
            "put-forged",
            "the PCCS could not prove what was put, and has kept nothing of it",
            where=where,
            mend="fetch the file again, and carry it unchanged; the PCCS's log says what fails, and "
            "so does `dcap pccs import` into a store of your own",
        )
    if answer.status == 400:
        return FormatError(
            "put-refused",
            f"the PCCS cannot use what was sent{f' ({why})' if why else said}",
            where=where,
            mend="fetch the file again; the PCCS's log says what it misses",
        )
    error = PccsRefusal.from_http(answer).error()
    error.where = where
    if known:
        error.what, error.mend = f"{error.what}{said}", mend_of(cause)
    return error


def mend_of(cause: str) -> str:
    """What an administrator does about a cause of a PCCS of ours."""
    if cause == "offline":
        return "carry collateral in: `dcap pccs fetch` outside, `dcap pccs put` here"
    return CAUSES[cause].mend


def merged(*lists: Iterable[bytes]) -> tuple[bytes, ...]:
    """The entries of several lists, each once, in their order."""
    return tuple(dict.fromkeys(entry for entries in lists for entry in entries))


def written(entries: Iterable[bytes]) -> bytes:
    """Entries as the file `platform_list.json`, one machine a line."""
    return b"[" + b",\n".join(entries) + b"]\n"
