"""The exchange and its trace context (W3C Trace Context level 2; spec http.md T-1 to T-8)."""

from __future__ import annotations

from typing import Any

import pytest

from middleware.telemetry import Telemetry, adopt
from policies.exchange import SCOPE_KEY, Exchange
from tests.middleware.harness import VirtualClock

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
DRAWN = "a" * 32 + "b" * 16


def adopted(*headers: tuple[bytes, bytes]) -> Exchange:
    exchange = Exchange(started_us=0, started_wall_us=0, request_id="r")
    adopt(exchange, headers, DRAWN)
    assert exchange.span_id == "b" * 16
    return exchange


def parent(
    version: bytes = b"00", trace: bytes = TRACE, span: bytes = SPAN, flags: bytes = b"01", rest: bytes = b""
) -> bytes:
    return b"-".join((version, trace, span, flags)) + rest


@pytest.mark.parametrize(
    "value", [parent(), parent(flags=b"00"), parent(version=b"01"), parent(version=b"cc", rest=b"-more")]
)
def test_a_valid_parent_is_continued_with_a_new_span(value: bytes) -> None:
    exchange = adopted((b"traceparent", value))
    assert exchange.trace_id == TRACE.decode()
    assert exchange.parent_span_id == SPAN.decode()


@pytest.mark.parametrize(
    "value",
    [
        b"", b"x", parent(version=b"ff"), parent(trace=b"0" * 32), parent(span=b"0" * 16), parent(rest=b"-more"),
        parent(trace=TRACE.upper()), parent(flags=b"1"), parent(rest=b" x"), parent(version=b"cc", rest=b"more"),
    ],
)  # fmt: skip
def test_an_invalid_parent_begins_a_new_trace(value: bytes) -> None:
    exchange = adopted((b"traceparent", value), (b"tracestate", b"a=1"))
    assert exchange.trace_id == "a" * 32
    assert exchange.parent_span_id == ""
    assert exchange.trace_state is None, "tracestate without a valid traceparent is discarded (T-6)"


def test_two_parents_count_as_none() -> None:
    assert adopted((b"traceparent", parent()), (b"traceparent", parent())).parent_span_id == ""


def test_unknown_flag_bits_are_dropped_and_random_is_kept() -> None:
    assert adopted((b"traceparent", parent(flags=b"ff"))).trace_flags == 0x03


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"a=1"], "a=1"),
        ([b"a=1", b" b=2 ,c=3"], "a=1,b=2,c=3"),
        ([b"bad"], None),
        ([b"a=\xff"], None),
        ([b",".join(b"k%d=v" % n for n in range(33))], None),
        ([b"a=1,long=" + b"x" * 600], "a=1"),
    ],
)
def test_tracestate_travels_whole_bounded_or_not_at_all(lines: list[bytes], expected: str | None) -> None:
    headers = [(b"tracestate", line) for line in lines]
    assert adopted((b"traceparent", parent()), *headers).trace_state == expected


class Zeros:
    """The unluckiest draw."""

    def getrandbits(self, bits: int) -> int:
        return 0


class Chosen:
    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.ended: list[Exchange] = []

    def sampled(self, exchange: Exchange) -> bool:
        return self.answer

    def finished(self, exchange: Exchange) -> None:
        self.ended.append(exchange)


@pytest.mark.anyio
@pytest.mark.parametrize(("answer", "flags"), [(True, 0x03), (False, 0x02)])
async def test_the_flag_says_what_was_chosen_and_the_end_is_always_told(answer: bool, flags: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange = scope[SCOPE_KEY]
        assert exchange.trace_flags == flags
        assert [len(exchange.request_id), len(exchange.trace_id), len(exchange.span_id)] == [32, 32, 16]
        assert len(exchange.upstream_span_id) == (16 if answer else 0)
        raise RuntimeError

    spans = Chosen(answer)
    with pytest.raises(RuntimeError):
        await Telemetry(app, clock=VirtualClock(), spans=spans)({"type": "http", "headers": []}, None, None)  # type: ignore[arg-type]
    assert len(spans.ended) == 1


@pytest.mark.anyio
async def test_no_id_is_ever_all_zeros_or_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Exchange] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope[SCOPE_KEY])

    telemetry = Telemetry(app, clock=VirtualClock(), spans=Chosen(True))
    for _ in range(3):
        await telemetry({"type": "http", "headers": []}, None, None)  # type: ignore[arg-type]
    assert len({(one.request_id, one.trace_id, one.span_id, one.upstream_span_id) for one in seen}) == 3
    monkeypatch.setattr("middleware.telemetry._random", Zeros())
    await telemetry({"type": "http", "headers": []}, None, None)  # type: ignore[arg-type]
    last = seen[-1]
    assert all(int(id, 16) for id in (last.trace_id, last.span_id, last.upstream_span_id))
