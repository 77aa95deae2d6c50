"""What people read when nobody answers: a reason and a way out in words, from errors as they really come."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from bot.errors import Temporary
from bot.kube.failures import Call, lost_connection
from bot.silence import Silence, silence
from dev.controlplane.certificates import Authority


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def error_of(url: str, *, seconds: float = 5) -> Silence:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as http:
        with pytest.raises((aiohttp.ClientError, TimeoutError, OSError)) as raised:
            await http.get(url)
    found = silence(raised.value)
    assert "ssl:default" not in found.reason
    assert "Errno" not in found.reason
    return found


async def test_a_port_where_nobody_listens_refuses() -> None:
    found = await error_of(f"http://127.0.0.1:{free_port()}")
    assert found.reason == "the connection is refused"
    assert "Look whether it runs" in found.way_out


async def test_a_server_that_says_nothing_is_too_late_and_one_that_hangs_up_broke_off() -> None:
    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    for serve, seconds, said in ((nothing, 0.2, "no answer came in time"), (away, 20, "the connection broke off")):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            assert (await error_of(f"http://127.0.0.1:{port}", seconds=seconds)).reason == said


async def test_a_name_without_an_address_is_named() -> None:
    error = aiohttp.ClientConnectorDNSError(
        aiohttp.client_reqrep.ConnectionKey("nowhere.invalid", 443, True, True, None, None, None),
        OSError(-2, "no name"),
    )
    assert silence(error).reason == "there is no address for the name nowhere.invalid"


async def test_a_certificate_that_nobody_vouches_for_is_said(tmp_path: Path) -> None:
    pair = Authority.create(tmp_path).server("somebody")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        found = await error_of(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert found.reason.startswith("its certificate is not trusted (")


def test_the_api_server_that_is_away_is_a_sentence_with_a_way_out() -> None:
    error = lost_connection(Call("get", "pods"), "https://1.2.3.4", ConnectionRefusedError(111, "x"), sent=False)
    assert isinstance(error, Temporary)
    assert error.message == "The API server https://1.2.3.4 cannot be reached: the connection is refused."
    assert error.way_out.startswith("Look whether it runs")
