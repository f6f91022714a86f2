"""What a worker reports of used keys: each use once, however many keys there are."""

from __future__ import annotations

from gateway.key_uses import MOST, KeyUses


class Uses:
    """Last uses in their order, and how many were looked at."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.looked_at = 0

    def use(self, key: str, second: int) -> None:
        self.last.pop(key, None)
        self.last[key] = second

    def since(self, second: int) -> dict[str, int]:
        found = {key: used for key, used in self.last.items() if used >= second}
        self.looked_at += len(found)
        return found


def test_each_use_is_told_once_also_within_the_second_that_was_told_of() -> None:
    uses = Uses()
    report = KeyUses(uses.since)
    uses.use("a", 10)
    assert report.news() == {"a": 10}
    uses.use("b", 10)
    assert report.news() == {"b": 10}
    assert report.news() == {}
    uses.use("a", 11)
    assert report.news() == {"a": 11}
    assert report.news() == {}


def test_keys_that_are_not_used_any_more_cost_nothing() -> None:
    uses = Uses()
    report = KeyUses(uses.since)
    for number in range(1_000):
        uses.use(f"k{number}", number)
    assert len(report.news()) == 1_000
    uses.looked_at = 0
    uses.use("k0", 2_000)
    assert report.news() == {"k0": 2_000}
    assert uses.looked_at <= 2


def test_more_than_a_report_holds_are_told_in_the_next_ones_and_none_is_lost() -> None:
    uses = Uses()
    report = KeyUses(uses.since)
    for number in range(2 * MOST + 5):
        uses.use(f"k{number}", 10 + number // (MOST + 3))
    told = [report.news() for _ in range(4)]
    assert [len(part) for part in told] == [MOST, MOST, 5, 0]
    assert told[0] | told[1] | told[2] == uses.last
