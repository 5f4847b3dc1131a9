"""HTTP as values: one shape for everything that talks.

`Handler = Callable[[HttpRequest], HttpResponse]`: the simulated Intel is a Handler, a PCCS is one, the
network is one. Client, server and simulator snap together with or without sockets. Not here: sockets
(`serving`, `transport`), and any one service's routes (`pcs`, `thim`, `registration`).

Source: RFC 9110.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlencode

import msgspec

from dcap.errors import FormatError

#: More parameters than any request of these services has.
MAX_PARAMETERS: Final = 32
Headers: TypeAlias = tuple[tuple[str, str], ...]


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One request. `target` is the origin form: path and query, as sent."""

    method: str = "GET"
    target: str
    headers: Headers = ()
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path without the query."""
        return self.target.partition("?")[0]

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters, decoded; the first of a repeated one wins. Read once.

        Raises `FormatError` (`pcs-request`) where there are too many.
        """
        text = self.target.partition("?")[2]
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError:
            raise FormatError(
                "pcs-request", f"more than {MAX_PARAMETERS} parameters", where="request"
            ) from None
        return dict(reversed(pairs))

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return first_header(self.headers, name)


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One response; `headers` in the order and the case they are sent in."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return first_header(self.headers, name)


Handler: TypeAlias = Callable[[HttpRequest], HttpResponse]


def first_header(headers: Headers, name: str) -> str | None:
    """The first value under a name, which HTTP compares in any case."""
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)


def target(path: str, parameters: Iterable[tuple[str, str]] = ()) -> str:
    """A path with its query."""
    query = urlencode(list(parameters))
    return f"{path}?{query}" if query else path
