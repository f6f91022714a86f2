"""When finished days are packed, and when what is past its retention is forgotten (spec D7, C4).

A day is packed when its month is final whatever the zone, so that what comes late comes beside it at the latest. What
an open claim is about is kept until the claim is decided. On a thread of its own, of one worker: neither requests nor
shipping wait for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from gateway.ledger.acts import links
from gateway.ledger.database import Database, StoreError
from gateway.ledger.days import DAY_S
from gateway.ledger.store import RETENTION_S, Store
from gateway.stores.quota_file import StateError
from policies.ports import Clock
from policies.sla.claim import is_open, state_at
from policies.sla.evaluate import MARGIN_S
from policies.sla.instants import written
from policies.sla.register import Register, register

log = logging.getLogger("tiergate.ledger")

EVERY_S: Final = 3_600.0
PACK_AFTER_S: Final = 40 * DAY_S
"""The longest month, the five days until it is final (P6), and a few more."""


class Housekeeper:
    """``tidy`` does what is due; ``start`` has that done every hour."""

    def __init__(self, make: Callable[[], Database], clock: Clock) -> None:
        self._make = make
        self._clock = clock
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="ledger-housekeeping", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """End; a day that is being packed is finished or left as it was."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def tidy(self) -> None:
        """Pack and forget. Never raises; a store that is away is logged once and tried again in an hour."""
        store = Store(self._make())
        now_s = self._clock.wall_us() // 1_000_000
        try:
            store.open()
            self._pack(store, now_s)
            self._forget(store, now_s)
            self._failing = False
        except (StoreError, StateError, ValueError) as error:
            if not self._failing:
                log.warning("the ledger was not tidied: %s. It is tried again every hour", error)
            self._failing = True
        finally:
            store.close()

    def _pack(self, store: Store, now_s: int) -> None:
        packed = store.pack(now_s - PACK_AFTER_S, until=self._ending.is_set)
        if packed:
            log.info("%d days of tenants were packed in the ledger", packed)

    def _forget(self, store: Store, now_s: int) -> None:
        """Nothing while the log of acts makes no sense: it might say that something is to be kept."""
        limit_s = (now_s - RETENTION_S) // DAY_S * DAY_S
        if not store.has_before(limit_s):
            return
        before_s = forgotten_before_s(register(links(store.database)), now_s)
        if store.has_before(before_s):
            store.forget(before_s, now_s)
            log.info("what the ledger held from before %s was forgotten", written(before_s))

    def _run(self) -> None:
        while not self._ending.wait(EVERY_S):
            try:
                self.tidy()
            except Exception:
                log.exception("the ledger was not tidied")  # the thread stays, the next hour tries again


def forgotten_before_s(found: Register, now_s: int) -> int:
    """Of what ended before this instant nothing may be there any more."""
    limit_s = (now_s - RETENTION_S) // DAY_S * DAY_S
    kept_s = kept_from_s(found, now_s)
    return limit_s if kept_s is None else min(limit_s, kept_s // DAY_S * DAY_S)


def kept_from_s(found: Register, now_s: int) -> int | None:
    """From when on evidence is needed for claims that are open; None when there are none."""
    starts = (
        found.closed(tenant, period)[-1].month.start_s - MARGIN_S
        for (tenant, period), claim in found.claims.items()
        if is_open(state_at(claim, now_s))
    )
    return min(starts, default=None)
