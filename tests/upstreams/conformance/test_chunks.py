"""The chunked coding, its extensions and trailers (RFC 9112 7.1; RULINGS 17)."""

from __future__ import annotations

import pytest

from tests.upstreams.conformance.cases import (
    CUT,
    MALFORMED,
    Answer,
    Case,
    Lenient,
    either,
    fails,
    in_body,
    passes,
    play,
    table,
)
from tests.upstreams.conformance.origin import Act, Drip

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
BAD = in_body(b"ok")
ENDED = in_body(b"ok", words=CUT | MALFORMED)
DROPPED = {
    "httpx": Lenient(
        reason="The library bounds an extension or a trailer section only while it is incomplete, at 100 KiB, and "
        "reads it less strictly; it drops both, and the gateway frames what it sends anew.",
        instead=Answer(fields=()),
    )
}


def size(line: bytes, data: bytes = b"ok") -> bytes:
    return HEAD + line + b"\r\n" + data + b"\r\n" + LAST


def trailed(*trailers: bytes) -> bytes:
    return HEAD + b"2\r\nok\r\n0\r\n" + b"".join(trailer + b"\r\n" for trailer in trailers) + b"\r\n"


def cut(after: bytes) -> tuple[bytes, Act]:
    return HEAD + after, Act.CLOSE


CASES: tuple[Case, ...] = (
    fails("size-in-letters", size(b"zz"), expect=BAD),
    fails("size-empty", size(b""), expect=BAD),
    fails("size-only-an-extension", size(b";a=b"), expect=BAD),
    fails("size-negative", size(b"-2"), expect=BAD),
    fails("size-with-a-plus", size(b"+2"), expect=BAD),
    fails("size-with-0x", size(b"0x2"), expect=BAD),
    fails("size-with-an-underscore", size(b"0_2"), expect=BAD),
    fails("size-with-a-fraction", size(b"2.0"), expect=BAD),
    fails("size-behind-a-space", size(b" 2"), expect=BAD),
    fails("size-with-a-space-inside", size(b"0 2"), expect=BAD),
    fails("size-in-superscript-digits", size(b"\xb2"), expect=BAD),
    fails("size-with-a-nul", size(b"2\x00"), expect=BAD),
    fails(
        "size-that-wraps-at-64-bits",
        size(b"10000000000000002"),
        Act.CLOSE,
        expect=in_body(b"ok\r\n" + LAST, words=CUT | MALFORMED),
    ),
    fails(
        "size-of-16-f", size(b"ffffffffffffffff"), Act.CLOSE, expect=in_body(b"ok\r\n" + LAST, words=CUT | MALFORMED)
    ),
    fails("size-of-digits-without-end", HEAD + b"0" * 300_000, Act.HOLD, expect=BAD),
    fails("size-line-ended-by-bare-cr", HEAD + b"2\rok\r\n" + LAST, expect=BAD),
    fails("data-not-followed-by-a-line-end", HEAD + b"2\r\nok" + LAST, expect=BAD),
    fails("data-followed-by-bare-cr", HEAD + b"2\r\nok\r" + LAST, expect=BAD),
    fails("data-followed-by-other-octets", HEAD + b"2\r\nokXX" + LAST, expect=BAD),
    fails("data-longer-than-its-size", HEAD + b"2\r\nokay, more\r\n" + LAST, expect=BAD),
    fails("data-shorter-than-its-size", HEAD + b"4\r\nok\r\n" + LAST, expect=in_body(b"ok\r\n")),
    fails(
        "data-shorter-than-its-size-and-close",
        HEAD + b"40\r\nok\r\n" + LAST,
        Act.CLOSE,
        expect=in_body(b"ok\r\n" + LAST, words=CUT | MALFORMED),
    ),
    fails("second-size-in-letters", HEAD + b"2\r\nok\r\nzz\r\n", expect=BAD),
    fails("extension-of-a-megabyte", size(b"2;a=" + b"x" * 1_000_000), expect=BAD),
    fails("extension-without-end", HEAD + b"2;a=" + b"x" * 300_000, Act.HOLD, expect=BAD),
    # A recipient that ends the line here, before one that does not: a chunk for the one is an extension for the other.
    fails("extension-with-bare-lf", HEAD + b"2;\nxx\r\n02\r\nok\r\n" + LAST, expect=in_body(b"xx")),
    fails("extension-with-bare-cr", size(b"2;a\rb"), expect=BAD, lenient=DROPPED),
    fails("cut-at-the-first-size", *cut(b""), expect=ENDED),
    fails("cut-within-a-size", *cut(b"1"), expect=ENDED),
    fails("cut-within-an-extension", *cut(b"2;a"), expect=ENDED),
    fails("cut-behind-a-size", *cut(b"2\r\n"), expect=ENDED),
    fails("cut-within-the-data", *cut(b"2\r\no"), expect=ENDED),
    fails("cut-behind-the-data", *cut(b"2\r\nok"), expect=ENDED),
    fails("cut-within-the-line-end-of-the-data", *cut(b"2\r\nok\r"), expect=ENDED),
    fails("last-chunk-missing", *cut(b"2\r\nok\r\n"), expect=ENDED),
    fails("cut-within-the-last-chunk", *cut(b"2\r\nok\r\n0"), expect=ENDED),
    fails("last-line-end-missing", *cut(b"2\r\nok\r\n0\r\n"), expect=ENDED),
    fails("last-line-end-half", *cut(b"2\r\nok\r\n0\r\n\r"), expect=ENDED),
    fails("cut-within-a-trailer", *cut(b"2\r\nok\r\n0\r\nx-t: 1"), expect=ENDED),
    fails("cut-behind-a-trailer", *cut(b"2\r\nok\r\n0\r\nx-t: 1\r\n"), expect=ENDED),
    fails("reset-within-the-data", HEAD + b"5\r\nok", 0.01, Act.RESET, expect=ENDED),
    fails("trailers-over-64-kib", trailed(b"x-t: " + b"x" * 100_000), expect=BAD, lenient=DROPPED),
    fails("ten-thousand-trailers", trailed(*[b"a: b"] * 10_000), expect=BAD, lenient=DROPPED),
    fails("trailers-without-end", HEAD + b"2\r\nok\r\n0\r\n" + b"a: b\r\n" * 100_000, Act.HOLD, expect=BAD),
    fails("trailer-with-space-before-the-colon", trailed(b"x-t : 1"), expect=BAD),
    fails("trailer-without-a-colon", trailed(b"nothing"), expect=BAD),
    fails("trailer-with-a-nul", trailed(b"x-t: \x00"), expect=BAD),
    fails("trailer-with-bare-cr", trailed(b"x-t: 1\r2"), expect=BAD),
    fails("trailer-with-an-empty-name", trailed(b": 1"), expect=BAD),
    fails("trailer-folded", trailed(b"x-t: 1", b" 2"), expect=BAD, lenient=DROPPED),
    passes("trailer", trailed(b"x-t: 1"), expect=Answer(fields=())),
    either(
        "trailers-that-would-change-the-framing",
        trailed(b"content-length: 9", b"transfer-encoding: gzip"),
        expect=(Answer(fields=()), BAD),
    ),
    passes(
        "trailers-that-would-change-the-limits",
        trailed(b"ratelimit-remaining: 9", b"set-cookie: a=b"),
        expect=Answer(fields=()),
    ),
    passes("extension", size(b"2;name=value")),
    passes("extension-in-quotes", size(b'2;name="va;lue"')),
    passes("extension-on-the-last-chunk", HEAD + b"2\r\nok\r\n0;a=b\r\n\r\n"),
    passes("size-with-leading-zeros", size(b"0002")),
    passes("size-in-capital-hex", size(b"A", b"0123456789"), expect=Answer(body=b"0123456789")),
    passes("size-in-small-hex", size(b"a", b"0123456789"), expect=Answer(body=b"0123456789")),
    passes("no-content", HEAD + LAST, expect=Answer(body=b"")),
    passes("a-hundred-chunks-of-one-octet", HEAD + b"1\r\nx\r\n" * 100 + LAST, expect=Answer(body=b"x" * 100)),
    passes("octet-by-octet", Drip(data=HEAD + b"2;a=b\r\nok\r\n0\r\nx: y\r\n\r\n", gap_s=0.0)),
    passes("line-ends-within-the-data", size(b"9", b"0\r\n\r\nHTTP"), expect=Answer(body=b"0\r\n\r\nHTTP")),
    passes("a-megabyte-in-one-chunk", size(b"f4240", b"x" * 1_000_000), expect=Answer(body=b"x" * 1_000_000)),
    # Not in the grammar, but older servers pad: no other reading of the size is possible.
    either("size-before-a-space", size(b"2 "), expect=(BAD, Answer())),
    either("size-line-ended-by-lf", HEAD + b"2\nok\r\n" + LAST, expect=(BAD, Answer())),
)


@table(CASES)
async def test_a_chunked_answer_is_complete_or_refused(case: Case, engine: str) -> None:
    await play(case, engine)
