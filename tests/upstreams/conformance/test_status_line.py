"""The status line: version, status, reason (RFC 9112 2.3 and 4; RULINGS 17)."""

from __future__ import annotations

import pytest

from tests.upstreams.conformance.cases import (
    CUT,
    HEAD_CUT,
    Answer,
    Case,
    Fault,
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


def line(text: bytes) -> bytes:
    return answer(line=text)


CASES: tuple[Case, ...] = (
    fails("version-0.9", line(b"HTTP/0.9 200 OK")),
    fails("version-1.2", line(b"HTTP/1.2 200 OK")),
    fails("version-2.0", line(b"HTTP/2.0 200 OK")),
    fails("version-3-without-minor", line(b"HTTP/3 200 OK")),
    fails("version-with-two-digit-minor", line(b"HTTP/1.10 200 OK")),
    fails("version-with-two-digit-major", line(b"HTTP/11.1 200 OK")),
    fails("version-in-lower-case", line(b"http/1.1 200 OK")),
    fails("version-missing", line(b"200 OK")),
    fails("version-with-a-comma", line(b"HTTP/1,1 200 OK")),
    fails("another-protocols-status-line", line(b"ICY 200 OK")),
    fails("space-before-the-version", line(b" HTTP/1.1 200 OK")),
    fails("tab-between-version-and-status", line(b"HTTP/1.1\t200 OK")),
    fails("two-spaces-before-the-status", line(b"HTTP/1.1  200 OK")),
    fails("no-space-after-the-status", line(b"HTTP/1.1 200OK")),
    fails("status-000", line(b"HTTP/1.1 000 Zero")),
    fails("status-099", line(b"HTTP/1.1 099 Low")),
    fails("status-600", line(b"HTTP/1.1 600 High")),
    fails("status-999", line(b"HTTP/1.1 999 Highest")),
    fails("status-1000", line(b"HTTP/1.1 1000 Four digits")),
    fails("status-of-two-digits", line(b"HTTP/1.1 20 OK")),
    fails("status-with-letters", line(b"HTTP/1.1 2OO OK")),
    fails("status-with-a-minus", line(b"HTTP/1.1 -200 OK")),
    fails("status-with-a-plus", line(b"HTTP/1.1 +200 OK")),
    fails("status-with-a-fraction", line(b"HTTP/1.1 200.1 OK")),
    fails("status-in-superscript-digits", line(b"HTTP/1.1 2\xb2\xb3 OK")),
    fails("status-missing", line(b"HTTP/1.1 OK")),
    fails("version-only", line(b"HTTP/1.1")),
    fails("nul-in-the-reason", line(b"HTTP/1.1 200 O\x00K")),
    fails("bare-cr-in-the-reason", line(b"HTTP/1.1 200 O\rK")),
    fails("field-smuggled-behind-a-bare-cr", line(b"HTTP/1.1 200 OK\rtransfer-encoding: chunked")),
    fails("two-status-lines", line(b"HTTP/1.1 200 OK\r\nHTTP/1.1 404 Not Found")),
    fails("endless-status-line", b"HTTP/1.1 200 " + b"x" * 300_000, Act.HOLD),
    fails("empty-lines-without-end", b"\r\n" * 100_000, Act.HOLD),
    fails("bare-html", b"<html><body>hello</body></html>\r\n\r\n"),
    fails("a-request-instead", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
    fails("a-tls-alert", b"\x15\x03\x03\x00\x02\x02\x46\r\n\r\n"),
    fails("an-http2-settings-frame", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\r\n\r\n"),
    fails("a-greeting-of-another-protocol", Act.HOLD, greeting=b"220 mail.example ESMTP ready\r\n\r\n", seen=None),
    fails("nothing-and-close", Act.CLOSE, expect=HEAD_CUT),
    fails("nothing-and-reset", Act.RESET, expect=HEAD_CUT),
    fails("half-a-status-line-and-close", b"HTTP/1.", Act.CLOSE, expect=MALFORMED_OR_CUT),
    fails("status-line-and-close", b"HTTP/1.1 200 OK\r\n", Act.CLOSE, expect=MALFORMED_OR_CUT),
    passes("unknown-status-299", line(b"HTTP/1.1 299 Odd"), expect=Answer(status=299)),
    passes("unknown-status-499", line(b"HTTP/1.1 499 Odd"), expect=Answer(status=499)),
    passes("unknown-status-599", line(b"HTTP/1.1 599 Odd"), expect=Answer(status=599)),
    passes("a-429-is-an-answer-like-any", line(b"HTTP/1.1 429 Slow down"), expect=Answer(status=429)),
    passes(
        "a-redirect-is-not-followed", answer(b"location: /probe", line=b"HTTP/1.1 302 Found"), expect=Answer(status=302)
    ),
    passes("reason-empty-behind-its-space", line(b"HTTP/1.1 200 ")),
    passes("reason-and-its-space-missing", line(b"HTTP/1.1 200")),
    passes("reason-of-several-words-and-a-tab", line(b"HTTP/1.1 200 all \t is well")),
    passes("reason-in-latin-1", line(b"HTTP/1.1 200 Gr\xfc\xdfe")),
    passes("reason-of-8000-octets", line(b"HTTP/1.1 200 " + b"x" * 8000)),
    passes("reason-that-looks-like-a-field", line(b"HTTP/1.1 200 content-length: 0")),
    either("one-empty-line-before-the-status-line", b"\r\n" + answer(), expect=(Fault(), Answer())),
    # RFC 9112 2.2 lets a recipient take LF alone for a line end.
    either("status-line-ended-by-lf", b"HTTP/1.1 200 OK\ncontent-length: 2\r\n\r\nok", expect=(Fault(), Answer())),
)


@table(CASES)
async def test_a_status_line_is_taken_as_specified_or_not_at_all(case: Case, engine: str) -> None:
    await play(case, engine)
