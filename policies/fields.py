"""A decision as response fields: RateLimit-Policy, RateLimit, Retry-After and the legacy triple, as bytes.

Sources: draft-ietf-httpapi-ratelimit-headers-11 (the structured pair), -06 (the triple), RULINGS 1-3. The
numbers come from the same answer as the verdict. Nothing here is negative, fractional or sent twice.
"""

from __future__ import annotations

from policies.admission import Decision
from policies.admission.decision import NOT_ASKED
from policies.plan import Plan

SECOND_US = 1_000_000
Pair = tuple[bytes, bytes]


def render(plan: Plan, decision: Decision) -> list[Pair]:
    """The rate-limit fields of an answer to this call; none when the call is under no limit."""
    fields: list[Pair] = []
    if plan.structured and plan.current:
        fields.append(plan.policy_line)
        fields.append((b"ratelimit", _current(plan, decision)))
    if plan.triple:
        fields += _triple(plan, decision)
    return fields


def retry_after_s(decision: Decision) -> int:
    """Whole seconds until the refused call would pass: the longest wait, up, at least 1; 1 for concurrency alone."""
    return max(1, -(-decision.longest_wait_us // SECOND_US))


def retry_after_ms(decision: Decision) -> int:
    """The same wait in whole milliseconds, up; 1000 for concurrency alone."""
    return -(-decision.longest_wait_us // 1000) or 1000


def _current(plan: Plan, decision: Decision) -> bytes:
    """The value of ``RateLimit``: one member for each limit."""
    numbers: list[int] = []
    for _, r, t in decision.readings:
        numbers.append(r)
        numbers.append(t)
    numbers += decision.free_slots
    return plan.current % tuple(numbers)


def _triple(plan: Plan, decision: Decision) -> list[Pair]:
    """Limit, remaining and reset of the one limit that the triple describes (RULINGS 2)."""
    chosen = tightest(decision) if decision.allowed else _longest_refusal(decision)
    if chosen is None:
        return []
    _, r, t = decision.readings[chosen]
    reset = -(-(decision.wall_us + t * SECOND_US) // SECOND_US) if plan.unix_reset else t
    return [
        plan.limit_lines[chosen],
        (b"ratelimit-remaining", b"%d" % r),
        (b"ratelimit-reset", b"%d" % reset),
    ]


def tightest(decision: Decision) -> int | None:
    """Index of the limit with the lowest share left; ties go to the longest reset. None without rate limits."""
    if decision.tightest == NOT_ASKED:
        decision.tightest = _tightest(decision)
    return decision.tightest


def _tightest(decision: Decision) -> int | None:
    best: int | None = None
    best_r = best_q = 1
    best_t = index = 0
    charges = decision.demand.charges
    for _, r, t in decision.readings:
        q = charges[index].q
        left, right = r * best_q, best_r * q  # r/q < best_r/best_q without division
        if best is None or left < right or (left == right and t > best_t):
            best, best_r, best_q, best_t = index, r, q, t
        index += 1  # noqa: SIM113 - counted by hand for speed
    return best


def _longest_refusal(decision: Decision) -> int | None:
    """Index of the refusing limit with the longest wait; None when only concurrency refused."""
    wait = decision.longest_wait_us
    return decision.waits_us.index(wait) if wait else None
