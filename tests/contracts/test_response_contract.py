"""The response contract of DESIGN §5, from outside, over a socket, on both servers, with a strict RFC 9651 parser."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import http_sf
import pytest

from gateway.metrics import Metrics
from tests.gateway.assembly import DEMO, Answer, Gateway, gateway
from tests.middleware.harness import VirtualClock
from tests.wire.harness import SERVERS, ServerName

pytestmark = pytest.mark.anyio

GLOBEX = "demo-globex-key"
CONTACTS = "/crm/contacts"


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> ServerName:
    return request.param  # type: ignore[no-any-return]


def structured(answer: Answer, name: str) -> dict[str, dict[str, Any]]:
    """A list field as name -> parameters, parsed strictly; the names must be Strings and occur once."""
    members = http_sf.parse(answer.one(name).encode("ascii"), tltype="list")
    assert all(isinstance(value, str) and not isinstance(value, http_sf.Token) for value, _ in members)
    found = dict(members)
    assert len(found) == len(members)
    return found


def check_numbers(answer: Answer) -> None:
    """Nothing negative, fractional or sent twice; every member of RateLimit has its policy."""
    policy, current = structured(answer, "ratelimit-policy"), structured(answer, "ratelimit")
    assert list(policy) == list(current)
    for name, state in current.items():
        assert type(state["r"]) is int
        assert 0 <= state["r"] <= policy[name]["q"]
        assert "t" not in state or (type(state["t"]) is int and state["t"] >= 1)
        assert ("t" in state) == ("qu" not in policy[name])
    for field in ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"):
        assert len(answer.all(field)) <= 1
        assert all(value.isdigit() for value in answer.all(field))


def check_refusal(answer: Answer, wait_s: int) -> None:
    """DESIGN §5, line by line."""
    assert answer.status == 429
    assert answer.reason == "Too Many Requests"
    assert int(answer.one("retry-after")) == wait_s
    assert (wait_s - 1) * 1000 < int(answer.one("retry-after-ms")) <= wait_s * 1000
    check_numbers(answer)
    assert structured(answer, "ratelimit")["minute"] == {"r": 0, "t": wait_s}
    assert structured(answer, "ratelimit-policy")["minute"] == {"q": 60, "w": 60}
    assert answer.one("ratelimit-limit") == "60"
    assert answer.one("ratelimit-remaining") == "0"
    assert answer.one("ratelimit-reset") == str(wait_s)
    assert answer.one("proxy-status") == "tiergate; error=http_request_error"
    assert answer.one("cache-control") == "no-store"
    assert answer.one("content-type") == "application/json"
    body = answer.json()
    assert body["request_id"] == answer.one("x-request-id")
    assert {name: value for name, value in body.items() if name not in ("title", "request_id")} == {
        "error": "rate_limited",
        "source": "tenant",
        "provider": None,
        "retry_after_seconds": wait_s,
        "estimated": False,
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "status": 429,
        "violated-policies": ["minute"],
    }


async def sixty_calls(gate: Gateway, clock: VirtualClock) -> None:
    left = []
    for _ in range(60):
        answer = await gate.call("GET", CONTACTS, key=GLOBEX)
        assert answer.status == 200, answer
        assert not answer.all("retry-after")
        check_numbers(answer)
        left.append(structured(answer, "ratelimit")["minute"]["r"])
        assert answer.one("ratelimit-remaining") == str(left[-1])
        clock.advance(100_000)
    assert left == list(range(59, -1, -1))


async def test_sixty_calls_pass_and_the_next_is_refused_until_the_stated_wait(
    server: ServerName, tmp_path: Path
) -> None:
    clock = VirtualClock()
    async with gateway(tmp_path, clock=clock, server=server) as gate:
        await sixty_calls(gate, clock)
        check_refusal(await gate.call("GET", CONTACTS, key=GLOBEX), 54)
        assert len(gate.origin.requests) == 60, "a refused call must not reach the upstream"
        clock.advance(54_000_000 - 1)
        check_refusal(await gate.call("GET", CONTACTS, key=GLOBEX), 1)
        clock.advance(1)
        assert (await gate.call("GET", CONTACTS, key=GLOBEX)).status == 200
        assert (await gate.call("GET", CONTACTS, key=GLOBEX)).status == 429, "one unit has come back, not two"


async def test_the_bound_holds_across_a_reload_that_changes_amounts(tmp_path: Path) -> None:
    clock, policies = VirtualClock(), tmp_path / "policies"
    shutil.copytree(DEMO, policies)
    async with gateway(tmp_path / "state", policies=policies, clock=clock) as gate:
        for _ in range(30):
            assert (await gate.call("GET", CONTACTS, key=GLOBEX)).status == 200
        tiers = (policies / "tiers.yaml").read_text()
        (policies / "tiers.yaml").write_text(tiers.replace("60/min", "40/min", 1))
        gate.source.reload()
        answers = [await gate.call("GET", CONTACTS, key=GLOBEX) for _ in range(11)]
        assert [answer.status for answer in answers] == [200] * 10 + [429]
        (policies / "tiers.yaml").write_text(tiers)
        gate.source.reload()
        answers = [await gate.call("GET", CONTACTS, key=GLOBEX) for _ in range(21)]
        assert [answer.status for answer in answers] == [200] * 20 + [429]


async def test_two_connections_that_race_for_the_last_unit_get_one_answer_each(
    server: ServerName, tmp_path: Path
) -> None:
    clock = VirtualClock()
    async with gateway(tmp_path, clock=clock, server=server) as gate:
        for _ in range(59):
            assert (await gate.call("GET", CONTACTS, key=GLOBEX)).status == 200
        racers = await asyncio.gather(*(gate.call("GET", CONTACTS, key=GLOBEX) for _ in range(2)))
        assert sorted(answer.status for answer in racers) == [200, 429]


async def test_a_hundred_calls_at_once_are_admitted_up_to_the_slots_and_all_slots_come_back(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        storm = await asyncio.gather(*(gate.call("GET", CONTACTS, "x-mock: slow=0.5s", key=GLOBEX) for _ in range(20)))
        refused = [answer for answer in storm if answer.status == 429]
        assert len(storm) - len(refused) == 5
        for answer in refused:
            assert answer.json()["source"] == "concurrency"
            assert answer.json()["violated-policies"] == ["parallel"]
            assert answer.one("retry-after") == "1"
            assert answer.json()["estimated"] is True, "nobody knows when a running call ends"
            assert not answer.all("ratelimit-reset"), "a refusal by concurrency alone has no triple"
            assert structured(answer, "ratelimit")["parallel"] == {"r": 0}
        again = await asyncio.gather(*(gate.call("GET", CONTACTS, key=GLOBEX) for _ in range(5)))
        assert [answer.status for answer in again] == [200] * 5


async def test_a_tenant_may_have_its_reset_as_unix_time_and_nothing_else_changes(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with gateway(tmp_path, clock=clock) as gate:
        answer = await gate.call("GET", CONTACTS, key="demo-initech-key")
        t = structured(answer, "ratelimit")["minute"]["t"]
        assert t == 60
        assert int(answer.one("ratelimit-reset")) == clock.wall_us() // 1_000_000 + t


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("application/problem+json, application/json", "application/json"),
        ("application/json;q=0.5, application/problem+json", "application/problem+json"),
        ("application/problem+json;q=0.1, */*;q=0.1", "application/problem+json"),
        ("application/problem+json;q=0, */*", "application/json"),
        ("text/html", "application/json"),
        (";;;,=q", "application/json"),
    ],
)
async def test_the_error_is_json_or_problem_json_by_accept_and_the_same_object(
    accept: str, expected: str, tmp_path: Path
) -> None:
    async with gateway(tmp_path) as gate:
        answer = await gate.call("GET", CONTACTS, f"accept: {accept}")
        assert answer.status == 401
        assert answer.one("content-type") == expected
        assert answer.json()["error"] == "unauthenticated"
        assert answer.json()["status"] == 401


async def test_head_gets_the_headers_of_the_refusal_alone(server: ServerName, tmp_path: Path) -> None:
    clock = VirtualClock()
    async with gateway(tmp_path, clock=clock, server=server) as gate:
        for _ in range(60):
            await gate.call("HEAD", CONTACTS, key=GLOBEX)
        answer = await gate.call("HEAD", CONTACTS, key=GLOBEX)
        assert answer.status == 429
        assert answer.body == b""
        assert answer.one("retry-after") == "60"


async def test_a_call_that_costs_five_takes_five_and_a_tier_without_access_gets_403(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        answer = await gate.call("POST", CONTACTS, body=b"{}", key=GLOBEX)
        assert structured(answer, "ratelimit")["minute"]["r"] == 55
        assert structured(answer, "ratelimit")["parallel"]["r"] == 4
        refused = await gate.call("GET", "/reports/7", key=GLOBEX)
        assert (refused.status, refused.json()["error"]) == (403, "forbidden_tier")
        assert refused.one("proxy-status") == "tiergate; error=http_request_denied"


async def test_usage_and_limits_are_free_and_say_what_the_headers_say(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with gateway(tmp_path, clock=clock) as gate:
        for _ in range(3):
            await gate.call("GET", CONTACTS, key=GLOBEX)
        for _ in range(200):
            answer = await gate.call("GET", "/_gateway/usage", key=GLOBEX)
        usage = answer.json()
        assert (usage["tenant"], usage["tier"]) == ("globex", "basic")
        assert usage["policy"] == gate.source.current.version
        minute = next(limit for limit in usage["limits"] if limit["name"] == "minute")
        assert minute == {
            "name": "minute", "kind": "window", "limit": 60, "window_seconds": 60,
            "route": None, "remaining": 57, "reset_seconds": 60,
        }  # fmt: skip
        public = await gate.call("GET", "/_gateway/limits")
        assert public.status == 200
        assert public.json()["tiers"]["basic"]["limits"][0]["limit"] == 60
        assert "acme" not in public.body.decode()
        assert (await gate.call("GET", "/_gateway/usage")).status == 401
        assert (await gate.call("GET", "/_gateway/other", key=GLOBEX)).status == 404
        assert (await gate.call("POST", "/_gateway/usage", key=GLOBEX)).status == 405


async def test_no_credential_of_a_caller_reaches_the_upstream(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        for header in (
            "x-api-key: demo-acme-key",
            "authorization: Bearer demo-acme-key",
            "Authorization: bearer demo-acme-key",
        ):
            assert (await gate.call("GET", CONTACTS, header)).status == 200
        both = await gate.call("GET", CONTACTS, "x-api-key: demo-acme-key", "authorization: Bearer demo-acme-key")
        assert both.status == 200
        two = await gate.call("GET", CONTACTS, "x-api-key: demo-acme-key", "authorization: Bearer demo-globex-key")
        assert two.status == 401
        assert len(gate.origin.requests) == 4
        assert "demo-acme-key" not in json.dumps([[r.target, r.headers] for r in gate.origin.requests])


async def test_an_upstreams_429_is_passed_on_at_once_and_never_retried(tmp_path: Path) -> None:
    async with gateway(tmp_path) as gate:
        answer = await gate.call("GET", CONTACTS, "x-mock: status=429", key="demo-acme-key")
        assert answer.status == 429
        assert len(gate.origin.requests) == 1
        wait_s = int(answer.one("retry-after"))
        assert 60 <= wait_s <= 72
        assert structured(answer, "ratelimit")["crm-throttle"] == {"r": 0, "t": wait_s}
        assert "crm-throttle" not in structured(answer, "ratelimit-policy"), "q is required, and not known"
        assert not answer.all("ratelimit-limit")
        assert (answer.one("ratelimit-remaining"), answer.one("ratelimit-reset")) == ("0", str(wait_s))
        assert answer.one("proxy-status") == "tiergate; received-status=429"
        body = answer.json()
        assert (body["source"], body["provider"], body["estimated"]) == ("upstream", "crm", True)
        assert (body["retry_after_seconds"], body["violated-policies"]) == (wait_s, ["crm-throttle"])
        _, outcome = gate.recorder.seen[-1]
        assert (outcome.origin, outcome.source, outcome.over_limit) == ("upstream", "upstream", False)
        metrics = Metrics()
        metrics.record(*gate.recorder.seen[-1])
        assert ["gateway_upstream_throttled", ["crm", "quota"], 1] in metrics.snapshot()["counters"]


async def test_every_request_leaves_one_outcome_and_one_count(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with gateway(tmp_path, clock=clock) as gate:
        await gate.call("GET", CONTACTS, key=GLOBEX)
        await gate.call("GET", CONTACTS)
        await gate.call("GET", "/nowhere", key=GLOBEX)
        await gate.call("GET", CONTACTS, "x-mock: status=500", key=GLOBEX)
        await gate.call("GET", "/_gateway/usage", key=GLOBEX)
        for _ in range(60):
            await gate.call("GET", CONTACTS, key=GLOBEX)
        seen = [(o.tenant, o.status, o.origin, o.reason, o.over_limit) for _, o in gate.recorder.seen]
        assert seen[:5] == [
            ("globex", 200, "upstream", None, False),
            ("", 401, "gateway", "unauthenticated", False),
            ("globex", 404, "gateway", "no-route", False),
            ("globex", 500, "upstream", None, False),
            ("globex", 200, "gateway", None, False),
        ]
        assert seen[-1] == ("globex", 429, "gateway", "rate-limited", True)
        assert len(seen) == 65
        assert sum(gate.counters.totals().values()) == 65
        assert gate.counters.totals()["globex", "crm", "bad", "managed_upstream"] == 1
