"""The thread that writes cells and intervals to the spool (spec D2): durable before anything else is done with them.

Whatever becomes of the disk, the caller goes on: what cannot be written is kept in memory, newest only and bounded,
and is tried again with every flush.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from itertools import islice

from gateway.ledger.cells import Cell, Row, packed, requests
from gateway.ledger.pulse import Life
from gateway.ledger.spool_file import LifeRow, SpoolError, SpoolFile
from gateway.stores.quota_file import StateError

log = logging.getLogger("tiergate.ledger")

MOST = 100_000
"""Cells kept in memory while the disk takes none: about 50 MB."""
CHUNK = 5_000
"""Cells of one transaction, so that a reader never waits long."""

_Key = tuple[int, str, str, int]


class Spool:
    """``put`` never blocks and never raises; ``lost`` counts the requests that did not fit into memory either."""

    def __init__(self, file: SpoolFile, replica: str, boot: str, *, most: int = MOST) -> None:
        self._file = file
        self._replica, self._boot = replica, boot
        self._most = most
        self._cells: dict[_Key, Cell] = {}
        self._lives: dict[int, Life] = {}
        self._changed = threading.Condition()
        self._asked = self._busy = self._closing = False
        self._failing = False
        self._thread: threading.Thread | None = None
        self.lost = 0

    def start(self) -> None:
        """Look at the file, begin to write. Raises ``StateError`` for a newer one; any other trouble is logged."""
        self._write({}, {})
        self._thread = threading.Thread(target=self._run, name="ledger-spool", daemon=True)
        self._thread.start()

    def put(self, cells: Iterable[Cell], lives: Iterable[Life]) -> None:
        """Have these written, soon; of two of a kind the later one."""
        with self._changed:
            self._cells.update((_key(cell), cell) for cell in cells)
            self._lives.update((life.from_s, life) for life in lives)
            self._trim()
            self._asked = True
            self._changed.notify_all()

    def settle(self, timeout_s: float) -> bool:
        """Wait until all that was put is on the disk; False when it is not, in time or for a failure."""
        with self._changed:
            self._changed.wait_for(lambda: not self._asked and not self._busy, timeout_s)
            return not self._cells and not self._lives and not self._busy

    def close(self, timeout_s: float) -> bool:
        """Write what is left, end. False when something is lost with this process."""
        settled = self.settle(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        if not settled:
            log.error("the ledger's last minutes could not be written: %d cells are lost", len(self._cells))
        return settled

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked or self._closing)
                if not self._asked:
                    break
                self._asked, self._busy = False, True
            try:
                self._drain()
            except Exception:
                log.exception("the ledger's spool failed")  # the thread stays, the next flush tries again
            with self._changed:
                self._busy = False
                self._changed.notify_all()
        self._file.close()

    def _drain(self) -> None:
        """Write chunk by chunk until nothing is left or one fails."""
        while True:
            with self._changed:
                cells = dict(islice(self._cells.items(), CHUNK))
                for key in cells:
                    del self._cells[key]
                lives, self._lives = self._lives, {}
            if not cells and not lives:
                return
            if not self._write(cells, lives):
                with self._changed:
                    self._cells = cells | self._cells
                    self._lives = lives | self._lives
                    self._trim()
                return

    def _write(self, cells: dict[_Key, Cell], lives: dict[int, Life]) -> bool:
        rows = [self._row(cell) for cell in cells.values()]
        lived = [LifeRow.of(self._replica, self._boot, life) for life in lives.values()]
        try:
            self._file.write(rows, lived)
        except SpoolError as error:
            self._complain(error, error.remedy)
            return False
        except StateError as error:
            if self._thread is None:
                raise
            self._complain(error, "it is tried again")  # swapped for a newer one under our feet
            return False
        if self._failing:
            log.warning("the ledger's minutes are written again")
        self._failing = False
        return True

    def _complain(self, error: Exception, remedy: str) -> None:
        if not self._failing:
            log.error(
                "the ledger's minutes cannot be written: %s. They stay in memory, %d cells at most, and are tried "
                "again with every flush; traffic goes on. Remedy: %s",
                error, self._most, remedy,
            )  # fmt: skip
        self._failing = True

    def _row(self, cell: Cell) -> Row:
        boot = f"{self._boot}.{cell.generation}" if cell.generation else self._boot
        return Row(cell.slot_s, cell.tenant, cell.group, self._replica, boot, cell.seq, packed(cell.counters))

    def _trim(self) -> None:
        """Let go of the oldest when there are too many."""
        for key in list(islice(self._cells, max(0, len(self._cells) - self._most))):
            self.lost += requests(self._cells.pop(key).counters)


def _key(cell: Cell) -> _Key:
    return cell.slot_s, cell.tenant, cell.group, cell.generation
