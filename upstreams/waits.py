"""How long an upstream asks to wait, and where it says so: the first that does (N8).

Fields are heard on every answer; bodies, limits and the documentation of a throttle alone. Whether it is one is for
``upstreams.throttle`` to say, what a caller is told for ``policies.announcement``. Sources: spec throttling.md N5-N8,
RULINGS 14.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import Final

from policies.throttling import MAX_WAIT_S, Profile, Reading, Restore, Rule, Source, UpstreamLimit
from upstreams.answer import Answer, values_of
from upstreams.counters import Counts, times

SPELLINGS: Final = ("retry-after", "retry-after-ms", "x-ratelimit-retry-after", "x-retry-after", "retryafter")
"""Of a wait, as everybody uses them, best first."""
_GENERAL: Final = tuple(
    Reading(source=Source(headers=(name,)), unit="delta-milliseconds" if name.endswith("-ms") else "auto")
    for name in SPELLINGS
)
_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")
Wait = Callable[[Answer], int | None]
Said = tuple[int | None, str]
"""Seconds, and in a word who says so; None and nothing where nobody does."""
Field = tuple[bytes, str, Wait]
"""A field's name as octets and as text, and the wait in it."""
NOT_SAID: Final = (None, "")


class Waits:
    """A profile's readings of a wait, compiled."""

    def __init__(self, profile: Profile) -> None:
        self._fields = _fields(profile)
        self._hints = [_hint(each) for each in profile.retry_after if isinstance(each, Restore) or each.source.of_body]
        self._default = _default(profile)

    def stated(self, answer: Answer) -> Said:
        """What fields say."""
        for field, name, wait in self._fields:
            if field in answer.fields or b"*" in field:
                wait_s = wait(answer)
                if wait_s is not None:
                    return wait_s, name
        return NOT_SAID

    def hinted(self, answer: Answer, rule: Rule | None, selected: UpstreamLimit | None) -> Said:
        """What else says it of a throttle: the body, the reset of an exhausted limit, the documentation."""
        for name, wait in self._hints:
            wait_s = wait(answer)
            if wait_s is not None:
                return wait_s, name
        if selected is not None and not selected.r and selected.t is not None:
            return max(1, selected.t), f"reset of {selected.name}"  # a derived wait is at least 1 (N7)
        if rule is not None and rule.wait_s is not None:
            return rule.wait_s, "the documentation"
        return NOT_SAID

    def default(self, answer: Answer, rule: Rule | None) -> int | None:
        """The estimate where nobody says it: the rule's, else the profile's, else None."""
        if rule is not None and rule.default_wait_s is not None:
            return rule.default_wait_s
        return self._default(answer)


def _fields(profile: Profile) -> list[Field]:
    """``Retry-After``, the profile's spellings, then everybody's, less those that the profile reads in its own way."""
    readings = [each for each in profile.retry_after if isinstance(each, Reading) and each.source.headers]
    own = [field for each in readings for field in _each_name(each)]
    spelt = {name for _, name, _ in own}
    general = [field for each in _GENERAL for field in _each_name(each) if field[1] not in spelt]
    first = [field for field in general if field[1] == SPELLINGS[0]]
    return [*first, *own, *(field for field in general if field[1] != SPELLINGS[0])]


def _each_name(reading: Reading) -> list[Field]:
    """A wait in fields: one entry for each of their names."""
    source = reading.source
    alone = ((name, replace(reading, source=replace(source, headers=(name,)))) for name in source.headers)
    return [(name.encode("ascii"), name, _longest(times(each))) for name, each in alone]


def _hint(reading: Reading | Restore) -> tuple[str, Wait]:
    if isinstance(reading, Restore):
        return "restore", _restored(reading)
    return "body", _longest(times(reading))


def _longest(read: Counts) -> Wait:
    def longest(answer: Answer) -> int | None:
        found = read(answer, b"*")
        return max(found) if found else None

    return longest


def _restored(restore: Restore) -> Wait:
    """``(requested - available) / rate`` seconds, rounded up (the named derivation ``restore``)."""
    sources = [values_of(each) for each in restore.sources]

    def wait(answer: Answer) -> int | None:
        texts = [(*values(answer, b"*"), "")[0] for values in sources]
        if not all(_NUMBER.fullmatch(text) for text in texts):
            return None
        requested, available, rate = (Fraction(text) for text in texts)
        if not rate:
            return None
        needed = max(1, ceil((requested - available) / rate))
        return needed if needed <= MAX_WAIT_S else None

    return wait


def _default(profile: Profile) -> Wait:
    default = profile.default_wait
    return _longest(times(default)) if isinstance(default, Reading) else lambda _: default
