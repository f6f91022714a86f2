"""``memory://``: the reference book in one process, with a clock, expiry, and quotas that survive a restart.

Windows, buckets and leases may be lost with the process; quota counters are written to the state directory at
most a second behind and when the store is closed (RULINGS 6). A lock on the directory detects a second worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from gateway.stores.quota_file import QuotaFile, QuotaRow
from policies.admission import Book, Decision, Demand, Lease
from policies.admission.limits import is_idle, is_quota, is_record
from policies.ports import ANONYMOUS_ACCOUNT, Clock

log = logging.getLogger("tiergate.store")

WRITE_BEHIND_S = 0.5
SWEEP_ACCOUNTS = 2_000
"""Accounts looked at in each tick, so that forgetting never stalls the loop (I19)."""

ANONYMOUS_KEPT = 100_000


class MemoryStore:
    """An ``AdmissionStore`` for one process. Start it with ``await store.start()`` inside the loop."""

    def __init__(self, clock: Clock, state_dir: Path, *, anonymous_kept: int = ANONYMOUS_KEPT) -> None:
        self._clock = clock
        self._book = Book()
        self._file = QuotaFile(state_dir)
        self._dirty: dict[tuple[str, str], bytes | None] = {}  # None: the row is to go
        self._anonymous: OrderedDict[str, None] = OrderedDict()
        self._anonymous_kept = anonymous_kept
        self._sweeping: Iterator[str] = iter(())
        self._ticker: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self.evicted = 0

    async def start(self) -> None:
        """Take the lock, read the quota counters of periods that still run, begin to write behind.

        Raises ``StateError`` when another worker has the directory or the file cannot be used.
        """
        now_us, wall_us = self._clock.steady_us(), self._clock.wall_us()
        for row in await asyncio.to_thread(self._file.open):
            if row.state is None or not is_record(row.key, row.state):
                log.error("the quota counter of %r is damaged and starts afresh", row.account)
                self._dirty[row.account, row.key] = None
            elif is_idle(row.key, row.state, now_us, wall_us):
                self._dirty[row.account, row.key] = None
            else:
                self._book.restore(row.account, row.key, row.state)
                if row.account[:1] == ANONYMOUS_ACCOUNT:
                    self._touch(row.account)
        self._ticker = asyncio.create_task(self._tick(), name="memory-store")

    async def admit(self, account: str, demand: Demand) -> Decision:
        if account[:1] == ANONYMOUS_ACCOUNT:
            self._touch(account)
        decision = self._book.admit(account, demand, self._clock.steady_us(), self._clock.wall_us())
        if decision.allowed:
            for index in demand.durable:
                state = decision.readings[index][0]
                if state is not None:
                    self._dirty[account, demand.charges[index].key] = state  # type: ignore[assignment]
        return decision

    async def read(self, account: str, demand: Demand) -> Decision:
        return self._book.read(account, demand, self._clock.steady_us(), self._clock.wall_us())

    def release(self, lease: Lease) -> None:
        self._book.release(lease)

    def renew(self, lease: Lease) -> None:
        self._book.renew(lease, self._clock.steady_us())

    async def aclose(self) -> None:
        """Let a write that is under way end, write the rest, give up the lock. One writer at any time."""
        if self._ticker is not None:
            self._closing.set()
            await self._ticker
            self._ticker = None
        if self._dirty:
            log.error("%d quota counters could not be written before the end", len(self._dirty))
        await asyncio.to_thread(self._file.close)

    def __len__(self) -> int:
        return len(self._book)

    def _touch(self, account: str) -> None:
        """Keep the accounts of callers without a credential bounded, least recent out."""
        known = self._anonymous
        known[account] = None
        known.move_to_end(account)
        if len(known) > self._anonymous_kept:
            oldest, _ = known.popitem(last=False)
            self._drop_rows(oldest, self._book.forget(oldest))
            self.evicted += 1

    async def _tick(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WRITE_BEHIND_S):  # no task, which a cut-off would take for a request's
                    await self._closing.wait()
            self._sweep()
            await self._write()
        await self._write()

    def _sweep(self) -> None:
        now_us, wall_us = self._clock.steady_us(), self._clock.wall_us()
        for _ in range(SWEEP_ACCOUNTS):
            account = next(self._sweeping, None)
            if account is None:
                self._sweeping = self._book.accounts()
                return
            self._drop_rows(account, self._book.sweep(account, now_us, wall_us))

    def _drop_rows(self, account: str, keys: list[str]) -> None:
        for key in keys:
            if is_quota(key):
                self._dirty[account, key] = None

    async def _write(self) -> None:
        """Write what changed; on failure keep it for the next time, say so once, and let traffic go on."""
        if not self._dirty:
            return
        batch, self._dirty = self._dirty, {}
        rows = [QuotaRow(account=account, key=key, state=state) for (account, key), state in batch.items()]
        written = await asyncio.to_thread(self._file.write, rows)
        if not written:
            self._dirty = batch | self._dirty
