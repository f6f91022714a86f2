"""What ``tiergate throttle`` prints: a ``Verdict`` and the list of profiles, for people and for programs.

Nothing is worked out here; ``gateway.throttle_trial`` does that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from gateway.throttle_trial import Verdict
from policies.announcement import SHORT_WINDOW_S
from policies.format.json_paths import shown
from policies.throttling import Condition, Profile, Reading, Rule, Source, Throttle, UpstreamLimit

JSON_SCHEMA_VERSION = 1
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal might obey."""


def as_text(found: Verdict) -> str:
    """For people: the conclusion, what it rests on, and the answer."""
    throttle, gets = found.throttle, found.gets
    lines = [_conclusion(found), "", "limits that the answer reports:"]
    if found.unread:
        lines.insert(1, f"the body was not looked at: {found.unread}")
    lines += [_limit(each, throttle) for each in throttle.members] or ["  none"]
    lines += ["", f"wait: {_wait(found)}", "", "the caller gets:", f"  {gets.status}"]
    lines += [f"  {name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in gets.headers]
    body = _UNPRINTABLE.sub("\ufffd", gets.body.decode("utf-8", "replace"))
    return "\n".join([*lines, "", *(f"  {line}" for line in body.splitlines())]).rstrip() + "\n"


def as_json(found: Verdict) -> str:
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


def _conclusion(found: Verdict) -> str:
    throttle, question = found.throttle, found.question
    if throttle.throttled:
        executed = "nothing was executed" if throttle.nothing_executed else "something may have been executed"
        what = f"a throttle ({throttle.kind}), {executed}"
    elif throttle.kind == "overload":
        what = "the upstream's own overload: no throttle"
    else:
        what = "no throttle"
    return f"{question.profile.name} answers {question.status}: {what}\ndecided by: {_decided_by(found)}"


def _decided_by(found: Verdict) -> str:
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


def _wait(found: Verdict) -> str:
    throttle, said = found.throttle, found.gets.exchange.announcement
    if said is not None and said.estimated:
        return f"estimated at {said.unjittered_s} s ({_estimate(throttle)}), and up to a fifth is added by chance"
    if throttle.retry_after_seconds is not None:
        return f"{throttle.retry_after_seconds} s, says {_speaker(throttle, found.question.profile)}"
    if said is not None and said.wait_s is not None and throttle.selected is not None:
        return f"{said.wait_s} s, says reset of {throttle.selected.name}"
    return "none"


def _speaker(throttle: Throttle, profile: Profile) -> str:
    """Who named the wait; of places in the body all that the profile has."""
    if throttle.waited_by != "body":
        return throttle.waited_by
    readings = [each for each in profile.retry_after if isinstance(each, Reading)]
    return " or ".join(_source(each.source) for each in readings if each.source.of_body)


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
