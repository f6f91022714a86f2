"""The verdicts over a whole run: a true gateway passes all of them, and each planted fault fails the one it is for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from loadtests.arrivals import checks
from loadtests.arrivals.bounds import replay
from loadtests.arrivals.client import Call, schedule
from loadtests.arrivals.limits import Tenant, WindowLimit, read, tenants
from loadtests.arrivals.origin import Visits
from loadtests.open_loop import POLICIES

S = 1_000_000
LIMIT = WindowLimit(name="short", amount=20, period_us=2 * S)
TENANT = Tenant(name="window-1", tier="window", key="k", limits=(LIMIT,))
BOUND, NEED, ENOUGH, FIELDS, REMAINING = (
    "never more admitted than the limit allows",
    "no refusal without need",
    "at least 99 % of what the limits allow",
    "the fields of every answer are those of the contract",
    "r falls and rises as it must",
)


def answered(enforced: WindowLimit, announced: WindowLimit) -> tuple[list[Call], Visits]:
    """Ten seconds of forty calls a second at a gateway that enforces one limit and announces another."""
    visits, admitted, calls = Visits(), list[int](), []
    for number, (at, tenant) in enumerate(schedule(40, 10, 1, poisson=False)):
        call = Call(number, tenant, at, sent_us=at, answered_us=at + 900)
        live = [time for time in admitted if time > at - enforced.period_us]
        allowed = replay((enforced,), [*live, at]) == len(live) + 1
        if allowed:
            admitted.append(at)
            visits.arrived_us[number] = visits.let_go_us[number] = at + 400
            live = [*live, at]
        left = max(0, announced.amount - len(live))
        call.head, call.body = _answer(announced, left, (live[0] + enforced.period_us - at) / S, allowed)
        calls.append(call)
    return calls, visits


def _answer(limit: WindowLimit, left: int, until_s: float, allowed: bool) -> tuple[bytes, bytes]:
    t = -int(-until_s // 1)
    lines = [
        f"ratelimit-policy: \"{limit.name}\";q={limit.amount};w={limit.period_us // S}",
        f"ratelimit: \"{limit.name}\";r={left};t={t}",
    ]  # fmt: skip
    if allowed:
        return "\r\n".join(["HTTP/1.1 200 OK", *lines]).encode(), b""
    lines += [
        f"retry-after: {t}", f"retry-after-ms: {round(until_s * 1000)}", f"ratelimit-limit: {limit.amount}",
        f"ratelimit-remaining: {left}", f"ratelimit-reset: {t}", "proxy-status: tiergate; error=http_request_error",
        "cache-control: no-store", "content-type: application/json", "x-request-id: 1",
    ]  # fmt: skip
    body = {
        "error": "rate_limited", "source": "tenant", "provider": None, "retry_after_seconds": t, "estimated": False,
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded", "title": "A title", "status": 429,
        "violated-policies": [limit.name], "request_id": "1",
    }  # fmt: skip
    return "\r\n".join(["HTTP/1.1 429 Too Many Requests", *lines]).encode(), json.dumps(body).encode()


def failed(calls: list[Call], visits: Visits) -> set[str]:
    return {check.what for check in checks.every([TENANT], calls, visits) if not check.ok}


def test_a_gateway_that_keeps_its_limit_passes_every_check() -> None:
    calls, visits = answered(LIMIT, LIMIT)
    assert sum(call.status == 200 for call in calls) == 100
    assert failed(calls, visits) == set()


def test_a_gateway_whose_limit_is_higher_than_written_is_caught_by_its_counts_alone() -> None:
    calls, visits = answered(replace(LIMIT, amount=21), LIMIT)
    found = failed(calls, visits)
    assert BOUND in found
    assert FIELDS not in found, "this one lies well"


def test_a_gateway_whose_limit_is_lower_than_written_is_caught() -> None:
    assert {NEED, ENOUGH} <= failed(*answered(replace(LIMIT, amount=18), LIMIT))


def test_a_gateway_whose_window_is_longer_than_written_is_caught() -> None:
    assert {NEED, ENOUGH} <= failed(*answered(replace(LIMIT, period_us=3 * S), LIMIT))


def test_a_gateway_that_announces_another_limit_than_it_keeps_is_caught() -> None:
    assert failed(*answered(LIMIT, replace(LIMIT, amount=25))) >= {FIELDS, REMAINING}


def _faults() -> Iterator[tuple[str, Call, str]]:
    """A changed call, what was done to it, and the check that must see it. Call 0 is admitted, call 30 refused."""
    yield "every call was answered", Call(0, 0, 0, sent_us=0, failure="the connection ended"), "lost"
    bad = Call(0, 0, 0, sent_us=0, answered_us=900, head=b"HTTP/1.1 502 Bad Gateway")
    yield "no 5xx, nothing but 200 and 429", bad, "5xx"
    yield FIELDS, Call(0, 0, 0, sent_us=0, answered_us=900, head=b"HTTP/1.1 200 OK"), "bare"
    yield FIELDS, Call(0, 0, 0, sent_us=0, answered_us=900, head=b"HTTP/1.1 200 OK\r\nnonsense"), "no field line"


@pytest.mark.parametrize(("what", "call"), [pytest.param(*fault[:2], id=fault[2]) for fault in _faults()])
def test_one_bad_answer_among_hundreds_is_found(what: str, call: Call) -> None:
    calls, visits = answered(LIMIT, LIMIT)
    assert what in failed([call, *calls[1:]], visits)


def test_what_the_origin_saw_is_held_against_the_answers() -> None:
    calls, visits = answered(LIMIT, LIMIT)
    refused = next(call.number for call in calls if call.status == 429)
    visits.arrived_us[refused] = 1
    assert failed(calls, visits) == {"no refused call reached the origin"}
    calls, visits = answered(LIMIT, LIMIT)
    del visits.arrived_us[0]
    assert failed(calls, visits) == {"every admitted call reached the origin"}
    calls, visits = answered(LIMIT, LIMIT)
    visits.twice.append(0)
    assert failed(calls, visits) == {"no call reached the origin twice"}


def test_the_schedule_is_even_or_poisson_and_repeatable() -> None:
    even = schedule(100, 2, 4, poisson=False)
    assert even[:3] == [(0, 0), (10_000, 1), (20_000, 2)]
    assert len(even) == 200
    drawn = schedule(1000, 10, 4, poisson=True)
    assert drawn == schedule(1000, 10, 4, poisson=True)
    assert drawn == sorted(drawn, key=lambda one: one[0])
    assert 9_500 < len(drawn) < 10_500
    assert {tenant for _, tenant in drawn} == {0, 1, 2, 3}


def test_the_policys_tenants_are_read_with_their_keys_and_limits() -> None:
    found = tenants(POLICIES)
    assert len(found) == 24
    assert found[0] == replace(TENANT, key="open-loop-window-1-key")
    assert {limit.name: limit.announced for limit in found[3].limits} == {
        "short": {"q": 60, "w": 5}, "steady": {"q": 20, "w": 2}, "parallel": {"q": 50, "qu": "concurrent-requests"},
    }  # fmt: skip


@pytest.mark.parametrize(
    "written", ["20", "20/day", 20, None, {"rate": "1/s"}, {"concurrent": 3, "mode": "shadow"}, {"quota": "1/day"}]
)
def test_a_limit_that_the_checker_does_not_know_is_an_error(written: object) -> None:
    with pytest.raises(ValueError, match=r"not a rate|does not know"):
        read("x", written)
