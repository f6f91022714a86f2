"""A small exchange that ends at every position: no answer is ever taken for complete that is not (RFC 9112 8)."""

from __future__ import annotations

import pytest

from tests.upstreams.conformance.cases import CUT, MALFORMED, answer
from tests.upstreams.conformance.engines import on_every_engine
from tests.upstreams.conformance.origin import Act, Origin
from tests.upstreams.conformance.stage import Failed, outcome, pieces, request, staged

pytestmark = pytest.mark.anyio

ENDS = pytest.mark.parametrize("end", [Act.CLOSE, Act.RESET], ids=["close", "reset"])
BY_LENGTH = answer(b"a: b", body=b"content")
BY_CHUNKS = answer(
    b"transfer-encoding: chunked", length=False, body=b"4;x=y\r\ncont\r\n3\r\nent\r\n0\r\nx-t: 1\r\n\r\n"
)
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + BY_LENGTH


@on_every_engine
@ENDS
@pytest.mark.parametrize("data", [BY_LENGTH, BY_CHUNKS, INTERIM], ids=["by-length", "by-chunks", "interim"])
async def test_an_answer_cut_at_any_position_is_never_complete(data: bytes, end: Act, engine: str) -> None:
    """From the first octet on; with none the request may be sent again, which has its own cases."""
    positions = range(1, len(data))
    head_ends = data.index(b"\r\n\r\n", data.index(b" 200 ")) + 4
    async with staged(engine, Origin(*((data[:count], end) for count in positions))) as stage:
        for count in positions:
            result = await outcome(stage.engine, request())
            assert isinstance(result, Failed), (count, result)
            error = result.error
            phase = "upstream_wait" if count < head_ends else "upstream_body"
            assert (error.code, error.phase, error.sent) == ("upstream-protocol", phase, True), count
            assert error.proxy_error in CUT | MALFORMED, count
            assert b"content".startswith(result.body)
            await stage.probe()
        assert len(stage.origin.cases) == len(positions)


@on_every_engine
@ENDS
async def test_a_request_cut_at_any_position_fails_and_is_not_sent_again(end: Act, engine: str) -> None:
    """The upstream goes while the request arrives, on a connection that never served: no second try."""
    whole = b"POST /case HTTP/1.1\r\nhost: origin\r\nx-marker: case\r\ncontent-length: 5\r\n\r\nhello"
    for count in range(len(whole) + 1):
        async with staged(engine, Origin((answer(),), deaf=(count, end))) as stage:
            result = await outcome(stage.engine, request(b"POST", body=pieces(b"hello"), content_length=5))
            assert isinstance(result, Failed), count
            assert result.error.code == "upstream-protocol"
            assert result.error.proxy_error in CUT
            assert stage.origin.cases == []


@on_every_engine
@pytest.mark.parametrize("data", [BY_LENGTH, BY_CHUNKS, INTERIM], ids=["by-length", "by-chunks", "interim"])
async def test_an_answer_in_two_packets_cut_anywhere_is_the_same_answer(data: bytes, engine: str) -> None:
    async with staged(engine, Origin(*((data[:count], 0.001, data[count:]) for count in range(1, len(data))))) as stage:
        for count in range(1, len(data)):
            assert (await stage.fetch()).body == b"content", count
            await stage.probe()
        assert stage.origin.connections == 1
