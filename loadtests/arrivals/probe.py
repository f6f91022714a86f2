"""Whether a 429's wait is enough: each tenant is driven into a refusal, waits as long as it was told, and calls once.

Nobody else uses the tenants meanwhile, so the one call must pass. Afterwards every slot must be free again.
Source: DESIGN §5 and §6, RULINGS 3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from loadtests.arrivals.answers import Malformed, complaints, parse
from loadtests.arrivals.bounds import RELEASE_US
from loadtests.arrivals.checks import Check
from loadtests.arrivals.client import Call, Client
from loadtests.arrivals.limits import BucketLimit, SlotLimit, Tenant, WindowLimit
from loadtests.arrivals.origin import now_us

FIELDS = {"retry-after-ms": 1_000, "retry-after": 1_000_000}
"""Both spellings of the wait, with the microseconds of one unit."""
AT_MOST = 300
"""A tenant that is not refused after so many calls has no limit that a probe can reach."""
WAIT_AT_MOST_US = 60_000_000
SLOTS_BACK = "every slot comes back"
WHAT = "one call after the stated wait passes"


@dataclass(slots=True)
class Prober:
    """The calls of the probes; numbers go on where the main run ended."""

    client: Client
    numbers: count[int]

    async def ask(self, tenant: int) -> Call:
        return await self.client.ask(Call(next(self.numbers), tenant, now_us()))

    async def side_by_side(self, tenant: int, calls: int) -> list[Call]:
        return await asyncio.gather(*(self.ask(tenant) for _ in range(calls)))

    async def refusal(self, number: int, tenant: Tenant) -> Call | None:
        """A 429 of the tenant; None when it cannot be had. Slots are filled side by side, the rest one by one."""
        side = 1 + slots_alone(tenant)
        for _ in range(AT_MOST // side):
            for call in await self.side_by_side(number, side):
                if call.status != 200:
                    return call
        return None


def slots_alone(tenant: Tenant) -> int:
    """How many slots the tenant has when they are the only limit that a probe can reach; else 0."""
    near = [limit for limit in tenant.limits if not isinstance(limit, SlotLimit) and near_enough(limit)]
    slots = tenant.slots
    return slots.amount if slots is not None and slots.amount < AT_MOST and not near else 0


def near_enough(limit: WindowLimit | BucketLimit) -> bool:
    return int(limit.announced["q"]) <= AT_MOST


async def every(client: Client, tenants: Sequence[Tenant], first: int, step: Callable[[float], None]) -> list[Check]:
    """All tenants side by side, the two fields one after the other; ``first`` is the first free call number."""
    prober, done, found = Prober(client, count(first)), 0, []

    async def one(number: int, tenant: Tenant, field: str) -> Check:
        nonlocal done
        check = await waited_out(prober, number, tenant, field)
        done += 1
        step(done)
        return check

    for field in FIELDS:
        found += await asyncio.gather(*(one(number, tenant, field) for number, tenant in enumerate(tenants)))
    few = [(number, tenant) for number, tenant in enumerate(tenants) if slots_alone(tenant)]
    await asyncio.sleep(RELEASE_US / 1_000_000)
    return found + await asyncio.gather(*(all_slots(prober, number, tenant) for number, tenant in few))


async def all_slots(prober: Prober, number: int, tenant: Tenant) -> Check:
    """After a quiet moment as many calls as there are slots pass side by side: none was lost."""
    slots = slots_alone(tenant)
    calls = await prober.side_by_side(number, slots + 1)
    admitted = sum(call.status == 200 for call in calls)
    return Check(
        what=SLOTS_BACK,
        tenant=tenant.name,
        limit=tenant.slots.name if tenant.slots else "",
        ok=admitted >= slots,
        detail=f"{admitted} of {len(calls)} calls side by side passed, {slots} slots",
    )


async def waited_out(prober: Prober, number: int, tenant: Tenant, field: str) -> Check:
    refusal = await prober.refusal(number, tenant)
    if refusal is None:
        return _check(tenant, field, None, f"not refused within {AT_MOST} calls, so there was nothing to wait for")
    try:
        answer = parse(refusal.head, refusal.body)
        wait_us = answer.number(field) * FIELDS[field]
    except Malformed as error:
        return _check(tenant, field, False, f"no wait to read: {refusal.failure or error}")
    wrong = complaints(answer, tenant.limits)
    if answer.status != 429 or wrong or wait_us > WAIT_AT_MOST_US:
        return _check(tenant, field, False, f"a {answer.status} that says to wait {wait_us / 1e6} s: {wrong}")
    await asyncio.sleep(max(0, refusal.answered_us + wait_us - now_us()) / 1_000_000)
    call = await prober.ask(number)
    told = f"told to wait {wait_us / 1e6:.3f} s, called after {(call.sent_us - refusal.answered_us) / 1e6:.3f} s"
    return _check(tenant, field, call.status == 200, f"{told}, answered {call.status or call.failure}")


def _check(tenant: Tenant, field: str, ok: bool | None, detail: str) -> Check:
    return Check(what=WHAT, tenant=tenant.name, limit=field, ok=ok is not False, detail=detail)
