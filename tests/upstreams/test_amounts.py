"""Counts and times as upstreams write them: what is believed, exactly how it is rounded, and what is not an amount."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.throttling import MAX_WAIT_S, Unit
from upstreams.amounts import LONGEST, Received, count, percent, seconds

SECOND = 1_000_000
NOW_S = 1_790_000_000  # Mon, 21 Sep 2026 14:13:20 GMT
NOW = datetime.fromtimestamp(NOW_S, UTC)
RECEIVED = Received(NOW_S * SECOND)
UNITS: tuple[Unit, ...] = get_args(Unit)
NOT_NUMBERS = [
    "",
    " ",
    "soon",
    "unlimited",
    "+47",
    "4e1",
    "1_0",  # int() takes it
    "0x2f",
    "nan",  # float() takes it
    "Infinity",
    "\u0664\u0667",  # Arabic-Indic digits; int() takes them
    "4\u00b2",  # isdigit() is true of a superscript
    "\uff14\uff17",
    "47.",
    ".5",
    "1.2.3",
    "1,000",
    "--1",
    "- 1",
    "4 7",
    "47\n",
    "\u00a047",  # a no-break space is part of the value
    "9" * 16,
    "0" * 15 + "1",
    "9" * 5000,  # int() refuses beyond 4300 digits
    "9" * 40 + ".5",
]

COUNTS = [
    # text, down, up
    ("100", 100, 100),
    ("0", 0, 0),
    ("007", 7, 7),
    ("9" * 15, 10**15 - 1, 10**15 - 1),
    (" 47\t", 47, 47),
    ("100.0", 100, 100),
    ("583.000", 583, 583),
    ("89.1", 89, 90),
    ("0.9", 0, 1),
    ("1." + "0" * 200 + "1", 1, 2),
    ("-1", -1, -1),  # a sentinel (N11)
    ("-1.5", -2, -1),
    ("-0.5", -1, 0),
    ("-0", 0, 0),
]


@pytest.mark.parametrize(("text", "down", "up"), COUNTS)
def test_counts_are_rounded_down_and_shares_up(text: str, down: int, up: int) -> None:
    assert (count(text), percent(text)) == (down, up)


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_is_no_number_is_no_count_and_no_time(text: str) -> None:
    assert count(text) is None
    assert percent(text) is None
    assert [seconds(text, unit, RECEIVED) for unit in UNITS] == [None] * len(UNITS)


AUTO = [
    ("47", 47),
    ("0", 0),  # its own word, kept
    ("  47 ", 47),
    ("46.001", 47),
    ("12.04", 13),
    ("12.000", 12),
    ("0." + "0" * 100 + "1", 1),
    ("-1", None),
    ("-0", None),
    ("1209600", 1_209_600),  # a fortnight is genuine
    ("2678400", 2_678_400),
    ("2678401", None),  # beyond 31 days
    ("2678400.001", None),
    ("999999999", None),
    ("999999999.9999999", None),  # below an epoch's size, however it is rounded
    ("1000000000", 0),
    ("1790000047", 47),
    ("1790000060.25", 61),
    ("1789999900", 0),
    ("1789999999.999", 0),
    ("4000000000", None),  # the year 2096
    ("999999999999", None),
    ("1000000000000", 0),
    ("1790000060000", 60),
    ("1790000060000.5", 61),
    ("1790000060001", 61),
    ("1790000060000000", None),  # sixteen digits: microseconds are not guessed at
    ("6m0s", 360),
    ("1m7s", 67),
    ("1h23m31s", 5011),
    ("850ms", 1),
    ("900\u00b5s", 1),
    ("900\u03bcs", 1),
    ("900\u00c2\u00b5s", 1),  # UTF-8 read as latin-1
    ("900\u00ce\u00bcs", 1),
    ("7us", 1),
    ("1000000000ns", 1),
    ("1000000001ns", 2),
    ("0s", 0),
    ("1m30.5s", 91),
    ("2m59.56s", 180),
    ("41.724s", 42),
    ("59.9999999999s", 60),
    ("60.0000000001s", 61),
    ("1.5h", 5400),
    ("0.5m0.5m", 60),
    ("744h", 2_678_400),
    ("744h1ns", None),
    ("999999999999999h", None),
    ("1d", None),
    ("1 m", None),
    ("1m ", 60),
    ("m", None),
    ("5.s", None),
    (".5s", None),  # Go reads it and never prints it
    ("-5s", None),
    ("+5s", None),
    ("5S", None),
    ("5s,", None),
    ("5\u017f", None),  # the long s; a folding of case would take it
    ("1e3s", None),
    ("\u0665s", None),
    ("tomorrow", None),
]


@pytest.mark.parametrize(("text", "wait"), AUTO)
def test_numbers_and_durations_are_read_without_being_told_their_unit(text: str, wait: int | None) -> None:
    assert seconds(text, "auto", RECEIVED) == wait


DATES = [
    ("Mon, 21 Sep 2026 14:14:07 GMT", 47),
    ("Monday, 21-Sep-26 14:14:07 GMT", 47),  # rfc850-date
    ("Mon Sep 21 14:14:07 2026", 47),  # asctime-date
    ("Thu Oct  1 00:00:00 2026", 812_800),
    ("Thu Oct 1 00:00:00 2026", 812_800),
    ("Thu, 1 Oct 2026 00:00:00 GMT", 812_800),
    ("Mon, 21 Sep 2026 14:14:07 -0000", 47),  # Internet messages write GMT so
    ("Mon, 21 Sep 2026 14:14:07 +0000", 47),
    ("Mon, 21 Sep 2026 14:14:07 UTC", 47),
    ("Mon, 21 Sep 2026 14:13:60 GMT", 40),  # a leap second
    ("Tue, 21 Sep 2026 14:14:07 GMT", 47),  # another day's name
    ("Mon, 21 Sep 2026 13:13:20 GMT", 0),
    ("Wed, 21 Oct 2026 14:13:20 GMT", 2_592_000),
    ("Fri, 23 Oct 2026 14:13:20 GMT", None),  # 32 days
    ("Fri, 31 Dec 9999 23:59:59 GMT", None),
    ("Mon, 01 Jan 0001 00:00:00 GMT", 0),
    ("Sat, 01 Jan 0000 00:00:00 GMT", None),
    ("Mon, 31 Feb 2026 00:00:00 GMT", None),
    ("Mon, 29 Feb 2027 00:00:00 GMT", None),
    ("Mon, 00 Sep 2026 14:14:07 GMT", None),
    ("Mon, 21 Sep 2026 24:00:00 GMT", None),
    ("Mon, 21 Sep 2026 14:60:00 GMT", None),
    ("Mon, 21 Sep 2026 14:14:61 GMT", None),
    ("Mon, 21 Sep 2026 14:14:07", None),
    ("Mon, 21 Sep 2026 14:14:07 CEST", None),
    ("Mon, 21 Sep 2026 16:14:07 +0200", None),  # no HTTP-date
    ("mon, 21 sep 2026 14:14:07 gmt", None),  # case counts (RFC 9110 5.6.7)
    ("Mon, 21 Foo 2026 14:14:07 GMT", None),
    ("Mon,  21 Sep 2026 14:14:07 GMT", None),
    ("Mon, 2\u00b2 Sep 2026 14:14:07 GMT", None),
    ("21 Sep 2026 14:14:07 GMT", None),
    ("Friday, 31-Dec-76 23:59:59 GMT", 0),  # 2076 would be more than 50 years ahead
    ("Sunday, 20-Sep-76 14:14:07 GMT", None),  # 2076 is not
    ("Monday, 21-Sep-77 14:14:07 GMT", 0),  # 1977
    ("2026-09-21T14:14:07Z", 47),
    ("2026-09-21t14:14:07z", 47),
    ("2026-09-21T14:14:07", 47),  # UTC without a zone
    ("2026-09-21 14:14:07", 47),
    ("2026-09-21 14:14:07 UTC", 47),
    ("2026-09-21 16:14:07 +0200", 47),
    ("2026-09-21T14:14Z", 40),
    ("2026-09-21T14:14", 40),
    ("2026-09-21T14:14:07.000Z", 47),
    ("2026-09-21T14:14:06.0000001Z", 47),  # finer than a microsecond
    ("2026-09-21T14:14:06.1234567+00:00", 47),
    ("2026-09-21T16:14:07+02:00", 47),
    ("2026-09-21T16:14:07+0200", 47),
    ("2026-09-21T16:14:07+02", 47),
    ("2026-09-21T08:44:07-05:30", 47),
    ("2026-09-22T00:14:07+10:00", 47),
    ("2026-09-21T14:13:20Z", 0),
    ("9999-12-31T23:59:59-23:59", None),
    ("0001-01-01T00:00:00+23:59", 0),
    ("0000-01-01T00:00:00Z", None),
    ("2026-02-31T00:00:00Z", None),
    ("2026-13-01T00:00:00Z", None),
    ("2026-09-21T24:00:00Z", None),
    ("2026-09-21T14:14:07.Z", None),
    ("2026-09-21T14:14:07+24:00", None),
    ("2026-09-21T14:14:07ZZ", None),
    ("2026-09-21", None),
    ("20260921T141407Z", None),
    ("2026-09-21T14:14:07,5Z", None),
    ("\u0662026-09-21T14:14:07Z", None),
]


@pytest.mark.parametrize(("text", "wait"), DATES)
def test_dates_are_read_in_every_form_they_have(text: str, wait: int | None) -> None:
    assert seconds(text, "date", RECEIVED) == wait
    assert seconds(text, "auto", RECEIVED) == wait


OTHER_UNITS: list[tuple[Unit, str, int | None]] = [
    ("delta-seconds", "47", 47),
    ("delta-seconds", "1790000047", None),  # told so, it is no epoch
    ("delta-seconds", "47s", None),
    ("delta-milliseconds", "41724", 42),
    ("delta-milliseconds", "450", 1),
    ("delta-milliseconds", "0", 0),
    ("delta-milliseconds", "1000.01", 2),
    ("delta-milliseconds", "2678400000", MAX_WAIT_S),
    ("delta-milliseconds", "2678400001", None),
    ("delta-minutes", "12", 720),
    ("delta-minutes", "0.51", 31),
    ("delta-minutes", "44640", MAX_WAIT_S),
    ("delta-minutes", "44641", None),
    ("epoch-seconds", "1790000001.000", 1),
    ("epoch-seconds", "1790000000.0000001", 1),
    ("epoch-seconds", "47", 0),
    ("epoch-seconds", "1790000900000", None),
    ("epoch-milliseconds", "1790000900000", 900),
    ("epoch-milliseconds", "1790000900", 0),
    ("date", "47", None),
    ("date", "6m0s", None),
    ("js-date", "Mon Sep 21 2026 16:13:22 GMT+0200 (Central European Summer Time)", 2),
    ("js-date", "Mon Sep 21 2026 08:43:22 GMT-0530", 2),
    ("js-date", "Mon Sep 21 2026 16:13:22 GMT+0200 (Mitteleurop\u00e4ische Sommerzeit)", 2),
    ("js-date", "Mon Sep 31 2026 16:13:22 GMT+0200", None),
    ("js-date", "Mon Sep 21 2026 16:13:22 GMT+0200 (", None),
    ("js-date", "Invalid Date", None),
    ("js-date", "Mon, 21 Sep 2026 14:14:07 GMT", None),
    ("duration", "600s", 600),
    ("duration", "600", 600),
    ("duration", "0.1s", 1),
    ("duration", "1.5", 2),
    ("duration", "1790000047", None),
    ("duration", "2026-09-21T14:14:07Z", None),
    ("per-second", "0.0167", 60),
    ("per-second", "0.5", 2),
    ("per-second", "2", 1),
    ("per-second", "1", 1),
    ("per-second", "0", None),
    ("per-second", "0.000", None),
    ("per-second", "0.0000001", None),  # 116 days
    ("per-second", "-1", None),
    ("per-second", "1s", None),
]


@pytest.mark.parametrize(("unit", "text", "wait"), OTHER_UNITS)
def test_a_named_unit_reads_its_own_form_alone(unit: Unit, text: str, wait: int | None) -> None:
    assert seconds(text, unit, RECEIVED) == wait


CLOCKS = [
    # Date, our clock's distance from 14:13:20 in microseconds, wait until 14:19:07
    (None, 0, 347),
    ("Mon, 21 Sep 2026 14:18:20 GMT", 0, 47),  # theirs runs ahead: the difference to it counts (N3)
    ("Mon, 21 Sep 2026 14:08:20 GMT", 0, 647),
    (" Mon, 21 Sep 2026 14:18:20 GMT\t", 0, 47),
    ("Monday, 21-Sep-26 14:18:20 GMT", 0, 47),
    ("yesterday", 0, 347),
    ("", 0, 347),
    ("2026-09-21T14:18:20Z", 0, 347),  # no HTTP-date
    ("1790000300", 0, 347),
    ("Mon, 21 Sep 2026 15:13:20 GMT", 0, 0),  # an hour ahead is believed,
    ("Mon, 21 Sep 2026 15:13:21 GMT", 0, 347),  # a second more is not
    ("Mon, 21 Sep 2026 13:13:20 GMT", 0, 3947),
    ("Mon, 21 Sep 2026 13:13:20 GMT", 1, 347),
    ("Mon, 21 Sep 2026 14:18:20" + " " * LONGEST + " GMT", 0, 347),
    (None, 1, 347),  # part of a second has gone: round up
    (None, 999_999, 347),
    (None, 1_000_000, 346),
    ("Mon, 21 Sep 2026 14:18:20 GMT", 1, 47),
]


@pytest.mark.parametrize(("date", "off_us", "wait"), CLOCKS)
def test_instants_are_taken_against_the_senders_clock_if_it_is_within_an_hour(
    date: str | None, off_us: int, wait: int
) -> None:
    received = Received(NOW_S * SECOND + off_us, date)
    for text in ("Mon, 21 Sep 2026 14:19:07 GMT", "2026-09-21T14:19:07Z", "1790000347", "1790000347000"):
        assert seconds(text, "auto", received) == wait
    for text in ("47", "47s"):
        assert seconds(text, "auto", received) == 47, "a delta needs no clock"


def test_a_text_of_256_characters_is_read_and_a_longer_one_is_not() -> None:
    for text in ("1." + "0" * (LONGEST - 2), "1" + " " * (LONGEST - 1)):
        assert (count(text), percent(text), seconds(text, "auto", RECEIVED)) == (1, 1, 1)
        longer = text + text[-1]
        assert (count(longer), percent(longer), seconds(longer, "auto", RECEIVED)) == (None, None, None)


digits = st.text("0123456789", min_size=1, max_size=13)
numbers = st.builds(
    lambda whole, part: f"{whole}.{part}" if part else whole, digits, st.text("0123456789", max_size=30)
)
clocks = st.integers(-1_000_000, 1_000_000).map(lambda off_us: Received(NOW_S * SECOND + off_us))


def expected(wait: Fraction) -> int | None:
    rounded = max(0, math.ceil(wait))
    return rounded if rounded <= MAX_WAIT_S else None


@given(numbers, clocks)
def test_numbers_are_as_exact_as_fractions(text: str, received: Received) -> None:
    number, now = Fraction(text), Fraction(received.now_us, SECOND)
    assert (count(text), percent(text)) == (math.floor(number), math.ceil(number))
    assert seconds(text, "delta-milliseconds", received) == expected(number / 1000)
    assert seconds(text, "delta-minutes", received) == expected(number * 60)
    assert seconds(text, "epoch-seconds", received) == expected(number - now)
    assert seconds(text, "duration", received) == expected(number)
    assert seconds(text, "per-second", received) == (expected(1 / number) if number else None)
    by_size = number if number < 10**9 else (number if number < 10**12 else number / 1000) - now
    assert seconds(text, "auto", received) == expected(by_size)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["ns", "us", "ms", "s", "m", "h"])), min_size=1))
def test_the_parts_of_a_duration_add_up_before_they_are_rounded(parts: list[tuple[int, str]]) -> None:
    size = {"ns": Fraction(1, 10**9), "us": Fraction(1, 10**6), "ms": Fraction(1, 1000)}
    size |= {"s": Fraction(1), "m": Fraction(60), "h": Fraction(3600)}
    text = "".join(f"{number}{unit}" for number, unit in parts)
    wait = expected(sum((number * size[unit] for number, unit in parts), Fraction(0)))
    assert seconds(text, "auto", RECEIVED) == (wait if len(text) <= LONGEST else None)


@given(
    st.datetimes(NOW.replace(tzinfo=None) - timedelta(days=9), NOW.replace(tzinfo=None) + timedelta(days=45)),
    st.integers(-23 * 60, 23 * 60),
    clocks,
)
def test_an_instant_means_the_same_in_every_form(at: datetime, offset_min: int, received: Received) -> None:
    at = at.replace(tzinfo=UTC)
    now = Fraction(received.now_us, SECOND)
    exact = Fraction(round((at - NOW) / timedelta(microseconds=1)), SECOND) + NOW_S
    local = at.astimezone(timezone(timedelta(minutes=offset_min)))
    assert seconds(local.isoformat(), "auto", received) == expected(exact - now)
    assert seconds(local.strftime("%Y-%m-%d %H:%M:%S.%f%z"), "date", received) == expected(exact - now)
    whole = at.replace(microsecond=0)
    wait = expected(math.floor(exact) - now)
    for text in (
        format_datetime(whole, usegmt=True),
        format_datetime(whole),
        whole.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        whole.ctime(),
        whole.strftime("%Y-%m-%dT%H:%M:%SZ"),
    ):
        assert seconds(text, "date", received) == wait, text
    assert seconds(local.replace(microsecond=0).strftime("%a %b %d %Y %H:%M:%S GMT%z"), "js-date", received) == wait


VALID = [text for text, wait in (*AUTO, *DATES) if wait is not None and len(text) < 80]
VALID += [text for unit, text, wait in OTHER_UNITS if wait is not None]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid text with a few characters put in, taken out or changed."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 2))
        inserted = draw(st.text("0123456789.:-+ ,;TZsmhGM\u00b5\u00b2\u0664e_\n", max_size=2) | st.text(max_size=2))
        text = text[:at] + inserted + text[at + cut :]
    return text


@given(st.text() | mutated() | st.sampled_from(VALID), st.sampled_from(UNITS), st.text() | mutated() | st.none())
def test_no_text_raises_and_every_wait_is_within_bounds(text: str, unit: Unit, date: str | None) -> None:
    wait = seconds(text, unit, Received(NOW_S * SECOND, date))
    assert wait is None or (type(wait) is int and 0 <= wait <= MAX_WAIT_S)
    for number in (count(text), percent(text)):
        assert number is None or (type(number) is int and abs(number) <= 10**15)
