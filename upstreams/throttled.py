"""What becomes of an answer that says something of its upstream's limits: looked at, announced, passed on or replaced.

A ``Listener`` stands for one definition of an upstream. What the answer means is the reader's to say, what the caller
is told ``policies.announcement``'s; this module holds a bounded copy of the body while that is found out, and passes
on every octet as it came. Sources: DESIGN §9, RULINGS 11-14, spec throttling.md §3, http.md §9.
"""

from __future__ import annotations

import random
from dataclasses import replace

from policies.announcement import UNKNOWN_WAIT_S, Announcement, announce, recalled
from policies.errors import GatewayError
from policies.exchange import Exchange
from policies.fields import waiting
from policies.model import Upstream
from policies.plan import Plan
from policies.ports import Clock
from policies.throttling import Throttle
from upstreams.budget import BODY_KEPT, BudgetMemory, Remembered, payer
from upstreams.held import Held, decoded, json_text
from upstreams.throttle import reader_of
from upstreams.transport import BODILESS, Headers, UpstreamRequest, UpstreamResponse, endless

_OF_THE_BODY = frozenset(
    (b"etag", b"last-modified", b"digest", b"repr-digest", b"signature", b"signature-input", b"set-cookie",
     b"transfer-encoding", b"cache-control", b"expires", b"age", b"pragma", b"vary", b"accept-ranges", b"location",
     b"date", b"proxy-status", b"retry-after", b"retry-after-ms", b"x-should-retry")
)  # fmt: skip
"""Fields of an answer that say nothing of the one in its place, or something wrong (P-13, P-14)."""
_CONTENT = b"content-"
_KEPT_OF_THE_BODY = frozenset((b"content-type", b"content-language"))


class Listener:
    """What the answers of ``upstream`` are held against.

    ``statuses`` are those that are worth a look whatever their fields; ``native`` says that vendors' fields may pass.
    """

    __slots__ = ("_account", "_budget", "_clock", "native", "reader", "statuses", "upstream")

    def __init__(self, upstream: Upstream, clock: Clock, budget: BudgetMemory) -> None:
        profile = upstream.profile
        self.upstream = upstream
        self.reader = reader_of(profile)
        self.native = upstream.throttled_body == "native"
        self.statuses = frozenset(
            (429, *profile.inspect.statuses, *(s for rule in profile.when for s in rule.statuses))
        )
        self._clock = clock
        self._budget = budget
        # What was remembered of another host, or in another form, is not true of this definition any more.
        self._account = f"{upstream.name} {upstream.authority} {upstream.throttled_body} {upstream.map_status}"

    def refuse_remembered(self, exchange: Exchange, plan: Plan, request: UpstreamRequest) -> bytes:
        """Who pays for ``request``, as ``hear`` wants it. Raises what the upstream would say, where that is known."""
        paying = payer(self._account, request.headers, plan.onward.owned)
        known = self._budget.recall(paying)
        if known is None:
            return paying
        remembered, left_us = known
        exchange.origin = "upstream"
        again = recalled(
            remembered.announcement,
            left_us=left_us,
            chance=random.random(),
            taken=_own_names(plan),
            wall_us=self._clock.wall_us(),
        )
        raise _throttled(exchange, again, remembered)

    async def hear(
        self,
        answer: UpstreamResponse,
        kept: Headers,
        held: Held | None,
        *,
        exchange: Exchange,
        paying: bytes = b"",
    ) -> tuple[int, Headers]:
        """The status and the fields to pass on; ``kept`` are those that may. ``held`` is the content, None without.

        Raises ``GatewayError`` ``upstream-throttled`` where the answer is replaced by ours.
        """
        if exchange.method == "HEAD" or answer.status in BODILESS:
            held = None
        inspected = held is not None and self.reader.inspects(answer.status, answer.headers)
        body = await self._copy(answer, held) if inspected else None
        exchange.throttle_uninspected = inspected and body is None and answer.status != 429
        now_us = self._clock.wall_us()
        throttle = self.reader.read(answer.status, answer.headers, body, now_us)
        said = announce(
            throttle,
            upstream=self.upstream,
            status=answer.status,
            chance=random.random(),
            taken=_own_names(exchange.plan),
            wall_us=now_us,
        )
        if said.throttled or said.members:
            exchange.announcement = said
        if not said.throttled:
            return answer.status, _with_retry_after(answer, kept, throttle, said, exchange)
        exchange.retry_after_s = said.wait_s if said.status >= 300 else None
        if said.status != 429:
            return said.status, _with_ours(kept, said)
        exchange.source = "upstream"
        protected = self.upstream.protect and said.lasting
        if protected or said.replaces_body:
            if not inspected:
                body = await self._copy(answer, held)
            found = self._remembered(kept, body, said)
            if protected:
                # What an answer says of its own call's effects is nothing to callers whose call is never sent.
                again = found if throttle.nothing_executed else replace(found, upstream_body=None, native=None)
                self._budget.remember(paying, replace(again, fields=_repeatable(found.fields)))
            if said.replaces_body:
                raise _throttled(exchange, said, found)
        return said.status, _with_ours(kept, said)

    async def _copy(self, answer: UpstreamResponse, held: Held | None) -> bytes | None:
        """The content without its coding; None where it is too much, too slow, cut short or not to be decoded."""
        if held is None or endless(answer.headers):
            return None
        inspect = self.upstream.profile.inspect
        raw = await held.fill(answer.headers, inspect.max_bytes, inspect.wait_us)
        return None if raw is None else decoded(raw, answer.headers, inspect.max_bytes)

    def _remembered(self, kept: Headers, body: bytes | None, said: Announcement) -> Remembered:
        """``native`` without its content coding: it is for callers that may have asked for another, or for none."""
        vendor = tuple(pair for pair in kept if pair[0] not in _OF_THE_BODY and not pair[0].startswith(_CONTENT))
        native = None if said.replaces_body or body is None or len(body) > BODY_KEPT else body
        return Remembered(
            until_us=self._clock.steady_us() + (said.unjittered_s or 0) * 1_000_000,
            announcement=said,
            fields=vendor,
            upstream_body=json_text(body, BODY_KEPT),
            native=native,
            native_fields=tuple(pair for pair in kept if pair[0] in _KEPT_OF_THE_BODY),
        )


def _throttled(exchange: Exchange, said: Announcement, kept: Remembered) -> GatewayError:
    """The answer in the upstream's place; ``said`` is what was announced, or what is left of it."""
    exchange.announcement = said
    return GatewayError(
        "upstream-throttled",
        retry_after_s=said.wait_s,
        retry_after_ms=said.wait_ms,
        estimated=said.estimated,
        violated=() if said.violated is None else (said.violated,),
        headers=(*kept.fields, *(kept.native_fields if kept.native is not None else ())),
        announcement=said,
        upstream_body=kept.upstream_body,
        body=kept.native,
    )


def _repeatable(fields: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Those of a vendor's fields that other callers may have: no grant to one page, and not without end."""
    common = tuple(pair for pair in fields if not pair[0].startswith(b"access-control-"))
    return common if sum(len(name) + len(value) for name, value in common) <= BODY_KEPT else ()


def _own_names(plan: Plan | None) -> list[str]:
    if plan is None:
        return []
    demand = plan.demand
    return [*(each.limit.name for each in demand.charges), *(each.limit.name for each in demand.slots)]


def _with_ours(kept: Headers, said: Announcement) -> Headers:
    """``kept`` with what goes with a throttle in place of what the upstream said of the same (E2).

    Only ``Proxy-Status`` keeps its members, the nearest to the origin first (RFC 9209 2).
    """
    own = waiting(said)
    replaced = {b"retry-after-ms", *(name for name, _ in own)}
    theirs = [value for name, value in kept if name == b"proxy-status"]
    return [
        *(pair for pair in kept if pair[0] not in replaced),
        *((name, b", ".join((*theirs, value)) if name == b"proxy-status" else value) for name, value in own),
    ]


def _with_retry_after(
    answer: UpstreamResponse, kept: Headers, throttle: Throttle, said: Announcement, exchange: Exchange
) -> Headers:
    """``Retry-After`` of an answer that is no throttle: an integer or nothing, never on a success (RULINGS 14).

    A 429 says all that goes with one, whatever its profile makes of it (DESIGN §5).
    """
    wait_s = throttle.retry_after_seconds if any(name == b"retry-after" for name, _ in answer.headers) else None
    if answer.status == 429:
        wait_s = max(1, UNKNOWN_WAIT_S["quota"] if wait_s is None else wait_s)
        exchange.retry_after_s = wait_s
        return _with_ours(kept, replace(said, wait_s=wait_s, wait_ms=wait_s * 1000))
    if wait_s is None or answer.status < 300:
        return kept
    if answer.status == 503:
        exchange.retry_after_s = wait_s
    return [*kept, (b"retry-after", b"%d" % wait_s)]
