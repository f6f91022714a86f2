"""Records in batches: none lost, none twice, none late, and one bad sink costs the others nothing."""

from __future__ import annotations

import asyncio

import pytest

from gateway.batched import SIZE, Batched
from policies.exchange import Exchange, Outcome
from tests.gateway.facts import finished, outcome

pytestmark = pytest.mark.anyio


class Sink:
    def __init__(self, broken_at: int | None = None) -> None:
        self.seen: list[Outcome] = []
        self.given = asyncio.Event()
        self._broken_at = broken_at

    def record(self, exchange: Exchange, outcome: Outcome) -> None:
        if len(self.seen) == self._broken_at:
            self._broken_at = None
            raise OSError("full")
        self.seen.append(outcome)
        self.given.set()


async def test_a_full_batch_is_handed_on_at_once_and_in_order() -> None:
    first, second = Sink(), Sink()
    batched = Batched((first, second))
    sent = [outcome(status=200 + number) for number in range(SIZE)]
    for number, one in enumerate(sent):
        assert first.seen == [], number
        batched.record(finished(), one)
    assert first.seen == second.seen == sent


async def test_what_is_left_over_is_handed_on_soon_and_every_batch_afterwards() -> None:
    sink = Sink()
    batched = Batched((sink,))
    for number in range(1, 4):
        batched.record(finished(), outcome())
        assert len(sink.seen) == number - 1
        sink.given.clear()
        async with asyncio.timeout(5):
            await sink.given.wait()
        assert len(sink.seen) == number


async def test_flush_hands_on_what_is_held_and_only_once() -> None:
    sink = Sink()
    batched = Batched((sink,))
    batched.record(finished(), outcome())
    batched.flush()
    batched.flush()
    assert len(sink.seen) == 1
    later = outcome(status=404)
    sink.given.clear()
    batched.record(finished(), later)  # its timer is due after that of the first record
    async with asyncio.timeout(5):
        await sink.given.wait()
    assert [one.status for one in sink.seen] == [200, 404]


async def test_a_record_that_one_sink_cannot_take_is_lost_to_it_alone(caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Sink(broken_at=1), Sink()
    batched = Batched((bad, good))
    for _ in range(3):
        batched.record(finished(), outcome())
    batched.flush()
    assert [len(bad.seen), len(good.seen)] == [2, 3]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
