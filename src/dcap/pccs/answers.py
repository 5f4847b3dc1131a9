"""The hot table: answers as ready-made bytes, found by the first line of a request, before any routing.

    parts = answers.get(line, now)                 # what is written, but for Request-ID and Date
    answers.offer(line, response, since, now)      # after the handler answered it once
    answers.forget(topics)                         # something changed, here or in another replica

An answer is ready for a minute at most, and never beyond its `max-age`, which is written shorter by
that minute: whoever keeps it keeps it no longer than what it is made of is good. What was computed
before a change and offered after it is not taken (`generation`). Where the database does not answer,
what is still good by its own date may be served a while longer (`get_good`).

Not here: who learns of changes (`watch`), sockets.
"""

import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from dcap.api.http import HttpResponse
from dcap.api.thim import CACHE_CONTROL
from dcap.pccs.http_head import write_fields, write_status

Topic: TypeAlias = Literal["items", "platforms", "policies"]

#: For how long an answer is ready before it is computed anew.
READY_SECONDS: Final = 60
#: Of the whole table, in bytes.
MAX_SIZE: Final = 16 * 1024 * 1024
#: Beyond it an answer is not worth the room.
_MAX_ANSWER: Final = 512 * 1024
#: What a row of the table costs beside its bytes.
_ROW: Final = 600
_MAX_AGE: Final = re.compile(r"max-age=(\d{1,9})")
_LINE: Final = re.compile(
    rb"GET /(?:sgx|tdx)/certification/v[34]/([a-z/]+)(?:\?([\x21-\x7e]*))? HTTP/1\.1", re.IGNORECASE
)
#: What the answers depend on. With another, or one of them twice, a line is one of endless many that
#: have the same answer: whoever sends those would crowd out what is asked for.
_PARAMETERS: Final = frozenset(
    name.encode()
    for name in (
        *("qeid", "encrypted_ppid", "cpusvn", "pcesvn", "pceid", "ca", "encoding", "uri", "fmspc"),
        *("update", "tcbEvaluationDataNumber", "platform", "clientid", "api-version"),
    )
)
#: Of Azure's `clientid` and `api-version`, which say nothing but whose client asks.
_LONGEST_NAME: Final = 32
_TOPICS: Final[dict[bytes, Topic]] = {b"pckcert": "platforms", b"appraisalpolicy": "policies"}
#: Queues and orders: every answer of theirs is another one.
_NEVER: Final = frozenset({b"platforms", b"refresh", b"platformcollateral"})
_OK: Final = write_status(200) + b"Request-ID: "
_NOT_MODIFIED: Final = write_status(304) + b"Request-ID: "
_LEFT_OUT: Final = frozenset({"request-id", "content-length"})


class Ready:
    """An answer. `head` follows the request id, and lacks what ends a head."""

    __slots__ = ("body", "etag", "good_until", "head", "head_304", "ready_until", "topic", "used")

    def __init__(
        self, response: HttpResponse, age: int, *, now: float, seconds: float, topic: Topic
    ) -> None:
        fields = tuple(one for one in response.headers if one[0].lower() not in _LEFT_OUT)
        common = write_fields(fields)
        self.head = b"\r\n" + common + b"Content-Length: %d\r\n" % len(response.body)
        left_out = write_fields(one for one in fields if one[0].lower() == "content-type")
        self.head_304 = (b"\r\n" + common).replace(b"\r\n" + left_out, b"\r\n", 1)
        self.body = response.body
        self.etag = (response.header("ETag") or "").encode()
        self.ready_until = now + min(seconds, age)
        self.good_until = now + age
        self.topic: Topic = topic
        self.used = False

    @property
    def size(self) -> int:
        """What it occupies, about."""
        return len(self.head) + len(self.head_304) + len(self.body) + _ROW


class Answers:
    """The table. Used by one thread."""

    def __init__(self, *, max_size: int = MAX_SIZE, seconds: int = READY_SECONDS) -> None:
        self._max_size = max_size
        self._seconds = seconds
        self._rows: dict[bytes, Ready] = {}
        self.size = 0
        #: Grows with every change: an answer is taken only under the one it was computed under.
        self.generation = 0

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, line: bytes, now: float) -> Ready | None:
        """The answer to a request's first line, where one is ready."""
        row = self._rows.get(line)
        if row is None or row.ready_until <= now:
            return None
        row.used = True
        return row

    def get_good(self, line: bytes, now: float) -> Ready | None:
        """The same, also where it ought to be computed anew, but its date still holds."""
        row = self._rows.get(line)
        return row if row is not None and row.good_until > now else None

    def shorten(self, response: HttpResponse) -> HttpResponse:
        """An answer as clients may keep it: its `max-age` without the minute it may lie here."""
        age = _age(response)
        if not age:
            return response
        shorter = f"max-age={max(0, age - self._seconds)}"
        headers = tuple(
            (name, _MAX_AGE.sub(shorter, value) if name == CACHE_CONTROL else value)
            for name, value in response.headers
        )
        return HttpResponse(status=response.status, headers=headers, body=response.body)

    def offer(self, line: bytes, response: HttpResponse, since: int, now: float) -> None:
        """Keep an answer (shortened already) for whoever asks the same, if it is one to be kept."""
        match = _LINE.fullmatch(line)
        age = _age(response)
        if match is None or response.status != 200 or since != self.generation:
            return
        if not _is_of_its_own(match[2]):
            return
        resource = match[1].lower().rstrip(b"/")
        topic = _TOPICS.get(resource, "items")
        if topic == "policies":
            age = self._seconds
        if not age or resource in _NEVER or len(response.body) > _MAX_ANSWER:
            return
        row = Ready(response, age, now=now, seconds=self._seconds, topic=topic)
        self._drop(line)
        self._rows[line] = row
        self.size += row.size + len(line)
        self._make_room()

    def forget(self, topics: Iterable[Topic]) -> None:
        """Forget what is made of things that changed."""
        changed = set(topics)
        if not changed:
            return
        self.generation += 1
        for line in [line for line, row in self._rows.items() if row.topic in changed]:
            self._drop(line)

    def _drop(self, line: bytes) -> None:
        row = self._rows.pop(line, None)
        if row is not None:
            self.size -= row.size + len(line)

    def _make_room(self) -> None:
        """The oldest goes first; one that was used since is let pass once."""
        while self.size > self._max_size and self._rows:
            line = next(iter(self._rows))
            row = self._rows[line]
            self._drop(line)
            if row.used:
                row.used = False
                self._rows[line] = row
                self.size += row.size + len(line)


def parts_of(row: Ready, identity: bytes, known: bytes | None) -> tuple[bytes, ...] | None:
    """An answer's parts, its end left out; 304 where the client knows it.

    `None` where the client's `If-None-Match` must be read with more care than this.
    """
    if known is None:
        return _OK, identity, row.head, row.body
    if known == row.etag:
        return _NOT_MODIFIED, identity, row.head_304, b""
    return None


def _is_of_its_own(query: bytes | None) -> bool:
    """Whether each parameter is one that the answer depends on, and stands once."""
    if not query:
        return query is None
    pairs = [one.partition(b"=") for one in query.split(b"&", len(_PARAMETERS))]
    names = {name for name, _, _ in pairs}
    return (
        len(names) == len(pairs)
        and names <= _PARAMETERS
        and all(
            len(value) <= _LONGEST_NAME
            for name, _, value in pairs
            if name in (b"clientid", b"api-version")
        )
    )


def _age(response: HttpResponse) -> int:
    match = _MAX_AGE.search(response.header(CACHE_CONTROL) or "")
    return int(match[1]) if match else 0
