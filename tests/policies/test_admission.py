"""The reference decision against the naive oracle, and each kind's bound and its other side (I1-I9)."""

from __future__ import annotations

import copy
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from policies.admission import Book, Decision, Demand, Slot, charge, state_key
from policies.model import Bucket, Concurrent, Limit, Quota, Window
from tests.policies import oracle

SECOND = 1_000_000
DAY = 86_400 * SECOND
WALL = 1_795_000_000 * SECOND


def demand(*limits: Limit, cost: int = 1, shadow: tuple[Limit, ...] = ()) -> Demand:
    rates = [limit for limit in limits if not isinstance(limit, Concurrent)]
    return Demand(
        tuple(charge(limit, state_key(limit, None), cost) for limit in rates),
        tuple(Slot(state_key(c, None), c, c.slots) for c in limits if isinstance(c, Concurrent)),
        tuple(charge(limit, state_key(limit, None), cost) for limit in shadow if not isinstance(limit, Concurrent)),
    )


def kept(book: Book, account: str = "a") -> object:
    return copy.deepcopy((book.states(account), book._held))


def window(amount: int, seconds: int = 10) -> Window:
    return Window(name="w", amount=amount, period_us=seconds * SECOND)


gaps = st.one_of(
    st.just(0), st.integers(1, 50), st.integers(1, 4 * SECOND), st.sampled_from([10 * SECOND, 10 * SECOND - 1])
)
calls = st.lists(st.tuples(gaps, st.integers(1, 6)), max_size=120)


@given(st.sampled_from([1, 2, 5, 60, 127, 128]), calls)
def test_a_small_window_refuses_exactly_when_one_more_would_break_the_bound(
    amount: int, trace: list[tuple[int, int]]
) -> None:
    book, now, admitted = Book(), 5 * SECOND, []
    for gap, cost in trace:
        now += gap
        fits = oracle.in_last(admitted, 10 * SECOND, now) + cost <= amount
        decision = book.admit("a", demand(window(amount), cost=cost), now, WALL)
        assert decision.allowed == fits
        if decision.allowed:
            admitted.append((now, cost))
            assert decision.readings[0][1] == amount - oracle.in_last(admitted, 10 * SECOND, now)
    assert oracle.most_in_any_window(admitted, 10 * SECOND) <= amount


@given(st.sampled_from([129, 200, 300, 1000]), st.lists(st.tuples(gaps, st.integers(1, 90)), max_size=120))
def test_a_large_window_keeps_the_bound_and_refuses_nothing_below_one_grain(
    amount: int, trace: list[tuple[int, int]]
) -> None:
    grain = -(-amount // 128)
    book, now, admitted = Book(), 5 * SECOND, []
    for gap, cost in trace:
        now += gap
        before = oracle.in_last(admitted, 10 * SECOND, now)
        decision = book.admit("a", demand(window(amount), cost=cost), now, WALL)
        if decision.allowed:
            admitted.append((now, cost))
        else:
            assert before + cost > amount - (grain - 1), "refused although fewer than N - k + 1 units lie in the window"
        assert len(book.states("a").get(state_key(window(amount), None), b"")) <= 24 + 4 * 129
    assert oracle.most_in_any_window(admitted, 10 * SECOND) <= amount


def test_a_saturated_large_window_keeps_at_most_129_entries_and_loses_under_one_percent() -> None:
    amount, book, now, admitted = 1000, Book(), 0, []
    asked = demand(window(amount))
    for _ in range(8000):
        now += 5_001
        if book.admit("a", asked, now, WALL).allowed:
            admitted.append((now, 1))
    assert oracle.most_in_any_window(admitted[-2200:], 10 * SECOND) <= amount
    assert oracle.in_last(admitted, 10 * SECOND, now) >= amount - 7
    assert max(len(state) for state in book.states("a").values()) <= 24 + 4 * 129


@given(
    st.sampled_from([(1, 1), (5, 3), (100, 20), (7, 2), (1000, 1)]),
    st.lists(st.tuples(gaps, st.integers(1, 4)), max_size=100),
)
def test_a_bucket_keeps_its_bound_and_refuses_only_what_an_ideal_bucket_lacks(
    shape: tuple[int, int], trace: list[tuple[int, int]]
) -> None:
    amount, burst = shape
    limit = Bucket(name="b", amount=amount, period_us=SECOND, burst=burst)
    rate = Fraction(amount, SECOND)
    book, now, admitted = Book(), 5 * SECOND, []
    for gap, cost in trace:
        now += gap
        ideal = oracle.tokens(admitted, rate, burst, now)
        decision = book.admit("a", demand(limit, cost=cost), now, WALL)
        if decision.allowed:
            assert ideal >= cost
            admitted.append((now, cost))
        else:
            assert ideal < cost + Fraction(1, 1000)
    assert oracle.worst_excess_over_bucket(admitted, rate, burst) <= 0


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Africa/Cairo"])
@pytest.mark.parametrize("unit", ["day", "month"])
@given(steps=st.lists(st.tuples(st.integers(0, 3 * DAY), st.integers(1, 3)), max_size=60))
@settings(max_examples=30)
def test_a_quota_admits_exactly_its_amount_in_each_local_period(
    unit: str, zone: str, steps: list[tuple[int, int]]
) -> None:
    limit = Quota(name="q", amount=5, unit=unit, zone=zone)  # type: ignore[arg-type]
    book, wall, used = Book(), WALL, {}
    for step, cost in steps:
        wall += step
        period = oracle.local_period(wall, unit, zone)
        fits = used.get(period, 0) + cost <= 5
        decision = book.admit("a", demand(limit, cost=cost), 0, wall)
        assert decision.allowed == fits
        if fits:
            used[period] = used.get(period, 0) + cost
            reset = decision.readings[0][2]
            assert oracle.local_period(wall + reset * SECOND, unit, zone) != period
            assert oracle.local_period(wall + (reset - 1) * SECOND - 1, unit, zone) == period


def test_a_quota_period_never_goes_back_when_the_wall_clock_does() -> None:
    asked, book = demand(Quota(name="q", amount=2, unit="day")), Book()
    midnight = 1_795_046_400 * SECOND
    assert book.admit("a", asked, 0, midnight).allowed
    assert book.admit("a", asked, 0, midnight - 5 * SECOND).readings[0][1] == 0
    assert not book.admit("a", asked, 0, midnight - 4 * SECOND).allowed
    assert not book.admit("a", asked, 0, midnight + SECOND).allowed


windows = st.builds(
    lambda n, s: Window(name=f"w{n}x{s}", amount=n, period_us=s * SECOND),
    st.sampled_from([1, 3, 40, 300]),
    st.sampled_from([1, 10]),
)
buckets = st.builds(
    lambda n, b: Bucket(name=f"b{n}x{b}", amount=n, period_us=SECOND, burst=b),
    st.sampled_from([1, 3, 7]),
    st.integers(1, 9),
)
quotas = st.builds(lambda n: Quota(name=f"q{n}", amount=n, unit="day", zone="Europe/Berlin"), st.integers(1, 40))
concurrencies = st.builds(lambda n: Concurrent(name=f"c{n}", slots=n), st.integers(1, 4))
limits = st.lists(
    st.one_of(windows, buckets, quotas, concurrencies), min_size=1, max_size=4, unique_by=lambda limit: limit.name
)


@given(limits, st.lists(st.tuples(gaps, st.integers(1, 3), st.booleans()), max_size=60))
@settings(max_examples=150)
def test_all_limits_together_are_charged_or_none_and_the_stated_wait_is_exact(
    chosen: list[Limit], trace: list[tuple[int, int, bool]]
) -> None:
    book, now, leases = Book(), 100 * SECOND, []
    for gap, cost, release in trace:
        now += gap
        if release and leases:
            book.release(leases.pop(0))
        asked = demand(*chosen, cost=cost)
        before = kept(book)
        expected = book.read("a", asked, now, WALL + now)
        decision = book.admit("a", asked, now, WALL + now)
        assert decision.allowed == expected.allowed
        if decision.allowed:
            check_admitted(expected, decision, cost)
            leases += [decision.lease] if decision.lease else []
            continue
        assert kept(book) == before, "a refusal changed something"
        assert decision.refused_by
        if not decision.full_slots and any(cost <= charge.q for charge in asked.charges):
            check_wait(book, asked, decision, now)


def check_admitted(before: Decision, decision: Decision, cost: int) -> None:
    for was, reading in zip(before.readings, decision.readings, strict=True):
        assert reading[1] == was[1] - cost
        assert reading[2] is None or reading[2] >= 1
    assert decision.free_slots == tuple(slots - 1 for slots in before.free_slots)


def check_wait(book: Book, asked: Demand, decision: Decision, now: int) -> None:
    if any(charge.cost > charge.q for charge in asked.charges):
        return
    wait = decision.longest_wait_us
    early, later = copy.deepcopy(book), copy.deepcopy(book)
    assert later.admit("a", asked, now + wait, WALL + now + wait).allowed
    assert not early.admit("a", asked, now + wait - 1, WALL + now + wait - 1).allowed


@given(limits, st.lists(st.tuples(gaps, st.integers(1, 3)), max_size=40))
def test_remaining_is_what_can_still_be_taken_now(chosen: list[Limit], trace: list[tuple[int, int]]) -> None:
    rates = [limit for limit in chosen if not isinstance(limit, Concurrent)]
    book, now = Book(), 100 * SECOND
    for gap, cost in trace:
        now += gap
        book.admit("a", demand(*rates, cost=cost), now, WALL)
    for limit in rates:
        asked = demand(limit)
        left, spare = book.read("a", asked, now, WALL).readings[0][1], copy.deepcopy(book)
        assert all(spare.admit("a", asked, now, WALL).allowed for _ in range(left))
        assert not spare.admit("a", asked, now, WALL).allowed


def test_slots_return_on_release_once_and_by_themselves_after_the_lease() -> None:
    asked, book = demand(Concurrent(name="c", slots=2)), Book()
    first, _ = (book.admit("a", asked, 0, WALL).lease for _ in range(2))
    assert not book.admit("a", asked, 1, WALL).allowed
    assert first is not None
    book.release(first)
    book.release(first)
    third = book.admit("a", asked, 2, WALL)
    assert third.allowed, "released twice must free one slot"
    assert not book.admit("a", asked, 3, WALL).allowed
    assert not book.admit("a", asked, asked.lease_us - 1, WALL).allowed
    assert book.admit("a", asked, asked.lease_us, WALL).allowed, "the second call's lease has passed"
    assert not book.admit("a", asked, asked.lease_us, WALL).allowed, "the third call's has not"


def test_a_late_release_frees_nobody_elses_slot_and_a_renewed_slot_stays() -> None:
    asked, book = demand(Concurrent(name="c", slots=1)), Book()
    lost = book.admit("a", asked, 0, WALL).lease
    assert lost
    renewed = book.admit("a", asked, asked.lease_us, WALL).lease
    assert renewed
    book.release(lost)
    assert not book.admit("a", asked, asked.lease_us + 1, WALL).allowed
    book.renew(renewed, 2 * asked.lease_us - 1)
    assert not book.admit("a", asked, 2 * asked.lease_us + 1, WALL).allowed


def test_a_shadow_limit_measures_and_never_refuses_nor_shows() -> None:
    shadow = Window(name="writes", amount=1, period_us=SECOND, shadow=True)
    asked, book = demand(window(3), shadow=(shadow,)), Book()
    seen = [book.admit("a", asked, n, WALL) for n in range(4)]
    assert [d.allowed for d in seen] == [True, True, True, False]
    assert [d.shadow_refused for d in seen] == [(), ("writes",), ("writes",), ()]
    assert all(len(d.readings) == 1 for d in seen)


@pytest.mark.parametrize(
    "ids",
    [
        ("a", "a/b"),
        ("a/", "a"),
        ("{", "}"),
        ("", " "),
        ("\u00e9", "e\u0301"),
        ("\u0430", "a"),
        ("a" * 10_000, "a" * 9_999),
    ],
)
def test_two_tenants_never_share_state(ids: tuple[str, str]) -> None:
    asked, book = demand(window(1), Concurrent(name="c", slots=1)), Book()
    assert all(book.admit(id, asked, 0, WALL).allowed for id in ids)
    assert not any(book.admit(id, asked, 0, WALL).allowed for id in ids)


@given(
    st.lists(
        st.tuples(st.sampled_from([50, 128, 300, 1000, 5000]), st.integers(0, SECOND), st.integers(1, 40)), max_size=80
    )
)
@settings(max_examples=200)
def test_an_edit_of_the_amount_keeps_every_unit(trace: list[tuple[int, int, int]]) -> None:
    book, now, admitted = Book(), 5 * SECOND, []
    for amount, gap, cost in trace:
        now += gap
        if book.admit("a", demand(window(amount), cost=cost), now, WALL).allowed:
            admitted.append((now, cost))
        used = oracle.in_last(admitted, 10 * SECOND, now)
        for other in (50, 5000):
            left = book.read("a", demand(window(other)), now, WALL).readings[0][1]
            assert max(0, other - used - 2 * 40) <= left <= max(0, other - used), "a unit was lost or made up"


def test_the_time_of_an_entry_is_that_of_its_last_unit() -> None:
    asked, book = demand(window(1000)), Book()
    book.admit("a", asked, 0, WALL)
    assert book.admit("a", asked, 4 * SECOND, WALL).readings[0][1:] == (998, 10)
    assert book.read("a", asked, 10 * SECOND, WALL).readings[0][1:] == (998, 4)
    assert book.read("a", asked, 14 * SECOND, WALL).readings[0][1:] == (1000, 10)


@pytest.mark.parametrize(("amount", "burst"), [(7, 2), (3, 1), (999_983, 50)])
def test_a_saturated_bucket_never_exceeds_its_rate_by_a_rounding(amount: int, burst: int) -> None:
    limit = Bucket(name="b", amount=amount, period_us=SECOND, burst=burst)
    asked, book, now, admitted = demand(limit), Book(), 0, []
    for _ in range(400):
        decision = book.admit("a", asked, now, WALL)
        if decision.allowed:
            admitted.append((now, 1))
        else:
            now += decision.longest_wait_us
    assert len(admitted) >= 200
    assert oracle.worst_excess_over_bucket(admitted, Fraction(amount, SECOND), burst) <= 0


def test_a_slow_bucket_says_when_its_next_unit_comes_full_or_not() -> None:
    asked, book = demand(Bucket(name="b", amount=6, period_us=60 * SECOND, burst=3)), Book()
    seen = [book.admit("a", asked, at_s * SECOND, WALL).readings[0][1:] for at_s in (0, 4, 100)]
    assert seen == [(2, 10), (1, 6), (2, 10)]


def test_an_expired_slot_returns_also_behind_one_that_lives_longer() -> None:
    limit = Concurrent(name="c", slots=2)
    slot = Slot(state_key(limit, None), limit, 2)
    slow, quick = Demand((), (slot,), lease_us=100 * SECOND), Demand((), (slot,), lease_us=5 * SECOND)
    book = Book()
    assert book.admit("a", slow, 0, WALL).allowed
    assert book.admit("a", quick, 0, WALL).allowed
    assert not book.admit("a", quick, 5 * SECOND - 1, WALL).allowed
    assert book.admit("a", quick, 5 * SECOND, WALL).allowed


def test_raising_and_cutting_an_amount_and_back_forgets_nothing() -> None:
    book = Book()
    for _ in range(1000):
        assert book.admit("a", demand(window(1000)), 0, WALL).allowed
    assert not book.admit("a", demand(window(100)), 1, WALL).allowed
    assert not book.admit("a", demand(window(1000)), 2, WALL).allowed
    assert book.admit("a", demand(window(1001)), 3, WALL).allowed
    assert not book.admit("a", demand(window(1001)), 4, WALL).allowed


@pytest.mark.parametrize("hours", [1, 2, 24])
def test_a_window_lives_through_months_of_steady_use(hours: int) -> None:
    limit = Window(name="w", amount=6, period_us=hours * 3600 * SECOND)
    asked, book, now, admitted = demand(limit), Book(), 0, []
    for _ in range(600):
        now += hours * 500 * SECOND + 17
        if book.admit("a", asked, now, WALL).allowed:
            admitted.append((now, 1))
    assert oracle.most_in_any_window(admitted, limit.period_us) == 6
    assert len(admitted) == 450


@given(limits, st.integers(0, 4 * DAY))
def test_a_swept_state_makes_no_difference(chosen: list[Limit], later: int) -> None:
    asked, book = demand(*chosen), Book()
    for n in range(5):
        decision = book.admit("a", asked, n, WALL + n)
        if decision.lease:
            book.release(decision.lease)
    swept = copy.deepcopy(book)
    swept.sweep("a", later, WALL + later)
    expected, got = (b.read("a", asked, later, WALL + later) for b in (book, swept))
    assert [reading[1:] for reading in got.readings] == [reading[1:] for reading in expected.readings]
    swept.sweep("a", later + 40 * DAY, WALL + later + 40 * DAY)
    assert len(swept) == 0


def test_adding_a_limit_never_turns_a_refusal_into_an_admission() -> None:
    book = Book()
    for _ in range(3):
        book.admit("a", demand(window(3)), 0, WALL)
    bucket = Bucket(name="b", amount=1, period_us=SECOND, burst=9)
    refused = book.admit("a", demand(bucket, window(3)), 0, WALL)
    assert not refused.allowed
    assert refused.refused_by == ("w",)
    assert refused.readings[0][1] == 9, "the bucket was not charged by a call that another limit refused"


@given(st.sampled_from([1, 3, 60, 128]), st.lists(st.integers(0, 5_000_000), max_size=150))
@settings(max_examples=40)
def test_a_window_agrees_with_the_moving_window_of_a_library_by_others(amount: int, steps: list[int]) -> None:
    """The two differ at the one instant at which a unit leaves; steps of 3 us never meet it (10**7 % 3 is 1)."""
    library, item = MovingWindowRateLimiter(MemoryStorage()), RateLimitItemPerSecond(amount, 10)
    book, now = Book(), 1_000 * SECOND
    with pytest.MonkeyPatch.context() as patch:
        for step in steps:
            now += 3 * step
            patch.setattr("time.time", lambda at=now: at / SECOND)
            assert book.admit("a", demand(window(amount)), now, WALL).allowed == library.hit(item, "a")
