"""From the spool to the shared store, on a thread that traffic never waits for (spec D2).

What the store has confirmed leaves the spool, nothing else does: after an hour without the store, or a kill between the
two, everything is sent (again), and the store makes nothing of what it has already.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable
from pathlib import Path

from gateway.ledger.database import Database, StoreError
from gateway.ledger.in_force import InForce
from gateway.ledger.spool_file import SpoolError, SpoolFile
from gateway.ledger.store import Store
from gateway.stores.quota_file import StateError
from policies.ports import Clock

log = logging.getLogger("tiergate.ledger")

EVERY_S = 5.0
LONGEST_WAIT_S = 60.0
"""Between two attempts at a store that is away: each waits twice as long as the one before."""
_AWAY = "the shared ledger cannot be reached: %s. Minutes stay in the spool, nothing is lost"
BATCH = 2_000
"""Rows of one transaction."""
MINUTE_S = 60
LOOK_US = 60_000_000
"""How often the log of acts is looked at."""


class Shipper:
    """``ship`` sends what is there; ``start`` has that done every few seconds.

    ``behind`` is whether the last attempt failed. The file is read and thinned out over a connection of its own.
    ``leftovers`` are the spools of workers that may no longer be there, shipped once: when their owner is there after
    all, both send the same, and nobody deletes what the other has not sent. ``in_force`` looks at the log when the
    store is opened, and every minute.
    """

    def __init__(
        self, spool: Path, store: Store, clock: Clock, leftovers: Iterable[Path] = (), in_force: InForce | None = None
    ) -> None:
        self._file = SpoolFile(spool)
        self._leftovers = list(leftovers)
        self._store = store
        self._clock = clock
        self._wake = threading.Event()
        self._ending = False
        self._opened = False
        self._in_force = in_force
        self._looked_us: int | None = None
        self._oldest_s: int | None = None  # the minute at which the last attempt failed
        self._thread: threading.Thread | None = None
        self.behind = False

    def start(self) -> None:
        """Look at the store, begin to ship. Raises ``StateError`` for a newer one; one that is away is logged."""
        if self._in_force is not None:
            self._in_force.remember()
        try:
            self._open()
            self._look()
        except StoreError as error:
            self._failed(_AWAY, error)
        except StateError:
            self._closed()
            raise
        self._thread = threading.Thread(target=self._run, name="ledger-shipping", daemon=True)
        self._thread.start()

    @property
    def behind_s(self) -> int:
        """How long ago the oldest minute ended that could not be sent; 0 when everything was, at the last attempt."""
        if self._oldest_s is None:
            return 0
        return max(0, self._clock.wall_us() // 1_000_000 - self._oldest_s - MINUTE_S)

    @property
    def refused(self) -> int:
        """Requests of minutes too far ahead of the store's receiver (D5)."""
        return self._store.refused

    def close(self, timeout_s: float) -> None:
        """Ship once more, end. What does not arrive in time stays in the spool for the next start."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        else:
            self._closed()

    def ship(self) -> bool:
        """Send everything in the spool; False when that failed, which is logged once. Never raises."""
        try:
            if not self._opened or self._store.database.moved():
                self._open()
            while self._shipped_batch(self._file):
                pass
            while self._leftovers:
                self._adopt(self._leftovers[-1])
                self._leftovers.pop()
            self._look()
        except StoreError as error:
            return self._failed(_AWAY, error)
        except StateError as error:
            return self._failed("the shared ledger cannot be used: %s", error)
        except SpoolError as error:
            return self._failed("the spool cannot be read: %s", error)
        if self.behind:
            log.warning("the shared ledger has everything again")
        self.behind, self._oldest_s = False, None
        return True

    def _adopt(self, path: Path) -> None:
        """Ship a spool that may be nobody's any more; one that cannot be read is its owner's trouble."""
        file = SpoolFile(path)
        try:
            while self._shipped_batch(file):
                pass
        except (SpoolError, StateError) as error:
            log.warning("what another worker left cannot be shipped: %s", error)
        finally:
            file.close()

    def _shipped_batch(self, file: SpoolFile) -> bool:
        """Send one batch and take it out of the spool; False when there was nothing left for another one."""
        cells, lives = file.read(BATCH)
        if not cells and not lives:
            return False
        self._store.receive(cells, lives, self._clock.wall_us() // 1_000_000)
        file.forget(cells, lives)
        return len(cells) == BATCH or len(lives) == BATCH

    def _look(self) -> None:
        now_us = self._clock.steady_us()
        if self._in_force is not None and (self._looked_us is None or now_us - self._looked_us >= LOOK_US):
            self._in_force.look(self._store.database)
            self._looked_us = now_us

    def _open(self) -> None:
        self._looked_us = None
        self._store.open()
        self._opened = True

    def _failed(self, text: str, error: Exception) -> bool:
        if not self.behind:
            log.error(text, error)
        self.behind, self._opened = True, False
        with contextlib.suppress(SpoolError, StateError):  # then the one before is as old as is known
            waiting, _ = self._file.read(1)
            self._oldest_s = waiting[0].slot_s if waiting else None
        return False

    def _run(self) -> None:
        wait_s = EVERY_S
        while not self._ending:
            self._wake.wait(wait_s)
            try:
                shipped = self.ship()
            except Exception:
                log.exception("the ledger's shipping failed")  # the thread stays, the next round tries again
                shipped = False
            wait_s = EVERY_S if shipped else min(2 * wait_s, LONGEST_WAIT_S)
        self._closed()

    def _closed(self) -> None:
        self._file.close()
        self._store.close()


def shipper(spool: Path, url: str, clock: Clock, in_force: InForce | None = None) -> Shipper:
    """From ``spool`` and from those of other workers beside it. Raises ``StateError`` for an address of no ledger."""
    others = (path for path in spool.parent.glob("spool-*.sqlite") if path != spool)
    return Shipper(spool, Store(Database(url)), clock, sorted(others), in_force)
