"""Files that may not be written to, as a wrong mount or a wrong owner leaves them: nothing stops, nothing is lost."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.ledger.database import Database
from gateway.ledger.shipping import shipper
from gateway.ledger.store import Store
from tests.gateway.ledger.recording import NOON_S, WAIT_S, by_minute, recording, spooled

NOBODY = 65534


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of ours that the superuser, whom no mode stops, need not be able to write to."""
    made = Path(tempfile.mkdtemp(prefix="tiergate-read-only-"))
    if os.geteuid() == 0:
        os.chown(made, NOBODY, NOBODY)
    yield made
    made.chmod(0o700)
    shutil.rmtree(made)


def as_ordinary_user(test: Callable[[Path], None], home: Path) -> None:
    """Run ``test`` in a process whose rights end where modes say."""
    child = multiprocessing.get_context("fork").Process(target=_confined, args=(test, home))
    child.start()
    child.join(60)
    assert child.exitcode == 0


def _confined(test: Callable[[Path], None], home: Path) -> None:
    try:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setegid(NOBODY)
            os.seteuid(NOBODY)
        test(home)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        os._exit(1)


def close_to_writers(home: Path) -> None:
    for path in home.iterdir():
        path.chmod(0o400)
    home.chmod(0o500)


def open_again(home: Path) -> None:
    home.chmod(0o700)
    for path in home.iterdir():
        path.chmod(0o600)


class Said(logging.Handler):
    """What was logged, by whatever level."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        logging.getLogger("tiergate.ledger").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_a_spool_that_may_not_be_written_costs_nothing_once_it_may(home: Path) -> None:
    as_ordinary_user(_spool_is_kept_in_memory, home)


def _spool_is_kept_in_memory(home: Path) -> None:
    said = Said()
    path = home / "spool-0.sqlite"
    before = recording(path, boot="b0")
    before.run(10)
    assert before.end()
    close_to_writers(home)
    ledger = recording(path, boot="b1")
    ledger.run(70)
    assert not ledger.spool.settle(WAIT_S)
    complaints = [line for line in said.lines if str(path) in line]
    assert len(complaints) == 1
    assert "may not be written" in complaints[0] or "readonly" in complaints[0], complaints
    open_again(home)
    ledger.run(10)
    assert ledger.end()
    rows, _ = spooled(path)
    assert sum(by_minute(rows).values()) == 90
    assert ledger.spool.lost == 0


def test_a_store_that_may_not_be_written_has_everything_once_it_may(home: Path) -> None:
    as_ordinary_user(_store_is_behind, home)


def _store_is_behind(home: Path) -> None:
    (home / "shared").mkdir()
    url = f"sqlite:///{home / 'shared' / 'ledger.sqlite'}"
    Database(url).migrate()
    close_to_writers(home / "shared")
    said = Said()
    path = home / "spool-0.sqlite"
    ledger = recording(path)
    ledger.run(130)
    assert ledger.end()
    carrier = shipper(path, url, ledger.clock)
    assert not carrier.ship()
    assert carrier.behind
    assert any("ledger.sqlite" in line and "nothing is lost" in line for line in said.lines), said.lines
    open_again(home / "shared")
    assert carrier.ship()
    carrier.close(WAIT_S)
    store = Store(Database(url))
    assert sum(counters[0] for _, _, counters in store.platform(0, NOON_S * 2)) == 130
    store.close()
