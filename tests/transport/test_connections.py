"""Connections: which are kept, which are not, and what a process pays for them."""

import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from listening import (
    ASKED,
    OK,
    SECRET,
    Conversation,
    answering,
    closing_after,
    listening,
    refusal,
)
from shown_certificates import write_self_signed

from dcap.api.http import HttpRequest
from dcap.transport import Limits, Network

SOURCE = Path(__file__).parents[2] / "src"
ONCE = Limits(connect=2, read=2, total=3, attempts=1, max_size=1000)


def network(**named: object) -> Network:
    """A network without an environment, that tries once."""
    return Network(**{"environ": {}, "limits": ONCE, **named})  # type: ignore[arg-type]


def test_a_connection_is_kept() -> None:
    """Five requests, one connection."""
    with listening(answering(OK)) as server, network() as own:
        handler = own.handler(server.url)
        assert [handler(ASKED).body for _ in range(5)] == [b"body"] * 5
        assert len(server.conversations) == 1
        assert own.handler(server.url + "/") is handler


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody and more",
    ],
)
def test_a_connection_is_not_kept_where_it_ends_or_is_muddled(answer: bytes) -> None:
    """What a server closes, or writes past the end of an answer, never meets the next request."""
    with listening(closing_after(answer), answering(OK)) as server, network() as own:
        handler = own.handler(server.url)
        assert [handler(ASKED).body for _ in range(2)] == [b"body"] * 2
        assert len(server.conversations) == 2


def test_an_answer_that_nobody_asked_for_meets_no_request() -> None:
    """A server that goes on talking after its answer has that connection closed."""
    spoken = threading.Event()

    def talking(conversation: Conversation) -> None:
        conversation.hear()
        conversation.say(OK)
        time.sleep(0.1)  # or it would come with the answer
        conversation.say(OK.replace(b"body", b"evil"))
        spoken.set()
        conversation.hold()

    with listening(talking, answering(OK)) as server, network() as own:
        handler = own.handler(server.url)
        handler(ASKED)
        assert spoken.wait(10)
        assert handler(ASKED).body == b"body"
        assert len(server.conversations) == 2


def test_a_connection_that_closes_under_a_request_costs_no_attempt() -> None:
    """A server that gives up an idle connection just as we use it is asked again at once."""

    def once(conversation: Conversation) -> None:
        conversation.hear()
        conversation.say(OK)
        conversation.hear()  # and is closed without an answer

    slept: list[float] = []
    with listening(once) as server, network(sleep=slept.append) as own:
        handler = own.handler(server.url)
        assert [handler(ASKED).body for _ in range(3)] == [b"body"] * 3
    assert slept == []


def test_a_post_has_a_connection_of_its_own() -> None:
    """Nobody could say whether a POST over a connection that closes has arrived."""
    posted = HttpRequest(method="POST", target="/", body=b"x")
    with listening(answering(OK)) as server, network() as own:
        handler = own.handler(server.url)
        for request in (ASKED, posted, ASKED):
            handler(request)
        methods = [[head.split()[0] for head in one.requests] for one in server.conversations]
    assert methods == [[b"GET"], [b"POST", b"GET"]]


def test_many_threads_share_a_handler(tmp_path: Path) -> None:
    """Each of 200 requests on 16 threads gets its own answer, and connections are used again."""
    certificate, key = write_self_signed(tmp_path)

    def echo(conversation: Conversation) -> None:
        while heard := conversation.hear():
            said = heard.split(b" ")[1]
            conversation.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said), said)

    limits = Limits(total=20)
    with (
        listening(echo, tls=(certificate, key)) as server,
        network(ca=certificate, limits=limits) as own,
        ThreadPoolExecutor(16) as pool,
    ):
        handler = own.handler(server.url)

        def fetch(number: int) -> bytes:
            return handler(HttpRequest(target=f"/{number}")).body

        assert list(pool.map(fetch, range(200))) == [b"/%d" % number for number in range(200)]
        assert len(server.conversations) < 200


def test_idle_connections_end_with_the_network() -> None:
    """After `close` the server sees the end of the connection; the network can still be used."""
    ended: list[bytes] = []

    def script(conversation: Conversation) -> None:
        conversation.hear()
        conversation.say(OK)
        ended.append(conversation.hear())

    with listening(script) as server, network() as own:
        own.handler(server.url)(ASKED)
        own.close()
        assert own.handler(server.url)(ASKED).status == 200
        own.close()
    assert ended == [b"", b""]


def run_python(script: str, *arguments: str) -> bytes:
    """What a process of its own writes to standard output."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FORKING = """
import os, sys
from dcap.api.http import HttpRequest
from dcap.transport import Network
handler = Network(environ={}).handler(sys.argv[1])
handler(HttpRequest(target="/parent"))
child = os.fork()
if child == 0:
    os._exit(0 if handler(HttpRequest(target="/child")).status == 200 else 1)
assert os.waitpid(child, 0)[1] == 0
handler(HttpRequest(target="/parent"))
"""


def test_a_fork_does_not_share_connections() -> None:
    """Parent and child have a connection each."""
    with listening(answering(OK)) as server:
        run_python(FORKING, server.url)
        paths = [[head.split(b" ")[1] for head in one.requests] for one in server.conversations]
    assert paths == [[b"/parent", b"/parent"], [b"/child"]]


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    """`import dcap.transport` and a network bring neither sockets nor TLS nor urllib3."""
    script = (
        "import sys; from dcap.transport import Network;"
        "Network().handler('https://pccs.example');"
        "print(sorted({'ssl', 'socket', 'urllib3', 'http.client', 'email'} & set(sys.modules)))"
    )
    assert run_python(script).strip() == b"[]"


def test_no_urls_are_logged(capfd: pytest.CaptureFixture[str]) -> None:
    """Malformed headers bring nothing to standard error, where libraries warn of them by URL."""
    with (
        listening(closing_after(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n")) as server,
        network() as own,
    ):
        refusal(own.handler(server.url))
    assert SECRET not in "".join(capfd.readouterr())


def test_codes_are_slugs_that_the_source_names() -> None:
    """Every code of this package begins with `network-` and stands in the table of this test."""
    package = SOURCE / "dcap" / "transport"
    text = "".join(file.read_text() for file in package.glob("*.py"))
    assert set(re.findall(r'"(network-[a-z-]+)"', text)) == {
        "network-ca",
        "network-certificate",
        "network-cut-off",
        "network-encoding",
        "network-name",
        "network-protocol",
        "network-proxy",
        "network-proxy-url",
        "network-redirect",
        "network-refused",
        "network-request",
        "network-timeout",
        "network-tls",
        "network-too-large",
        "network-url",
    }
