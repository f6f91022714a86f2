"""Acts on their way into the log: real databases, several who write, a real gateway, its socket and its clock."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gateway import control
from gateway.ledger import acts
from gateway.ledger.database import Database, default_url
from gateway.settings import Settings
from gateway.sla.recording import NotRecorded, Refused, append, default_actor, directly, record, record_all
from policies.sla.chain import ORIGIN, Link, verify
from policies.sla.register import register
from tests.gateway.processes import Shipped, until

NOTE: tuple[str, dict[str, Any]] = ("note", {"text": "x"})
FLOOD = {
    "id": "flood", "type": "force_majeure", "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z",
    "reason": "flood", "evidence": "report",
}  # fmt: skip
POLICY = {
    "version": 1,
    "tiers": {"wide": {"limits": {"minute": "1_000/min"}}},
    "upstreams": {"origin": {"url": "http://127.0.0.1:9"}},
    "routes": {"any": {"match": {"path": "/{rest:path}"}, "upstream": "origin"}},
}


def settings(tmp_path: Path, url: str) -> Settings:
    return Settings(state_dir=tmp_path / "state", ledger_url=url)


def log(url: str) -> tuple[Link, ...]:
    with closing(Database(url)) as database:
        return acts.links(database)


def database(url: str) -> Database:
    made = Database(url)
    made.migrate()
    return made


# --- directly, into each kind of database ---------------------------------------------------------------------------


def test_what_is_recorded_is_read_back_as_a_chain_that_holds(tmp_path: Path, url: str) -> None:
    given = settings(tmp_path, url)
    before_s = int(time.time())
    first = record(given, *NOTE, actor=" on-call ")
    second = record(given, "exclude", FLOOD, actor="on-call")
    assert (first.number, first.previous, first.act.actor) == (1, ORIGIN, "on-call")
    assert log(url) == (first, second)
    assert verify(log(url), second.hash) is None
    assert before_s - 1 <= first.act.at_s <= second.act.at_s <= time.time() + 1
    assert register(log(url)).requests[0].by == "on-call"


def test_a_refused_act_leaves_nothing_and_several_are_all_or_none(tmp_path: Path, url: str) -> None:
    given = settings(tmp_path, url)
    record(given, "exclude", FLOOD, actor="on-call")
    before = log(url)
    for asked, said in (
        ([("approve", {"id": "flood"})], "another person has to approve it"),
        ([NOTE, ("approve", {"id": "flod"})], "nothing is recorded of flod"),
        ([NOTE, ("sing", {})], "no kind of act"),
    ):
        with pytest.raises(Refused, match=said):
            record_all(given, asked, "on-call")
    assert log(url) == before
    assert [link.number for link in record_all(given, [NOTE, NOTE], "on-call")] == [2, 3]


def test_of_two_who_approve_at_once_one_is_told_that_it_is_done(tmp_path: Path, url: str) -> None:
    """Each is judged by what the other has recorded: that is what the transaction is for."""
    given = settings(tmp_path, url)
    record(given, "exclude", FLOOD, actor="on-call")
    start, answers = threading.Barrier(4), []

    def approve(actor: str) -> None:
        start.wait()
        try:
            answers.append(record(given, "approve", {"id": "flood"}, actor).act.actor)
        except Refused as error:
            answers.append(str(error))

    writers = [threading.Thread(target=approve, args=(f"lead-{number}",)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(answers)[:3] == ["flood is approved already"] * 3
    assert sorted(answers)[3].startswith("lead-")
    assert verify(log(url)) is None
    assert len(log(url)) == 2


def test_writers_at_once_make_one_chain_without_a_gap(tmp_path: Path, url: str) -> None:
    given = settings(tmp_path, url)
    record(given, *NOTE, actor="first")
    failures: list[Exception] = []

    def write(actor: str) -> None:
        try:
            for _ in range(5):
                record_all(given, [NOTE, NOTE], actor)
        except Exception as error:  # for the assertion below
            failures.append(error)

    writers = [threading.Thread(target=write, args=(f"writer-{number}",)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    links = log(url)
    assert len(links) == 31
    assert verify(links) is None
    assert all(links[at].act.actor == links[at + 1].act.actor for at in range(1, 31, 2))  # pairs stay together


def test_a_clock_that_was_set_back_records_nothing(tmp_path: Path) -> None:
    """A file has the clock of whoever writes."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    given = settings(tmp_path, url)
    directly(given, [NOTE], "on-call", clock=lambda: 2_000_000_000)
    with pytest.raises(Refused, match="wait until then, or set the clock right"):
        directly(given, [NOTE], "on-call", clock=lambda: 1_999_999_999)
    directly(given, [NOTE], "on-call", clock=lambda: 2_000_000_000)
    assert [link.act.at_s for link in log(url)] == [2_000_000_000] * 2


def test_a_shared_database_has_one_clock_its_own(request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("server").database()
    with closing(database(url)) as shared:
        (made,) = append(shared, [NOTE], "on-call", clock=lambda: 5)
    assert abs(made.act.at_s - time.time()) < 60


def test_a_log_that_was_altered_gets_no_further_act(tmp_path: Path, url: str) -> None:
    given = settings(tmp_path, url)
    for _ in range(3):
        record(given, *NOTE, actor="on-call")
    with closing(Database(url)) as altered, altered.writing() as connection:
        connection.execute(text('UPDATE act SET content = \'{"text":"y"}\' WHERE seq = 2'))
    with pytest.raises(Refused, match="act 2: its content is not what was recorded; nothing is added"):
        record(given, *NOTE, actor="on-call")
    with closing(Database(url)) as altered, altered.writing() as connection:
        connection.execute(text("UPDATE act SET content = '[' WHERE seq = 2"))
    with pytest.raises(Refused, match="act 2: its content is not what was recorded; nothing is added"):
        record(given, *NOTE, actor="on-call")
    with closing(Database(url)) as altered, pytest.raises(ValueError, match="act 2 of the ledger is damaged"):
        acts.links(altered)


def test_what_is_kept_holds_as_the_chain_does_and_breaks_where_it_does(tmp_path: Path, url: str) -> None:
    """Two ways to the same hash: over the bytes that are kept, and over the act that they say."""
    given = settings(tmp_path, url)
    record(given, "note", {"text": '\u2028 \U0001f600 " \\ \x7f'}, "Ü \"'\\")
    record_all(given, [NOTE, ("exclude", FLOOD), NOTE], "on-call")
    with closing(Database(url)) as kept:
        rows = list(acts.acts(kept))
    assert acts.broken(rows) is None
    assert verify(map(acts.link_of, rows)) is None
    changes: list[dict[str, Any]] = [
        {"seq": 9}, {"at_s": rows[2].at_s + 1}, {"at_s": 5}, {"actor": "x"}, {"kind": "y"}, {"content": "{}"},
        {"previous": "0" * 64}, {"hash": "0" * 64},
    ]  # fmt: skip
    for change in changes:
        altered = [*rows[:2], rows[2]._replace(**change), rows[3]]
        assert acts.broken(altered) == verify(map(acts.link_of, altered)) is not None, change
    assert acts.broken([rows[0], rows[2]]) == verify(map(acts.link_of, [rows[0], rows[2]]))


def test_exact_values_are_kept_as_their_hash_is_over_them(tmp_path: Path, url: str) -> None:
    given = settings(tmp_path, url)
    made = record(given, "note", {"text": "ü\u2028\U0001f600 \"quoted\" \\ 'single'"}, "Ünal")
    assert log(url) == (made,)
    assert verify(log(url)) is None


# --- where nothing can be recorded ----------------------------------------------------------------------------------


def test_in_a_wrong_directory_no_ledger_is_made(tmp_path: Path) -> None:
    with pytest.raises(NotRecorded, match="is TIERGATE_STATE_DIR the one"):
        record(settings(tmp_path, ""), *NOTE, actor="on-call")
    assert list(tmp_path.iterdir()) == []


def test_the_ledger_in_the_state_directory_is_found_without_a_gateway(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    database(default_url(tmp_path / "state")).close()
    record(settings(tmp_path, ""), *NOTE, actor="on-call")
    assert len(log(default_url(tmp_path / "state"))) == 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.write_bytes(b"no database" * 1_000), "file is not a database"),
        (lambda file: file.write_bytes(file.read_bytes()[:5_000]), "malformed|not a database"),
        (lambda file: _newer(file), "newer Tiergate"),
    ],
)
def test_a_ledger_that_cannot_be_used_is_named(tmp_path: Path, spoil: Any, said: str) -> None:
    file = tmp_path / "ledger.sqlite"
    given = settings(tmp_path, f"sqlite:///{file}")
    record(given, *NOTE, actor="on-call")
    spoil(file)
    with pytest.raises(NotRecorded, match=said):
        record(given, *NOTE, actor="on-call")


def _newer(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    connection.close()


def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    away = f"postgresql://tiergate:s3cret@/ledger?host={tmp_path}"
    with pytest.raises(NotRecorded) as failed:
        record(settings(tmp_path, away), *NOTE, actor="on-call")
    assert "s3cret" not in str(failed.value)
    assert "/ledger" in str(failed.value)


def test_the_actor_is_who_typed_the_command_also_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "on-call")
    assert default_actor() == "on-call"
    monkeypatch.setenv("SUDO_USER", "")
    monkeypatch.setenv("LOGNAME", "release-manager")
    assert default_actor() == "release-manager"
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert default_actor()


# --- through a running gateway --------------------------------------------------------------------------------------


def test_a_running_gateway_records_with_its_own_clock_and_ledger(tmp_path: Path, url: str) -> None:
    """The command knows the state directory alone; where the ledger is, only the gateway was told."""
    with Shipped(tmp_path, POLICY, TIERGATE_LEDGER_URL=url) as running:
        running.ready()
        given = Settings(state_dir=running.state)
        made = record(given, "exclude", FLOOD, actor="on-call")
        with pytest.raises(Refused, match="on-call recorded flood; another person"):
            record(given, "approve", {"id": "flood"}, actor="on-call")
        record(given, "approve", {"id": "flood"}, actor="release-manager")
        assert not (running.state / "ledger.sqlite").exists()
    assert [link.act.kind for link in log(url)] == ["exclude", "approve"]
    assert log(url)[0] == made
    assert verify(log(url)) is None


def test_what_comes_over_the_socket_is_judged_however_it_looks(tmp_path: Path) -> None:
    with Shipped(tmp_path, POLICY) as running:
        running.ready()
        line = running.state / "control.sock"
        for wrong, said in (
            (["note"], "an act is an object"),
            ([{"kind": "note"}], "the content of an act is an object"),
            ([{"kind": 7, "content": {}}], "an act is an object"),
            ([{"kind": "note", "content": {"text": 1.5}}], "no canonical form|not text"),
            ([{"kind": "note", "content": {"text": "x" * 5_000}}], "at most 4096"),
        ):
            with pytest.raises(control.Declined, match=said):
                control.converse(line, control.Record(acts=wrong, actor="on-call"))
        with pytest.raises(control.Declined, match="needs an actor"):
            control.converse(line, control.Record(acts=[{"kind": "note", "content": {"text": "x"}}], actor=" "))
        assert control.converse(line, control.Record(acts=[], actor="on-call")) == {"links": []}
        with pytest.raises(control.ControlError, match="more than the control line carries"):
            control.converse(line, control.Record(acts=["x" * control.MAX_LINE], actor="on-call"))
        assert running.get("/x")[0] == 401  # and nobody's traffic has noticed
    assert log(default_url(running.state)) == ()


def test_two_gateways_commands_share_one_log(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("server").database()
    with contextlib.ExitStack() as running:
        states = []
        for name in ("a", "b"):  # one after the other: each needs a core to start
            (tmp_path / name).mkdir()
            gateway = running.enter_context(Shipped(tmp_path / name, POLICY, TIERGATE_LEDGER_URL=url))
            states.append(Settings(state_dir=gateway.ready().state))
        record(states[0], "exclude", FLOOD, actor="on-call")
        record(states[1], "approve", {"id": "flood"}, actor="release-manager")
        with pytest.raises(Refused, match="recorded already"):
            record(states[1], "exclude", FLOOD, actor="on-call")
    assert register(log(url)).requests[0].exclusion.approved


def test_a_gateway_whose_ledger_is_away_says_so_and_records_nothing(tmp_path: Path) -> None:
    away = f"postgresql://tiergate:s3cret@/ledger?host={tmp_path}"
    with Shipped(tmp_path, POLICY, TIERGATE_LEDGER_URL=away) as running:
        running.ready()
        with pytest.raises(NotRecorded) as failed:
            record(Settings(state_dir=running.state), *NOTE, actor="on-call")
        assert "s3cret" not in str(failed.value)
        assert running.status()["not_ready_because"] == []


def test_a_gateway_that_dies_while_it_is_asked_leaves_the_question_open(tmp_path: Path) -> None:
    """Nothing is recorded a second time behind its back: it may have been done."""

    state = tmp_path / "state"
    state.mkdir()
    with socket.socket(socket.AF_UNIX) as dying:
        dying.bind(str(state / "control.sock"))
        dying.listen()

        def die() -> None:
            line = dying.accept()[0]
            line.recv(100)
            line.close()

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(NotRecorded, match="sla acts` shows whether it was recorded"):
            record(settings(tmp_path, f"sqlite:///{tmp_path / 'l.sqlite'}"), *NOTE, actor="on-call")
        thread.join()
    assert not (tmp_path / "l.sqlite").exists()


def test_a_killed_gateways_socket_is_no_gateway(tmp_path: Path, url: str) -> None:
    with Shipped(tmp_path, POLICY, TIERGATE_LEDGER_URL=url) as running:
        running.ready()
        until(lambda: len(log(url)) == 0)
        pids = [one["pid"] for one in running.status()["workers"]]
        assert running.process is not None
        running.process.kill()
        running.process.wait(20)
        for pid in pids:
            running.signal_pid(pid, 9)
        assert (running.state / "control.sock").exists()
        record(Settings(state_dir=running.state, ledger_url=url), *NOTE, actor="on-call")
    assert len(log(url)) == 1


def test_another_user_may_not_write_to_the_socket(tmp_path: Path) -> None:
    with Shipped(tmp_path, POLICY) as running:
        running.ready()
        assert (os.stat(running.state / "control.sock").st_mode & 0o777) == 0o600
