"""A bounded copy of a body: what it takes at most, and that nothing of it is lost."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest

from upstreams.held import Held, decoded, json_text

pytestmark = pytest.mark.anyio


async def chunked(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize("bomb", [gzip.compress(b"0" * 50_000_000), zlib.compress(b"0" * 50_000_000)])
def test_a_bomb_takes_no_more_memory_than_its_bound(bomb: bytes) -> None:
    coding = b"gzip" if bomb[:1] == b"\x1f" else b"deflate"
    tracemalloc.start()
    try:
        assert decoded(bomb, [(b"content-encoding", coding)], 65_536) is None
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("most", [0, 1, 3, 5, 6, 100])
async def test_what_was_looked_at_is_passed_on_from_its_first_octet(most: int) -> None:
    held = Held(chunked(b"ab", b"", b"cd", b"ef"))
    found = await held.fill([], most, 1_000_000)
    assert found == (b"abcdef" if most >= 6 else None)
    assert b"".join([chunk async for chunk in held.body()]) == b"abcdef"
    held.drop()


async def test_a_body_that_came_with_its_head_needs_no_waiting() -> None:
    held = Held(content=b"abc")
    assert await held.fill([], 3, 0) == b"abc"
    assert await held.fill([], 2, 0) is None
    assert [chunk async for chunk in held.body()] == [b"abc"]


async def test_a_length_beyond_the_bound_is_believed() -> None:
    held = Held(chunked(b"abc"))
    assert await held.fill([(b"content-length", b"4")], 3, 1_000_000) is None
    assert [chunk async for chunk in held.body()] == [b"abc"]


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"a": 1}', True),
        (b" [1] \n", True),
        (b"1", False),
        (b"null", False),
        (b'{"a": 1} x', False),
        (b"\xef\xbb\xbf{}", False),
        (b'{"\\ud800": 1}', False),
        (None, False),
    ],
)
def test_only_an_object_or_an_array_can_stand_in_ours(body: bytes | None, kept: bool) -> None:
    assert json_text(body, 100) == (body.strip() if kept and body is not None else None)
    assert json_text(body, 1) is None
