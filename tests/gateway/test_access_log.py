from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.access_log import BATCH, CHUNK, KEPT_LINES, AccessLog
from tests.gateway.facts import decided, finished, outcome, throttled
from tests.gateway.processes import until


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def written(tmp_path: Path, *calls: tuple[Any, Any]) -> list[dict[str, Any]]:
    log = AccessLog(str(tmp_path / "access.log"))
    for call in calls:
        log.record(*call)
    log.close()
    return lines(tmp_path / "access.log")


def test_an_allowed_call_is_one_line_with_its_facts(tmp_path: Path) -> None:
    (line,) = written(tmp_path, (finished(decision=decided(), bytes_in=3, bytes_out=9), outcome()))
    assert line == {
        "ts": "2026-11-22T03:37:41.000042Z",
        "request_id": "req-1",
        "trace_id": "00000000000000000000000000000abc",
        "span_id": "0000000000000def",
        "method": "GET",
        "route": "crm-read",
        "path": "/crm/contacts",
        "status": 200,
        "duration_ms": 5.0,
        "upstream_ms": 4.5,
        "overhead_ms": 0.5,
        "upstream": "crm",
        "upstream_status": 200,
        "bytes_in": 3,
        "bytes_out": 9,
        "client": "",
        "tenant": "acme",
        "tier": "premium",
        "key_id": "k1",
        "outcome": "allowed",
        "source": None,
        "origin": "upstream",
        "error": None,
        "retry_after_s": None,
        "policy": "0123456789abcdef",
        "known_us": 1_795_318_661_005_042,
        "group": "crm",
        "cause": "ok",
        "limit": "minute",
        "remaining": 59,
    }


@pytest.mark.parametrize(
    ("exchange", "ended", "word"),
    [
        ({}, {}, "allowed"),
        ({}, {"status": 404}, "allowed"),  # the upstream's own 404
        ({}, {"status": 429, "reason": "rate-limited", "source": "tenant"}, "limited"),
        ({}, {"status": 429, "origin": "upstream", "source": "upstream"}, "limited"),
        ({}, {"status": 401, "reason": "unauthenticated"}, "refused"),
        ({}, {"status": 502, "reason": "upstream-connect"}, "error"),
        ({}, {"status": 500}, "error"),  # the upstream's own 500
        ({}, {"status": 200, "truncated_by": "upstream"}, "error"),
        ({"client_gone": True}, {"status": 499}, "aborted"),
    ],
)
def test_the_outcome_in_one_word(tmp_path: Path, exchange: dict[str, Any], ended: dict[str, Any], word: str) -> None:
    (line,) = written(tmp_path, (finished(**exchange), outcome(**ended)))
    assert line["outcome"] == word


def test_what_went_wrong_is_said_privately(tmp_path: Path) -> None:
    call = finished(decision=decided(False), detail="minute is spent", retry_after_s=47)
    (line,) = written(tmp_path, (call, outcome(status=429, reason="rate-limited", source="tenant", phase="plugin")))
    assert (line["retry_after_s"], line["refused_by"], line["phase"]) == (47, ["minute"], "plugin")
    assert line["detail"] == "minute is spent"


def test_an_upstreams_throttle_is_said_in_the_words_of_the_answer(tmp_path: Path) -> None:
    calls = [
        (finished(announcement=throttled(), retry_after_s=47), outcome(status=429, source="upstream")),
        (finished(announcement=throttled(status=200)), outcome()),  # part of it was executed
        (finished(announcement=throttled(throttled=False)), outcome()),
    ]
    first, second, third = written(tmp_path, *calls)
    words = ("provider", "kind", "estimated", "received_status", "remembered", "violated")
    assert [first[word] for word in words] == ["ledger", "quota", False, 403, False, "crm-daily"]
    assert (first["outcome"], second["outcome"], third["outcome"]) == ("limited", "limited", "allowed")
    assert not set(words) & set(third)


def test_neither_query_nor_credential_is_written(tmp_path: Path) -> None:
    written(tmp_path, (finished(), outcome()))
    assert "s3cret" not in (tmp_path / "access.log").read_text()


def test_a_hostile_path_cannot_forge_a_line(tmp_path: Path) -> None:
    path = '/a\n{"status": 200}\r\x00\x1b[31m"'
    (line,) = written(tmp_path, (finished(path=path), outcome()))
    assert line["path"] == path


def test_a_path_without_end_is_cut(tmp_path: Path) -> None:
    (line,) = written(tmp_path, (finished(path="/" + "a" * 100_000), outcome()))
    assert len(line["path"]) == 2_048


def test_a_value_that_json_cannot_carry_costs_its_own_line_only(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "access.log"))
    log.record(finished(path="/\ud800"), outcome())
    log.record(finished(), outcome())
    log.close()
    assert log.dropped == 1
    assert len(lines(tmp_path / "access.log")) == 1


def test_every_line_of_a_burst_arrives_whole_and_in_order(tmp_path: Path) -> None:
    calls = [(finished(request_id=str(number)), outcome()) for number in range(3_000)]
    assert [line["request_id"] for line in written(tmp_path, *calls)] == [str(number) for number in range(3_000)]


def test_a_rotated_file_is_left_and_a_fresh_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    log.record(finished(request_id="old"), outcome())
    until(lambda: path.stat().st_size)
    path.rename(tmp_path / "access.log.1")
    log.reopen()
    until(path.exists)
    log.record(finished(request_id="new"), outcome())
    log.close()
    assert [line["request_id"] for line in lines(tmp_path / "access.log.1")] == ["old"]
    assert [line["request_id"] for line in lines(path)] == ["new"]


def test_a_full_disk_drops_lines_and_counts_them_once_said(caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog("/dev/full")
    for _ in range(3):
        log.record(finished(), outcome())
        until(lambda: not log._lines)
    log.close()
    assert log.dropped == 3
    assert sum("cannot be written" in record.getMessage() for record in caplog.records) == 1


def test_a_reader_that_has_gone_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(str(pipe))
    os.close(reader)
    log.record(finished(), outcome())
    log.close()
    assert log.dropped == 1


def test_a_reader_that_has_stopped_holds_up_neither_requests_nor_the_exit(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log = AccessLog(str(pipe))
        call, ended = finished(), outcome()
        for _ in range(KEPT_LINES + 5_000):
            log.record(call, ended)
        began = time.monotonic()
        log.close()
        assert time.monotonic() - began < 10
        seen = os.read(reader, 1_000_000).count(b"\n")
        assert KEPT_LINES + 5_000 - BATCH <= log.dropped + seen <= KEPT_LINES + 5_000
    finally:
        os.close(reader)


def test_pieces_hold_whole_lines_and_fit_a_pipes_atomic_write(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log = AccessLog(str(pipe))
        for number in range(40):
            log.record(finished(request_id=str(number)), outcome())
        log.close()
        seen = os.read(reader, 1_000_000)
        assert seen.count(b"\n") == 40
        assert all(len(line) < CHUNK for line in seen.splitlines())
    finally:
        os.close(reader)


def test_off_writes_nothing() -> None:
    log = AccessLog("off")
    log.record(finished(), outcome())
    log.close()
    assert log.dropped == 0
