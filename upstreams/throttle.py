"""What an answer of an upstream says about its limits, by a profile. A stand-in with the reader's interface.

Decides what was said (``Throttle``), never what a caller is told. Source: spec throttling.md N1-N12.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from policies.throttling import MAX_WAIT_S, THROTTLED, Condition, Path, Profile, Rule, Throttle, UpstreamLimit
from upstreams.names import KnownNames
from upstreams.transport import Headers

_MEMBER = re.compile(rb'"([^"]*)";r=(\d+)(?:;t=(\d+))?')
_POLICY = re.compile(rb'"([^"]*)";q=(\d+)(?:;w=(\d+))?')
_DELAY = re.compile(rb"(\d{1,9})(?:\.(\d+))?")
_TRIPLE = (b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset")


class Reader:
    """Compiled from a profile; one per profile."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.ordinary = KnownNames()
        self._conditions = {
            name.encode() for rule in profile.when for each in rule.conditions for name in each.source.headers
        }

    def means_something(self, name: bytes) -> bool:
        return name == b"retry-after" or name.startswith((b"ratelimit", b"x-ratelimit")) or name in self._conditions

    def passes(self, name: bytes, *, native: bool) -> bool:
        if name.startswith(b"x-ratelimit"):
            return native
        return not name.startswith((b"ratelimit", b"retry-after"))

    def inspects(self, status: int, headers: Headers) -> bool:
        return status in self.profile.inspect.statuses

    def read(self, status: int, headers: Headers, body: bytes | None, now_us: int) -> Throttle:
        selected, members = _limits(headers)
        rule = next((each for each in self.profile.when if _holds(each, status, headers, body)), None)
        kind = rule.kind if rule else "quota" if status == 429 else "none"
        texts = [_DELAY.fullmatch(v) for n, v in headers if n == b"retry-after"]
        stated = [int(m[1]) + bool((m[2] or b"").strip(b"0")) for m in texts if m]
        wait = max((each for each in stated if each <= MAX_WAIT_S), default=None)
        if wait is None and rule is not None:
            wait = rule.wait_s
        if wait is None and selected is not None and selected.r == 0:
            wait = selected.t
        default = self.profile.default_wait if isinstance(self.profile.default_wait, int) else None
        return Throttle(
            throttled=kind in THROTTLED,
            kind=kind,
            selected=selected,
            members=members,
            retry_after_seconds=wait,
            nothing_executed=rule.nothing_executed if rule else status == 429,
            rule=None if rule is None else self.profile.when.index(rule),
            default_wait_s=(rule.default_wait_s if rule else None) or default,
        )


def _limits(headers: Headers) -> tuple[UpstreamLimit | None, tuple[UpstreamLimit, ...]]:
    fields = dict(headers)
    policies = {m[1]: m for m in _POLICY.finditer(fields.get(b"ratelimit-policy", b""))}
    found = [
        UpstreamLimit(
            name=m[1].decode(), q=int(policies[m[1]][2]) if m[1] in policies else None,
            w=int(policies[m[1]][3]) if m[1] in policies and policies[m[1]][3] else None,
            r=int(m[2]), t=int(m[3]) if m[3] else None, genuine_ietf=True,
        )
        for m in _MEMBER.finditer(fields.get(b"ratelimit", b""))
    ]  # fmt: skip
    q, r, t = (int(fields[n]) if fields.get(n, b"").isdigit() else None for n in _TRIPLE)
    if (q, r, t) != (None, None, None):
        found.append(UpstreamLimit(name="quota", q=q, r=r, t=t if (t or 0) <= MAX_WAIT_S else None))
    return (min(found, key=lambda each: each.r or 0) if found else None), tuple(found)


def _holds(rule: Rule, status: int, headers: Headers, body: bytes | None) -> bool:
    return status in rule.statuses and all(_met(each, headers, body) for each in rule.conditions)


def _met(condition: Condition, headers: Headers, body: bytes | None) -> bool:
    names = {name.encode() for name in condition.source.headers}
    values = [value.decode("latin-1") for name, value in headers if name in names]
    if condition.source.of_body:
        try:
            tree = orjson.loads(body or b"")
        except ValueError:
            return False
        values = [str(v) for path in condition.source.paths for v in _at(tree, path) if v is not None]
    found = any(condition.equals is None or value in condition.equals for value in values)
    return found is not condition.absent


def _at(tree: Any, path: Path) -> Iterator[Any]:
    if not path:
        yield tree
        return
    step, *rest = path
    if step is None and isinstance(tree, list):
        for each in tree:
            yield from _at(each, tuple(rest))
    elif isinstance(tree, dict) and step in tree:
        yield from _at(tree[step], tuple(rest))


_readers: dict[int, Reader] = {}


def reader_of(profile: Profile) -> Reader:
    """The reader of ``profile``, cached by identity."""
    known = _readers.get(id(profile))
    if known is None or known.profile is not profile:
        known = _readers[id(profile)] = Reader(profile)
    return known


def normalise(status: int, headers: Headers, body: bytes | None, profile: Profile, now_us: int) -> Throttle:
    """What one answer says."""
    return reader_of(profile).read(status, headers, body, now_us)
