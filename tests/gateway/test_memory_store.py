"""``memory://``: the lock, quotas over a restart, and state that stays bounded."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.stores.memory import MemoryStore
from gateway.stores.quota_file import QuotaFile, QuotaRow, StateError
from policies.admission import Demand, Slot, charge, state_key
from policies.admission.quota import state_of, used_in
from policies.model import Concurrent, Limit, Quota, Window
from policies.periods import period
from tests.middleware.harness import VirtualClock

pytestmark = pytest.mark.anyio

SECOND = 1_000_000
DAY = Quota(name="day", amount=3, unit="day")
MINUTE = Window(name="minute", amount=3, period_us=60 * SECOND)


def demand(*limits: Limit, slots: int = 0) -> Demand:
    held = Concurrent(name="parallel", slots=slots)
    return Demand(
        tuple(charge(limit, state_key(limit, None), 1) for limit in limits if not isinstance(limit, Concurrent)),
        (Slot(state_key(held, None), held, slots),) if slots else (),
    )


async def opened(directory: Path, clock: VirtualClock, **options: int) -> MemoryStore:
    store = MemoryStore(clock, directory, **options)
    await store.start()
    return store


async def test_quotas_survive_a_restart_and_windows_do_not(tmp_path: Path) -> None:
    clock, asked = VirtualClock(), demand(DAY, MINUTE)
    store = await opened(tmp_path, clock)
    for _ in range(2):
        assert (await store.admit("a/{ }", asked)).allowed
    await store.aclose()
    store = await opened(tmp_path, clock)
    decision = await store.admit("a/{ }", asked)
    assert [reading[1] for reading in decision.readings] == [0, 2]
    assert not (await store.admit("a/{ }", asked)).allowed
    await store.aclose()


async def test_a_refused_call_is_not_written(tmp_path: Path) -> None:
    clock, store = VirtualClock(), await opened(tmp_path, VirtualClock())
    for _ in range(9):
        await store.admit("a", demand(DAY))
    await store.aclose()
    (row,) = QuotaFile(tmp_path).open()
    assert (row.state or b"")[-8:] == (3).to_bytes(8, "big")
    assert clock.wall_us() > 0


async def test_what_was_admitted_a_second_ago_is_on_disk_when_the_process_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from gateway.clock import SystemClock\n"
        "from gateway.stores.memory import MemoryStore\n"
        "from tests.gateway.test_memory_store import DAY, demand\n"
        "async def main():\n"
        "    store = MemoryStore(SystemClock(), Path(sys.argv[1]))\n"
        "    await store.start()\n"
        "    for _ in range(2): await store.admit('a', demand(DAY))\n"
        "    await asyncio.sleep(1)\n"
        "    print('written', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path), stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 20) == b"written\n"
    process.kill()
    await process.communicate()
    rows = QuotaFile(tmp_path).open()
    assert [(row.account, (row.state or b"")[-8:]) for row in rows] == [("a", (2).to_bytes(8, "big"))]


async def test_a_second_worker_is_detected_and_told_the_remedies(tmp_path: Path) -> None:
    first = await opened(tmp_path, VirtualClock())
    with pytest.raises(StateError, match=rf"process {os.getpid()}.*TIERGATE_STATE_DIR.*one worker.*store.url"):
        await opened(tmp_path, VirtualClock())
    assert (await first.admit("a", demand(DAY))).allowed, "the first one goes on"
    await first.aclose()
    await (await opened(tmp_path, VirtualClock())).aclose()


async def test_a_state_directory_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"cannot use the state directory .*file/below"):
        await opened(tmp_path / "file" / "below", VirtualClock())


async def test_a_quota_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "quotas.sqlite").write_bytes(b"not a database, " * 400)
    with pytest.raises(StateError, match="not a database"):
        await opened(tmp_path, VirtualClock())
    assert (tmp_path / "quotas.sqlite").read_bytes().startswith(b"not a database")


async def test_a_disk_that_fails_stops_no_traffic_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = await opened(tmp_path, VirtualClock())
    blocker = sqlite3.connect(tmp_path / "quotas.sqlite", isolation_level=None, timeout=0)
    store._file._db.execute("PRAGMA busy_timeout=0")  # type: ignore[union-attr]
    blocker.execute("BEGIN IMMEDIATE")
    assert (await store.admit("a", demand(DAY))).allowed
    await store._write()
    await store._write()
    assert (await store.admit("a", demand(DAY))).allowed
    assert [record.levelname for record in caplog.records] == ["ERROR"], "said once"
    blocker.execute("ROLLBACK")
    blocker.close()
    await store.aclose()
    (row,) = QuotaFile(tmp_path).open()
    assert (row.state or b"")[-8:] == (2).to_bytes(8, "big")


async def test_ended_evicted_and_damaged_rows_leave_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, file, key = VirtualClock(), QuotaFile(tmp_path), state_key(DAY, None)
    file.open()
    today = state_of(period("day", "UTC", clock.wall_us())[0], 2)
    file.write(
        [
            QuotaRow(account="live", key=key, state=today),
            QuotaRow(account="ended", key=key, state=state_of(1_700_000_000_000_000, 2)),
            QuotaRow(account="damaged", key=key, state=b"short"),
            QuotaRow(account="damaged", key="no key", state=today),
            *(QuotaRow(account=f"\x00{n}", key=key, state=today) for n in range(5)),
        ]
    )
    file.close()
    store = await opened(tmp_path, clock, anonymous_kept=2)
    assert (await store.admit("damaged", demand(DAY))).readings[0][1] == 2, "afresh, and no error for the caller"
    assert len(store) == 4
    await store.aclose()
    assert sorted(row.account for row in file.open()) == ["\x003", "\x004", "damaged", "live"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    file.close()


async def test_closing_while_a_large_write_is_under_way_loses_nothing(tmp_path: Path) -> None:
    store = await opened(tmp_path, VirtualClock())
    for n in range(20_000):
        await store.admit(f"tenant-{n}", demand(DAY))
    writing = asyncio.create_task(store._write())
    await asyncio.sleep(0)
    await store.admit("late", demand(DAY))
    await asyncio.gather(store.aclose(), writing)
    assert len(QuotaFile(tmp_path).open()) == 20_001


async def test_a_quota_that_ends_while_the_gateway_runs_leaves_the_file(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = await opened(tmp_path, clock)
    await store.admit("a", demand(DAY))
    await store._write()
    clock.advance(2 * 86_400 * SECOND)
    store._sweep()
    store._sweep()
    await store.aclose()
    assert QuotaFile(tmp_path).open() == []


def test_a_late_write_never_lowers_a_counter(tmp_path: Path) -> None:
    file = QuotaFile(tmp_path)
    file.open()
    states = [state_of(1_790_000_000_000_000, used) for used in (255, 256, 3)]
    for state in states:
        assert file.write([QuotaRow(account="a", key="k", state=state)])
    file.close()
    (row,) = file.open()
    assert used_in(row.state or b"") == (1_790_000_000_000_000, 256)
    file.close()


async def test_anonymous_callers_are_bounded_least_recent_out(tmp_path: Path) -> None:
    store = await opened(tmp_path, VirtualClock(), anonymous_kept=3)
    for address in ("1", "2", "3", "1", "4"):
        await store.admit("\x00" + address, demand(MINUTE))
    assert store.evicted == 1
    left = {a: (await store.read("\x00" + a, demand(MINUTE))).readings[0][1] for a in "1234"}
    assert left == {"1": 1, "2": 3, "3": 2, "4": 2}
    await store.aclose()


async def test_idle_state_is_forgotten_and_live_state_kept(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = await opened(tmp_path, clock)
    for n in range(100):
        await store.admit(f"idle-{n}", demand(MINUTE))
    clock.advance(60 * SECOND)
    await store.admit("live", demand(MINUTE))
    store._sweep()
    store._sweep()
    assert len(store) == 1
    assert (await store.read("live", demand(MINUTE))).readings[0][1] == 2
    await store.aclose()


async def test_concurrent_admits_let_exactly_the_amount_through(tmp_path: Path) -> None:
    store = await opened(tmp_path, VirtualClock())
    asked = demand(MINUTE, DAY, slots=2)
    decisions = await asyncio.gather(*(store.admit("a", asked) for _ in range(50)))
    admitted = [decision for decision in decisions if decision.allowed]
    assert len(admitted) == 2
    for decision in admitted:
        assert decision.lease is not None
        store.release(decision.lease)
        store.release(decision.lease)
    decisions = await asyncio.gather(*(store.admit("a", asked) for _ in range(50)))
    assert sum(decision.allowed for decision in decisions) == 1
    await store.aclose()


async def test_a_drain_that_cuts_off_every_passing_task_does_not_end_the_store(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    store = await opened(tmp_path, VirtualClock())
    lasting = asyncio.all_tasks()
    for _ in range(3):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() - lasting == set(), "what comes and goes would be taken for a request's"
    assert len(lasting - before) == 1
    await store.admit("acme", demand(DAY))
    await store.aclose()
    again = await opened(tmp_path, VirtualClock())
    assert (await again.read("acme", demand(DAY))).readings[0][1] == 2
    await again.aclose()
