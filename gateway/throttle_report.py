"""What ``tiergate throttle`` prints: what an upstream's answer is taken for, by which rule, and what the caller gets.

The reading is ``upstreams.throttle``'s, the answer the whole gateway's (``gateway.rehearsal``); here they are shown.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from gateway.rehearsal import CallerGets, FixedClock, GivenAnswer, rehearse
from policies.document import SourceFile, compose
from policies.format.findings import render_text
from policies.format.json_paths import shown
from policies.format.profiles import parse_profile
from policies.model import PolicySet
from policies.throttling import Catalogue, Condition, Profile, Rule, Source, Throttle, UpstreamLimit
from upstreams.held import decoded
from upstreams.throttle import normalise, reader_of
from upstreams.transport import BODILESS, Headers

JSON_SCHEMA_VERSION = 1
HOST = "upstream.example.com"
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal might obey."""


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
    """``throttle`` is what was read, ``unread`` why the body was not, ``gets`` what the caller would get."""

    question: Question
    throttle: Throttle
    unread: str
    gets: CallerGets


def report(question: Question) -> Report:
    """The whole of it, worked out by the gateway's own code."""
    body, unread = _looked_at(question)
    throttle = normalise(question.status, question.headers, body, question.profile, question.now_us)
    answer = GivenAnswer(question.status, [*question.headers], question.body)
    clock = FixedClock(question.now_us)
    gets = asyncio.run(rehearse(_policy(question), answer, clock=clock, method=question.method))
    return Report(question=question, throttle=throttle, unread=unread, gets=gets)


def _looked_at(question: Question) -> tuple[bytes | None, str]:
    """The body as the gateway sees it (RULINGS 12), or None with the reason; without a reason where none is needed."""
    asked = question.profile.inspect
    if not question.body or not asked.statuses or question.status in BODILESS or question.method == "HEAD":
        return None, ""
    if question.status not in asked.statuses:
        statuses = ", ".join(str(status) for status in sorted(asked.statuses))
        return None, f"this profile looks at bodies of status {statuses} alone"
    if not reader_of(question.profile).inspects(question.status, question.headers):
        return None, f"its content-type is not one of {', '.join(asked.content_types)}"
    if len(question.body) > asked.max_bytes:
        return None, f"it has more than {asked.max_bytes} octets"
    body = decoded(question.body, question.headers, asked.max_bytes)
    return body, "" if body is not None else f"it cannot be decoded, or to more than {asked.max_bytes} octets"


def profile_from(name: str, file: str, data: bytes) -> Profile:
    """A profile that is not built in. Raises ``BadProfile``."""
    made, findings = parse_profile(name, file, data)
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
    if found.unread:
        lines.insert(1, f"the body was not looked at: {found.unread}")
    lines += [_limit(each, each is throttle.selected) for each in throttle.members] or ["  none"]
    lines += ["", f"wait: {_wait(throttle)}", "", "the caller gets:", f"  {gets.status}"]
    lines += [f"  {name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in gets.headers]
    body = _UNPRINTABLE.sub("\ufffd", gets.body.decode("utf-8", "replace"))
    return "\n".join([*lines, "", *(f"  {line}" for line in body.splitlines())]).rstrip() + "\n"


def as_json(found: Report) -> str:
    """For programs; the shape has a version."""
    throttle, gets = found.throttle, found.gets
    shape: dict[str, Any] = {
        "schema": JSON_SCHEMA_VERSION,
        "profile": found.question.profile.name,
        "throttle": asdict(throttle),
        "decided_by": _decided_by(found),
        "body_not_looked_at": found.unread or None,
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
    return f"{question.profile.name} answers {question.status}: {what}\ndecided by: {_decided_by(found)}"


def _decided_by(found: Report) -> str:
    throttle, profile = found.throttle, found.question.profile
    if throttle.rule is None:
        return f"the status alone (no rule of the {len(profile.when)} in the profile holds)"
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


def _limit(limit: UpstreamLimit, selected: bool) -> str:
    known = (("limit", limit.q, ""), ("remaining", limit.r, ""), ("window", limit.w, " s"), ("reset", limit.t, " s"))
    parts = [f"{name} {'unknown' if value is None else f'{value}{unit}'}" for name, value, unit in known]
    counts = "  <- the one that counts" if selected else ""
    return f"  {limit.name}: {', '.join(parts)}{counts}"


def _wait(throttle: Throttle) -> str:
    if throttle.retry_after_seconds is not None:
        return f"{throttle.retry_after_seconds} s, says {throttle.waited_by}"
    if not throttle.throttled:
        return "none"
    if throttle.default_wait_s is not None:
        return f"not said; the profile's estimate is {throttle.default_wait_s} s, and up to a fifth is added by chance"
    return "not said; estimated by the window or the kind, and up to a fifth is added by chance"


def profiles_text(profiles: Iterable[Profile]) -> str:
    """Each profile with its grade and its hosts."""
    rows = [(each.name, each.grade or "-", ", ".join(each.hosts) or "chosen by name only") for each in profiles]
    widest = max(len(name) for name, _, _ in rows)
    return "".join(f"{name:<{widest}}  {grade:<6}  {hosts}\n" for name, grade, hosts in rows)


def profiles_json(profiles: Iterable[Profile]) -> str:
    """The same, with what each profile is about and where it was read."""
    keys = ("name", "grade", "hosts", "description", "source")
    rows = [{key: getattr(each, key) for key in keys} for each in profiles]
    return json.dumps({"schema": JSON_SCHEMA_VERSION, "profiles": rows}, indent=2) + "\n"
