"""What a service says of itself: probes, metrics, status, OpenAPI. No token is wanted for it.

The status goes through the whole store, so it is computed once a second at most, however many ask.
Not here: what stands in them (`health`, `metrics`, `openapi`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from dcap import __version__
from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.thim import CACHE_CONTROL
from dcap.errors import DcapError
from dcap.pccs import health
from dcap.pccs.answers import Answers
from dcap.pccs.assembly import Parts
from dcap.pccs.metrics import MEDIA_TYPE, Counters, write_figures

_PROBES: Final = ("/healthz/live", "/healthz/ready", "/healthz/startup")
OPERATION: Final = frozenset({*_PROBES, "/metrics", "/openapi.json", "/status.json"})
#: For how long a status is good that was computed for somebody else.
STATUS_SECONDS: Final = 1.0

_Status: TypeAlias = dict[str, Any] | None


class State(NamedTuple):
    """What the documents are of, as it is now."""

    parts: Parts
    answers: Answers
    store_answers: bool
    stopping: bool
    now: float


class Documents:
    """Those of one process. `beside` runs work in a thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counters: Counters,
        beside: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._loop = loop
        self._counters = counters
        self._beside = beside
        self._kept: tuple[float, Parts, int, asyncio.Task[_Status]] | None = None

    async def answer(self, path: str, request: HttpRequest, state: State) -> HttpResponse | None:
        """The document of a path; `None` where the store does not answer."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(status=405, headers=(("Allow", "GET, HEAD"),))
        if path.startswith("/healthz"):
            found = {} if path.endswith(("live", "startup")) else _checks(state)
            status, body = health.probe(found)
            return _document(status, body)
        if path == "/openapi.json":
            return _document(200, await self._beside(_openapi))
        now = await self._status(state)
        if path == "/metrics":
            text = write_figures([*self._counters.figures(), *health.figures(now)])
            return _document(200, text, MEDIA_TYPE)
        return None if now is None else _document(200, msgspec.json.encode({"schema": 1, **now}))

    async def _status(self, state: State) -> _Status:
        """At most a second old, and not older than the last change that was seen."""
        now, generation = state.now, state.answers.generation
        kept = self._kept
        if (
            kept is None
            or kept[0] <= now
            or kept[1] is not state.parts
            or kept[2] != generation
            or (kept[3].done() and kept[3].result() is None)
        ):
            task = self._loop.create_task(self._computed(state))
            kept = self._kept = (now + STATUS_SECONDS, state.parts, generation, task)
        return await kept[3]

    async def _computed(self, state: State) -> _Status:
        hot = health.Hot(answers=len(state.answers), size=state.answers.size)

        def compute() -> _Status:
            try:
                return health.status(state.parts, self._counters, hot, version=__version__)
            except DcapError:
                return None

        found: _Status = await self._beside(compute)
        return found


def _checks(state: State) -> dict[str, str]:
    fault = state.parts.tokens.fault()
    return health.checks(
        store_answers=state.store_answers,
        has_tokens=state.parts.tokens.has("admin"),
        tokens_fault="" if fault is None else fault.what,
        stopping=state.stopping,
        all_early=state.parts.refresher.all_early,
    )


def _document(status: int, body: bytes, media_type: str = health.JSON) -> HttpResponse:
    headers = (("Content-Type", media_type), (CACHE_CONTROL, "no-store"))
    return HttpResponse(status=status, headers=headers, body=body)


@cache
def _openapi() -> bytes:
    from dcap.pccs.openapi import openapi  # noqa: PLC0415 - few ask

    return msgspec.json.encode(openapi(__version__))
