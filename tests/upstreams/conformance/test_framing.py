"""How long the content is: Content-Length and Transfer-Encoding (RFC 9112 6; RFC 9110 8.6; RULINGS 17)."""

from __future__ import annotations

import pytest

from tests.upstreams.conformance.cases import (
    CUT,
    MALFORMED,
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

CHUNKED = b"2\r\nok\r\n0\r\n\r\n"
UNBELIEVED = Fault(
    words=MALFORMED | CUT, phases=frozenset(("upstream_wait", "upstream_body")), began=True, content=b"ok"
)
"""A length nobody can send: refused at the head, or missed at the end."""


def length(*values: bytes, body: bytes = b"ok") -> bytes:
    return answer(*(b"content-length: " + value for value in values), body=body, length=False)


def coding(*values: bytes, line: bytes = b"HTTP/1.1 200 OK", extra: bytes = b"") -> bytes:
    fields = [b"transfer-encoding: " + value for value in values]
    return answer(*([extra] if extra else []), *fields, line=line, body=CHUNKED, length=False)


CASES: tuple[Case, ...] = (
    fails("two-lengths-that-differ", length(b"2", b"3")),
    fails("two-lengths-in-one-line-that-differ", length(b"2, 3")),
    fails("three-lengths-one-of-which-differs", length(b"2", b"2", b"5")),
    fails("length-with-a-plus", length(b"+2")),
    fails("length-with-a-minus", length(b"-2")),
    fails("length-minus-zero", length(b"-0")),
    fails("length-in-hex", length(b"0x2")),
    fails("length-with-hex-letters", length(b"a", body=b"0123456789")),
    fails("length-with-a-space", length(b"1 2")),
    fails("length-with-a-tab-inside", length(b"2\t2")),
    fails("length-with-a-fraction", length(b"2.0")),
    fails("length-with-an-exponent", length(b"2e0")),
    fails("length-with-an-underscore", length(b"0_2")),
    fails("length-in-superscript-digits", length(b"\xb2")),
    fails("length-in-full-width-digits", length(b"\xef\xbc\x92")),
    fails("length-in-words", length(b"two")),
    fails("length-empty", length(b"")),
    fails("length-with-a-trailing-comma", length(b"2,")),
    fails("length-with-a-semicolon", length(b"2;a=b")),
    fails("length-in-quotes", length(b'"2"')),
    fails("length-that-wraps-at-64-bits", length(b"18446744073709551618"), Act.CLOSE, expect=UNBELIEVED),
    fails("length-that-wraps-at-32-bits", length(b"4294967298"), Act.CLOSE, expect=UNBELIEVED),
    fails("length-of-300-digits", length(b"9" * 300), Act.CLOSE, expect=UNBELIEVED),
    fails("coding-and-length", coding(b"chunked", extra=b"content-length: 2")),
    fails(
        "length-behind-a-coding",
        answer(b"transfer-encoding: chunked", b"content-length: 12", body=CHUNKED, length=False),
    ),
    fails(
        "coding-and-length-in-mixed-case",
        answer(b"Transfer-Encoding: Chunked", b"Content-LENGTH: 2", body=CHUNKED, length=False),
    ),
    fails("coding-and-length-zero", coding(b"chunked", extra=b"content-length: 0")),
    fails("coding-gzip", coding(b"gzip"), Act.CLOSE),
    fails("coding-gzip-then-chunked", coding(b"gzip, chunked")),
    fails("coding-gzip-then-chunked-in-two-lines", coding(b"gzip", b"chunked")),
    fails("coding-chunked-then-gzip", coding(b"chunked, gzip"), Act.CLOSE),
    fails("coding-chunked-twice", coding(b"chunked, chunked")),
    fails("coding-chunked-in-two-lines", coding(b"chunked", b"chunked")),
    fails("coding-identity", coding(b"identity"), Act.CLOSE),
    fails("coding-chunked-then-identity", coding(b"chunked", b"identity"), Act.CLOSE),
    fails("coding-unknown", coding(b"sparkling"), Act.CLOSE),
    fails("coding-with-a-prefix", coding(b"xchunked"), Act.CLOSE),
    fails("coding-with-a-suffix", coding(b"chunkedx"), Act.CLOSE),
    fails("coding-with-a-parameter", coding(b"chunked;q=1"), Act.CLOSE),
    fails("coding-in-quotes", coding(b'"chunked"'), Act.CLOSE),
    fails("coding-behind-a-vertical-tab", coding(b"\x0bchunked"), Act.CLOSE),
    fails("coding-with-a-nul", coding(b"chunked\x00"), Act.CLOSE),
    fails("coding-empty", coding(b""), Act.CLOSE),
    fails(
        "coding-folded",
        answer(b"transfer-encoding:\r\n chunked", body=CHUNKED, length=False),
        lenient={"httpx": Lenient(reason="The library unfolds it first, as RFC 9112 5.2 allows.", instead=Answer())},
    ),
    fails("coding-chunked-in-http-1.0", coding(b"chunked", line=b"HTTP/1.0 200 OK")),
    fails("coding-and-length-in-http-1.0", coding(b"chunked", line=b"HTTP/1.0 200 OK", extra=b"content-length: 12")),
    passes("coding-chunked", coding(b"chunked")),
    passes("coding-in-capitals", coding(b"CHUNKED")),
    either("coding-between-blanks", coding(b" \tchunked \t"), expect=(Answer(), Fault())),  # a refusal guesses nothing
    passes("a-name-that-only-resembles-the-coding", answer(b"transfer_encoding: chunked")),
    passes("a-name-that-only-resembles-the-length", answer(b"content_length: 9")),
    passes("length-with-leading-zeros", length(b"0002")),
    passes("length-between-blanks", length(b" \t2 \t")),
    passes("length-zero", length(b"0", body=b""), expect=Answer(body=b"")),
    # RFC 9110 8.6 and RFC 9112 6.3: equal duplicates are refused or taken as one.
    either("two-equal-lengths", length(b"2", b"2"), expect=(Fault(), Answer())),
    either("equal-lengths-in-one-line", length(b"2, 2"), expect=(Fault(), Answer())),
    # RFC 9110 5.6.1.2: a recipient of a list ignores empty members; 8.6 takes the whole value.
    either("coding-behind-an-empty-member", coding(b", chunked"), expect=(Fault(), Answer())),
)


@table(CASES)
async def test_the_length_of_an_answer_is_never_guessed(case: Case, engine: str) -> None:
    await play(case, engine)
