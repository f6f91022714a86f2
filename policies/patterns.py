"""Regular expressions in RE2's syntax: matching takes time linear in the text, whatever a policy file says.

The one place that knows the library; a profile keeps its expressions as texts. The library's own Python layer costs
seven times the matching, hence the class under it, which ``tests/policies/test_patterns.py`` holds to its behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import re2

MOST_MEMORY: Final = 262_144
"""What RE2 may spend on one expression; a repetition of repetitions would need more."""
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = MOST_MEMORY
_Expression = re2._re2.RE2
_ANYWHERE = _Expression.Anchor.UNANCHORED

Capture = Callable[[str], str | None]


class BadPattern(ValueError):
    """An expression that RE2 refuses; the message says why."""


def groups(pattern: str) -> int:
    """How many groups ``pattern`` captures. Raises ``BadPattern``."""
    return int(_compiled(pattern).NumberOfCapturingGroups())


def _compiled(pattern: str) -> re2._re2.RE2:
    made = _Expression(pattern.encode("utf-8", "replace"), _OPTIONS)
    if not made.ok():
        raise BadPattern(made.error().decode("utf-8", "replace"))
    return made


@lru_cache(maxsize=4096)
def capture(pattern: str) -> Capture:
    """A function from a text to the first group of ``pattern`` in it (the whole match without groups), else None."""
    compiled = _compiled(pattern)
    search, group = compiled.Match, min(1, int(compiled.NumberOfCapturingGroups()))

    def captured(text: str) -> str | None:
        data = text.encode("utf-8", "replace")
        start, end = search(_ANYWHERE, data, 0, len(data))[group]
        return data[start:end].decode("utf-8", "replace") if start >= 0 else None

    return captured
