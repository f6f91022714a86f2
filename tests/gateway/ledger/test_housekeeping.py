"""What is packed, what is forgotten and what is kept for a claim (D7, C4)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from gateway.ledger import acts
from gateway.ledger.database import Database
from gateway.ledger.days import DAY_S
from gateway.ledger.housekeeping import PACK_AFTER_S, Housekeeper, kept_from_s
from gateway.ledger.store import RETENTION_S, Store
from gateway.ledger.tables import packed_day, slot_counter
from tests.gateway.ledger.test_store import EVER, good, life, row
from tests.middleware.harness import VirtualClock
from tests.policies.sla_log import Log, at, closing

SECOND = 1_000_000
CLOSED = "2026-04-06T00:00:00Z"
MARCH, APRIL = at("2026-03-01T00:00:00Z"), at("2026-04-01T00:00:00Z")


def tidied(url: str, now_s: int) -> None:
    Housekeeper(lambda: Database(url), VirtualClock(wall_us=now_s * SECOND)).tidy()


def sizes(store: Store) -> tuple[int, int]:
    """Rows that stand alone, and packed days."""
    with store.database.reading() as connection:
        return tuple(  # type: ignore[return-value]
            connection.execute(select(func.count()).select_from(table)).scalar() for table in (slot_counter, packed_day)
        )


def test_days_are_packed_when_their_month_is_final_whatever_its_zone(store: Store, url: str) -> None:
    store.receive([row(3, slot_s=MARCH), row(4, slot_s=MARCH + DAY_S)], [], MARCH + DAY_S)
    tidied(url, MARCH + DAY_S + PACK_AFTER_S - 1)
    assert sizes(store) == (2, 0)
    tidied(url, MARCH + DAY_S + PACK_AFTER_S)
    assert sizes(store) == (1, 1)
    assert sum(good(store).values()) == 7
    assert PACK_AFTER_S >= (31 + 5) * DAY_S, "P6"


def test_what_is_past_its_retention_is_forgotten(store: Store, url: str) -> None:
    store.receive([row(3, slot_s=MARCH), row(4, slot_s=APRIL)], [life(MARCH, MARCH + 9)], APRIL)
    tidied(url, APRIL + RETENTION_S - 1)
    assert sum(good(store).values()) == 4
    assert store.alive(*EVER) == {}
    tidied(url, APRIL + DAY_S + RETENTION_S)
    assert good(store) == {}


def claims(*steps: str) -> Log:
    """March is closed with a credit; ``steps`` are recorded one day after another."""
    log = Log(CLOSED)
    log.record(("close", closing("acme", "2026-03", "10")))
    for number, to in enumerate(steps):
        actor = "on-call" if to == "claimed" else "release-manager"
        why = {"reason": "no such outage"} if to == "rejected" else {}
        now = f"2026-04-{10 + number:02}T00:00:00Z"
        log.say("claim", by=actor, now=now, tenant="acme", period="2026-03", to=to, **why)
    return log


LATE_S = APRIL + RETENTION_S + 100 * DAY_S


@pytest.mark.parametrize(
    ("steps", "kept"),
    [((), False), (("claimed",), True), (("claimed", "approved"), True), (("claimed", "rejected"), False),
     (("claimed", "approved", "applied"), False)],
)  # fmt: skip
def test_evidence_is_kept_for_a_claim_until_it_is_decided(
    store: Store, url: str, steps: tuple[str, ...], kept: bool
) -> None:
    log = claims(*steps)
    acts.extend(store.database, lambda links, now_s: log.links)
    store.receive([row(1, slot_s=MARCH - 3 * DAY_S), row(2, slot_s=MARCH - DAY_S), row(4, slot_s=MARCH)], [], MARCH)
    tidied(url, LATE_S)
    assert sorted(good(store).values()) == ([2, 4] if kept else []), "with the day before, which is looked at too"


def test_a_credit_is_open_as_long_as_it_may_be_claimed() -> None:
    found = claims().register
    until_s = found.claims["acme", "2026-03"].deadline_s
    assert kept_from_s(found, until_s - 1) == MARCH - DAY_S
    assert kept_from_s(found, until_s) is None


def test_nothing_is_forgotten_while_the_log_makes_no_sense(
    store: Store, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = claims("claimed")
    acts.extend(store.database, lambda links, now_s: log.links)
    last = log.links[-1]
    broken = acts.row_of(last)._replace(seq=last.number + 1, previous=last.hash, hash="f" * 64, content="{}")
    acts.extend(store.database, lambda log, now_s: [acts.link_of(broken)])
    store.receive([row(1, slot_s=MARCH - 3 * DAY_S)], [], MARCH)
    with caplog.at_level(logging.WARNING):
        tidied(url, LATE_S)
    assert sum(good(store).values()) == 1
    assert "was not tidied" in caplog.text


def test_a_store_that_is_away_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    keeper = Housekeeper(lambda: Database("postgresql://nobody@127.0.0.1:1/none"), VirtualClock())
    with caplog.at_level(logging.WARNING):
        keeper.tidy()
        keeper.tidy()
    assert caplog.text.count("was not tidied") == 1


def test_packing_stops_when_the_process_ends(store: Store) -> None:
    store.receive([row(1, slot_s=MARCH + day * DAY_S) for day in range(9)], [], MARCH + 9 * DAY_S)
    left = iter([False, False, True])
    until: Callable[[], bool] = lambda: next(left, True)  # noqa: E731 - it counts
    assert store.pack(MARCH + 9 * DAY_S, until) == 2
    assert sizes(store) == (7, 2)


def test_the_thread_ends_when_it_is_told_to() -> None:
    keeper = Housekeeper(lambda: Database("sqlite:////nonexistent/x"), VirtualClock())
    keeper.start()
    keeper.close(20)
    assert keeper._thread is not None
    assert not keeper._thread.is_alive()
