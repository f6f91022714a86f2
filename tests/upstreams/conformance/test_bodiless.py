"""Answers that end with their head whatever they claim, and interim ones (RFC 9112 6.3; RFC 9110 6.4.1, 15.2)."""

from __future__ import annotations

import pytest

from tests.upstreams.conformance.cases import (
    HEAD_CUT,
    SLOW,
    Answer,
    Case,
    Fault,
    Lenient,
    answer,
    either,
    fails,
    passes,
    play,
    table,
)
from tests.upstreams.conformance.origin import Act, Drip, Flood

pytestmark = pytest.mark.anyio

POISON = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
CHUNKED = b"transfer-encoding: chunked"
LONG = b"content-length: 99"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"


def bare(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"") -> bytes:
    return answer(*fields, line=line, body=body, length=False)


def without(status: int = 200, *, reused: bool | None = True) -> Answer:
    return Answer(status=status, body=b"", reused=reused)


S204, S205, S304 = b"HTTP/1.1 204 No Content", b"HTTP/1.1 205 Reset Content", b"HTTP/1.1 304 Not Modified"
CONTINUE, HINTS = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
LATE = Fault(code="upstream-timeout", words=SLOW)
FORBIDDEN = (without(204, reused=False), Fault())
"""A field that RFC 9110 8.6 or RFC 9112 6.1 forbids there: refused, or taken for what it is, no content."""

UNSEEN = {"httpx": Lenient(reason="The library drops interim answers itself, and bounds them.", instead=Answer())}

CASES: tuple[Case, ...] = (
    passes("head-with-a-length", bare(LONG), method=b"HEAD", expect=without()),
    passes("head-with-length-zero", bare(b"content-length: 0"), method=b"HEAD", expect=without()),
    passes("head-with-a-coding", bare(CHUNKED), method=b"HEAD", expect=without()),
    passes("head-without-a-length", bare(), method=b"HEAD", expect=without()),
    passes(
        "head-with-connection-close", bare(LONG, b"connection: close"), method=b"HEAD", expect=without(reused=False)
    ),
    passes("head-in-http-1.0", bare(LONG, line=b"HTTP/1.0 200 OK"), method=b"HEAD", expect=without(reused=False)),
    passes("head-with-an-error", bare(LONG, line=b"HTTP/1.1 500 No"), method=b"HEAD", expect=without(500)),
    passes("head-behind-an-interim-answer", CONTINUE + bare(LONG), method=b"HEAD", expect=without()),
    passes("head-with-content-all-the-same", answer(), method=b"HEAD", expect=without(reused=False)),
    passes("head-with-chunks-all-the-same", bare(CHUNKED, body=CHUNKS), method=b"HEAD", expect=without(reused=False)),
    passes(
        "head-with-content-that-is-an-answer",
        bare(b"content-length: 43", body=POISON),
        method=b"HEAD",
        expect=without(reused=False),
    ),
    passes("head-with-content-later", bare(LONG), Act.GO, POISON, method=b"HEAD", expect=without(reused=False)),
    passes("204", bare(line=S204), expect=without(204)),
    passes("204-with-content", bare(line=S204, body=b"ok"), expect=without(204, reused=False)),
    passes("204-with-an-answer-behind-it", bare(line=S204, body=POISON), expect=without(204, reused=False)),
    either("204-with-length-zero", bare(b"content-length: 0", line=S204), expect=(without(204, reused=None), Fault())),
    either("204-with-a-length-and-nothing", bare(LONG, line=S204), expect=(without(204, reused=None), Fault())),
    either("204-with-a-length-and-content", bare(b"content-length: 43", line=S204, body=POISON), expect=FORBIDDEN),
    either("204-with-a-coding-and-nothing", bare(CHUNKED, line=S204), expect=(without(204, reused=None), Fault())),
    either("204-with-chunks", bare(CHUNKED, line=S204, body=CHUNKS), expect=FORBIDDEN),
    passes("205-with-length-zero", bare(b"content-length: 0", line=S205), expect=without(205)),
    # RFC 9110 15.3.6 forbids content, RFC 9112 6.3 still frames it: refused, dropped or passed on, never left behind.
    either(
        "205-with-content",
        answer(line=S205),
        expect=(Answer(status=205, reused=None), without(205, reused=None), Fault()),
    ),
    passes("304", bare(b"etag: a", line=S304), expect=without(304)),
    passes("304-with-the-length-of-the-200", bare(LONG, line=S304), expect=without(304)),
    passes("304-with-a-coding", bare(CHUNKED, line=S304), expect=without(304)),
    passes("304-with-connection-close", bare(b"connection: close", line=S304), expect=without(304, reused=False)),
    passes("304-with-content", bare(b"content-length: 2", line=S304, body=b"ok"), expect=without(304, reused=False)),
    passes(
        "304-with-content-that-is-an-answer",
        bare(b"content-length: 43", line=S304, body=POISON),
        expect=without(304, reused=False),
    ),
    passes("304-with-chunks", bare(CHUNKED, line=S304, body=CHUNKS), expect=without(304, reused=False)),
    # Interim answers.
    passes("100-then-final", CONTINUE + answer()),
    passes("102-then-final", b"HTTP/1.1 102 Processing\r\n\r\n" + answer()),
    passes("103-then-final", HINTS + answer(), expect=Answer(fields=())),
    passes("unknown-199-then-final", b"HTTP/1.1 199 Odd\r\n\r\n" + answer()),
    passes("interim-without-a-reason", b"HTTP/1.1 100\r\n\r\n" + answer()),
    passes("several-interim-answers", CONTINUE + HINTS * 3 + answer(), expect=Answer(fields=())),
    passes("interim-and-final-apart", CONTINUE, 0.01, HINTS, 0.01, answer(), expect=Answer(fields=())),
    passes("interim-octet-by-octet", Drip(data=HINTS + answer(), gap_s=0.0), expect=Answer(fields=())),
    passes("interim-then-a-404", HINTS + answer(line=b"HTTP/1.1 404 No"), expect=Answer(status=404, fields=())),
    either(
        "interim-with-connection-close",
        b"HTTP/1.1 103 Hints\r\nconnection: close\r\n\r\n" + answer(),
        expect=(Answer(reused=None), Fault()),
    ),  # an interim answer that says it is the last one
    # RFC 9112 6.3: no content behind 1xx whatever it says; RFC 9110 8.6: it must not say so.
    either(
        "interim-with-a-length",
        b"HTTP/1.1 103 Hints\r\ncontent-length: 40\r\n\r\n" + answer(),
        expect=(Answer(fields=(), reused=None), Fault()),
    ),
    either(
        "interim-with-a-coding",
        b"HTTP/1.1 103 Hints\r\ntransfer-encoding: chunked\r\n\r\n" + answer(),
        expect=(Answer(fields=(), reused=None), Fault()),
    ),
    either("interim-in-http-1.0", b"HTTP/1.0 100 Continue\r\n\r\n" + answer(), expect=(Answer(reused=None), Fault())),
    fails("interim-with-content", b"HTTP/1.1 103 Hints\r\ncontent-length: 2\r\n\r\nok" + answer()),
    fails("interim-with-a-bad-field", b"HTTP/1.1 103 Hints\r\na b: 1\r\n\r\n" + answer()),
    fails(
        "interim-with-101-fields", b"HTTP/1.1 103 Hints\r\n" + b"a: b\r\n" * 101 + b"\r\n" + answer(), lenient=UNSEEN
    ),
    fails("interim-over-64-kib", b"HTTP/1.1 103 Hints\r\na: " + b"b" * 70_000 + b"\r\n\r\n" + answer(), lenient=UNSEEN),
    fails("interim-then-close", CONTINUE, Act.CLOSE, expect=Fault(words=HEAD_CUT.words | Fault().words)),
    fails("interim-then-reset", CONTINUE, 0.01, Act.RESET, expect=HEAD_CUT),
    fails("interim-then-garbage", CONTINUE + b"garbage\r\n\r\n"),
    fails("interim-then-silence", HINTS, Act.HOLD, expect=LATE),
    # Refused by number or by the deadline for the first octet of the final answer, which they do not move.
    either("interim-answers-in-a-flood", CONTINUE * 200_000 + answer(), expect=(Fault(), LATE)),
    either("interim-answers-without-end", Flood(data=HINTS * 100, times=1_000_000), expect=(Fault(), LATE)),
    fails("interim-answers-that-drip", *(HINTS, 0.1) * 50, expect=LATE),
    fails("101-unasked", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"),
    fails("101-unasked-then-an-answer", b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + answer()),
    fails("101-to-head", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", method=b"HEAD"),
)


@table(CASES)
async def test_an_answer_without_content_leaves_nothing_behind(case: Case, engine: str) -> None:
    await play(case, engine)
