"""Connections between calls: what makes one unfit, and when a request is sent again (RFC 9112 9.3; RULINGS 16, 17)."""

from __future__ import annotations

import asyncio

import pytest

from policies.model import Pool
from tests.upstreams.conformance.cases import CUT, HEAD_CUT, Answer, Case, Fault, answer, fails, passes, play, table
from tests.upstreams.conformance.engines import on_every_engine
from tests.upstreams.conformance.origin import Act, Origin, Script, turns
from tests.upstreams.conformance.stage import request, staged

pytestmark = pytest.mark.anyio

POISON = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
UNUSED = Answer(reused=False)
KEY = ((b"idempotency-key", b'"k-1"'),)


def resent(name: str, method: bytes, first: Script = (Act.CLOSE,)) -> Case:
    body = b"" if method == b"HEAD" else b"ok"
    last = answer(length=False, body=b"") if method == b"HEAD" else answer()
    return Case(name=name, scripts=(first, (last,)), expect=(Answer(body=body),), method=method, primed=True, seen=2)


def not_resent(name: str, first: Script = (Act.CLOSE,), expect: Fault = HEAD_CUT, **more: object) -> Case:
    more = {"primed": True, **more}
    return Case(name=name, scripts=(first, (answer(),)), expect=(expect,), **more)  # type: ignore[arg-type]


CASES: tuple[Case, ...] = (
    # Between two calls.
    passes("an-answer-nobody-asked-for", answer(), Act.GO, POISON, expect=UNUSED),
    passes("one-octet-nobody-asked-for", answer(), Act.GO, b"H", expect=UNUSED),
    passes("a-line-end-nobody-asked-for", answer(), Act.GO, b"\r\n", expect=UNUSED),
    passes(
        "a-408-nobody-asked-for",
        answer(),
        Act.GO,
        answer(line=b"HTTP/1.1 408 Request Timeout"),
        Act.CLOSE,
        expect=UNUSED,
    ),
    passes("an-interim-answer-nobody-asked-for", answer(), Act.GO, b"HTTP/1.1 100 Continue\r\n\r\n", expect=UNUSED),
    passes("half-a-megabyte-nobody-asked-for", answer(), Act.GO, b"x" * 500_000, expect=UNUSED),
    passes("a-close-while-idle", answer(), Act.GO, Act.CLOSE, expect=UNUSED),
    passes("a-reset-while-idle", answer(), Act.GO, Act.RESET, expect=UNUSED),
    # A reused connection that dies before a byte of the answer.
    resent("get-is-sent-again", b"GET"),
    resent("head-is-sent-again", b"HEAD"),
    resent("options-is-sent-again", b"OPTIONS"),
    resent("get-is-sent-again-after-a-reset", b"GET", (Act.RESET,)),
    fails("get-is-sent-again-only-once", Act.CLOSE, expect=HEAD_CUT, primed=True, seen=2),
    not_resent("post-is-never-sent-again", method=b"POST", body=(b"x",), content_length=1),
    not_resent("post-is-never-sent-again-after-a-reset", (Act.RESET,), method=b"POST", body=(b"x",), content_length=1),
    not_resent("post-without-content-is-never-sent-again", method=b"POST", content_length=0),
    not_resent("patch-is-never-sent-again", method=b"PATCH", content_length=0),
    not_resent("an-unknown-method-is-never-sent-again", method=b"FROB"),
    not_resent("a-method-in-lower-case-is-another-method", method=b"get"),
    not_resent("put-with-content-is-never-sent-again", method=b"PUT", body=(b"x",), content_length=1),
    not_resent("get-with-content-is-never-sent-again", method=b"GET", body=(b"x",), content_length=1),
    not_resent("a-keyed-put-is-never-sent-again", method=b"PUT", content_length=0, fields=KEY),
    not_resent("a-keyed-delete-is-never-sent-again", method=b"DELETE", fields=KEY),
    not_resent("a-keyed-post-is-never-sent-again", method=b"POST", content_length=0, fields=KEY),
    not_resent("nothing-is-sent-again-after-one-octet", (b"H", Act.CLOSE), Fault(words=CUT | Fault().words)),
    not_resent(
        "nothing-is-sent-again-after-an-interim-answer",
        (b"HTTP/1.1 100 Continue\r\n\r\n", Act.CLOSE),
        Fault(words=CUT | Fault().words),
    ),
    not_resent("nothing-is-sent-again-after-garbage", (b"garbage\r\n\r\n",), Fault()),
    not_resent(
        "nothing-is-sent-again-after-a-timeout",
        (Act.HOLD,),
        Fault(code="upstream-timeout", words=frozenset(("http_response_timeout",))),
    ),
    not_resent("a-fresh-connection-is-not-tried-twice", primed=False),
    not_resent("a-fresh-connection-is-not-tried-twice-after-a-reset", (Act.RESET,), primed=False),
)


@table(CASES)
async def test_a_connection_serves_again_only_when_nothing_is_left_on_it(case: Case, engine: str) -> None:
    await play(case, engine)


@on_every_engine
async def test_a_connection_serves_many_calls(engine: str) -> None:
    async with staged(engine, Origin((answer(),))) as stage:
        for _ in range(20):
            assert (await stage.fetch()).body == b"ok"
            await stage.probe()
        assert stage.origin.connections == 1


@on_every_engine
async def test_idle_connections_that_all_died_at_once_fail_nobody(engine: str) -> None:
    """An upstream restarts: every pooled connection is closed, and the next callers notice nothing."""
    async with staged(engine, Origin((0.05, answer())), pool=Pool(connections=10)) as stage:
        await asyncio.gather(*(stage.fetch() for _ in range(10)))
        assert stage.origin.connections == 10
        stage.origin.end_all(Act.CLOSE)
        await turns()
        await stage.probes()


@on_every_engine
async def test_an_answer_that_is_given_up_takes_its_connection_along(engine: str) -> None:
    """Its rest must not become the head of the next caller's answer."""
    async with staged(engine, Origin((answer(body=b"x" * 2_000_000),))) as stage:
        held = await stage.engine.send(request())
        await held.aclose()
        await held.aclose()  # idempotent: one slot comes back
        arrival = await stage.probe()
        assert arrival.connection == 2


@on_every_engine
async def test_an_answer_given_up_after_its_first_part_takes_its_connection_along(engine: str) -> None:
    async with staged(engine, Origin((answer(body=b"x" * 2_000_000),))) as stage:
        held = await stage.engine.send(request())
        assert held.content is None
        assert await anext(held.body())
        await held.aclose()
        assert (await stage.probe()).connection == 2


@on_every_engine
async def test_a_head_answer_need_not_be_read_to_give_its_connection_back(engine: str) -> None:
    async with staged(engine, Origin((answer(body=b"", length=False),))) as stage:
        held = await stage.engine.send(request(b"HEAD"))
        await held.aclose()
        await stage.probe()


@on_every_engine
async def test_concurrent_callers_get_their_own_answers(engine: str) -> None:
    async with staged(engine, Origin((answer(),)), pool=Pool(connections=4, wait_us=5_000_000)) as stage:
        await stage.probes(200)
        assert stage.origin.connections <= 4
