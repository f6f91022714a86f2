"""Content by length or by close, more or less than announced, and what Connection says (RFC 9112 6.3, 8, 9.3)."""

from __future__ import annotations

import pytest

from tests.upstreams.conformance.cases import (
    CUT,
    SLOW,
    Answer,
    Case,
    Fault,
    answer,
    either,
    fails,
    in_body,
    passes,
    play,
    table,
)
from tests.upstreams.conformance.origin import Act

pytestmark = pytest.mark.anyio

POISON = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
UNUSED = Answer(reused=False)
SHORT = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"
MISSING = in_body(b"ok", words=CUT)
IDLE = Fault(code="upstream-timeout", words=SLOW, phases=frozenset(("upstream_body",)), began=True, content=b"ok")
TO_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nok"
OLD = b"HTTP/1.0 200 OK"

CASES: tuple[Case, ...] = (
    # More than announced: the answer is what was announced, the rest belongs to nobody.
    passes("one-octet-too-many", answer() + b"x", expect=UNUSED),
    passes("a-line-end-too-many", answer() + b"\r\n", expect=UNUSED),
    passes("two-answers-in-one-write", answer() + POISON, expect=UNUSED),
    passes("three-answers-in-one-write", answer() + POISON * 2, expect=UNUSED),
    passes("half-an-answer-behind-the-answer", answer() + POISON[:20], expect=UNUSED),
    passes("an-interim-answer-behind-the-answer", answer() + b"HTTP/1.1 103 Early\r\n\r\n", expect=UNUSED),
    passes("a-megabyte-behind-the-answer", answer() + b"x" * 1_000_000, expect=UNUSED),
    passes("an-answer-behind-an-empty-one", answer(body=b"") + POISON, expect=Answer(body=b"", reused=False)),
    passes(
        "an-answer-behind-a-chunked-one",
        answer(b"transfer-encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n", length=False) + POISON,
        expect=UNUSED,
    ),
    passes("octets-behind-an-answer-that-also-closes", answer() + POISON, Act.CLOSE, expect=UNUSED),
    # Less than announced.
    fails("too-short-and-close", SHORT, Act.CLOSE, expect=MISSING),
    fails("too-short-and-reset", SHORT, 0.01, Act.RESET, expect=MISSING),
    fails("too-short-and-silent", SHORT, Act.HOLD, expect=IDLE),
    fails("nothing-of-it-and-close", SHORT[:-2], Act.CLOSE, expect=MISSING),
    fails("nothing-of-it-and-silent", SHORT[:-2], Act.HOLD, expect=IDLE),
    fails(
        "one-octet-short-of-a-megabyte",
        answer(body=b"x" * 1_000_000)[:-1],
        Act.CLOSE,
        expect=in_body(b"x" * 999_999, words=CUT),
    ),
    fails("http-1.0-too-short", SHORT.replace(b"1.1", b"1.0"), Act.CLOSE, expect=MISSING),
    fails(
        "too-short-with-connection-close", answer(b"connection: close", body=b"ok....")[:-4], Act.CLOSE, expect=MISSING
    ),
    # Ended by the close.
    passes("close-delimited", TO_CLOSE, Act.CLOSE, expect=UNUSED),
    passes("close-delimited-and-empty", TO_CLOSE[:-2], Act.CLOSE, expect=Answer(body=b"", reused=False)),
    passes("close-delimited-in-parts", TO_CLOSE, 0.01, b"ay", Act.CLOSE, expect=Answer(body=b"okay", reused=False)),
    passes(
        "close-delimited-megabyte",
        TO_CLOSE + b"x" * 1_000_000,
        Act.CLOSE,
        expect=Answer(body=b"ok" + b"x" * 1_000_000, reused=False),
    ),
    passes(
        "close-delimited-what-looks-like-an-answer",
        TO_CLOSE + POISON,
        Act.CLOSE,
        expect=Answer(body=b"ok" + POISON, reused=False),
    ),
    passes(
        "close-delimited-in-spite-of-keep-alive",
        answer(b"connection: keep-alive", length=False),
        Act.CLOSE,
        expect=UNUSED,
    ),
    fails("close-delimited-but-reset", TO_CLOSE, 0.01, Act.RESET, expect=MISSING),
    fails("close-delimited-and-silent", TO_CLOSE, Act.HOLD, expect=IDLE),
    passes("http-1.0-close-delimited", answer(line=OLD, length=False), Act.CLOSE, expect=UNUSED),
    passes(
        "http-1.0-keep-alive-without-length",
        answer(b"connection: keep-alive", line=OLD, length=False),
        Act.CLOSE,
        expect=UNUSED,
    ),
    # Which connections serve again.
    passes("http-1.0-with-length", answer(line=OLD), expect=UNUSED),
    passes("http-1.0-with-length-and-close", answer(line=OLD), Act.CLOSE, expect=UNUSED),
    passes("http-1.0-keep-alive", answer(b"connection: keep-alive", line=OLD), expect=Answer(reused=None)),
    passes("http-1.1-says-nothing", answer()),
    passes("http-1.1-keep-alive", answer(b"connection: keep-alive", b"keep-alive: timeout=5, max=100")),
    passes("connection-close", answer(b"connection: close"), expect=UNUSED),
    passes("connection-close-in-capitals", answer(b"Connection: CLOSE"), expect=UNUSED),
    passes("connection-close-in-a-list", answer(b"connection: x-hop, close"), expect=UNUSED),
    passes("connection-close-in-a-second-line", answer(b"connection: x-hop", b"connection: close"), expect=UNUSED),
    passes("connection-close-beside-keep-alive", answer(b"connection: keep-alive, close"), expect=UNUSED),
    passes(
        "connection-close-without-closing-and-chunked",
        answer(b"connection: close", b"transfer-encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n", length=False),
        expect=UNUSED,
    ),
    passes("connection-names-another-field", answer(b"connection: x-hop", b"x-hop: 1")),
    passes(
        "connection-close-on-http-1.0-keep-alive", answer(b"connection: close, keep-alive", line=OLD), expect=UNUSED
    ),
    either("connection-closed-is-no-word", answer(b"connection: closed"), expect=(Answer(), UNUSED)),
    # How an answer is cut into packets means nothing.
    passes("head-and-content-in-two-packets", answer()[:-2], 0.01, b"ok"),
    passes("the-blank-line-in-two-packets", answer()[:-3], 0.01, b"\nok"),
    passes("a-megabyte-by-length", answer(body=b"x" * 1_000_000), expect=Answer(body=b"x" * 1_000_000)),
    passes("close-behind-a-whole-answer", answer(), Act.CLOSE, expect=UNUSED),
    passes("reset-behind-a-whole-answer", answer(), Act.GO, Act.RESET, expect=UNUSED),
)


@table(CASES)
async def test_an_answer_is_as_long_as_it_says_and_its_connection_serves_accordingly(case: Case, engine: str) -> None:
    await play(case, engine)
