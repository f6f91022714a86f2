"""kill -9 at random moments (spec D2): at most five seconds of counters are lost, and never a closed minute."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.ledger.recording import NOON_S, SECOND, by_minute, spooled


def killed(path: Path, after_lines: int) -> list[tuple[int, int]]:
    """Virtual seconds since noon in microseconds, and requests until then, as the process said before it was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.gateway.ledger.doomed", str(path)],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(after_lines)]
    process.kill()
    rest = process.communicate()[0]
    lines += rest[: rest.rfind(b"\n") + 1].splitlines()
    return [(int(at) - NOON_S * SECOND, int(total)) for at, total in (line.split() for line in lines)]


@pytest.mark.parametrize("seed", range(8))
def test_kill_9_costs_at_most_five_seconds_and_no_closed_minute(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "spool-0.sqlite"
    said = killed(path, random.Random(seed).randrange(1, 900))
    kept = by_minute(spooled(path)[0])
    end_us = said[-1][0]
    five_seconds_ago = max((total for at, total in said if at <= end_us - 5 * SECOND), default=0)
    assert five_seconds_ago <= sum(kept.values()) <= said[-1][1]
    for minute in range((end_us - 9 * SECOND // 4) // (60 * SECOND)):
        before = max((total for at, total in said if at < minute * 60 * SECOND), default=0)
        until = max(total for at, total in said if at < (minute + 1) * 60 * SECOND)
        assert kept[minute] == until - before


def test_the_next_boot_adds_to_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "spool-0.sqlite"
    said = [killed(path, 400), killed(path, 300)]
    rows, lives = spooled(path)
    boots = {row.boot for row in rows}
    assert len(boots) == 2
    assert {life.boot for life in lives} == boots
    assert sum(by_minute(rows).values()) >= sum(
        max(total for at, total in lines if at <= lines[-1][0] - 5 * SECOND) for lines in said
    )
