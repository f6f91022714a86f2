"""A decision as response fields: RateLimit-Policy, RateLimit, Retry-After and the legacy triple, as bytes.

Sources: draft-ietf-httpapi-ratelimit-headers-11 (the structured pair), -06 (the triple), RULINGS 1-3. The
numbers come from the same answer as the verdict. Nothing here is negative, fractional or sent twice. What an
upstream says of its own limits (``Announcement``) stands behind ours, in the same lines.
"""

from __future__ import annotations

from policies.admission import Decision
from policies.admission.decision import NOT_ASKED
from policies.announcement import Announcement
from policies.plan import Plan, quoted
from policies.throttling import UpstreamLimit

SECOND_US = 1_000_000
Pair = tuple[bytes, bytes]


def render(plan: Plan, decision: Decision, announcement: Announcement | None = None) -> list[Pair]:
    """The rate-limit fields of an answer to this call; none when neither we nor the upstream limit it."""
    if announcement is not None:
        return _joined(plan, decision, announcement)
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


def waiting(announcement: Announcement) -> list[Pair]:
    """What goes with a throttle of an upstream beside the limits: when to come back, what it came as, that it is fresh.

    Nothing where the upstream has not throttled.
    """
    if announcement.wait_s is None or announcement.wait_ms is None:
        return []
    fields = [(b"proxy-status", proxy_status(announcement))]
    if announcement.status < 300:
        return fields  # Retry-After means nothing there (RFC 9110 10.2.3), and DESIGN §5 promises none
    fields.append((b"retry-after", b"%d" % announcement.wait_s))
    fields.append((b"retry-after-ms", b"%d" % announcement.wait_ms))
    if not announcement.should_retry:
        fields.append((b"x-should-retry", b"false"))
    if announcement.status == 429:
        fields.append((b"cache-control", b"no-store"))  # P-38
    return fields


def proxy_status(announcement: Announcement) -> bytes:
    """Our member of ``Proxy-Status``: what came, without ``error``, because nothing failed here (PS-5)."""
    said = b"tiergate; received-status=%d" % announcement.received
    return said + b'; details="remembered"' if announcement.remembered else said


def _joined(plan: Plan, decision: Decision, announcement: Announcement) -> list[Pair]:
    """Ours first, then the upstream's, in one line of each field."""
    fields: list[Pair] = []
    members = announcement.members
    if plan.structured:
        own = (plan.policy_line[1], _current(plan, decision)) if plan.current else (b"", b"")
        policies = [own[0], *(_policy_member(each) for each in members)]
        states = [own[1], *(_state_member(each) for each in members)]
        for name, parts in ((b"ratelimit-policy", policies), (b"ratelimit", states)):
            line = b", ".join(part for part in parts if part)
            if line:  # SF-11: an empty list is no field
                fields.append((name, line))
    if plan.triple:
        fields += _joined_triple(plan, decision, announcement)
    return fields


def _policy_member(member: UpstreamLimit) -> bytes:
    """One member of ``RateLimit-Policy``, which needs q (E6); empty without."""
    if member.q is None:
        return b""
    said = b"%b;q=%d" % (quoted(member.name), member.q)
    if member.w is not None:
        said = b"%b;w=%d" % (said, member.w)
    return said if member.qu is None else b"%b;qu=%b" % (said, quoted(member.qu))


def _state_member(member: UpstreamLimit) -> bytes:
    """One member of ``RateLimit``, which needs r (E6); empty without."""
    if member.r is None:
        return b""
    said = b"%b;r=%d" % (quoted(member.name), member.r)
    return said if member.t is None else b"%b;t=%d" % (said, member.t)


def _joined_triple(plan: Plan, decision: Decision, announcement: Announcement) -> list[Pair]:
    """Of a throttle: what was violated. Else the lowest share left, ours and the upstream's alike (RULINGS 2)."""
    if announcement.throttled:
        chosen = announcement.triple
    else:
        index = tightest(decision)
        chosen = _tightest_member(announcement.members)
        if index is not None:
            _, r, t = decision.readings[index]
            q = decision.demand.charges[index].q
            if chosen is None or not _tighter(chosen, q, r, t):
                return _triple(plan, decision)
    if chosen is None or chosen.t is None:
        return []
    wall_us = decision.wall_us if announcement.wall_us is None else announcement.wall_us
    fields = [] if chosen.q is None else [(b"ratelimit-limit", b"%d" % chosen.q)]
    return [
        *fields,
        (b"ratelimit-remaining", b"%d" % (0 if announcement.throttled else chosen.r or 0)),
        (b"ratelimit-reset", b"%d" % _reset(plan, chosen.t, wall_us)),
    ]


def _tightest_member(members: tuple[UpstreamLimit, ...]) -> UpstreamLimit | None:
    best: UpstreamLimit | None = None
    for each in members:
        if each.r is None or each.t is None or each.qu is not None or (each.q is None and each.r):
            continue  # the triple counts requests
        if best is None or _tighter(each, best.q or 1, best.r or 0, best.t or 0):
            best = each
    return best


def _tighter(member: UpstreamLimit, q: int, r: int, t: int) -> bool:
    """Whether ``member`` has the lower share left, or an equal one for longer.

    Of a limit of 0 nothing is left, and nothing is no share of any limit, known or not.
    """
    left, right = (member.r or 0) * q if member.q else 0, r * (member.q or 1)
    return left < right or (left == right and (member.t or 0) > t)


def _reset(plan: Plan, t: int, wall_us: int) -> int:
    return -(-(wall_us + t * SECOND_US) // SECOND_US) if plan.unix_reset else t


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
