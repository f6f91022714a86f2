"""From the spool to the store: nothing is lost while the store is away, nothing counts twice when it is back."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from gateway.ledger.cells import requests
from gateway.ledger.database import Database, default_url
from gateway.ledger.shipping import Shipper, shipper
from gateway.ledger.spool_file import SpoolFile
from gateway.ledger.store import Store
from gateway.ledger.tables import MIGRATIONS
from gateway.stores.quota_file import StateError
from tests.gateway.ledger.postgres import Postgres
from tests.gateway.ledger.recording import NOON_S, SECOND, WAIT_S, Recording, recording, spooled

HOUR_S = 3_600
EVER = (0, 4_000_000_000)


def shipping(ledger: Recording, spool: Path, url: str) -> Shipper:
    return shipper(spool, url, ledger.clock)


def total(url: str) -> int:
    """Requests in the store."""
    store = Store(Database(url))
    try:
        return sum(requests(counters) for _, _, counters in store.platform(*EVER))
    finally:
        store.close()


def lives(url: str) -> dict[tuple[str, str], list[tuple[int, int]]]:
    store = Store(Database(url))
    try:
        return store.alive(*EVER)
    finally:
        store.close()


def test_everything_arrives_and_the_spool_is_empty(tmp_path: Path, url: str) -> None:
    path = tmp_path / "spool-0.sqlite"
    ledger = recording(path)
    carrier = shipping(ledger, path, url)
    for _ in range(10):
        ledger.run(17, calls_a_second=3)
        assert ledger.spool.settle(WAIT_S)
        assert carrier.ship()
    assert ledger.end()
    assert carrier.ship()
    assert spooled(path) == ([], [])
    assert total(url) == ledger.minutes.recorded == 510
    ((from_s, to_s),) = lives(url)["gw/0", "b1"]
    assert (from_s, to_s >= NOON_S + 170) == (NOON_S, True)
    carrier.close(WAIT_S)


def test_an_hour_without_the_store_loses_nothing(tmp_path: Path, server: Postgres) -> None:
    """D2: the server is stopped for a virtual hour, the gateway records on, the last batch is repeated."""
    path, url = tmp_path / "spool-0.sqlite", server.database()
    ledger = recording(path)
    carrier = shipping(ledger, path, url)
    ledger.run(30)
    assert ledger.spool.settle(WAIT_S)
    assert carrier.ship()
    server.stop()
    try:
        for _ in range(60):
            ledger.run(60, calls_a_second=2)
            assert ledger.spool.settle(WAIT_S)
        assert not carrier.ship()
        assert carrier.behind
    finally:
        server.start()
    ledger.run(30)
    assert ledger.end()
    assert carrier.ship()
    assert not carrier.behind
    assert total(url) == ledger.minutes.recorded == 60 + 2 * HOUR_S
    ((from_s, to_s),) = lives(url)["gw/0", "b1"]
    assert to_s - from_s >= HOUR_S + 60, "nothing went dark"
    carrier.close(WAIT_S)


def test_a_store_that_is_away_is_complained_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, away = tmp_path / "spool-0.sqlite", tmp_path / "away"
    ledger = recording(path)
    carrier = shipping(ledger, path, f"sqlite:///{away / 'ledger.sqlite'}")
    ledger.run(10)
    assert ledger.end()
    assert [carrier.ship() for _ in range(3)] == [False] * 3
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    away.mkdir()
    assert carrier.ship()
    assert caplog.records[-1].getMessage() == "the shared ledger has everything again"
    assert total(f"sqlite:///{away / 'ledger.sqlite'}") == 10
    carrier.close(WAIT_S)


def test_how_far_the_store_is_behind_is_told_by_the_oldest_minute_that_it_lacks(tmp_path: Path) -> None:
    path, folder = tmp_path / "spool-0.sqlite", tmp_path / "away"
    ledger = recording(path)
    carrier = shipping(ledger, path, f"sqlite:///{folder / 'ledger.sqlite'}")
    ledger.run(10)
    assert ledger.spool.settle(WAIT_S)
    assert not carrier.ship()
    assert carrier.behind_s == 0, "its only minute is not over"
    ledger.run(65)
    assert carrier.behind_s == 15
    ledger.clock.advance(100 * SECOND)
    assert ledger.spool.settle(WAIT_S)
    assert not carrier.ship()
    assert carrier.behind_s == 115
    folder.mkdir()
    assert carrier.ship()
    assert carrier.behind_s == 0
    ledger.end()
    carrier.close(WAIT_S)


def test_a_kill_between_the_store_and_the_spool_only_sends_again(tmp_path: Path, url: str) -> None:
    path = tmp_path / "spool-0.sqlite"
    ledger = recording(path)
    ledger.run(100)
    assert ledger.end()
    store, file = Store(Database(url)), SpoolFile(path)
    store.open()
    store.receive(*file.read(10), NOON_S + 100)  # and then the process is killed
    store.close()
    file.close()
    carrier = shipping(ledger, path, url)
    assert carrier.ship()
    assert total(url) == 100
    carrier.close(WAIT_S)


def test_the_rows_of_a_boot_that_was_killed_are_shipped_by_the_next(tmp_path: Path, url: str) -> None:
    path = tmp_path / "spool-0.sqlite"
    first = recording(path)
    first.run(61)
    assert first.end()
    second = recording(path, boot="b2", wall_s=NOON_S + 70)
    second.run(30)
    assert second.end()
    carrier = shipping(second, path, url)
    assert carrier.ship()
    assert total(url) == 91
    assert set(lives(url)) == {("gw/0", "b1"), ("gw/0", "b2")}
    carrier.close(WAIT_S)


def test_the_spools_of_workers_that_are_no_longer_started_are_shipped_too(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After four workers came one: theirs are adopted, also while one of them is still at work."""
    paths = {number: tmp_path / f"spool-{number}.sqlite" for number in (2, 3)}
    others = [recording(path, replica=f"gw/{number}", boot=f"b{number}") for number, path in paths.items()]
    for other in others:
        other.run(10)
    assert others[0].end()
    assert others[1].spool.settle(WAIT_S)
    (tmp_path / "spool-4.sqlite").write_text("minutes\n" * 500)
    ledger = recording(tmp_path / "spool-1.sqlite")
    carrier = shipping(ledger, tmp_path / "spool-1.sqlite", url)
    assert carrier.ship()
    assert spooled(tmp_path / "spool-2.sqlite") == ([], [])
    assert "spool-4.sqlite" in caplog.text
    others[1].run(10)
    assert others[1].end()
    owner = shipping(others[1], tmp_path / "spool-3.sqlite", url)
    assert owner.ship()
    assert total(url) == 30
    ledger.end()
    carrier.close(WAIT_S)
    owner.close(WAIT_S)


def test_replicas_ship_to_one_store(tmp_path: Path, url: str) -> None:
    ledgers = []
    for number in range(3):
        path = tmp_path / f"spool-{number}.sqlite"
        ledger = recording(path, replica=f"gw/{number}", boot=f"b{number}")
        ledger.run(130, calls_a_second=number + 1)
        assert ledger.end()
        ledgers.append(shipping(ledger, path, url))
    threads = [threading.Thread(target=carrier.ship) for carrier in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S * 3)
    assert not any(carrier.behind for carrier in ledgers)
    assert total(url) == 130 * 6
    assert len(lives(url)) == 3
    for carrier in ledgers:
        carrier.close(WAIT_S)


def test_a_large_backlog_goes_in_batches(tmp_path: Path, url: str) -> None:
    path = tmp_path / "spool-0.sqlite"
    ledger = recording(path)
    for number in range(5_000):
        ledger.count(tenant=f"t{number}")
    assert ledger.end()
    carrier = shipping(ledger, path, url)
    assert carrier.ship()
    assert spooled(path)[0] == []
    assert total(url) == 5_000
    carrier.close(WAIT_S)


def test_a_newer_store_is_refused_at_the_start(tmp_path: Path) -> None:
    database = Database(default_url(tmp_path))
    database.migrate({**MIGRATIONS, max(MIGRATIONS) + 1: lambda connection: None})
    database.close()
    ledger = recording(tmp_path / "spool-0.sqlite")
    with pytest.raises(StateError, match="newer"):
        shipping(ledger, tmp_path / "spool-0.sqlite", default_url(tmp_path)).start()
    ledger.end()


def test_a_ledger_file_that_is_replaced_while_it_is_open_gets_what_comes_next(tmp_path: Path) -> None:
    path, file = tmp_path / "spool-0.sqlite", tmp_path / "ledger.sqlite"
    ledger = recording(path)
    carrier = shipping(ledger, path, default_url(tmp_path))
    ledger.run(10)
    assert ledger.spool.settle(WAIT_S)
    assert carrier.ship()
    os.rename(file, tmp_path / "away.sqlite")
    ledger.clock.advance(60 * SECOND)
    ledger.run(20)
    assert ledger.end()
    assert carrier.ship()
    assert total(default_url(tmp_path)) == 30, "the minute that had been open was sent once more, whole"
    carrier.close(WAIT_S)


def test_the_thread_ships_what_is_left_at_the_end(tmp_path: Path, url: str) -> None:
    path = tmp_path / "spool-0.sqlite"
    ledger = recording(path)
    carrier = shipping(ledger, path, url)
    carrier.start()
    ledger.run(7)
    assert ledger.end()
    carrier.close(WAIT_S)
    assert total(url) == 7


def test_a_store_that_is_away_at_the_start_holds_nothing_up(tmp_path: Path) -> None:
    path = tmp_path / "spool-0.sqlite"
    ledger = recording(path)
    carrier = shipping(ledger, path, f"postgresql://tiergate@/ledger?host={tmp_path / 'nobody'}")
    carrier.start()
    ledger.run(7)
    assert ledger.end()
    carrier.close(WAIT_S)
    assert len(spooled(path)[0]) == 1
