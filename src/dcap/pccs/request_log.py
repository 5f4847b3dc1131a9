"""The log: one line for each event, as text or JSON, on stderr; machines are never named in it.

    log = RequestLog("json", "info")
    log.request(request, status=404, cause="unregistered", identity="…", address="…", seconds=0.8)

Of a request it says method, resource and those parameters that say nothing of a machine; never QE ids,
PPIDs, manifests, tokens, bodies, or the raw path of what is no resource. Not here: rotation (journald,
the container's engine).
"""

import re
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from dcap.api.http import HttpRequest
from dcap.api.pccs import place_of
from dcap.errors import DcapError, printable

LEVELS: Final = ("error", "warning", "info", "debug")
_LIST: Final = r"\[?(?:[0-9A-Fa-f]{12}(?:,[0-9A-Fa-f]{12})*)?\]?"
#: Parameters that are no identifiers, and what their values look like: any other is not shown.
SHOWN: Final[Mapping[str, re.Pattern[str]]] = {
    "ca": re.compile(r"(?i)processor|platform"),
    "encoding": re.compile(r"(?i)der|pem"),
    "fmspc": re.compile(f"(?i)all|{_LIST}"),
    "update": re.compile(r"(?i)standard|early|all"),
    "tcbEvaluationDataNumber": re.compile(r"\d{1,9}", re.ASCII),
    "type": re.compile(r"(?i)certs"),
    "source": re.compile(f"(?i)reg|reg_na|{_LIST}"),
}
_LONGEST: Final = 64
#: What stands in a line of text as it is: nothing that ends a word, or a name.
_PLAIN: Final = re.compile(r"[!#-<>-~\u00a1-\uffff]+")


class RequestLog:
    """Writes lines. Safe among threads; each line is one write."""

    def __init__(
        self,
        form: str = "text",
        level: str = "info",
        *,
        write: Callable[[str], object] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._as_json = form == "json"
        self._most = LEVELS.index(level)
        self._write = write or _to_stderr
        self._clock = clock
        self._lock = threading.Lock()

    def shows(self, level: str) -> bool:
        """Whether a level is written."""
        return LEVELS.index(level) <= self._most

    def event(self, level: str, what: str, **facts: object) -> None:
        """Something happened. `facts` must not name machines."""
        if not self.shows(level):
            return
        facts = {name: value for name, value in facts.items() if value not in (None, "")}
        at = self._clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._as_json:
            document = {"time": at, "level": level, "event": what, **facts}
            line = msgspec.json.encode(document, enc_hook=str).decode()
        else:
            shown = " ".join(f"{name}={_word(value)}" for name, value in facts.items())
            line = f"{at} {level:<7} {what}{' ' + shown if shown else ''}"
        with self._lock:
            self._write(printable(line) + "\n")

    def request(
        self,
        request: HttpRequest,
        *,
        status: int,
        cause: str | None,
        identity: str | None,
        address: str,
        seconds: float,
        why: str | None = None,
    ) -> None:
        """A request was answered. `why` must name no machine."""
        level = "warning" if status >= 500 or cause == "bad-token" else "info"
        if not self.shows(level):
            return
        facts: dict[str, object] = {**described(request), "status": status}
        facts |= {"cause": cause, "why": why}
        facts |= {"ms": round(seconds * 1000, 1), "client": address, "request_id": identity}
        self.event(level, "request", **facts)

    def failed(self, what: str, error: BaseException) -> None:
        """Something failed. Only our own errors are trusted to name no machine."""
        if isinstance(error, DcapError):
            self.event("error", what, code=error.code, why=error.what, where=error.where)
        else:
            self.event(
                "error", what, code="internal", why=type(error).__name__, where=_place(error)
            )


def described(request: HttpRequest) -> dict[str, object]:
    """What may be said of a request."""
    place = place_of(request)
    if place is None:
        return {"method": request.method[:16], "resource": "(none)"}
    known = place.resource if len(place.resource) <= _LONGEST else "(none)"
    facts: dict[str, object] = {
        "method": request.method[:16],
        "resource": f"{place.tee}/v{place.version}/{known}",
    }
    try:
        query = request.query
    except DcapError:
        return facts
    for name, form in SHOWN.items():
        value = query.get(name)
        if value is not None and len(value) <= _LONGEST and form.fullmatch(value):
            facts[name] = value
    return facts


def _word(value: Any) -> str:  # noqa: ANN401 - any fact
    text = str(value)
    return text if _PLAIN.fullmatch(text) else msgspec.json.encode(text).decode()


def _place(error: BaseException) -> str:
    """The file and line of ours that an error came from: never its words, nor its values."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        if name.startswith("dcap."):
            found = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _to_stderr(line: str) -> None:
    # Where the log's disk is full, or its reader gone, lines are lost, and no answer.
    with suppress(OSError, ValueError):
        sys.stderr.write(line)
        sys.stderr.flush()
