"""A hundred thousand damaged answers: none raises, and whatever is said of them is well-formed.

The answers are the vectors' with their values cut, spliced, repeated and swapped for what upstreams and attackers send;
the same in every run. What is checked is what leaves: no negative, no fraction, no epoch in ``t``, no wait above 31
days, never two lines of one field.
"""

from __future__ import annotations

import json
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import http_sf
import pytest

from gateway.profiles import built_in
from policies.admission import Book
from policies.announcement import announce
from policies.document import SourceFile, compose
from policies.fields import Pair, render, waiting
from policies.model import PolicySet
from policies.plan import Plan
from policies.snapshot import Snapshot
from policies.throttling import GENERIC, MAX_WAIT_S, Catalogue, Profile
from upstreams.throttle import normalise

MUTATIONS = 100_000
SHARES = 10
"""The work in so many tests, so that one that fails says where."""
NOW_US = 1_790_000_000_123_456
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "throttle.json").read_bytes())
ODD = (
    "", " ", "0", "-0", "-1", "+1", "1.5", ".5", "5.", "1e9", "1_000", "0x10", "NaN", "inf", "-inf", "unlimited",
    "null", "999999999999999", "1000000000000000", "9" * 40, "9" * 5_000, "1790000060", "1790000060000",
    "1790000060.999", "4000000000", "2678400", "2678401", "Mon, 21 Sep 2026 14:14:20 GMT",
    "Mon, 31 Feb 2026 00:00:00 GMT", "Mon, 21 Sep 9999 14:14:20 GMT", "2026-09-21T14:14:20Z",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00", "6m0s", "1h1h1h", "900\u00b5s", "\u0663", "\u00b2",
    '"a";r=0;t=1', '"a";q=5;w=0', '"a";r=-1', '"a";r=5;t=1790000040', '"' + "x" * 300 + '";r=1',
    '"a";r=1, "a";r=2;t=99', '"b\\"\\\\";q=1;w=1', "limit=1, remaining=2, reset=3", "1, 2, 3", "1,2;w=3", ",", ";",
    ";;=,", "{", "[]", '{"a":{}}', "a" * 9_000, "\x00", "\x7f", "\xff", "\r\nx: y", "api-usage=5/0", "0/0", "-5/-5",
    "b=per_hour;q=1;r=-1;t=x", "total=; remaining=; resets=",
)  # fmt: skip
INTEGER = re.compile(rb"0|[1-9][0-9]{0,14}")
"""What RFC 9651 can carry, without a sign."""
_NAME = rb'"[a-zA-Z0-9._-]{1,140}"'
_STATE, _POLICY = rb";r=%b(?:;t=%b)?", rb';q=%b(?:;w=[1-9][0-9]{0,14}|;qu="concurrent-requests")?'
LISTS = {
    name: re.compile(rb"%b%b(?:, %b%b)*" % (_NAME, member, _NAME, member))
    for name, member in (
        (b"ratelimit", _STATE % (INTEGER.pattern.join((b"(?:", b")")), INTEGER.pattern.join((b"(?:", b")")))),
        (b"ratelimit-policy", _POLICY % INTEGER.pattern.join((b"(?:", b")"))),
    )
}
STRICTLY = 10
"""Each so many-th pair is read by an independent parser, which takes longer than all the rest."""


def mutated(chance: random.Random, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """``headers`` with one to three of their lines damaged."""
    lines = [*headers] or [(b"retry-after", b"1")]
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(lines))
        name, value = lines[at]
        match chance.randrange(7):
            case 0:
                lines[at] = (name, chance.choice(ODD).encode("latin-1", "replace"))
            case 1:
                lines.insert(at, (name, chance.choice(ODD).encode("latin-1", "replace")))
            case 2:
                lines.append((name, value))
            case 3:
                cut = chance.randrange(len(value) + 1)
                lines[at] = (name, value[:cut] + chance.choice(ODD).encode("latin-1", "replace")[:40] + value[cut:])
            case 4:
                octets = bytearray(value or b" ")
                octets[chance.randrange(len(octets))] = chance.randrange(256)
                lines[at] = (name, bytes(octets))
            case 5:
                lines[at] = (name, lines[chance.randrange(len(lines))][1])
            case _:
                lines[at] = (name, value + b", " + chance.choice(ODD).encode("latin-1", "replace")[:200])
    return lines


def damaged_body(chance: random.Random, body: bytes) -> bytes:
    if not body or chance.randrange(4):
        return body
    cut = chance.randrange(len(body) + 1)
    return body[:cut] + chance.choice((b"", b"null", b"-1", b"1e400", b'"', b"[[[[", b"\xff")) + body[cut:]


@cache
def answers() -> list[tuple[Profile, int, list[tuple[bytes, bytes]], bytes]]:
    catalogue, made = built_in(), []
    for case in VECTORS:
        response: dict[str, Any] = case["response"]
        profile = catalogue.of_host(case["request_host"]) or catalogue.by_name.get(case["provider"], GENERIC)
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response["headers"]]
        body = response["body"]
        content = b"" if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        made.append((profile, response["status"], headers, content))
    return made


@cache
def plan_of(name: str, unix_reset: bool) -> Plan:
    """A plan with limits of its own, whose upstream has that profile."""
    profile = {each.name: each for each, *_ in answers()}[name]
    text = f"""
auth: {{anonymous: {{tier: t}}}}
headers: {{reset_as: {"unix-seconds" if unix_reset else "delta-seconds"}}}
tiers: {{t: {{limits: {{minute: 60/min, parallel: {{concurrent: 5}}}}}}}}
upstreams: {{up: {{url: https://up.example.com, throttling: {name}}}}}
routes: {{r: {{match: {{path: "/r"}}, upstream: up}}}}
tenants: {{a: {{tier: t}}}}
"""
    policy = compose([SourceFile(name="p.yaml", data=text.encode())], profiles=Catalogue([profile])).policy
    assert isinstance(policy, PolicySet)
    return Snapshot(policy).plan(policy.tenants["a"], policy.routes["r"])


def said_of(
    profile: Profile,
    status: int,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    chance: random.Random,
    unix_reset: bool,
) -> tuple[bool, list[Pair]]:
    """Whether it is a throttle, and the fields that leave."""
    throttle = normalise(status, headers, body, profile, NOW_US)
    plan = plan_of(profile.name, unix_reset)
    decision = Book().admit("a", plan.demand, 0, NOW_US)
    taken, jitter = ("minute", "parallel"), chance.random()
    said = announce(throttle, upstream=plan.upstream, status=status, chance=jitter, taken=taken, wall_us=NOW_US)
    return throttle.throttled, [*render(plan, decision, said), *waiting(said)]


def complaints(throttled: bool, fields: list[Pair], *, unix_reset: bool) -> list[str]:
    """What is wrong with the fields of one answer."""
    found = dict(fields)
    wrong = [] if len(found) == len(fields) else ["two lines of one field"]
    numbers = {name: value for name, value in found.items() if name.startswith((b"retry", b"ratelimit-"))}
    del numbers[b"ratelimit-policy"]
    wrong += [f"{name!r}: {value!r}" for name, value in numbers.items() if not INTEGER.fullmatch(value)]
    waits = [int(value) for name, value in numbers.items() if name == b"retry-after"]
    resets = [int(value) for name, value in numbers.items() if name == b"ratelimit-reset"]
    base = NOW_US // 1_000_000 if unix_reset else 0
    wrong += [f"wait {wait}" for wait in waits if not 1 <= wait <= MAX_WAIT_S]
    wrong += [f"reset {reset}" for reset in resets if not base <= reset <= base + MAX_WAIT_S + 1]
    if throttled and not waits:
        wrong.append("a throttle without a wait")
    if not throttled and waits:
        wrong.append("a wait without a throttle")
    return wrong + [f"{name!r}: {found[name]!r}" for name in LISTS if not LISTS[name].fullmatch(found[name])]


def structured_complaints(fields: dict[bytes, bytes]) -> list[str]:
    """The pair as a strict parser and the draft see it; names of one field are all different."""
    wrong = []
    for name, needed, bounds in ((b"ratelimit-policy", "q", {"w": 10**15}), (b"ratelimit", "r", {"t": MAX_WAIT_S})):
        members = http_sf.parse(fields[name], tltype="list")
        names = [value for value, _ in members]
        if len(set(names)) != len(names) or not all(isinstance(each, str) for each in names):
            wrong.append(f"names {names}")
        for _, parameters in members:
            numbers = {key: value for key, value in parameters.items() if key != "qu"}
            if needed not in numbers or not all(type(value) is int and value >= 0 for value in numbers.values()):
                wrong.append(f"{name!r}: {parameters}")
            wrong += [f"{key}={numbers[key]}" for key, most in bounds.items() if numbers.get(key, 0) > most]
    return wrong


@pytest.mark.parametrize("share", range(SHARES))
def test_no_damaged_answer_raises_or_is_passed_on_malformed(share: int) -> None:
    chance = random.Random(share)
    throttles = 0
    for number in range(MUTATIONS // SHARES):
        profile, status, headers, body = chance.choice(answers())
        damaged, content = mutated(chance, headers), damaged_body(chance, body)
        unix_reset = number % 2 == 0
        throttled, fields = said_of(profile, status, damaged, content, chance, unix_reset)
        wrong = complaints(throttled, fields, unix_reset=unix_reset)
        if number % STRICTLY == 0:
            wrong += structured_complaints(dict(fields))
        assert not wrong, (profile.name, status, damaged, content, fields, wrong)
        throttles += throttled
    assert throttles > MUTATIONS // SHARES // 4  # damage leaves enough that the check has something to bite on
