"""TLS to an upstream: who is trusted, what is shown, and how a connection may end (RFC 9110 4.3.4; RFC 9112 9.8)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from policies.model import Tls
from tests.upstreams.authority import AUTHORITY, CA, certificate, pem, tls_server
from tests.upstreams.conformance.cases import CUT, Answer, Case, Lenient, answer, fails, in_body, passes, table
from tests.upstreams.conformance.engines import ENGINES, on_every_engine
from tests.upstreams.conformance.origin import Act, Origin, Script, turns
from tests.upstreams.conformance.stage import Failed, outcome, pieces, request, staged

pytestmark = pytest.mark.anyio

TRUSTED = Tls(ca=CA)
CLIENT = pem(certificate("gateway.test", AUTHORITY), key=True)
STRANGER = pem(certificate("gateway.test"), key=True)
POISON = answer(body=b"poison")

CASES: tuple[Case, ...] = (
    passes("a-verified-answer", answer()),
    passes(
        "a-verified-answer-in-chunks", answer(b"transfer-encoding: chunked", length=False, body=b"2\r\nok\r\n0\r\n\r\n")
    ),
    passes("a-megabyte", answer(body=b"x" * 1_000_000), expect=Answer(body=b"x" * 1_000_000)),
    passes("two-answers-in-one-record", answer() + POISON, expect=Answer(reused=False)),
    passes("an-answer-nobody-asked-for", answer(), Act.GO, POISON, expect=Answer(reused=False)),
    passes("a-close-while-idle", answer(), Act.GO, Act.CLOSE, expect=Answer(reused=False)),
    passes("an-abort-while-idle", answer(), Act.GO, Act.ABORT, expect=Answer(reused=False)),
    passes("a-whole-answer-and-no-close-notify", answer(), 0.01, Act.ABORT, expect=Answer(reused=False)),
    passes("close-delimited-with-close-notify", answer(length=False), Act.CLOSE, expect=Answer(reused=False)),
    # RFC 9112 9.8: without close_notify nobody knows whether somebody cut it.
    fails(
        "close-delimited-without-close-notify",
        answer(length=False),
        0.01,
        Act.ABORT,
        expect=in_body(b"ok", words=CUT | {"tls_protocol_error"}),
        lenient={
            "httpx": Lenient(reason="The library's stream reports both ends alike.", instead=Answer(reused=False))
        },
    ),
    fails("too-short-with-close-notify", answer()[:-1], Act.CLOSE, expect=in_body(b"o", words=CUT)),
    fails(
        "too-short-without-close-notify",
        answer()[:-1],
        0.01,
        Act.ABORT,
        expect=in_body(b"o", words=CUT | {"tls_protocol_error"}),
    ),
    fails(
        "chunks-without-end-and-close-notify",
        answer(b"transfer-encoding: chunked", length=False, body=b"2\r\nok\r\n"),
        0.01,
        Act.ABORT,
        expect=in_body(b"ok", words=CUT | {"tls_protocol_error"}),
    ),
    fails(
        "too-short-and-reset", answer()[:-1], 0.01, Act.RESET, expect=in_body(b"o", words=CUT | {"tls_protocol_error"})
    ),
)


@table(CASES)
async def test_what_comes_over_tls_is_held_to_the_same_rules(case: Case, engine: str, tmp_path: Path) -> None:
    origin = Origin(*case.scripts, context=tls_server(tmp_path))
    async with staged(engine, origin, host="localhost", scheme="https", tls=TRUSTED) as stage:
        result = await outcome(stage.engine, request())
        if any(Act.GO in script for script in case.scripts):
            origin.go.set()
            await origin.played.wait()
            await turns()
        (expected,) = case.expected(engine)
        problems = [problem for problem in expected.problems(result) if not tolerated(result, problem)]
        assert not problems
        probe = await stage.probe()
        assert (probe.connection == origin.cases[0].connection) is expected.reused


def tolerated(result: object, problem: str) -> bool:
    """A cut under TLS may be named after either layer."""
    return isinstance(result, Failed) and problem.startswith("failed otherwise") and result.error.code == "upstream-tls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Distrust:
    """Why no connection comes about. ``own``: the server certificate's host, None for one that nobody signed."""

    name: str
    tls: Tls = TRUSTED
    server_host: str = "localhost"
    words: frozenset[str] = frozenset(("tls_certificate_error",))


DISTRUST: tuple[Distrust, ...] = (
    Distrust(name="the-systems-roots-do-not-know-it", tls=Tls()),
    Distrust(name="signed-by-another-authority", tls=Tls(ca=pem(certificate("other.test"), key=False))),
    Distrust(name="for-another-host", server_host="other.test"),
    Distrust(name="for-a-wildcard-of-another-domain", server_host="*.other.test"),
    Distrust(name="for-a-name-that-only-ends-alike", server_host="notlocalhost"),
)


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in DISTRUST])
async def test_a_certificate_that_does_not_fit_ends_the_connection(case: Distrust, engine: str, tmp_path: Path) -> None:
    """Nothing of the request is sent to whom nobody vouches for; a second try fares the same."""
    origin = Origin((answer(),), context=tls_server(tmp_path, host=case.server_host))
    async with staged(engine, origin, host="localhost", scheme="https", tls=case.tls, probed=False) as stage:
        for _ in range(2):
            error = (await stage.failure(request(b"POST", body=pieces(b"secret")))).error
            assert (error.code, error.phase, error.sent) == ("upstream-tls", "upstream_connect", False)
            assert error.proxy_error in case.words
        assert origin.arrivals == []


@on_every_engine
async def test_verification_can_be_switched_off_for_one_upstream(engine: str, tmp_path: Path) -> None:
    origin = Origin((answer(),), context=tls_server(tmp_path, host="other.test"))
    async with staged(engine, origin, host="localhost", scheme="https", tls=Tls(verify=False)) as stage:
        assert (await stage.fetch()).body == b"ok"


@on_every_engine
async def test_a_client_certificate_is_shown_where_asked_for(engine: str, tmp_path: Path) -> None:
    origin = Origin((answer(),), context=tls_server(tmp_path, client_ca=CA))
    async with staged(engine, origin, host="localhost", scheme="https", tls=Tls(ca=CA, cert=CLIENT)) as stage:
        assert (await stage.fetch()).body == b"ok"


@on_every_engine
@pytest.mark.parametrize("shown", [None, STRANGER], ids=["none", "of-a-stranger"])
async def test_a_client_certificate_that_the_upstream_refuses(engine: str, shown: str | None, tmp_path: Path) -> None:
    """TLS 1.3 says so only after the handshake, when the request is on its way."""
    origin = Origin((answer(),), context=tls_server(tmp_path, client_ca=CA))
    tls = Tls(ca=CA, cert=shown)
    async with staged(engine, origin, host="localhost", scheme="https", tls=tls, probed=False) as stage:
        for _ in range(2):
            error = (await stage.failure()).error
            # An upstream that closes without the alert looks like any that closes.
            assert error.code in {"upstream-tls", "upstream-protocol"}
            assert error.proxy_error in CUT | {"tls_alert_received", "tls_protocol_error"}
        assert origin.arrivals == []


GARBLED: dict[str, bytes] = {
    "plain-http": b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
    "a-banner": b"220 mail.example ESMTP ready\r\n",
    "an-alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "a-record-of-nonsense": b"\x16\x03\x03\x00\x05xxxxx",
}


@on_every_engine
@pytest.mark.parametrize("name", list(GARBLED))
async def test_what_is_not_a_handshake_is_a_tls_error(engine: str, name: str) -> None:
    origin = Origin(greeting=GARBLED[name])
    async with staged(engine, origin, scheme="https", probed=False) as stage:
        error = (await stage.failure()).error
        assert (error.code, error.phase, error.sent) == ("upstream-tls", "upstream_connect", False)
        assert error.proxy_error in {"tls_protocol_error", "tls_alert_received"}


@on_every_engine
@pytest.mark.parametrize("act", [Act.CLOSE, Act.RESET], ids=["close", "reset"])
async def test_a_handshake_that_is_cut_is_a_failed_connection(engine: str, act: Act) -> None:
    origin = Origin(deaf=(5, act))
    async with staged(engine, origin, scheme="https", probed=False) as stage:
        error = (await stage.failure()).error
        assert error.code in {"upstream-tls", "upstream-connect"}
        assert (error.phase, error.sent) == ("upstream_connect", False)


@on_every_engine
async def test_plain_http_to_a_tls_port_is_no_answer(engine: str, tmp_path: Path) -> None:
    origin = Origin((answer(),), context=tls_server(tmp_path))
    async with staged(engine, origin, probed=False) as stage:
        error = (await stage.failure()).error
        assert (error.code, error.phase) == ("upstream-protocol", "upstream_wait")
        assert origin.arrivals == []


@on_every_engine
async def test_a_large_upload_and_a_large_answer_pass_over_tls(engine: str, tmp_path: Path) -> None:
    script: Script = (answer(body=b"y" * 3_000_000),)
    origin = Origin(script, context=tls_server(tmp_path))
    async with staged(engine, origin, host="localhost", scheme="https", tls=TRUSTED) as stage:
        reply = await stage.fetch(request(b"POST", body=pieces(*[b"x" * 100_000] * 30), content_length=3_000_000))
        assert (len(reply.body), len(origin.cases[0].body)) == (3_000_000, 3_000_000)
        assert (await stage.probe()).connection == 1


@on_every_engine
async def test_a_caller_that_leaves_during_the_handshake_leaves_nothing_behind(engine: str, tmp_path: Path) -> None:
    origin = Origin((answer(),), context=tls_server(tmp_path))
    async with staged(engine, origin, host="localhost", scheme="https", tls=TRUSTED) as stage:
        for pauses in range(0, 30, 3):
            call = asyncio.create_task(outcome(stage.engine, request()))
            for _ in range(pauses):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
