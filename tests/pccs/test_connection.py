"""`dcap.pccs.connection`: who reads slowly, and who does not read."""

import asyncio
import ssl
from pathlib import Path

import pytest

from dcap.api.http import HttpResponse
from dcap.pccs.connection import Connection
from pccs.desk import open_desk

SIZE = 24 << 20
PIECE = 2 << 20
REQUEST = b"GET /sgx/certification/v4/x HTTP/1.1\r\nHost: x\r\nConnection: %b\r\n\r\n"


@pytest.mark.parametrize("connection", [b"keep-alive", b"close"])
def test_who_reads_has_time_and_who_does_not_is_hung_up_on(
    tmp_path: Path, connection: bytes
) -> None:
    """Each time its time runs out it goes on, if it read since; else, after a while, it ends."""
    with open_desk(tmp_path) as desk:
        desk.put(lambda _: HttpResponse(status=200, body=bytes(SIZE)))
        front, loop = desk.front, desk.front.loop

        async def run() -> None:
            server = await loop.create_server(
                lambda: Connection(front, loop, desk.tls), "127.0.0.1", 0
            )
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            reader, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname()[:2], ssl=context
            )
            writer.write(REQUEST % connection)
            await reader.readuntil(b"\r\n\r\n")
            (made,) = front.connections
            for _ in range(4):
                await reader.readexactly(PIECE)
                made.expire()
                await asyncio.sleep(0)
                assert made in front.connections
            for _ in range(200):  # what the system holds for it fills up first
                await asyncio.sleep(0.02)
                made.expire()
                if made not in front.connections:
                    break
            assert made not in front.connections
            with pytest.raises((asyncio.IncompleteReadError, OSError)):
                await reader.readexactly(SIZE - 4 * PIECE)
            writer.transport.abort()
            server.close()

        loop.run_until_complete(asyncio.wait_for(run(), 60))
