"""`dcap.pccs.asgi`: one request through an ASGI application."""

import asyncio
from typing import Any

import pytest

from dcap.api.http import HttpRequest, HttpResponse
from dcap.pccs.asgi import ask


def answer_of(application: Any, request: HttpRequest) -> HttpResponse:
    """The application's answer."""
    return asyncio.run(ask(application, request, client="10.0.0.1", server=("localhost", 8081)))


def test_the_application_sees_the_request() -> None:
    """Path decoded and as sent, query, headers in lower case, body, and who asks."""
    seen: dict[str, Any] = {}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        seen["message"] = await receive()
        seen["after"] = await receive()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    request = HttpRequest(
        method="POST", target="/a%20b?c=%41", headers=(("Cookie", "x=1"),), body=b"body"
    )
    assert answer_of(application, request).status == 204
    assert (seen["path"], seen["raw_path"], seen["query_string"]) == ("/a b", b"/a%20b", b"c=%41")
    assert (seen["method"], seen["scheme"], seen["client"][0]) == ("POST", "https", "10.0.0.1")
    assert seen["headers"] == [(b"cookie", b"x=1")]
    assert seen["message"] == {"type": "http.request", "body": b"body", "more_body": False}
    assert seen["after"]["type"] == "http.disconnect"


def test_the_answer_is_whole() -> None:
    """A body in parts is one; each header stays, also two of a name."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    response = answer_of(application, HttpRequest(target="/"))
    assert response.body == b"one two"
    assert response.headers == (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))


def test_what_it_raises_is_raised() -> None:
    """The front turns it into 500; here nothing is hidden."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError(scope["path"])

    with pytest.raises(KeyError):
        answer_of(application, HttpRequest(target="/"))
