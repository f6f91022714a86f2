"""Paths into JSON as profiles write them: member names, ``[0]``, ``[*]``, ``*`` and ``["any name"]``.

The name, index and wildcard selectors of RFC 9535 without the leading ``$``; nothing that searches, so that a
path's cost is bounded by the body's size. Following one is ``upstreams.answer``'s affair.
"""

from __future__ import annotations

import re
from typing import Final

from policies.format.units import ValueProblem, short
from policies.throttling import Path, Step

LONGEST: Final = 16
_STEP = re.compile(r"""\.?(?:(\*|[^\s.\[\]"'*]+)|\[(?:(\*)|(\d{1,6})|"([^"]*)"|'([^']*)')\])""")


def parse_path(value: object) -> Path:
    """``errors[*].extensions.code`` as its steps. Raises ``ValueProblem`` (TG140)."""
    text = str(value)
    steps: list[Step] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or (text[at] == "." and not steps) or (text[at] not in ".[" and steps):
            said = f"{short(text)} is not a path: character {at + 1} cannot stand there"
            raise ValueProblem("TG140", said, 'write errors[*].extensions.code, [0].code or a["odd name"].b')
        steps.append(_step(found))
        at = found.end()
    if not 0 < len(steps) <= LONGEST:
        raise ValueProblem("TG140", f"{short(text)} has {len(steps)} steps", f"a path has 1 to {LONGEST}")
    return tuple(steps)


def _step(found: re.Match[str]) -> Step:
    name, every, index, double, single = found.groups()
    if every or name == "*":
        return None
    if index is not None:
        return int(index)
    return next(text for text in (name, double, single) if text is not None)


def shown(path: Path) -> str:
    """``path`` as it would be written."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, str):
            plain = re.fullmatch(r"""[^\s.\[\]"'*]+""", step)
            parts.append(("." if parts else "") + step if plain else f'["{step}"]')
        else:
            parts.append("[*]" if step is None else f"[{step}]")
    return "".join(parts)
