"""Server octets garbled at random: whatever comes, a call ends, by an answer or by an error with a name."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpcore2
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hyperframe.frame import GoAwayFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from upstreams.http2_connection import Http2Connection
from upstreams.httpx_failures import FOREIGN

pytestmark = pytest.mark.anyio

SETTINGS = SettingsFrame(0, settings={SettingsFrame.MAX_CONCURRENT_STREAMS: 10}).serialize()


class Played(httpcore2.AsyncNetworkStream):
    """SETTINGS at once, ``octets`` when a request has come, then the end."""

    def __init__(self, octets: bytes, size: int) -> None:
        self._parts = [octets[at : at + size] for at in range(0, len(octets), size)]
        self._asked = asyncio.Event()
        self._greeted = False
        self._writes = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._greeted:
            self._greeted = True
            return SETTINGS
        await self._asked.wait()
        return self._parts.pop(0) if self._parts else b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._writes += 1
        if self._writes > 1:
            self._asked.set()

    async def aclose(self) -> None:
        pass


def transcript() -> bytes:
    """What a server says to two requests."""
    server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    for number in (1, 3):
        fields = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "a")]
        client.send_headers(number, fields, end_stream=True)
    server.receive_data(client.data_to_send())
    server.clear_outbound_data_buffer()
    for number in (1, 3):
        server.send_headers(number, [(b":status", b"103"), (b"link", b"x")])
        server.send_headers(number, [(b":status", b"200"), (b"content-length", b"6"), (b"x-marker", b"%d" % number)])
    for number in (3, 1):
        server.send_data(number, b"abc", pad_length=5)
        server.send_data(number, b"def")
        server.send_headers(number, [(b"x-trailer", b"1")], end_stream=True)
    return server.data_to_send()


def frames(octets: bytes) -> list[bytes]:
    found = []
    while octets:
        size = 9 + int.from_bytes(octets[:3], "big")
        found.append(octets[:size])
        octets = octets[size:]
    return found


WHOLE = frames(transcript())
STRAY = [
    WindowUpdateFrame(0, window_increment=2**31 - 1).serialize(),
    WindowUpdateFrame(1, window_increment=2**31 - 1).serialize(),
    PingFrame(0, b"12345678").serialize(),
    RstStreamFrame(1, error_code=8).serialize(),
    RstStreamFrame(3, error_code=0).serialize(),
    GoAwayFrame(0, last_stream_id=1).serialize(),
    GoAwayFrame(0, last_stream_id=0, error_code=1).serialize(),
    SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}).serialize(),
    SettingsFrame(0, settings={SettingsFrame.MAX_CONCURRENT_STREAMS: 0}).serialize(),
    b"\x00\x00\x00\x00\x01\x00\x00\x00\x01",
    b"\x00\x00\x00\x09\x04\x00\x00\x00\x01",
]


def garbled(dice: random.Random) -> bytes:
    made = [*WHOLE]
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(made))
        match dice.randrange(6):
            case 0:
                made.insert(at, dice.choice(STRAY))
            case 1:
                made.insert(at, made[at])
            case 2:
                del made[at]
            case 3:
                other = dice.randrange(len(made))
                made[at], made[other] = made[other], made[at]
            case _:
                frame = bytearray(made[at])
                frame[dice.randrange(len(frame))] = dice.randrange(256)
                made[at] = bytes(frame)
        made = made or [b"\x00"]
    return b"".join(made)


async def call(connection: Http2Connection) -> tuple[int, bytes] | None:
    async def untraced(event: str, info: dict[str, Any]) -> None:
        pass

    sent = httpcore2.Request(
        b"GET",
        httpcore2.URL(scheme=b"https", host=b"a", port=443, target=b"/"),
        headers=[(b"host", b"a")],
        extensions={"trace": untraced, "timeout": {"read": 5}},
    )
    try:
        answer = await connection.handle_async_request(sent)
    except (*FOREIGN, httpcore2.ConnectionNotAvailable):
        return None
    try:
        return answer.status, b"".join([part async for part in answer.stream])  # type: ignore[union-attr]
    except FOREIGN:
        return None
    finally:
        await answer.aclose()


async def played(octets: bytes, size: int) -> list[tuple[int, bytes] | None]:
    connection = Http2Connection(Played(octets, size), write_s=5, keep_s=5, max_age_s=5)
    async with asyncio.timeout(10):
        await connection.begin()
        results = await asyncio.gather(call(connection), call(connection))
        await connection.aclose()
    return results


async def test_the_transcript_itself_is_two_answers() -> None:
    for size in (1, 7, 65_536):
        assert await played(b"".join(WHOLE), size) == [(200, b"abcdef")] * 2


@pytest.mark.parametrize("seed", range(4))
async def test_garbled_octets_end_in_an_answer_or_in_an_error_with_a_name(seed: int) -> None:
    dice = random.Random(seed)
    ends = [result for _ in range(150) for result in await played(garbled(dice), dice.choice((1, 5, 65_536)))]
    answered = [result for result in ends if result is not None]
    assert 50 < len(answered) < 250, "most are garbled, not all are lost"
