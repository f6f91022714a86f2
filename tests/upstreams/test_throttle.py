"""What the vectors leave open in reading an answer: whose word counts, what is not believed, what costs nothing."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from policies.format.profiles import parse_profile
from policies.throttling import GENERIC, MAX_WAIT_S, Profile, Throttle, UpstreamLimit
from upstreams.throttle import NOTHING, Reader, normalise, reader_of, select

NOW_US = 1_790_000_000_000_000


def profile(text: str) -> Profile:
    made, findings = parse_profile("erp", "erp.yaml", text.encode())
    assert made is not None, findings
    return made


def read(
    profile: Profile, status: int, fields: dict[str, str] | None = None, body: bytes | None = None, now_us: int = NOW_US
) -> Throttle:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in (fields or {}).items()]
    return normalise(status, headers, body, profile, now_us)


# --- rules ------------------------------------------------------------------------------------------------------


def test_the_first_rule_that_holds_decides() -> None:
    rules = profile("when: [{status: 429, body: a, kind: billing}, {status: 429, header: x-slow, kind: lock}]")
    both = read(rules, 429, {"x-slow": "1"}, b'{"a": 1}')
    second = read(rules, 429, {"x-slow": "1"})
    neither = read(rules, 429)
    assert [(each.kind, each.rule) for each in (both, second, neither)] == [
        ("billing", 0),
        ("lock", 1),
        ("quota", None),
    ]


@pytest.mark.parametrize(
    ("parameter", "unit"),
    [
        ('qu="content-bytes"', "content-bytes"),
        ('w=10;qu="concurrent-requests"', "concurrent-requests"),
        ('qu="requests"', None),
        ("qu=bytes", None),
        ('qu="Bytes; drop"', None),  # E7: nobody's text verbatim
        ('x="qu="', None),
    ],
)
def test_what_a_quota_counts_is_kept(parameter: str, unit: str | None) -> None:
    sent = {"ratelimit-policy": f'"a\\"b";q=9;{parameter}, "c";q=5', "ratelimit": '"a\\"b";r=1, "c";r=2'}
    assert [member.qu for member in read(GENERIC, 200, sent).members] == [unit, None]


def test_of_more_limits_than_are_read_those_with_the_least_left_count() -> None:
    sent = ", ".join(f'"n{number}";r={40 - number};t=5' for number in range(41))
    found = read(GENERIC, 429, {"ratelimit": sent})
    assert sorted(member.r or 0 for member in found.members) == [*range(16)]
    assert found.selected is not None
    assert (found.selected.name, found.selected.r, found.retry_after_seconds) == ("n40", 0, 5)


@pytest.mark.parametrize("reading", [GENERIC, profile("remaining: x-left")])
def test_policies_with_names_of_their_own_are_not_one_because_their_counts_are_equal(reading: Profile) -> None:
    full = {"ratelimit-policy": '"read";q=9;w=60, "write";q=9', "ratelimit": '"read";r=9;t=60, "write";r=9;t=60'}
    again = {**full, "ratelimit-limit": "9", "ratelimit-remaining": "9", "ratelimit-reset": "60"}
    for sent in (full, again):
        members = read(reading, 200, sent).members
        assert [(each.name, each.q, each.r, each.t) for each in members] == [("read", 9, 9, 60), ("write", 9, 9, 60)]
    assert len(read(GENERIC, 200, {"ratelimit": '"read";r=9;t=60, "read";r=9;t=60'}).members) == 1


def test_all_conditions_of_a_rule_must_hold() -> None:
    rules = profile("when: [{status: 403, header: x-slow, and: [{body: data, absent: true}], executed: nothing}]")
    assert read(rules, 403, {"x-slow": "1"}).throttled
    assert not read(rules, 403, {"x-slow": "1"}, b'{"data": {}}').throttled
    assert not read(rules, 403).throttled
    assert read(rules, 403, {"x-slow": "1"}, b'{"data": null}').throttled  # a JSON null is no value


@pytest.mark.parametrize(
    ("rule", "status", "vouched"),
    [
        ("{status: 429}", 429, True),
        ("{status: 429, executed: maybe}", 429, False),
        ("{status: [403, 429]}", 429, True),
        ("{status: [403, 429]}", 403, False),  # only a 429 is taken for granted (RULINGS 13)
        ("{status: 403, executed: nothing}", 403, True),
        ("{status: 403, kind: overload, executed: nothing}", 403, False),  # no throttle, nothing to vouch for
    ],
)
def test_that_nothing_was_executed_is_the_profiles_word(rule: str, status: int, vouched: bool) -> None:
    assert read(profile(f"when: [{rule}]"), status).nothing_executed is vouched


def test_a_rule_can_take_a_429_for_no_throttle() -> None:
    said = read(profile("when: [{status: 429, header: x-cached, kind: none}]"), 429, {"x-cached": "1"})
    assert (said.throttled, said.kind, said.nothing_executed) == (False, "none", False)


def test_a_named_limit_counts_before_an_exhausted_one() -> None:
    limits = "limits: {day: {remaining: x-day, window: 1d}, burst: {remaining: x-burst, window: 10s}}"
    rules = profile(f"when: [{{status: 429, limit: day}}]\n{limits}")
    said = read(rules, 429, {"x-day": "5", "x-burst": "0"})
    assert said.selected is not None
    assert (said.selected.name, said.selected.r) == ("day", 5)
    unread = read(rules, 429, {"x-burst": "0"})
    assert unread.selected == UpstreamLimit(name="day", w=86_400)  # its window is known, its counters are not


# --- waits ------------------------------------------------------------------------------------------------------


def test_the_order_of_words_about_the_wait() -> None:
    waits = profile(
        "when: [{status: 429, wait: 40s}]\nlimits: {day: {remaining: x-left, reset: x-reset}}\n"
        "retry_after: [{header: x-wait}, {body: wait}]\ndefault_wait: 50s"
    )
    fields = {"x-left": "0", "x-reset": "30", "x-wait": "10", "retry-after": "5"}
    said = []
    for gone in ("", "retry-after", "x-wait", "wait", "x-reset"):
        fields.pop(gone, None)
        body = b'{"wait": 20}' if gone not in ("wait", "x-reset") else None
        found = read(waits, 429, fields, body)
        said.append((found.retry_after_seconds, found.waited_by, found.default_wait_s))
    assert said == [
        (5, "retry-after", 50),
        (10, "x-wait", 50),
        (20, "body", 50),
        (30, "reset of day", 50),
        (40, "the documentation", 50),
    ]


def test_the_reset_of_a_limit_with_something_left_is_no_wait() -> None:
    limits = profile("limits: {day: {remaining: x-left, reset: x-reset}}")
    assert read(limits, 429, {"x-left": "1", "x-reset": "30"}).retry_after_seconds is None
    assert read(limits, 429, {"x-reset": "30"}).retry_after_seconds == 30  # unknown is not something


def test_a_profiles_own_unit_replaces_the_general_reading_of_that_name() -> None:
    assert read(GENERIC, 429, {"retry-after": "1500"}).retry_after_seconds == 1500
    in_ms = profile("retry_after: [{header: Retry-After, unit: delta-milliseconds}]")
    assert read(in_ms, 429, {"retry-after": "1500"}).retry_after_seconds == 2


def test_a_body_says_nothing_about_an_answer_that_is_no_throttle() -> None:
    waits = profile("retry_after: [{body: wait}]")
    assert read(waits, 200, body=b'{"wait": 20}').retry_after_seconds is None
    assert read(waits, 503, {"retry-after": "20"}).retry_after_seconds == 20


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        (b'{"cost": 502, "left": 102, "rate": 50.0}', 8),
        (b'{"cost": 100, "left": 102, "rate": 50}', 1),  # a derived wait is at least 1
        (b'{"cost": 101.5, "left": 100, "rate": 0.5}', 3),
        (b'{"cost": 100, "left": 0, "rate": 0}', None),
        (b'{"cost": 100, "left": 0, "rate": -1}', None),
        (b'{"cost": 1e300, "left": 0, "rate": 1}', None),
        (b'{"cost": 999999999999, "left": 0, "rate": 0.001}', None),  # beyond 31 days
        (b'{"cost": 100, "left": 0}', None),
        (b"[]", None),
    ],
)
def test_a_cost_bucket_is_full_enough_after(body: bytes, wait: int | None) -> None:
    restore = profile(
        "retry_after: [{restore: {requested: {body: cost}, available: {body: left}, rate: {body: rate}}}]"
    )
    assert read(restore, 429, body=body).retry_after_seconds == wait


def test_a_default_wait_may_be_the_inverse_of_a_rate() -> None:
    rate = profile("default_wait: {header: x-rate, unit: per-second}")
    assert read(rate, 429, {"x-rate": "0.0167"}).default_wait_s == 60
    assert read(rate, 429, {"x-rate": "0"}).default_wait_s is None
    assert read(rate, 200, {"x-rate": "0.0167"}).default_wait_s is None


# --- counters ---------------------------------------------------------------------------------------------------


def test_a_star_makes_one_limit_for_each_name() -> None:
    stars = profile("limits: {api: {limit: x-limit-*, remaining: x-left-*, reset: {header: x-reset-*}}}")
    said = read(stars, 200, {"x-limit-Read Calls": "9", "x-left-Read Calls": "3", "x-left-write": "2", "x-left-": "1"})
    assert said.members == (
        UpstreamLimit(name="api-read-calls", q=9, r=3),
        UpstreamLimit(name="api-write", r=2),
    )


def test_names_made_up_in_number_do_not_make_limits_in_number() -> None:
    stars = profile("limits: {api: {remaining: x-left-*}}")
    assert len(read(stars, 200, {f"x-left-{n}": "1" for n in range(500)}).members) == 16


def test_an_entry_applies_only_where_its_condition_holds() -> None:
    typed = profile(
        "limits:\n  second: {remaining: x-left, window: 1s, if: {header: x-type, equals: qps}}\n"
        "  day: {remaining: x-left, window: 1d, if: [{header: x-type, match: '(?i)^daily'}]}"
    )
    assert [each.w for each in read(typed, 200, {"x-left": "3", "x-type": "Daily-limit"}).members] == [86_400]
    assert [each.w for each in read(typed, 200, {"x-left": "3", "x-type": "qps"}).members] == [1]
    assert read(typed, 200, {"x-left": "3"}).members == ()


def test_percentages_are_a_share_of_a_hundred_and_the_largest_counts() -> None:
    shares = profile("limits: {load: {percent_used: {header: x-load, json: '*[*].cpu'}, window: 1h}}")
    said = read(shares, 200, {"x-load": '{"a": [{"cpu": 20}, {"cpu": 64.2}], "b": 7}'})
    assert said.members == (UpstreamLimit(name="load", q=100, r=35, w=3600),)
    over = read(shares, 200, {"x-load": '{"a": [{"cpu": 104}]}'})
    assert over.members == (UpstreamLimit(name="load", q=100, r=0, w=3600),)


def test_a_structured_pair_is_read_whatever_the_profile_says() -> None:
    own = profile("limits: {day: {remaining: x-left}}")
    said = read(own, 200, {"ratelimit-policy": '"a";q=10;w=60', "ratelimit": '"a";r=4;t=7', "x-left": "1"})
    assert said.members == (
        UpstreamLimit(name="a", q=10, w=60, r=4, t=7, genuine_ietf=True),
        UpstreamLimit(name="day", r=1),
    )


def test_two_limits_that_a_profile_tells_apart_stay_two_though_they_agree() -> None:
    both = profile(
        "limits:\n  in: {limit: x-in, remaining: x-in, window: 60s}\n"
        "  out: {limit: x-out, remaining: x-out, window: 60s}"
    )
    assert [each.name for each in read(both, 200, {"x-in": "9", "x-out": "9"}).members] == ["in", "out"]


def test_upstream_text_never_becomes_a_name_verbatim() -> None:
    said = read(GENERIC, 200, {"ratelimit": '"Ö\\"; evil=1";r=1, "!!!";r=2'.encode().decode("latin-1")})
    assert said.members == ()  # beyond ASCII it is no String
    odd = read(GENERIC, 200, {"ratelimit": '"A \\" B%";r=1, "!!!";r=2'})
    assert [each.name for each in odd.members] == ["a-b", "quota"]


def test_what_a_cache_kept_says_nothing_about_now() -> None:
    fields = {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "4"}
    assert [len(read(GENERIC, 200, {**fields, "age": age}).members) for age in ("0", "1", "word")] == [1, 0, 1]


# --- hostile answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"[" * 60_000, b'{"a":' * 10_000, b"\xff\xfe", b"null", b"0" * 60_000, b'{"a": 1', b'{"errors": 7}', b'"text"'],
)
def test_a_body_that_is_no_use_is_no_match(body: bytes) -> None:
    rules = profile('when: [{status: 400, body: "errors[*].code", equals: LIMITED}]\nretry_after: [{body: a}]')
    assert not read(rules, 400, body=body).throttled
    assert read(rules, 429, body=body).throttled


def test_many_values_cost_no_more_than_the_body_is_long() -> None:
    wide = profile('when: [{status: 400, body: "*[*].a", equals: LIMITED}]')
    document = b'{"e": [' + b",".join(b'{"a": "x"}' for _ in range(5_000)) + b"]}"
    assert not read(wide, 400, body=document).throttled


@pytest.mark.parametrize(
    ("value", "wait"), [("2678400", MAX_WAIT_S), ("2678401", None), ("-5", None), ("9" * 400, None), ("7 ", 7)]
)
def test_the_wait_is_bounded(value: str, wait: int | None) -> None:
    assert read(GENERIC, 429, {"retry-after": value}).retry_after_seconds == wait


@pytest.mark.parametrize("ahead_s", [-3_599, 0, 3_599])
def test_a_clock_that_differs_by_less_than_an_hour_is_made_up_for(ahead_s: int) -> None:
    now_us = NOW_US - ahead_s * 1_000_000
    fields = {"date": "Mon, 21 Sep 2026 14:13:20 GMT", "retry-after": "Mon, 21 Sep 2026 14:14:07 GMT"}
    assert read(GENERIC, 429, fields, now_us=now_us).retry_after_seconds == 47


def test_a_clock_further_off_is_not_believed() -> None:
    now_us = NOW_US - 3_700 * 1_000_000
    fields = {"date": "Mon, 21 Sep 2026 14:13:20 GMT", "retry-after": "Mon, 21 Sep 2026 14:14:07 GMT"}
    assert read(GENERIC, 429, fields, now_us=now_us).retry_after_seconds == 3_747


# --- what costs nothing -----------------------------------------------------------------------------------------


def test_an_answer_without_counters_is_read_as_nothing() -> None:
    fields = {"content-type": "text/plain", "date": "Mon, 21 Sep 2026 14:13:20 GMT", "age": "3"}
    assert read(GENERIC, 200, fields) is NOTHING


def test_a_reader_is_made_once_for_a_profile() -> None:
    own = profile("limits: {day: {remaining: x-left}}")
    assert reader_of(own) is reader_of(own)
    assert reader_of(own) is not reader_of(GENERIC)


@pytest.mark.parametrize(
    ("name", "normalised", "native"),
    [
        (b"ratelimit", False, False),
        (b"ratelimit-reset", False, False),
        (b"retry-after", False, False),
        (b"retry-after-ms", False, False),
        (b"x-ratelimit-reset", False, True),  # the vendor's own SDK reads it
        (b"x-rate-limit-remaining", False, True),
        (b"x-erp-left", True, True),
        (b"x-old-retry", False, False),
        (b"content-type", True, True),
    ],
)
def test_names_that_mean_different_things_do_not_pass(name: bytes, normalised: bool, native: bool) -> None:
    reader = Reader(profile("remaining: x-erp-left\nreplaces: [X-Old-Retry]"))
    assert (reader.passes(name, native=False), reader.passes(name, native=True)) == (normalised, native)


def test_only_what_is_read_or_must_not_pass_is_looked_at() -> None:
    reader = Reader(profile("remaining: x-erp-left\nlimits: {a: {remaining: x-a-*}}\nreplaces: [X-Old-Retry]"))
    names = (b"x-erp-left", b"x-a-b", b"x-old-retry", b"x-ratelimit-x", b"retry-after", b"date", b"age", b"server")
    assert [reader.means_something(name) for name in names] == [True] * 5 + [False] * 3


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("when: [{status: 429}]", []),
        ("when: [{status: 429, header: x}]", []),
        ("when: [{status: [200, 403], body: a}]", [200, 403]),
        ("retry_after: [{body: a}]", [429]),
        ("default_wait: {body: a}", [429]),
        ("limits: {day: {limit: x, if: {body: a}}}", [429]),
        ("retry_after: [{restore: {requested: {body: a}, available: {header: b}, rate: {header: c}}}]", [429]),
        ("retry_after: [{restore: {requested: {header: a}, available: {header: b}, rate: {header: c}}}]", []),
        ("when: [{status: 200, body: a}]\ninspect: {statuses: [400]}", [400]),
    ],
)
def test_a_body_is_asked_for_only_where_something_stands_in_it(text: str, asked: list[int]) -> None:
    reader = Reader(profile(text))
    json = [(b"content-type", b"application/problem+json; charset=utf-8")]
    assert [status for status in (200, 400, 403, 429, 503) if reader.inspects(status, json)] == asked
    assert not any(reader.inspects(status, [(b"content-type", b"image/png")]) for status in asked)


def test_a_content_type_is_compared_in_any_case() -> None:
    reader = Reader(profile("inspect: {statuses: [200], content_types: [Application/JSON]}"))
    assert reader.inspects(200, [(b"content-type", b"application/Json")])


# --- which limit counts (N9) ------------------------------------------------------------------------------------


def limit(name: str, **known: Any) -> UpstreamLimit:
    return UpstreamLimit(name=name, **known)


@pytest.mark.parametrize(
    ("members", "chosen"),
    [
        ([limit("a", q=10, r=0, t=5), limit("b", q=10, r=0, t=9)], "b"),  # the longest reset of the exhausted
        ([limit("a", q=10, r=0, t=5), limit("b", q=10, r=0)], "a"),
        ([limit("a", q=100, r=50), limit("b", q=10, r=4)], "b"),  # the smallest share
        ([limit("a", q=100, r=50), limit("b", r=1)], "a"),  # a share goes before a bare count
        ([limit("a", r=50), limit("b", r=4)], "b"),
        ([limit("a", q=200, r=100), limit("b", q=20, r=10)], "b"),  # equal shares: the smaller count
        ([limit("a", q=20, r=10, w=60), limit("b", q=20, r=10, w=10)], "b"),  # then the shorter window
        ([limit("a", q=20), limit("b", w=10)], "a"),
        ([limit("a", q=0, r=5), limit("b", q=9, r=8)], "b"),  # no share of nothing
    ],
)
def test_the_limit_that_counts(members: list[UpstreamLimit], chosen: str) -> None:
    found = select(members, None)
    assert found is not None
    assert found.name == chosen


def test_the_shares_of_huge_limits_are_told_apart() -> None:
    near, nearer = limit("a", q=10**15 - 1, r=500), limit("b", q=10**15 - 1, r=400)
    assert select([near, nearer], None) is nearer


def test_the_example_of_the_language_is_read() -> None:
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "throttling-profiles.md").read_text()
    policy, whole = (part.split("```", 1)[0] for part in page.split("```yaml\n")[1:3])
    made, findings = parse_profile("whole", "page", whole.encode())
    assert findings == ()
    assert made is not None
    assert {rule.kind for rule in made.when} == {"billing", "quota", "overload"}
    inner = yaml.safe_load(policy)["upstreams"]["legacy-erp"]["throttling"]["profile"]
    made, findings = parse_profile("erp", "page", yaml.safe_dump(inner).encode())
    assert findings == ()
