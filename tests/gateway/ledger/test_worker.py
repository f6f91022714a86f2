"""A worker's ledger from the request to the store: in one loop, and in the processes of a real gateway."""

from __future__ import annotations

import json
import logging
import signal
from collections import Counter
from pathlib import Path

import pytest

from gateway.ledger import acts
from gateway.ledger.cells import PLACES, requests
from gateway.ledger.database import Database, default_url
from gateway.ledger.store import Store
from gateway.ledger.tables import MIGRATIONS
from gateway.ledger.worker import WorkerLedger
from gateway.stores.quota_file import StateError
from tests.gateway.facts import finished, outcome
from tests.gateway.ledger.recording import NOON_S, SECOND, spooled
from tests.gateway.processes import Shipped
from tests.middleware.harness import VirtualClock
from tests.policies.sla_log import Log, promises

EVER = (0, 4_000_000_000)


def counted(url: str) -> Counter[tuple[str, str]]:
    """Requests by tenant and group."""
    store = Store(Database(url))
    found = Counter[tuple[str, str]]()
    for tenant in store.tenants():
        for _, group, counters in store.cells(tenant, *EVER):
            found[tenant, group] += requests(counters)
    store.close()
    return found


def lived(url: str) -> dict[tuple[str, str], list[tuple[int, int]]]:
    store = Store(Database(url))
    try:
        return store.alive(*EVER)
    finally:
        store.close()


def ledger_of(state: Path, url: str = "") -> WorkerLedger:
    return WorkerLedger(VirtualClock(wall_us=NOON_S * SECOND), state, replica="gw/0", index=0, url=url)


@pytest.mark.anyio
async def test_what_was_recorded_is_in_the_store_at_the_end(tmp_path: Path, url: str) -> None:
    ledger = ledger_of(tmp_path, url)
    await ledger.start()
    for _ in range(7):
        ledger.minutes.record(finished(), outcome(known_wall_us=NOON_S * SECOND))
    await ledger.aclose()
    assert counted(url) == {("acme", "crm"): 7}
    assert ledger.lost == 0
    assert spooled(tmp_path / "spool-0.sqlite") == ([], [])


@pytest.mark.anyio
async def test_the_ledger_is_a_file_in_the_state_directory_unless_said_otherwise(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path)
    await ledger.start()
    ledger.minutes.record(finished(), outcome(known_wall_us=NOON_S * SECOND))
    await ledger.aclose()
    assert counted(f"sqlite:///{tmp_path / 'ledger.sqlite'}") == {("acme", "crm"): 1}


@pytest.mark.anyio
async def test_without_a_store_the_end_is_quick_and_the_spool_keeps_everything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = ledger_of(tmp_path, f"sqlite:///{tmp_path / 'no' / 'ledger.sqlite'}")
    await ledger.start()
    ledger.minutes.record(finished(), outcome(known_wall_us=NOON_S * SECOND))
    await ledger.aclose()
    assert len(spooled(tmp_path / "spool-0.sqlite")[0]) == 1
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


@pytest.mark.anyio
async def test_a_newer_ledger_is_refused_at_the_start(tmp_path: Path, url: str) -> None:
    database = Database(url)
    database.migrate({**MIGRATIONS, max(MIGRATIONS) + 1: lambda connection: None})
    database.close()
    ledger = ledger_of(tmp_path, url)
    with pytest.raises(StateError, match="newer Tiergate"):
        await ledger.start()


# --- processes ------------------------------------------------------------------------------------------------------

POLICY = {
    "version": 1,
    "tiers": {"wide": {"limits": {"minute": "1_000/min"}}},
    "upstreams": {"origin": {"url": "http://127.0.0.1:9"}},
    "routes": {"any": {"match": {"path": "/{rest:path}"}, "upstream": "origin"}},
}


def test_a_drain_leaves_every_call_in_the_ledger(tmp_path: Path) -> None:
    with Shipped(tmp_path, POLICY, TIERGATE_INSTANCE="gw-1") as running:
        running.ready()
        statuses = [running.get("/x")[0] for _ in range(25)]
        running.signal(signal.SIGTERM)
        code, text = running.end()
    assert code == 0, text
    assert statuses == [401] * 25
    url = default_url(running.state)
    assert counted(url) == {("", ""): 25}
    ((replica, _),) = lived(url)
    assert replica == "gw-1/1"


def test_a_store_that_is_away_stops_nobody_and_its_password_is_on_no_command_line(tmp_path: Path) -> None:
    url = f"postgresql://tiergate:s3cret@/ledger?host={tmp_path}"
    with Shipped(tmp_path, POLICY, TIERGATE_LEDGER_URL=url) as running:
        running.ready()
        assert running.get("/x")[0] == 401
        (worker,) = running.status()["workers"]
        assert "s3cret" not in Path(f"/proc/{worker['pid']}/cmdline").read_text()
        running.signal(signal.SIGTERM)
        code, text = running.end()
    assert code == 0
    assert "s3cret" not in text
    assert text.count("the shared ledger cannot be reached") == 1
    assert [row.tenant for row in spooled(running.state / "spool-1.sqlite")[0]] == [""]


def test_a_newer_ledger_ends_the_start_with_code_3(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    database = Database(default_url(tmp_path / "state"))
    database.migrate({**MIGRATIONS, max(MIGRATIONS) + 1: lambda connection: None})
    database.close()
    with Shipped(tmp_path, POLICY) as running:
        code, text = running.end()
    assert code == 3
    assert f"newer Tiergate (version {max(MIGRATIONS) + 1}, this one knows {max(MIGRATIONS)})" in text


def test_the_version_in_force_rules_from_the_first_call_and_what_differs_is_shown(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    log = Log("2026-01-10T00:00:00Z")
    log.publish("1.0.0", "2026-02-01T00:00:00Z", promises(owners={"origin": "third_party"}))
    database = Database(default_url(tmp_path / "state"))
    database.migrate()
    acts.extend(database, lambda links, now_s: log.links)
    database.close()
    open_policy = {**POLICY, "auth": {"anonymous": {"tier": "wide"}}}
    with Shipped(tmp_path, open_policy, TIERGATE_ACCESS_LOG=str(tmp_path / "access.log")) as running:
        running.ready()
        assert running.get("/x")[0] == 502
        (worker,) = running.status()["workers"]
        assert "origin is managed in the policy files and third_party in version 1.0.0" in worker["complaints"][0]
        running.signal(signal.SIGTERM)
        assert running.end()[0] == 0
    store = Store(Database(default_url(running.state)))
    (cell,) = store.platform(*EVER)
    assert cell[2][PLACES["ignored", "third_party"]] == 1
    store.close()
    (line,) = (tmp_path / "access.log").read_text().splitlines()
    assert json.loads(line)["cause"] == "third_party"
