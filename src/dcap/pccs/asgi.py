"""An ASGI application as something that answers one request: for the console, which is one.

Answers are whole before they are sent; nothing streams. Not here: the application (`console`).

Source: ASGI 3.0, HTTP.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import unquote

from dcap.api.http import HttpRequest, HttpResponse

Message: TypeAlias = MutableMapping[str, Any]
Application: TypeAlias = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[Message]],
        Callable[[Message], Awaitable[None]],
    ],
    Awaitable[None],
]


async def ask(
    application: Application, request: HttpRequest, *, client: str, server: tuple[str, int]
) -> HttpResponse:
    """The application's answer. What it raises is raised."""
    path, _, query = request.target.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "https",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in request.headers
        ],
        "client": (client, 0),
        "server": server,
        "state": {},
    }
    start: list[Message] = []
    body = bytearray()
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            return {"type": "http.disconnect"}
        given = True
        return {"type": "http.request", "body": request.body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.append(message)
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    await application(scope, receive, send)
    first = start[0]
    headers = tuple(
        (_written(bytes(name).decode("latin-1")), bytes(value).decode("latin-1"))
        for name, value in first.get("headers", ())
    )
    return HttpResponse(status=first["status"], headers=headers, body=bytes(body))


def _written(name: str) -> str:
    """A header's name as all others are written: ASGI has them in lower case."""
    return "-".join(part.capitalize() for part in name.split("-"))
