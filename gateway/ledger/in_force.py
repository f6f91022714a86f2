"""Which versions and contracts are in force, from the log of acts to a worker's classification (spec O9, V2).

Read at the start and again every minute, on the shipping thread. What was read last is kept beside the spool: a store
that is away when a worker starts changes nothing. The chain is verified by whoever appends, exports or lists it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import func, select

from gateway.ledger.acts import ActRow, link_of
from gateway.ledger.database import Database
from gateway.ledger.tables import act
from policies.sla.contract import BIND, PIN
from policies.sla.judging import Judging
from policies.sla.publication import LAYER, VERSION
from policies.sla.register import register

log = logging.getLogger("tiergate.ledger")

KINDS = (LAYER, VERSION, BIND, PIN)


class InForce:
    """``put`` is given what classifies from now on. Every method blocks; none raises but ``look``, a ``StoreError``."""

    def __init__(self, path: Path, put: Callable[[Judging], None]) -> None:
        self._path = path
        self._put = put
        self._last = -1
        self._failing = ""

    def remember(self) -> None:
        """Go on with what was in force when it was read last."""
        try:
            rows = [_row(each) for each in json.loads(self._path.read_text())]
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s cannot be read: %s. The ledger's log says what is in force", self._path, error)
            return
        self._apply(rows)

    def look(self, database: Database) -> None:
        """Read the log if it has grown. Raises ``StoreError``."""
        with database.reading() as connection:
            last = connection.execute(select(func.max(act.c.seq))).scalar() or 0
            if last == self._last:
                return
            query = select(act).where(act.c.kind.in_(KINDS)).order_by(act.c.seq)
            rows = [ActRow._make(found) for found in connection.execute(query)]
        if self._apply(rows):
            self._keep(rows)
        self._last = last

    def _apply(self, rows: list[ActRow]) -> bool:
        try:
            judging = Judging(register(map(link_of, rows)))
        except ValueError as error:
            if str(error) != self._failing:
                log.error("the log of acts makes no sense: %s. What was in force before stays", error)
            self._failing = str(error)
            return False
        self._failing = ""
        self._put(judging)
        return True

    def _keep(self, rows: list[ActRow]) -> None:
        """Whole or not at all; a failure costs only the copy."""
        beside = self._path.with_suffix(".new")
        try:
            beside.write_text(json.dumps(rows))
            os.replace(beside, self._path)
        except OSError as error:
            log.warning("what is in force cannot be kept in %s: %s", self._path, error.strerror or error)


def _row(value: object) -> ActRow:
    """A row that was kept. Raises ``ValueError`` for anything else."""
    if not isinstance(value, list) or [type(each) for each in value] != [int, int, str, str, str, str, str]:
        raise ValueError("it holds something else than acts")
    return ActRow(*value)
