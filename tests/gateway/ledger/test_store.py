"""The shared store: whatever is sent, however often and in whatever order, the figure is the same."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, MetaData, select, text, update

from gateway.ledger import acts, tables
from gateway.ledger.cells import WIDTH, Counters, Row, packed, requests
from gateway.ledger.database import Database, StoreError, default_url, parsed
from gateway.ledger.days import DAY_S
from gateway.ledger.imported import Probes
from gateway.ledger.spool_file import LifeRow
from gateway.ledger.store import RETENTION_S, Store
from gateway.stores.quota_file import StateError
from policies.sla import chain
from policies.sla.chain import Act, Link
from tests.gateway.ledger.recording import NOON_S

DAY = NOON_S // DAY_S * DAY_S
LATER_S = NOON_S + 10 * DAY_S
EVER = (0, 4_000_000_000)
LATEST = max(tables.MIGRATIONS)


def counters(good: int = 1, bad: int = 0, ignored: int = 0) -> Counters:
    return (good, bad, 0, ignored, *(0,) * (WIDTH - 4))


def row(
    good: int = 1, *, slot_s: int = NOON_S, tenant: str = "acme", group: str = "crm", replica: str = "gw/0",
    boot: str = "b1", seq: int = 1, bad: int = 0,
) -> Row:  # fmt: skip
    return Row(slot_s, tenant, group, replica, boot, seq, packed(counters(good, bad)))


def life(from_s: int, to_s: int, *, replica: str = "gw/0", boot: str = "b1") -> LifeRow:
    return LifeRow(replica, boot, from_s, to_s, 0)


def good(store: Store, tenant: str = "acme") -> dict[int, int]:
    """Good requests by minute from noon."""
    found: dict[int, int] = {}
    for slot_s, _, each in store.cells(tenant, *EVER):
        found[(slot_s - NOON_S) // 60] = found.get((slot_s - NOON_S) // 60, 0) + each[0]
    return found


# --- receiving ------------------------------------------------------------------------------------------------------


def test_resent_and_reordered_flushes_change_nothing(store: Store) -> None:
    """D1."""
    flushes = [
        row(seq, seq=seq, slot_s=NOON_S + 60 * minute, replica=replica, boot=boot)
        for seq in (1, 2, 3) for minute in (0, 1) for replica in ("gw/0", "gw/1") for boot in ("b1", "b2")
    ]  # fmt: skip
    sent = flushes * 3
    random.Random(7).shuffle(sent)
    for at in range(0, len(sent), 5):
        store.receive(sent[at : at + 5], [], NOON_S)
    assert good(store) == {0: 4 * 3, 1: 4 * 3}


def test_the_highest_sequence_counts_also_when_it_says_less(store: Store) -> None:
    """A correction, as O10 makes one, lowers a counter."""
    store.receive([row(9, seq=4)], [], NOON_S)
    store.receive([row(2, bad=7, seq=5)], [], NOON_S)
    store.receive([row(9, seq=4)], [], NOON_S)
    ((_, _, found),) = store.cells("acme", *EVER)
    assert (found[0], found[1]) == (2, 7)


def test_replicas_and_boots_add_and_groups_stay_apart(store: Store) -> None:
    store.receive(
        [row(1), row(2, boot="b2"), row(4, replica="gw/1"), row(8, group="mail"), row(16, tenant="globex")], [], NOON_S
    )
    assert list(store.cells("acme", *EVER)) == [(NOON_S, "crm", counters(7)), (NOON_S, "mail", counters(8))]
    assert list(store.platform(*EVER)) == [(NOON_S, "crm", counters(23)), (NOON_S, "mail", counters(8))]
    assert store.tenants() == ["acme", "globex"]


def test_calls_without_a_tenant_are_in_the_platform(store: Store) -> None:
    store.receive([row(1, tenant="", group="")], [], NOON_S)
    assert list(store.platform(*EVER)) == [(NOON_S, "", counters(1))]
    assert list(store.cells("acme", *EVER)) == []


def test_a_range_is_half_open_and_in_order(store: Store) -> None:
    for minute in random.Random(3).sample(range(-5, 6), 11):
        store.receive([row(minute + 10, slot_s=NOON_S + 60 * minute)], [], NOON_S + 600)
    found = [(slot_s - NOON_S) // 60 for slot_s, _, _ in store.cells("acme", NOON_S, NOON_S + 180)]
    assert found == [0, 1, 2]
    assert [slot_s for slot_s, _, _ in store.platform(NOON_S, NOON_S + 1)] == [NOON_S]


def test_slots_too_far_ahead_are_refused_and_counted(store: Store) -> None:
    """D5."""
    store.receive(
        [row(3, slot_s=NOON_S + 300), row(5, slot_s=NOON_S + 360)], [life(NOON_S + 301, NOON_S + 310)], NOON_S
    )
    assert good(store) == {5: 3}
    assert store.refused == 5
    assert store.alive(*EVER) == {}


def test_a_damaged_row_is_lost_alone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.receive([row(1), row(2, slot_s=NOON_S + 60)._replace(counters=b"\x81")], [], NOON_S)
    assert good(store) == {0: 1}
    assert "damaged" in caplog.text


def test_names_that_only_look_alike_stay_apart(store: Store) -> None:
    names = ["acme", "Acme", "ACME", "acme ", "ácme", "acme\u0301", "a'cme", 'a"cme', "%s", ":x", "x" * 300]
    store.receive([row(at + 1, tenant=name) for at, name in enumerate(names)], [], NOON_S)
    assert {name: good(store, name)[0] for name in names} == {name: at + 1 for at, name in enumerate(names)}


def test_several_replicas_at_once(url: str) -> None:
    stores = [Store(Database(url)) for _ in range(4)]
    failures: list[BaseException] = []

    def at_work(number: int) -> None:
        try:
            stores[number].open()
            for seq in range(1, 11):
                one = row(seq, seq=seq, replica=f"gw/{number}")
                rows = [one._replace(slot_s=NOON_S + 60 * at, tenant=f"t{(at + number) % 5}") for at in range(30)]
                stores[number].receive(rows, [life(NOON_S, NOON_S + seq, replica=f"gw/{number}")], NOON_S + 7_200)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=at_work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert sum(requests(each) for _, _, each in stores[0].platform(*EVER)) == 4 * 30 * 10
    assert len(stores[0].alive(*EVER)) == 4
    for store in stores:
        store.close()


# --- life -----------------------------------------------------------------------------------------------------------


def test_intervals_grow_and_never_shrink(store: Store) -> None:
    """D3."""
    for to_s in (10, 30, 20, 30):
        store.receive([], [life(NOON_S, NOON_S + to_s)], NOON_S)
    store.receive([], [life(NOON_S + 60, NOON_S + 90), life(NOON_S + 5, NOON_S + 9, replica="gw/1")], NOON_S)
    assert store.alive(NOON_S, NOON_S + 100) == {
        ("gw/0", "b1"): [(NOON_S, NOON_S + 30), (NOON_S + 60, NOON_S + 90)],
        ("gw/1", "b1"): [(NOON_S + 5, NOON_S + 9)],
    }


def test_intervals_are_clipped_to_what_was_asked_for(store: Store) -> None:
    store.receive([], [life(NOON_S, NOON_S + 100)], NOON_S)
    assert store.alive(NOON_S + 20, NOON_S + 30) == {("gw/0", "b1"): [(NOON_S + 20, NOON_S + 30)]}
    assert store.alive(NOON_S + 100, NOON_S + 130) == {}
    assert store.alive(NOON_S - 10, NOON_S) == {}


# --- tables and versions ---------------------------------------------------------------------------------------------


def test_the_migrations_lead_to_the_tables_that_are_queried(store: Store) -> None:
    found = MetaData()
    with store.database.reading() as connection:
        found.reflect(connection)
    assert set(found.tables) == set(tables.TABLES.tables)
    for table in tables.TABLES.sorted_tables:
        made = found.tables[table.name]
        assert [column.name for column in made.columns] == [column.name for column in table.columns]
        assert [column.name for column in made.primary_key] == [column.name for column in table.primary_key]
        assert all(not column.nullable for column in made.columns if not column.primary_key)
        assert {str(each.name) for each in made.indexes} == {str(each.name) for each in table.indexes}


def test_an_open_store_is_opened_again_without_harm(store: Store) -> None:
    store.receive([row(5)], [], NOON_S)
    store.open()
    assert good(store) == {0: 5}


def test_tables_of_a_newer_version_are_refused_and_left_as_they_are(url: str) -> None:
    database = Database(url)
    database.migrate({**tables.MIGRATIONS, LATEST + 1: lambda connection: None})
    said = rf"newer Tiergate .version {LATEST + 1}, .* knows {LATEST}.*TIERGATE_LEDGER_URL"
    with pytest.raises(StateError, match=said):
        database.migrate()
    with database.reading() as connection:
        assert connection.execute(select(tables.schema_version.c.version)).scalar_one() == LATEST + 1
    database.close()


def test_a_ledger_of_the_first_version_is_brought_up_and_keeps_what_it_has(url: str) -> None:
    store = Store(Database(url))
    store.database.migrate({1: tables.MIGRATIONS[1]})
    store.receive([row(5)], [], NOON_S)
    store.open()
    assert good(store) == {0: 5}
    assert store.probes(*EVER) == Probes(points=(), failing={})
    store.close()


def test_migrations_that_fail_leave_nothing_behind(url: str) -> None:
    def fails(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half (id INTEGER)"))
        connection.execute(text("CREATE TABLE broken ("))

    database = Database(url)
    with pytest.raises(StoreError):
        database.migrate({**tables.MIGRATIONS, LATEST + 1: fails})
    found = MetaData()
    with database.reading() as connection:
        found.reflect(connection)
    assert set(found.tables) == set()
    database.migrate()
    database.close()


def test_only_the_migrations_that_are_missing_run(url: str) -> None:
    ran = []
    database = Database(url)
    for more in (0, 2, 2):
        added = range(LATEST + 1, LATEST + more + 1)
        steps = {number: lambda connection, number=number: ran.append(number) for number in added}
        database.migrate({**tables.MIGRATIONS, **steps})
    assert ran == [LATEST + 1, LATEST + 2]
    database.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://root@localhost/x", "not kept in mysql"),
        ("ledger.sqlite", "no URL"),
        ("sqlite://", "names no file"),
        ("postgresql+asyncpg://h/x", "not kept in"),
        ("", "no URL"),
    ],
)
def test_addresses_that_cannot_be_a_ledger(url: str, said: str) -> None:
    with pytest.raises(StateError, match=said):
        parsed(url)


def test_addresses_of_both_kinds(tmp_path: Path) -> None:
    assert parsed("postgresql://u:p@h/d").drivername == "postgresql+psycopg"
    assert parsed(default_url(tmp_path)).database == str(tmp_path / "ledger.sqlite")


def test_a_store_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    database = Database(f"postgresql://tiergate:s3cret@/ledger?host={tmp_path}")
    with pytest.raises(StoreError, match=r"postgresql\+psycopg://tiergate:\*\*\*@/ledger") as error:
        database.migrate()
    assert "s3cret" not in str(error.value)
    database.close()


@pytest.mark.parametrize("content", [b"minutes\n" * 500, b"SQLite format 3\x00" + b"\x5a" * 5_000])
def test_a_file_that_is_no_ledger_is_an_error_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    database = Database(default_url(tmp_path))
    with pytest.raises(StoreError, match=r"ledger\.sqlite"):
        database.migrate()
    database.close()
    assert path.read_bytes() == content


# --- size, packing, retention ----------------------------------------------------------------------------------------


def busy(randomly: random.Random) -> Counters:
    """A minute of some 600 requests."""
    latency = [randomly.randrange(most + 1) for most in (120, 250, 160, 60, 25, 9, 4, 2, 2, 1, 0, 0, 0)]
    ignored = (0, randomly.randrange(3), randomly.randrange(30), randomly.randrange(5), 0, 0, 0)
    bad = randomly.randrange(3)
    return (sum(latency) - bad if sum(latency) > bad else 0, bad, 0, *ignored, *latency)


def busy_day(tenant: str = "acme", *, day_s: int = DAY, replica: str = "gw/0", boot: str = "b1") -> list[Row]:
    randomly = random.Random(f"{tenant}{replica}{boot}")
    return [
        Row(day_s + 60 * minute, tenant, "crm", replica, boot, 15 * minute + 13, packed(busy(randomly)))
        for minute in range(1_440)
    ]


def test_a_row_takes_at_most_seventy_bytes(tmp_path: Path) -> None:
    """D7."""
    store = Store(Database(default_url(tmp_path)))
    store.open()
    rows = [each for number in range(20) for each in busy_day(f"tenant-{number}", boot=f"{number:012x}")]
    store.receive(rows, [], LATER_S)
    store.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert (tmp_path / "ledger.sqlite").stat().st_size / len(rows) <= 70


def test_a_packed_day_is_small_and_reads_as_before(store: Store) -> None:
    """D7: a tenant that was busy in every minute."""
    store.receive([*busy_day(), *busy_day(day_s=DAY + DAY_S)], [], LATER_S)
    before = list(store.cells("acme", *EVER))
    assert len(before) == 2_880
    assert store.pack(DAY + 2 * DAY_S - 1) == 1, "the second day has not ended"
    assert list(store.cells("acme", *EVER)) == before
    assert list(store.cells("acme", DAY + 7_200, DAY + DAY_S + 60)) == before[120:1_441]
    assert list(store.platform(*EVER)) == before
    with store.database.reading() as connection:
        ((size,),) = connection.execute(select(tables.packed_day.c.cells)).all()
        assert len(connection.execute(select(tables.slot_counter.c.seq)).all()) == 1_440
    assert len(size) <= 25_000


def test_what_comes_after_packing_replaces_its_own_and_adds_to_others(store: Store) -> None:
    """D6: late data; the store has forgotten nothing of D1."""
    store.receive([row(5, seq=3), row(2, replica="gw/1")], [], NOON_S)
    assert store.pack(DAY + DAY_S) == 1
    store.receive([row(4, seq=2)], [], NOON_S)
    assert good(store) == {0: 7}, "resent after packing, or older"
    store.receive([row(9, seq=4), row(1, boot="b2"), row(1, slot_s=NOON_S + 60)], [], NOON_S)
    expected = {0: 12, 1: 1}
    assert good(store) == expected
    assert store.pack(DAY + DAY_S) == 1
    assert good(store) == expected
    assert store.pack(DAY + DAY_S) == 0
    assert store.tenants() == ["acme"]


def test_a_reader_sees_one_state_while_days_are_packed(store: Store, url: str) -> None:
    store.receive(busy_day(), [], LATER_S)
    other = Store(Database(url))
    cells = store.cells("acme", *EVER)
    first = next(cells)
    other.pack(DAY + DAY_S)
    assert len([first, *cells]) == 1_440
    assert len(list(other.cells("acme", *EVER))) == 1_440
    other.close()


def test_a_reading_transaction_sees_one_state(store: Store, url: str) -> None:
    """Packed days and rows are two queries: a day packed between them must not be in neither."""
    other = Store(Database(url))
    counted = select(tables.slot_counter.c.seq)
    with store.database.reading() as connection:
        assert connection.execute(counted).all() == []
        other.receive([row()], [], NOON_S)
        assert connection.execute(counted).all() == []
    other.close()


def test_a_counter_that_changed_where_it_lies_is_an_error_and_no_figure(store: Store) -> None:
    """Neither read nor packed: a packed day would vouch for it."""
    store.receive([row(bad=20)], [], NOON_S)
    with store.database.writing() as connection:
        connection.execute(update(tables.slot_counter).values(counters=packed(counters(1, 4))))
    with pytest.raises(ValueError, match="damaged: its counters are not"):
        good(store)
    with pytest.raises(ValueError, match="damaged"):
        store.pack(LATER_S)


def test_a_damaged_packed_day_is_an_error_and_no_silence(store: Store) -> None:
    store.receive([row()], [], NOON_S)
    store.pack(DAY + DAY_S)
    with store.database.writing() as connection:
        connection.execute(update(tables.packed_day).values(cells=b"\x01damaged"))
    with pytest.raises(ValueError, match="damaged"):
        list(store.cells("acme", *EVER))


def test_retention(store: Store) -> None:
    old_s = DAY - DAY_S
    store.receive([*busy_day(day_s=old_s), row(3)], [life(old_s, old_s + 9), life(NOON_S, NOON_S + 9)], LATER_S)
    store.pack(DAY)
    with pytest.raises(ValueError, match="403 days"):
        store.forget(DAY, DAY + RETENTION_S - 1)
    store.forget(DAY, DAY + RETENTION_S)
    assert good(store) == {0: 3}
    assert store.alive(*EVER) == {("gw/0", "b1"): [(NOON_S, NOON_S + 9)]}


# --- acts -----------------------------------------------------------------------------------------------------------


Made = Callable[[tuple[Link, ...], int | None], tuple[Link, ...]]


def noted(text: str) -> Made:
    """One more act behind the log."""

    def make(log: tuple[Link, ...], _: int | None) -> tuple[Link, ...]:
        last = log[-1] if log else None
        act = Act(kind="note", actor="on-call", at_s=NOON_S + len(log), content={"text": text})
        return (chain.append(last, act),)

    return make


def test_acts_follow_one_another_and_stay_byte_for_byte(store: Store) -> None:
    (first,), (second,) = (acts.extend(store.database, noted(text)) for text in ("b ü", "a"))
    assert second.previous == first.hash
    assert [each.content for each in acts.acts(store.database)] == ['{"text":"b ü"}', '{"text":"a"}']
    assert list(acts.acts(store.database, after=1)) == [acts.row_of(second)]
    assert acts.links(store.database) == (first, second)


def test_an_act_that_continues_nothing_is_refused(store: Store) -> None:
    (first,) = acts.extend(store.database, noted("x"))
    for wrong in (first, replace(first, number=3), replace(first, number=2, previous="elsewhere", hash="x")):
        with pytest.raises(ValueError, match="does not continue"):
            acts.extend(store.database, lambda log, now_s, wrong=wrong: (wrong,))  # type: ignore[misc]
    assert acts.links(store.database) == (first,)
    assert acts.extend(store.database, lambda log, now_s: ()) == ()


def test_acts_of_several_recorders_make_one_chain(url: str) -> None:
    databases = [Database(url) for _ in range(4)]
    databases[0].migrate()

    def record(database: Database) -> None:
        for _ in range(8):
            acts.extend(database, noted("x"))

    threads = [threading.Thread(target=record, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    links = acts.links(databases[0])
    assert [each.number for each in links] == list(range(1, 33))
    assert chain.verify(links) is None
    for database in databases:
        database.close()
