"""The spool: durable before anything else, and no disk can stop the traffic."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gateway.ledger.cells import Row, packed
from gateway.ledger.pulse import Life
from gateway.ledger.spool import Spool
from gateway.ledger.spool_file import APPLICATION_ID, VERSION, LifeRow, SpoolError, SpoolFile
from gateway.stores.quota_file import StateError
from tests.gateway.ledger.recording import NOON_S, SECOND, WAIT_S, by_minute, cell, recording, spooled

ONE = Row(NOON_S, "acme", "crm", "gw/0", "b1", 3, packed((1,) * 23))
LIVED = LifeRow("gw/0", "b1", NOON_S, NOON_S + 5, 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool-0.sqlite"


# --- the file -------------------------------------------------------------------------------------------------------


def test_the_highest_sequence_stays_in_whatever_order_rows_come(path: Path) -> None:
    file = SpoolFile(path)
    rows = [ONE._replace(seq=seq, counters=packed((seq,) * 23)) for seq in (2, 5, 4, 5, 1)]
    for row in rows:
        file.write([row], [LIVED._replace(to_s=NOON_S + row.seq)])
    file.close()
    assert spooled(path) == ([rows[1]], [LIVED._replace(to_s=NOON_S + 5)])


def test_what_was_flushed_again_since_it_was_read_is_not_forgotten(path: Path) -> None:
    file = SpoolFile(path)
    other = ONE._replace(tenant="globex")
    file.write([ONE, other], [LIVED])
    read = file.read(10)
    file.write([ONE._replace(seq=4)], [LIVED._replace(to_s=NOON_S + 10)])
    file.forget(*read)
    file.close()
    assert spooled(path) == ([ONE._replace(seq=4)], [LIVED._replace(to_s=NOON_S + 10)])


def test_every_commit_is_synced(path: Path) -> None:
    """D2: a power cut never costs a closed minute."""
    file = SpoolFile(path)
    with file._using() as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    file.close()


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE album (title)")
    db.close()


def ours(path: Path, rows: int = 3_000) -> None:
    file = SpoolFile(path)
    file.write([ONE._replace(tenant=f"tenant-{number}") for number in range(rows)], [])
    file.close()


def truncated(path: Path) -> None:
    ours(path)
    os.truncate(path, path.stat().st_size // 2 + 100)


def overwritten(path: Path) -> None:
    ours(path)
    data = bytearray(path.read_bytes())
    data[4_096:] = b"\x5a" * (len(data) - 4_096)
    path.write_bytes(data)


def text(path: Path) -> None:
    path.write_text("minutes\n" * 500)


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("spoil", [foreign, truncated, overwritten, text, folder])
def test_a_file_that_is_no_spool_is_said_to_be_with_a_remedy(path: Path, spoil: object) -> None:
    spoil(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else b""
    file = SpoolFile(path)
    with pytest.raises(SpoolError) as error:
        file.write([ONE._replace(tenant=f"t{number}") for number in range(3_000)], [])
    assert str(path) in str(error.value)
    assert "move" in error.value.remedy or "writable" in error.value.remedy
    assert path.is_dir() or len(path.read_bytes()) == len(before)
    file.close()


def test_a_newer_file_is_refused_and_left_as_it_is(path: Path) -> None:
    ours(path)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match=r"newer Tiergate.*TIERGATE_STATE_DIR"):
        Spool(SpoolFile(path), "gw/0", "b2").start()
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_our_file_says_whose_it_is(path: Path) -> None:
    ours(path)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    db.close()


# --- the thread -----------------------------------------------------------------------------------------------------


def test_what_was_put_is_on_the_disk_when_it_has_settled(path: Path) -> None:
    spool = Spool(SpoolFile(path), "gw/0", "b1")
    spool.start()
    spool.put([cell(1), cell(1, seq=2, good=7)], [Life(NOON_S, NOON_S + 5, 0)])
    assert spool.settle(WAIT_S)
    rows, lives = spooled(path)
    assert by_minute(rows) == {0: 7}
    assert lives == [LIVED]
    assert spool.close(WAIT_S)


def test_a_generation_has_a_boot_of_its_own(path: Path) -> None:
    spool = Spool(SpoolFile(path), "gw/0", "b1")
    spool.start()
    spool.put([cell(1), cell(1)._replace(generation=2)], [])
    assert spool.close(WAIT_S)
    assert [row.boot for row in spooled(path)[0]] == ["b1", "b1.2"]


@pytest.mark.parametrize("spoil", [foreign, truncated, overwritten, text, folder])
def test_a_spool_that_cannot_be_written_keeps_everything_says_so_once_and_goes_on(
    path: Path, spoil: object, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(path)  # type: ignore[operator]
    spool = Spool(SpoolFile(path), "gw/0", "b1")
    spool.start()
    for seq in range(1, 4):
        spool.put([cell(number, seq=seq, good=seq) for number in range(3_000)], [])
        assert not spool.settle(WAIT_S)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(path) in record.getMessage()
    assert "Remedy: m" in record.getMessage()
    path.rename(path.with_suffix(".away"))
    spool.put([], [])
    assert spool.settle(WAIT_S)
    assert caplog.records[-1].getMessage() == "the ledger's minutes are written again"
    assert spool.close(WAIT_S)
    rows, _ = spooled(path)
    assert by_minute(rows) == {0: 9_000}
    assert spool.lost == 0


class Interrupted(SpoolFile):
    """Fails the first write of cells, and while it does ``meanwhile`` happens."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.meanwhile: Callable[[], None] | None = None

    def write(self, cells: Sequence[Row], lives: Sequence[LifeRow]) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
            raise SpoolError("no space", "make some")
        super().write(cells, lives)


def test_what_could_not_be_written_never_replaces_what_came_meanwhile(path: Path) -> None:
    file = Interrupted(path)
    spool = Spool(file, "gw/0", "b1")
    spool.start()
    file.meanwhile = lambda: spool.put([cell(1, seq=2, good=2)], [Life(NOON_S, NOON_S + 9, 0)])
    spool.put([cell(1, seq=1, good=1), cell(2)], [Life(NOON_S, NOON_S + 5, 0)])
    assert spool.close(WAIT_S)
    rows, (life,) = spooled(path)
    assert [row.seq for row in rows] == [2, 1]
    assert life.to_s == NOON_S + 9


def test_a_file_that_was_moved_away_is_made_anew(path: Path) -> None:
    spool = Spool(SpoolFile(path), "gw/0", "b1")
    spool.start()
    spool.put([cell(1)], [])
    assert spool.settle(WAIT_S)
    path.rename(path.with_suffix(".away"))
    spool.put([cell(2)], [])
    assert spool.close(WAIT_S)
    assert [row.tenant for row in spooled(path)[0]] == ["t2"]


def test_memory_is_bounded_and_what_falls_out_is_counted(path: Path) -> None:
    folder(path)
    spool = Spool(SpoolFile(path), "gw/0", "b1", most=10)
    spool.start()
    for minute in range(3):
        spool.put([cell(number, good=5, slot_s=NOON_S + 60 * minute) for number in range(8)], [])
        assert not spool.settle(WAIT_S)
    assert spool.lost == (24 - 10) * 5
    path.rmdir()
    spool.put([], [])
    assert spool.close(WAIT_S)
    assert by_minute(spooled(path)[0]) == {1: 10, 2: 40}


FULL_DISK = """
import resource, sys
from pathlib import Path
from tests.gateway.ledger.recording import WAIT_S, cell, spooled
from gateway.ledger.spool import Spool
from gateway.ledger.spool_file import SpoolFile
path = Path(sys.argv[1])
spool = Spool(SpoolFile(path), "gw/0", "b1")
spool.start()
spool.put([cell(0)], [])
assert spool.settle(WAIT_S)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for seq in (1, 2):
    spool.put([cell(number, seq=seq, good=seq) for number in range(4_000)], [])
    print("settled", spool.settle(WAIT_S), flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.put([], [])
print("closed", spool.close(WAIT_S), len(spooled(path)[0]), spool.lost, flush=True)
"""


def test_a_full_disk_costs_nothing_once_there_is_space_again(path: Path) -> None:
    """RLIMIT_FSIZE in a process of its own stands for the full disk: writes fail in the midst of a file."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": "."}, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["settled False", "settled False", "closed True 4000 0"], done.stderr
    assert done.stderr.count("cannot be written") == 1
    assert "free space" in done.stderr


# --- flushed when it is due -----------------------------------------------------------------------------------------


def test_a_closed_minute_is_written_and_out_of_memory_two_seconds_after_its_end(path: Path) -> None:
    ledger = recording(path)
    ledger.run(62)
    assert sum(ledger.minutes.totals().values()) == 62, "the minute is in memory until its forced flush"
    ledger.run(0.25, calls_a_second=0)
    assert ledger.spool.settle(WAIT_S)
    assert by_minute(spooled(path)[0])[0] == 60
    assert sum(ledger.minutes.totals().values()) == 2
    ledger.end()


@pytest.mark.parametrize("seconds", [0.25, 3.75, 4.5, 59.75, 61.5, 64, 130.25])
def test_a_crash_costs_at_most_five_seconds_and_no_closed_minute(path: Path, seconds: float) -> None:
    """D2; what is in memory at that moment is what would be lost."""
    ledger = recording(path)
    ledger.run(seconds)
    assert ledger.spool.settle(WAIT_S)
    kept = by_minute(spooled(path)[0])
    total = -(-seconds // 1)
    assert sum(kept.values()) >= total - 5
    assert all(kept[minute] == 60 for minute in range(int((seconds - 2) // 60)))
    ledger.end()


def test_the_end_flushes_everything(path: Path) -> None:
    ledger = recording(path)
    ledger.run(61.5, calls_a_second=3)
    assert ledger.end()
    assert by_minute(spooled(path)[0]) == {0: 180, 1: 6}


def test_a_flush_is_a_heartbeat_and_a_boot_without_gaps_is_one_row(path: Path) -> None:
    """D3, D7."""
    ledger = recording(path)
    ledger.run(300, calls_a_second=0)
    assert ledger.end()
    ((replica, boot, from_s, to_s, step_ms),) = spooled(path)[1]
    assert (replica, boot, from_s, step_ms) == ("gw/0", "b1", NOON_S, 0)
    assert NOON_S + 300 <= to_s <= NOON_S + 305


def test_many_cells_are_flushed_in_bounded_steps(path: Path) -> None:
    ledger = recording(path)
    for number in range(1_700):
        ledger.count(tenant=f"t{number}")
    steps = 1
    while ledger.recorder.step():
        steps += 1
    assert steps == 4
    assert ledger.end()
    assert len(spooled(path)[0]) == 1_700


def test_clock_steps_lose_no_request(path: Path) -> None:
    """D5: back, forth, and far ahead."""
    ledger = recording(path)
    for step_s in (0, -3_600, 7_200, -100, 86_400, -86_400 * 3, 86_400 * 2, 200, -30):
        ledger.clock.wall += step_s * SECOND
        ledger.run(130)
    assert ledger.end()
    assert sum(by_minute(spooled(path)[0]).values()) == 9 * 130
    assert len([life for life in spooled(path)[1] if life.step_ms]) == 8


@pytest.mark.anyio
async def test_the_loop_flushes_by_itself(path: Path) -> None:
    ledger = recording(path)
    ledger.count(3)
    ledger.recorder.start()
    await asyncio.sleep(0)
    assert ledger.spool.settle(WAIT_S)
    assert by_minute(spooled(path)[0]) == {0: 3}
    ledger.count(2)
    await ledger.recorder.aclose(WAIT_S)
    assert by_minute(spooled(path)[0]) == {0: 5}
