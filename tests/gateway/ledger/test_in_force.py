"""A worker classifies by the version in force: read from the log, kept beside the spool, looked at every minute."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from gateway.ledger import acts
from gateway.ledger.database import Database, StoreError
from gateway.ledger.in_force import InForce
from gateway.ledger.minutes import Minutes
from gateway.ledger.shipping import LOOK_US, Shipper
from gateway.ledger.store import Store
from policies.sla.chain import Link
from policies.sla.judging import Judging
from tests.gateway.facts import finished, outcome
from tests.gateway.ledger.recording import NOON_S, SECOND
from tests.gateway.ledger.test_reach import counted
from tests.middleware.harness import VirtualClock
from tests.policies.sla_log import Log, promises

AWAY = "postgresql://nobody@127.0.0.1:1/none"


def log_of(owner: str = "third_party", number: str = "1.0.0", log: Log | None = None) -> Log:
    log = log or Log("2026-01-10T00:00:00Z")
    log.publish(
        number, "2026-02-01T00:00:00Z" if number == "1.0.0" else "2026-09-01T00:00:00Z", promises(owners={"crm": owner})
    )
    return log


def write(database: Database, links: tuple[Link, ...]) -> None:
    acts.extend(database, lambda log, now_s: links[len(log) :])


def causes(minutes: Minutes) -> dict[str, int]:
    minutes.record(
        finished(), outcome(known_wall_us=NOON_S * SECOND, status=502, upstream_status=502, owner="customer")
    )
    return counted(minutes.take(9))


def shipper(path: Path, url: str) -> tuple[Shipper, Minutes, VirtualClock]:
    clock = VirtualClock(wall_us=NOON_S * SECOND)
    minutes = Minutes(clock)
    in_force = InForce(path / "in-force-0.json", lambda judging: setattr(minutes, "judging", judging))
    return Shipper(path / "spool-0.sqlite", Store(Database(url)), clock, (), in_force), minutes, clock


def test_the_version_is_read_at_the_start(store: Store, url: str, tmp_path: Path) -> None:
    write(store.database, log_of().links)
    worker, minutes, _ = shipper(tmp_path, url)
    worker.start()
    worker.close(20)
    assert causes(minutes) == {"third_party": 1}


def test_a_new_version_is_seen_within_a_minute(store: Store, url: str, tmp_path: Path) -> None:
    worker, minutes, clock = shipper(tmp_path, url)
    assert worker.ship()
    assert causes(minutes) == {"customer": 1}, "nothing was published: the files rule"
    write(store.database, log_of().links)
    clock.advance(LOOK_US - 1)
    assert worker.ship()
    assert counted_more(minutes) == {"customer": 2}
    clock.advance(1)
    assert worker.ship()
    assert counted_more(minutes) == {"customer": 2, "third_party": 1}
    worker.close(20)


def counted_more(minutes: Minutes) -> dict[str, int]:
    return causes(minutes)  # cells are cumulative


def test_a_store_that_is_away_at_the_start_changes_nothing(store: Store, url: str, tmp_path: Path) -> None:
    write(store.database, log_of().links)
    before, _, _ = shipper(tmp_path, url)
    assert before.ship()
    before.close(20)
    worker, minutes, _ = shipper(tmp_path, AWAY)
    worker.start()
    worker.close(20)
    assert worker.behind
    assert causes(minutes) == {"third_party": 1}


def test_only_what_rules_is_kept_and_a_log_that_did_not_grow_is_not_read(store: Store, tmp_path: Path) -> None:
    log = log_of()
    log.say("announce", id="m", from_="2026-03-10T00:00:00Z", to="2026-03-10T01:00:00Z")
    write(store.database, log.links)
    found: list[Judging] = []
    in_force = InForce(tmp_path / "kept.json", found.append)
    in_force.look(store.database)
    in_force.look(store.database)
    assert len(found) == 1
    assert [row[3] for row in json.loads((tmp_path / "kept.json").read_text())] == ["version"]
    InForce(tmp_path / "kept.json", found.append).remember()
    assert len(found) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[", b"{}", b"[1]", b"[[1, 2]]", b"\xff", b'[[1, 2, "a", "version", "{}", "", ""]]',
        b'[[1, 2, "a", "bind", "x", "", ""]]',
    ],
)  # fmt: skip
def test_a_copy_that_is_damaged_is_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kept.json").write_bytes(content)
    found: list[Judging] = []
    InForce(tmp_path / "kept.json", found.append).remember()
    assert all(judging.differences({"crm": "customer"}, NOON_S) == () for judging in found)


def test_a_log_that_makes_no_sense_leaves_what_was_in_force(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = log_of()
    write(store.database, log.links)
    found: list[Judging] = []
    in_force = InForce(tmp_path / "kept.json", found.append)
    in_force.look(store.database)
    last = log.links[-1]
    broken = acts.row_of(last)._replace(
        seq=last.number + 1, previous=last.hash, hash="f" * 64, content='{"version": 1}'
    )
    acts.extend(store.database, lambda log, now_s: [acts.link_of(broken)])
    with caplog.at_level(logging.ERROR):
        in_force.look(store.database)
    assert len(found) == 1
    assert "makes no sense" in caplog.text


def test_no_copy_is_no_trouble_and_a_folder_that_takes_none_neither(store: Store, tmp_path: Path) -> None:
    found: list[Judging] = []
    in_force = InForce(tmp_path / "missing" / "kept.json", found.append)
    in_force.remember()
    assert found == []
    in_force.look(store.database)
    assert len(found) == 1


def test_a_store_that_is_away_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        InForce(tmp_path / "kept.json", lambda judging: None).look(Database(AWAY))
