"""The header block: field syntax and bounds (RFC 9112 2.2, 5; RFC 9110 5.5; RULINGS 17)."""

from __future__ import annotations

import pytest

from tests.upstreams.conformance.cases import (
    CUT,
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
from tests.upstreams.conformance.origin import Act

pytestmark = pytest.mark.anyio

MALFORMED_OR_CUT = Fault(words=Fault().words | CUT)
HEAD = b"HTTP/1.1 200 OK\r\n"


def many(count: int, size: int = 1) -> tuple[bytes, ...]:
    return tuple(b"x-%03d: %b" % (number, b"v" * size) for number in range(count))


def unfolded(*fields: tuple[bytes, bytes]) -> dict[str, Lenient]:
    reason = "RFC 9112 5.2 lets a gateway replace the fold by SP, and the library does."
    return {"httpx": Lenient(reason=reason, instead=Answer(fields=fields))}


CASES: tuple[Case, ...] = (
    fails("space-before-the-colon", answer(b"a : 1")),
    fails("tab-before-the-colon", answer(b"a\t: 1")),
    fails("space-before-the-colon-of-a-length", answer(b"content-length : 2", length=False)),
    fails("space-before-the-colon-of-a-coding", answer(b"transfer-encoding : chunked")),
    fails("obs-fold-by-space", answer(b"a: 1\r\n 2"), lenient=unfolded((b"a", b"1 2"))),
    fails("obs-fold-by-tab", answer(b"a: 1\r\n\t2"), lenient=unfolded((b"a", b"1 2"))),
    fails(
        "obs-fold-that-hides-a-field",
        answer(b"a: 1\r\n content-length: 9"),
        lenient=unfolded((b"a", b"1 content-length: 9")),
    ),
    fails("obs-fold-of-nothing", answer(b"a: 1\r\n \r\nb: 2"), lenient=unfolded((b"a", b"1"), (b"b", b"2"))),
    fails("first-line-begins-with-space", answer(b" a: 1")),
    fails("bare-cr-in-a-value", answer(b"a: 1\rb: 2")),
    fails("bare-cr-before-the-line-end", answer(b"a: 1\r")),
    fails(
        "bare-cr-as-the-only-line-end", b"HTTP/1.1 200 OK\rcontent-length: 2\r\rok", Act.CLOSE, expect=MALFORMED_OR_CUT
    ),
    fails("nul-in-a-value", answer(b"a: 1\x002")),
    fails("nul-in-a-name", answer(b"a\x00b: 1")),
    fails("control-character-in-a-name", answer(b"a\x01b: 1")),
    fails("colon-missing", answer(b"nothing to see")),
    fails("name-empty", answer(b": 1")),
    fails("name-with-a-space", answer(b"a b: 1")),
    fails("name-with-a-latin-1-letter", answer(b"gr\xfc\xdfe: 1")),
    fails("name-with-a-bracket", answer(b"a(b): 1")),
    fails("name-with-an-at-sign", answer(b"a@b: 1")),
    fails("name-with-a-slash", answer(b"a/b: 1")),
    fails("name-in-quotes", answer(b'"a": 1')),
    either(
        "line-feeds-that-end-the-block-before-a-coding",
        b"HTTP/1.1 200 OK\r\na: 1\n\ntransfer-encoding: chunked\r\n\r\n",
        Act.CLOSE,
        expect=(MALFORMED_OR_CUT, Answer(body=b"transfer-encoding: chunked\r\n\r\n", reused=False)),
    ),
    fails("one-field-over-64-kib", answer(b"a: " + b"x" * 70_000)),
    fails("one-name-over-64-kib", answer(b"x" * 70_000 + b": 1")),
    fails("many-fields-over-64-kib", answer(*many(90, 800))),
    fails("101-fields", answer(*many(100))),
    fails("10000-fields", answer(*many(10_000))),
    fails("fields-without-end", HEAD + b"a: b\r\n" * 100_000, Act.HOLD),
    fails("one-field-without-end", HEAD + b"a: " + b"b" * 500_000, Act.HOLD),
    fails("cut-in-a-name", HEAD + b"content-le", Act.CLOSE, expect=MALFORMED_OR_CUT),
    fails("cut-in-a-value", HEAD + b"content-length: 2", Act.CLOSE, expect=MALFORMED_OR_CUT),
    fails("cut-after-a-line", HEAD + b"content-length: 2\r\n", Act.CLOSE, expect=MALFORMED_OR_CUT),
    fails("cut-in-the-last-line-end", HEAD + b"content-length: 0\r\n\r", Act.CLOSE, expect=MALFORMED_OR_CUT),
    fails("reset-in-a-value", HEAD + b"content-length: 2", 0.01, Act.RESET, expect=MALFORMED_OR_CUT),
    passes(
        "99-fields-and-a-length",
        answer(*many(99)),
        expect=Answer(fields=tuple((b"x-%03d" % n, b"v") for n in range(99))),
    ),
    passes("60-kib-of-fields", answer(*many(60, 1000))),
    passes("value-of-30-kib", answer(b"a: " + b"x" * 30_000), expect=Answer(fields=((b"a", b"x" * 30_000),))),
    passes("value-in-latin-1", answer(b"a: Gr\xfc\xdfe"), expect=Answer(fields=((b"a", b"Gr\xfc\xdfe"),))),
    passes("value-in-utf-8", answer("a: Grüße".encode()), expect=Answer(fields=((b"a", "Grüße".encode()),))),
    passes("value-empty", answer(b"a:", b"b: "), expect=Answer(fields=((b"a", b""), (b"b", b"")))),
    passes("whitespace-around-a-value", answer(b"a: \t 1 2 \t "), expect=Answer(fields=((b"a", b"1 2"),))),
    passes("no-space-after-the-colon", answer(b"a:1"), expect=Answer(fields=((b"a", b"1"),))),
    passes("tab-within-a-value", answer(b"a: 1\t2"), expect=Answer(fields=((b"a", b"1\t2"),))),
    passes("colon-within-a-value", answer(b"a: b: c"), expect=Answer(fields=((b"a", b"b: c"),))),
    passes("names-arrive-in-lower-case", answer(b"X-UPPER: Value"), expect=Answer(fields=((b"x-upper", b"Value"),))),
    passes(
        "every-character-of-a-token-in-a-name",
        answer(b"!#$%&'*+-.^_`|~09az: 1"),
        expect=Answer(fields=((b"!#$%&'*+-.^_`|~09az", b"1"),)),
    ),
    passes(
        "order-and-repetition-are-kept",
        answer(b"set-cookie: a", b"z: 1", b"set-cookie: b", b"a: 2"),
        expect=Answer(fields=((b"set-cookie", b"a"), (b"z", b"1"), (b"set-cookie", b"b"), (b"a", b"2"))),
    ),
    passes(
        "an-encoded-content-stays-encoded",
        answer(b"content-encoding: gzip", body=b"\x1f\x8bno gzip"),
        expect=Answer(body=b"\x1f\x8bno gzip", fields=((b"content-encoding", b"gzip"),)),
    ),
    passes(
        "no-field-at-all-is-close-delimited",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        Act.CLOSE,
        expect=Answer(fields=(), reused=False),
    ),
    # RFC 9110 5.5: control characters are invalid, and a recipient may keep all but CR, LF and NUL.
    either("control-character-in-a-value", answer(b"a: 1\x012"), expect=(Fault(), Answer(fields=((b"a", b"1\x012"),)))),
    either("delete-character-in-a-value", answer(b"a: 1\x7f2"), expect=(Fault(), Answer(fields=((b"a", b"1\x7f2"),)))),
    # RFC 9112 2.2 lets a recipient take LF alone for a line end.
    either(
        "line-feed-alone-ends-a-field",
        b"HTTP/1.1 200 OK\r\na: 1\ncontent-length: 2\r\n\r\nok",
        expect=(Fault(), Answer(fields=((b"a", b"1"),))),
    ),
    either(
        "line-feed-alone-ends-the-block", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\nok", expect=(Fault(), Answer())
    ),
)


@table(CASES)
async def test_a_header_block_is_taken_as_specified_or_not_at_all(case: Case, engine: str) -> None:
    await play(case, engine)
