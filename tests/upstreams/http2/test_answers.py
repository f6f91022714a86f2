"""Answers over HTTP/2, good and bad: whose trouble each is (RFC 9113 5.4, 8.1.1); a neighbour never notices."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.upstreams.conformance.cases import CUT, MALFORMED, SLOW, Answer, Fault
from tests.upstreams.http2.origin import Exchange, Script
from tests.upstreams.http2.stage import Case, play

pytestmark = pytest.mark.anyio

STATUS = (b":status", b"200")
LENGTH_2 = (b"content-length", b"2")
KEPT = Fault(reused=True)
LOST = Fault(reused=False)
CUT_KEPT = Fault(words=CUT, reused=True)
IN_BODY = Fault(phases=frozenset(("upstream_body",)), began=True, content=b"ok", words=MALFORMED, reused=True)
SHORT = Fault(phases=frozenset(("upstream_body",)), began=True, content=b"ok", words=CUT, reused=True)
BROKEN = Fault(words=MALFORMED | CUT, reused=False)
"""Nobody's stream in particular, and nothing of an answer came: sent once more on another connection (RULINGS 16)."""
LATE = Fault(code="upstream-timeout", words=SLOW, reused=None)


def fields(*lines: tuple[bytes, bytes], end: bool = True) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.fields(*lines, end=end)

    return script


def whole(content: bytes, *lines: tuple[bytes, bytes], status: bytes = b"200") -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.head(*lines, status=status)
        await exchange.data(content, end=True)

    return script


def resetting(code: int, *, head: bool = False, content: bytes = b"", end: bool = False) -> Script:
    async def script(exchange: Exchange) -> None:
        if head:
            await exchange.head()
        if content:
            await exchange.data(content, end=end)
        await exchange.frame(RstStreamFrame(exchange.stream, error_code=code))

    return script


async def interim(exchange: Exchange) -> None:
    await exchange.head((b"link", b"x"), status=b"103")
    await exchange.head(status=b"100")
    await exchange.answer()


async def interim_101(exchange: Exchange) -> None:
    await exchange.head(status=b"101")
    await exchange.answer()


async def endless_interim(exchange: Exchange) -> None:
    for _ in range(40):
        await exchange.head(status=b"103")
        await asyncio.sleep(0.02)


async def trailers(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.data(b"ok")
    await exchange.fields((b"x-trailer", b"1"), end=True)


async def bad_trailers(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.data(b"ok")
    await exchange.fields((b":status", b"200"), end=True)


async def padded(exchange: Exchange) -> None:
    await exchange.head()
    exchange.line.h2.send_data(exchange.stream, b"ok", pad_length=200)
    exchange.line.h2.send_data(exchange.stream, b"", pad_length=9, end_stream=True)
    await exchange.line.flush()


async def silence(exchange: Exchange) -> None:
    pass


async def head_then_silence(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.data(b"ok")


async def content_first(exchange: Exchange) -> None:
    await exchange.octets(DataFrame(exchange.stream, b"ok").serialize())


async def content_after_the_end(exchange: Exchange) -> None:
    await exchange.answer()
    await exchange.frame(DataFrame(exchange.stream, b"poison"))


async def two_heads(exchange: Exchange) -> None:
    await exchange.head()
    frame = HeadersFrame(exchange.stream, b"\x88")
    frame.flags.add("END_HEADERS")
    await exchange.frame(frame)


async def continuation_flood(exchange: Exchange) -> None:
    await exchange.frame(HeadersFrame(exchange.stream, b""))
    for _ in range(1_000):
        await exchange.frame(ContinuationFrame(exchange.stream, b""))


async def long_header_block(exchange: Exchange) -> None:
    await exchange.frame(HeadersFrame(exchange.stream, b"\x88"))
    for _ in range(5):
        await exchange.frame(ContinuationFrame(exchange.stream, b"\x88" * 16_000))


async def interleaved_header_block(exchange: Exchange) -> None:
    await exchange.frame(HeadersFrame(exchange.stream, b"\x88"))
    await exchange.frame(DataFrame(exchange.stream, b"ok"))


async def pushed(exchange: Exchange) -> None:
    frame = PushPromiseFrame(exchange.stream, promised_stream_id=2, data=b"\x82\x84\x86\x41\x01a")
    frame.flags.add("END_HEADERS")
    await exchange.frame(frame)
    await exchange.answer(b"poison")


async def no_hpack(exchange: Exchange) -> None:
    frame = HeadersFrame(exchange.stream, b"\xff\xff\xff\xff\xff\xff\xff\xff")
    frame.flags.add("END_HEADERS")
    await exchange.frame(frame)


async def oversized_frame(exchange: Exchange) -> None:
    await exchange.octets(b"\xff\xff\xff\x00\x00" + exchange.stream.to_bytes(4, "big") + b"x" * 1_000)


async def window_of_nothing(exchange: Exchange) -> None:
    await exchange.octets(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")


async def window_overflow(exchange: Exchange) -> None:
    await exchange.frame(WindowUpdateFrame(exchange.stream, window_increment=2**31 - 1))


async def bad_setting(exchange: Exchange) -> None:
    await exchange.frame(SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 2**31}))


async def stranger(exchange: Exchange) -> None:
    frame = HeadersFrame(99, b"\x88")
    frame.flags.add("END_HEADERS")
    await exchange.frame(frame)


async def unknown_frame(exchange: Exchange) -> None:
    await exchange.octets(b"\x00\x00\x02\xbe\x00\x00\x00\x00\x00hi")
    await exchange.answer()


async def leaving_first(exchange: Exchange) -> None:
    await exchange.goaway()
    await exchange.answer()


async def leaving_twice(exchange: Exchange) -> None:
    await exchange.goaway(last=2**31 - 1)
    await exchange.head()
    await exchange.goaway()
    await exchange.data(b"ok", end=True)


async def leaving_and_closing(exchange: Exchange) -> None:
    await exchange.goaway(code=ErrorCodes.INTERNAL_ERROR)
    await exchange.close()


async def short_goaway(exchange: Exchange) -> None:
    await exchange.octets(b"\x00\x00\x04\x07\x00\x00\x00\x00\x00abcd")


async def closing(exchange: Exchange) -> None:
    await exchange.close()


async def closing_in_content(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.data(b"ok")
    await exchange.close()


async def aborting_in_content(exchange: Exchange) -> None:
    await exchange.head((b"content-length", b"3"))
    await exchange.data(b"ok")
    await exchange.abort()


def answered(**more: object) -> Answer:
    return Answer(reused=True, **more)  # type: ignore[arg-type]


CODES = {
    "no-error": (ErrorCodes.NO_ERROR, CUT),
    "protocol-error": (ErrorCodes.PROTOCOL_ERROR, MALFORMED),
    "internal-error": (ErrorCodes.INTERNAL_ERROR, CUT),
    "flow-control-error": (ErrorCodes.FLOW_CONTROL_ERROR, MALFORMED),
    "settings-timeout": (ErrorCodes.SETTINGS_TIMEOUT, MALFORMED),
    "cancel": (ErrorCodes.CANCEL, CUT),
    "enhance-your-calm": (ErrorCodes.ENHANCE_YOUR_CALM, CUT),
    "http-1.1-required": (ErrorCodes.HTTP_1_1_REQUIRED, MALFORMED),
    "an-unknown-code": (0xABCD, CUT),
}

CASES: tuple[Case, ...] = (
    Case(name="with-a-length", script=whole(b"ok", LENGTH_2), expect=answered(fields=())),
    Case(name="without-a-length", script=whole(b"ok", (b"x", b"1")), expect=answered(fields=((b"x", b"1"),))),
    Case(name="a-megabyte", script=whole(b"x" * 1_000_000), expect=answered(body=b"x" * 1_000_000)),
    Case(name="padded", script=padded, expect=answered()),
    Case(name="interim", script=interim, expect=answered(fields=())),
    Case(name="trailers-are-dropped", script=trailers, expect=answered(fields=())),
    Case(name="an-unknown-frame", script=unknown_frame, expect=answered()),
    Case(
        name="several-cookies",
        script=fields((b":status", b"200"), (b"set-cookie", b"a"), (b"set-cookie", b"b")),
        expect=answered(body=b"", fields=((b"set-cookie", b"a"), (b"set-cookie", b"b"))),
    ),
    # Without content, whatever is announced (RFC 9110 8.6).
    Case(name="head", script=fields((b":status", b"200"), LENGTH_2), method=b"HEAD", expect=answered(body=b"")),
    Case(name="204", script=fields((b":status", b"204")), expect=answered(status=204, body=b"")),
    Case(name="304", script=fields((b":status", b"304"), LENGTH_2), expect=answered(status=304, body=b"")),
    Case(name="304-in-two-frames", script=whole(b"", LENGTH_2, status=b"304"), expect=answered(status=304, body=b"")),
    Case(name="head-with-content", script=whole(b"ok", LENGTH_2), method=b"HEAD", expect=Fault(
        phases=frozenset(("upstream_wait", "upstream_body")), began=True, reused=True)),
    Case(name="204-with-content", script=whole(b"ok", status=b"204"), expect=Fault(
        phases=frozenset(("upstream_wait", "upstream_body")), began=True, reused=True)),
    # Malformed (RFC 9113 8.1.1): an error of the stream alone.
    Case(name="no-status", script=fields((b"x", b"1")), expect=KEPT),
    Case(name="two-statuses", script=fields((b":status", b"200"), (b":status", b"200")), expect=KEPT),
    Case(name="a-requests-pseudo-field", script=fields((b":status", b"200"), (b":path", b"/")), expect=KEPT),
    Case(name="a-late-pseudo-field", script=fields((b"x", b"1"), (b":status", b"200")), expect=KEPT),
    Case(name="a-status-of-letters", script=fields((b":status", b"abc")), expect=KEPT),
    Case(name="a-status-of-four-digits", script=fields((b":status", b"2000")), expect=KEPT),
    Case(name="status-700", script=fields((b":status", b"700")), expect=KEPT),
    Case(name="101", script=interim_101, expect=KEPT),
    Case(name="a-name-in-upper-case", script=fields((b":status", b"200"), (b"X-A", b"1")), expect=KEPT),
    Case(name="a-name-with-a-space", script=fields((b":status", b"200"), (b"a b", b"1")), expect=KEPT),
    Case(name="an-empty-name", script=fields((b":status", b"200"), (b"", b"1")), expect=KEPT),
    Case(name="a-line-break-in-a-value", script=fields((b":status", b"200"), (b"x", b"a\r\nb: c")), expect=KEPT),
    Case(name="nul-in-a-value", script=fields((b":status", b"200"), (b"x", b"a\0b")), expect=KEPT),
    Case(name="connection", script=fields((b":status", b"200"), (b"connection", b"close")), expect=KEPT),
    Case(name="transfer-encoding", script=whole(b"ok", (b"transfer-encoding", b"chunked")), expect=KEPT),
    Case(name="keep-alive", script=whole(b"ok", (b"keep-alive", b"timeout=5")), expect=KEPT),
    Case(name="101-fields", script=fields((b":status", b"200"), *[(b"a", b"b")] * 101), expect=KEPT),
    Case(name="shorter-than-announced", script=whole(b"ok", (b"content-length", b"3")), expect=SHORT),
    Case(name="longer-than-announced", script=whole(b"okay", LENGTH_2), expect=IN_BODY),
    Case(
        name="a-length-and-no-content",
        script=fields((b":status", b"200"), LENGTH_2),
        expect=Fault(words=CUT, phases=frozenset(("upstream_wait", "upstream_body")), began=True, reused=True),
    ),
    Case(name="pseudo-field-in-trailers", script=bad_trailers, expect=IN_BODY),
    # An error of the connection.
    Case(name="a-length-that-is-none", script=fields((b":status", b"200"), (b"content-length", b"x")), expect=LOST),
    Case(
        name="two-lengths",
        script=fields((b":status", b"200"), LENGTH_2, (b"content-length", b"3")),
        expect=LOST,
    ),
    Case(name="content-before-the-head", script=content_first, expect=LOST),
    Case(name="a-second-head", script=two_heads, expect=Fault(
        phases=frozenset(("upstream_wait", "upstream_body")), began=True, reused=False)),
    Case(name="content-after-the-end", script=content_after_the_end, expect=Answer(reused=None)),
    Case(name="continuations-without-end", script=continuation_flood, expect=LOST),
    Case(name="a-header-block-over-64-kib", script=long_header_block, expect=LOST),
    Case(name="another-frame-in-a-header-block", script=interleaved_header_block, expect=LOST),
    Case(name="more-than-64-kib-of-fields", script=fields(STATUS, *[(b"a", b"b" * 3_900)] * 30), expect=LOST),
    Case(name="a-pushed-answer", script=pushed, expect=LOST),
    Case(name="no-hpack", script=no_hpack, expect=LOST),
    Case(name="a-frame-of-16-mib", script=oversized_frame, expect=LOST),
    Case(name="a-window-of-nothing", script=window_of_nothing, expect=BROKEN, seen=2),
    Case(name="a-window-too-large", script=window_overflow, expect=KEPT),
    Case(name="a-setting-out-of-range", script=bad_setting, expect=BROKEN, seen=2),
    Case(name="an-answer-on-a-stream-nobody-opened", script=stranger, expect=Fault(
        words=MALFORMED | CUT, reused=False), seen=2),
    # The end of the connection.
    Case(name="leaving-and-then-answering", script=leaving_first, expect=Answer(reused=False)),
    Case(name="leaving-in-two-steps", script=leaving_twice, expect=Answer(reused=False)),
    Case(name="a-goaway-too-short", script=short_goaway, expect=BROKEN, seen=2),
    Case(name="leaving-with-an-error", script=leaving_and_closing, method=b"POST", content_length=0, expect=Fault(
        words=CUT, reused=False)),
    Case(name="a-close-unanswered", script=closing, method=b"POST", content_length=0, expect=Fault(words=CUT)),
    Case(name="a-close-in-the-content", script=closing_in_content, expect=Fault(
        words=CUT, phases=frozenset(("upstream_body",)), began=True, content=b"ok")),
    Case(name="an-abort-in-the-content", script=aborting_in_content, expect=Fault(
        words=CUT, phases=frozenset(("upstream_body",)), began=True, content=b"ok")),
    # Deadlines.
    Case(name="no-answer", script=silence, quick=True, expect=LATE),
    Case(name="interim-answers-that-drip", script=endless_interim, quick=True, expect=LATE),
    Case(name="content-that-stops", script=head_then_silence, quick=True, expect=Fault(
        code="upstream-timeout", words=SLOW, phases=frozenset(("upstream_body",)), began=True, content=b"ok",
        reused=True)),
    # RST_STREAM.
    *(
        Case(name=f"reset-with-{name}", script=resetting(code), expect=Fault(words=words, reused=True))
        for name, (code, words) in CODES.items()
    ),
    *(
        Case(name=f"reset-behind-the-head-with-{name}", script=resetting(code, head=True, content=b"ok"), expect=SHORT)
        for name, (code, _) in CODES.items()
    ),
    Case(name="reset-behind-the-answer", script=resetting(0, head=True, content=b"ok", end=True), expect=answered()),
    Case(name="refused-twice", script=resetting(ErrorCodes.REFUSED_STREAM), seen=2, expect=CUT_KEPT),
    Case(name="refused-behind-the-head", script=resetting(ErrorCodes.REFUSED_STREAM, head=True, content=b"ok"),
         expect=SHORT),
    Case(name="a-refused-write", script=resetting(ErrorCodes.REFUSED_STREAM), method=b"POST", body=(b"x",),
         content_length=1, expect=CUT_KEPT),
)  # fmt: skip


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
async def test_an_answer_is_whole_or_an_error_of_its_own_caller(case: Case) -> None:
    await play(case)
