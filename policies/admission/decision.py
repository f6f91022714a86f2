"""The words of admission: what a call asks of its limits (``Demand``), what it is answered (``Decision``).

These classes are made or read on every request, hence plain slots. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from policies.model import Limit, Quota

State = int | bytes
"""What is kept between calls for one limit: a number for buckets, packed bytes for windows and quotas."""

Reading = tuple[State | None, int, int]
"""``(state, r, t)``: the state after the decision, units left, whole seconds until more come."""

Taken = tuple[State, int, int]
"""The reading of a charge that fits: its state is to be kept."""


class Charge(Protocol):
    """One limit of a call with the call's cost worked in; compiled once per plan, immutable.

    ``key`` names the state in an account; ``q`` is the quota that callers are told. ``take`` answers the
    reading after charging, or None when the cost does not fit; it changes nothing, the caller stores the
    state. ``read`` charges nothing: the reading as it stands, and the exact shortest wait in microseconds after
    which the same ``take`` would fit, 0 when it fits now.
    """

    @property
    def key(self) -> str: ...

    @property
    def limit(self) -> Limit: ...

    @property
    def cost(self) -> int: ...

    @property
    def q(self) -> int: ...

    def take(self, state: State | None, now_us: int, wall_us: int) -> Taken | None: ...

    def read(self, state: State | None, now_us: int, wall_us: int) -> tuple[Reading, int]: ...


class Slot:
    """One concurrency limit of a call: ``size`` slots under ``key`` of the account."""

    __slots__ = ("key", "limit", "size")

    def __init__(self, key: str, limit: Limit, size: int) -> None:
        self.key = key
        self.limit = limit
        self.size = size


class Demand:
    """Everything a call of one plan asks, the same for all tenants that share the plan.

    ``charges`` and ``slots`` are enforced, ``shadows`` only measured; ``lease_us`` is how long a slot is
    held without renewal. ``too_dear`` names limits that the cost can never fit. ``durable`` are the indexes
    of the charges whose state must survive a restart: the quotas.
    """

    __slots__ = ("charges", "durable", "lease_us", "shadows", "slots", "too_dear")

    def __init__(
        self,
        charges: tuple[Charge, ...],
        slots: tuple[Slot, ...] = (),
        shadows: tuple[Charge, ...] = (),
        *,
        lease_us: int = 305_000_000,
        too_dear: tuple[str, ...] = (),
    ) -> None:
        self.charges = charges
        self.slots = slots
        self.shadows = shadows
        self.lease_us = lease_us
        self.too_dear = too_dear
        self.durable = tuple(index for index, charge in enumerate(charges) if isinstance(charge.limit, Quota))


class Lease:
    """The concurrency slots that one call holds: in ``account``, as member ``id`` of each key."""

    __slots__ = ("account", "demand", "id", "renew_at_us")

    def __init__(self, account: str, demand: Demand, id: int, renew_at_us: int) -> None:
        self.account = account
        self.demand = demand
        self.id = id
        self.renew_at_us = renew_at_us


NOT_ASKED = -1


class Decision:
    """The one answer of a store: what it says of a call that passed; ``Refusal`` is the other case.

    ``readings`` stand in the order of ``demand.charges``; ``free_slots`` in the order of ``demand.slots``,
    after the decision. ``shadow_refused`` names the shadow limits that would have refused. ``wall_us`` is the
    civil time of the decision, which its resets count from. ``tightest`` is what ``fields`` found, once it was
    asked: the index of a charge, None when there is none.
    """

    __slots__ = ("demand", "free_slots", "lease", "readings", "shadow_refused", "tightest", "wall_us")

    allowed = True
    waits_us: tuple[int, ...] = ()
    full_slots: tuple[str, ...] = ()
    refused_by: tuple[str, ...] = ()
    longest_wait_us = 0

    def __init__(
        self,
        demand: Demand,
        readings: Sequence[Reading],
        wall_us: int,
        free_slots: tuple[int, ...] = (),
        lease: Lease | None = None,
    ) -> None:
        self.demand = demand
        self.wall_us = wall_us
        self.readings = readings
        self.free_slots = free_slots
        self.lease = lease
        self.shadow_refused: tuple[str, ...] = ()
        self.tightest: int | None = NOT_ASKED


class Refusal(Decision):
    """A call that was charged nothing.

    ``waits_us`` gives the exact wait of each charge, 0 for those that fit; ``longest_wait_us`` is 0 when only
    concurrency refused, whose wait is unknown. ``refused_by`` names every limit that refused, rates and quotas
    first, ``full_slots`` those for concurrency.
    """

    __slots__ = ("full_slots", "longest_wait_us", "refused_by", "waits_us")

    allowed = False

    def __init__(
        self,
        demand: Demand,
        readings: Sequence[Reading],
        wall_us: int,
        free_slots: tuple[int, ...],
        waits_us: tuple[int, ...],
        full_slots: tuple[str, ...],
    ) -> None:
        super().__init__(demand, readings, wall_us, free_slots)
        self.waits_us = waits_us
        self.full_slots = full_slots
        self.longest_wait_us = max(waits_us, default=0)
        self.refused_by = full_slots
        if self.longest_wait_us:
            rates = [charge.limit.name for charge, wait in zip(demand.charges, waits_us, strict=True) if wait]
            self.refused_by = (*rates, *full_slots)
