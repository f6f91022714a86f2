"""What ``tiergate throttle`` prints: what an upstream's answer is taken for, by which rule, and what the caller gets.

The reading is ``upstreams.throttle``'s, the answer the whole gateway's (``gateway.rehearsal``); here they are shown.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from gateway.rehearsal import CallerGets, FixedClock, GivenAnswer, rehearse
from policies.announcement import SHORT_WINDOW_S
from policies.document import SourceFile, compose
from policies.format.findings import render_text
from policies.format.json_paths import shown
from policies.format.profiles import parse_profile
from policies.model import PolicySet
from policies.throttling import Catalogue, Condition, Profile, Rule, Source, Throttle, UpstreamLimit
from upstreams.held import decoded
from upstreams.throttle import reader_of
from upstreams.transport import Headers

JSON_SCHEMA_VERSION = 1
HOST = "upstream.example.com"


class BadProfile(Exception):
    """A profile that cannot be read; the message has every complaint with its position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An answer of an upstream, and how it is to be taken. ``now_us`` is the gateway's clock, Unix microseconds."""

    profile: Profile
    status: int
    headers: Headers
    body: bytes
    now_us: int
    method: str = "GET"
    throttled_body: str = "normalised"
    map_status: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``throttle`` is what was read, ``gets`` what the caller would get; ``unread`` why not from the body, else ''."""

    question: Question
    throttle: Throttle
    gets: CallerGets
    unread: str


def report(question: Question) -> Report:
    """The whole of it, worked out by the gateway's own code."""
    body, unread = _looked_at(question)
    throttle = reader_of(question.profile).read(question.status, question.headers, body, question.now_us)
    answer = GivenAnswer(question.status, [*question.headers], question.body)
    clock = FixedClock(question.now_us)
    gets = asyncio.run(rehearse(_policy(question), answer, clock=clock, method=question.method))
    return Report(question=question, throttle=throttle, gets=gets, unread=unread)


def _looked_at(question: Question) -> tuple[bytes | None, str]:
    """The content that the gateway would look at, and why it would not (RULINGS 12)."""
    wanted = question.profile.inspect
    if not question.body:
        return None, ""
    if question.status not in wanted.statuses:
        return None, f"the profile looks at none with status {question.status}"
    if not reader_of(question.profile).inspects(question.status, question.headers):
        return None, f"the profile looks at {' and '.join(wanted.content_types)} only"
    if len(question.body) > wanted.max_bytes:
        return None, f"more than {wanted.max_bytes} octets"
    body = decoded(question.body, question.headers, wanted.max_bytes)
    return body, "" if body is not None else "its content coding cannot be undone, or makes too much of it"


def profile_from(name: str, file: str, data: bytes) -> Profile:
    """A profile that is not built in. Raises ``BadProfile``."""
    made, findings = parse_profile(name, file, data)
    if made is None and not findings:
        raise BadProfile(f"{file}: nothing is in it")
    if made is None or findings:
        raise BadProfile(render_text(findings, {file: data.decode("utf-8", "replace")}).rstrip())
    return made


def _policy(question: Question) -> PolicySet:
    """A policy of one route without limits, so that every field is the upstream's doing."""
    name = question.profile.name
    upstream = {
        "url": f"https://{HOST}",
        "throttling": name,
        "throttled_body": question.throttled_body,
        "map_status": question.map_status,
    }
    sections = {
        "auth": {"anonymous": {"tier": "anyone"}},
        "tiers": {"anyone": {"limits": {}}},
        "upstreams": {name: upstream},
        "routes": {"all": {"match": {"path": "/{rest:path}"}, "upstream": name}},
    }
    file = SourceFile(name="rehearsal.yaml", data=yaml.safe_dump(sections).encode())
    composed = compose([file], profiles=Catalogue([question.profile]))
    if composed.policy is None:
        raise ValueError(render_text(composed.findings, composed.sources))
    return composed.policy


# --- shown ------------------------------------------------------------------------------------------------------


def as_text(found: Report) -> str:
    """For people: the conclusion, what it rests on, and the answer."""
    throttle, gets = found.throttle, found.gets
    lines = [_conclusion(found), "", "limits that the answer reports:"]
    lines += [_limit(each, throttle) for each in throttle.members] or ["  none"]
    lines += ["", f"wait: {_wait(found)}", "", "the caller gets:", f"  {gets.status}"]
    lines += [f"  {name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in gets.headers]
    body = gets.body.decode("utf-8", "replace")
    return "\n".join([*lines, "", *(f"  {line}" for line in body.splitlines())]).rstrip() + "\n"


def as_json(found: Report) -> str:
    """For programs; the shape has a version."""
    throttle, gets = found.throttle, found.gets
    shape: dict[str, Any] = {
        "schema": JSON_SCHEMA_VERSION,
        "profile": found.question.profile.name,
        "throttle": asdict(throttle),
        "decided_by": _decided_by(found),
        "body_unread": found.unread or None,
        "answer": {
            "status": gets.status,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in gets.headers],
            "body": gets.body.decode("utf-8", "replace"),
        },
    }
    return json.dumps(shape, indent=2) + "\n"


def _conclusion(found: Report) -> str:
    throttle, question = found.throttle, found.question
    if throttle.throttled:
        executed = "nothing was executed" if throttle.nothing_executed else "something may have been executed"
        what = f"a throttle ({throttle.kind}), {executed}"
    elif throttle.kind == "overload":
        what = "the upstream's own overload: no throttle"
    else:
        what = "no throttle"
    lines = [f"{question.profile.name} answers {question.status}: {what}", f"decided by: {_decided_by(found)}"]
    return "\n".join([*lines, f"the body decides nothing: {found.unread}"] if found.unread else lines)


def _decided_by(found: Report) -> str:
    throttle, profile = found.throttle, found.question.profile
    if throttle.rule is None:
        rules = (
            f"no rule of the {len(profile.when)} in the profile holds" if profile.when else "the profile has no rules"
        )
        return f"the status alone ({rules})"
    return f"when[{throttle.rule}]: {said(profile.when[throttle.rule])}"


def said(rule: Rule) -> str:
    """``rule`` in words."""
    statuses = " or ".join(str(status) for status in rule.statuses)
    return " and ".join([f"status {statuses}", *(_condition(each) for each in rule.conditions)])


def _condition(condition: Condition) -> str:
    where, pattern = _source(condition.source), condition.source.match
    if condition.equals is not None:
        values = " or ".join(condition.equals)
        return f"{where} {'is not' if condition.absent else 'is'} {values}"
    if pattern is not None:
        return f"{where} {'does not match' if condition.absent else 'matches'} {pattern}"
    return f"{where} {'is absent' if condition.absent else 'is there'}"


def _source(source: Source) -> str:
    paths = " or ".join(shown(path) for path in source.paths)
    if source.headers:
        return f"header {' or '.join(source.headers)}" + (f" at {paths}" if paths else "")
    return "the text of the body" if source.text else f"body {paths}"


def _limit(limit: UpstreamLimit, throttle: Throttle) -> str:
    known = (("limit", limit.q, ""), ("remaining", limit.r, ""), ("window", limit.w, " s"), ("reset", limit.t, " s"))
    parts = [f"{name} {'unknown' if value is None else f'{value}{unit}'}" for name, value, unit in known]
    counts = f"  <- {_counts(limit, throttle)}" if limit is throttle.selected else ""
    return f"  {limit.name}: {', '.join(parts)}{counts}"


def _counts(limit: UpstreamLimit, throttle: Throttle) -> str:
    if not throttle.throttled:
        return "the one that counts"
    return "has room, so another one refused" if limit.r else "the one that refused"


def _wait(found: Report) -> str:
    throttle, said = found.throttle, found.gets.exchange.announcement
    if said is not None and said.estimated:
        return f"estimated at {said.unjittered_s} s ({_estimate(throttle)}), and up to a fifth is added by chance"
    if throttle.retry_after_seconds is not None:
        return f"{throttle.retry_after_seconds} s, says {throttle.waited_by}"
    if said is not None and said.wait_s is not None and throttle.selected is not None:
        return f"{said.wait_s} s, says reset of {throttle.selected.name}"
    return "none"


def _estimate(throttle: Throttle) -> str:
    """What the estimate is, in the order in which one is looked for (RULINGS 14)."""
    if throttle.kind == "billing":
        return "nobody says when a bill is paid"
    if throttle.default_wait_s is not None:
        return "the profile's default_wait"
    selected = throttle.selected
    if selected is not None and not selected.r and selected.w is not None and 0 < selected.w <= SHORT_WINDOW_S:
        return f"the window of {selected.name}"
    return f"what is usual for {throttle.kind}"


def profiles_text(profiles: Iterable[Profile]) -> str:
    """Each profile with its grade and its hosts."""
    rows = [("profile", "grade", "hosts")]
    rows += [(each.name, each.grade or "-", ", ".join(each.hosts) or "chosen by name only") for each in profiles]
    widest = max(len(name) for name, _, _ in rows)
    return "".join(f"{name:<{widest}}  {grade:<5}  {hosts}\n" for name, grade, hosts in rows)


def profiles_json(profiles: Iterable[Profile]) -> str:
    """The same, with what each profile is about and where it was read."""
    keys = ("name", "grade", "hosts", "description", "source")
    rows = [{key: getattr(each, key) for key in keys} for each in profiles]
    return json.dumps({"schema": JSON_SCHEMA_VERSION, "profiles": rows}, indent=2) + "\n"
