"""Regular expressions in RE2's syntax: matching takes time linear in the text, whatever a policy file says.

The one place that knows the library; a profile keeps its expressions as texts.
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

Capture = Callable[[str], str | None]


class BadPattern(ValueError):
    """An expression that RE2 refuses; the message says why."""


def groups(pattern: str) -> int:
    """How many groups ``pattern`` captures. Raises ``BadPattern``."""
    try:
        return int(re2.compile(pattern, options=_OPTIONS).groups)
    except re2.error as error:
        why = error.args[0] if error.args else ""
        raise BadPattern(why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)) from None


@lru_cache(maxsize=4096)
def capture(pattern: str) -> Capture:
    """A function from a text to the first group of ``pattern`` in it (the whole match without groups), else None."""
    compiled = re2.compile(pattern, options=_OPTIONS)
    search, group = compiled.search, min(1, compiled.groups)

    def captured(text: str) -> str | None:
        found = search(text)
        return found.group(group) if found is not None else None

    return captured
