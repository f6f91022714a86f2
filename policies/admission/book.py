"""The reference decision: every limit of a call together, all charged or none.

``Book`` is the model that every store is compared with, and the whole of ``memory://``: it holds the state of
all accounts and takes the time as an argument (RULINGS 5): ``now_us`` steady for windows, buckets and leases,
``wall_us`` civil for quotas. It awaits nothing and knows no clock.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.admission.decision import Decision, Demand, Lease, Reading, Refusal, State, Taken
from policies.admission.limits import is_idle


class Book:
    """State of every account: limit key -> state, and limit key -> lease id -> expiry."""

    __slots__ = ("_held", "_next_id", "_states")

    def __init__(self) -> None:
        self._states: dict[str, dict[str, State]] = {}
        self._held: dict[str, dict[str, dict[int, int]]] = {}
        self._next_id = 0

    def admit(self, account: str, demand: Demand, now_us: int, wall_us: int) -> Decision:
        """Charge ``account`` with all of ``demand``, or change nothing and say what refused and for how long."""
        states = self._states.get(account) or {}
        readings: list[Taken] = []
        for charge in demand.charges:
            reading = charge.take(states.get(charge.key), now_us, wall_us)
            if reading is None:
                return self._refusal(account, demand, now_us, wall_us)
            readings.append(reading)
        free: tuple[int, ...] = ()
        lease = None
        if demand.slots:
            free = self._free_slots(account, demand, now_us)
            if min(free) <= 0:
                return self._refusal(account, demand, now_us, wall_us)
            lease = self._hold(account, demand, now_us)
            free = tuple([slots - 1 for slots in free])
        if not states:
            self._states[account] = states
        index = 0  # counted by hand: zip and enumerate cost a twentieth of a call
        for charge in demand.charges:
            states[charge.key] = readings[index][0]
            index += 1  # noqa: SIM113
        decision = Decision(demand, readings, wall_us, free, lease)
        if demand.shadows:
            decision.shadow_refused = self._charge_shadows(states, demand, now_us, wall_us)
        return decision

    def read(self, account: str, demand: Demand, now_us: int, wall_us: int) -> Decision:
        """The readings as they stand, charging nothing; ``allowed`` says whether ``admit`` would pass."""
        seen = self._refusal(account, demand, now_us, wall_us)
        return seen if seen.refused_by else Decision(demand, seen.readings, wall_us, seen.free_slots)

    def release(self, lease: Lease) -> None:
        """Give the slots of ``lease`` back; a second time, or after expiry, it does nothing."""
        held = self._held.get(lease.account)
        if held is None:
            return
        for slot in lease.demand.slots:
            holders = held.get(slot.key)
            if holders is not None and holders.pop(lease.id, None) is not None and not holders:
                del held[slot.key]
        if not held:
            del self._held[lease.account]

    def renew(self, lease: Lease, now_us: int) -> None:
        """Hold the slots of ``lease`` for its duration from ``now_us``, also when they had expired."""
        held = self._held.setdefault(lease.account, {})
        for slot in lease.demand.slots:
            held.setdefault(slot.key, {})[lease.id] = now_us + lease.demand.lease_us
        lease.renew_at_us = now_us + lease.demand.lease_us // 3

    def _refusal(self, account: str, demand: Demand, now_us: int, wall_us: int) -> Refusal:
        states = self._states.get(account, {})
        readings: list[Reading] = []
        waits = []
        for charge in demand.charges:
            reading, wait_us = charge.read(states.get(charge.key), now_us, wall_us)
            readings.append(reading)
            waits.append(wait_us)
        free = self._free_slots(account, demand, now_us) if demand.slots else ()
        full = tuple([slot.limit.name for slot, left in zip(demand.slots, free, strict=True) if left <= 0])
        return Refusal(demand, readings, wall_us, tuple([max(0, left) for left in free]), tuple(waits), full)

    def _free_slots(self, account: str, demand: Demand, now_us: int) -> tuple[int, ...]:
        """Free slots of each concurrency limit.

        Holders whose lease has passed are dropped where it can matter: when the limit looks full, or when
        the one that came first has passed.
        """
        held = self._held.get(account)
        if held is None:
            return tuple([slot.size for slot in demand.slots])
        free = []
        for slot in demand.slots:
            holders = held.get(slot.key)
            if holders and (len(holders) >= slot.size or next(iter(holders.values())) <= now_us):
                for id in [id for id, expires_us in holders.items() if expires_us <= now_us]:
                    del holders[id]
            free.append(slot.size - len(holders) if holders else slot.size)
        return tuple(free)

    def _hold(self, account: str, demand: Demand, now_us: int) -> Lease:
        id = self._next_id = self._next_id + 1
        held = self._held.get(account)
        if held is None:
            held = self._held[account] = {}
        for slot in demand.slots:
            holders = held.get(slot.key)
            if holders is None:
                held[slot.key] = {id: now_us + demand.lease_us}
            else:
                holders[id] = now_us + demand.lease_us
        return Lease(account, demand, id, now_us + demand.lease_us // 3)

    def _charge_shadows(self, states: dict[str, State], demand: Demand, now_us: int, wall_us: int) -> tuple[str, ...]:
        """Charge the shadow limits that fit and name the others: they measure an admitted call, never refuse it."""
        refused = []
        for charge in demand.shadows:
            reading = charge.take(states.get(charge.key), now_us, wall_us)
            if reading is None:
                refused.append(charge.limit.name)
            else:
                states[charge.key] = reading[0]
        return tuple(refused)

    def restore(self, account: str, key: str, state: State) -> None:
        """Put a state back that an earlier process had kept."""
        self._states.setdefault(account, {})[key] = state

    def accounts(self) -> Iterator[str]:
        """The accounts with state, as they stand now."""
        return iter(list(self._states))

    def forget(self, account: str) -> list[str]:
        """Drop the state of ``account`` and answer its keys; its leases stay until released or expired."""
        return list(self._states.pop(account, ()))

    def states(self, account: str) -> dict[str, State]:
        """A copy of what is kept for ``account``."""
        return dict(self._states.get(account, {}))

    def sweep(self, account: str, now_us: int, wall_us: int) -> list[str]:
        """Forget the states of ``account`` that say nothing any more, and answer their keys."""
        states = self._states.get(account, {})
        dropped = [key for key, state in states.items() if is_idle(key, state, now_us, wall_us)]
        for key in dropped:
            del states[key]
        if not states:
            self._states.pop(account, None)
        return dropped

    def __len__(self) -> int:
        return len(self._states)
