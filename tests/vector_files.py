"""Which files of vectors have a suite, and what holds for all of them: a list of cases, each with a name of its own.

The list is the whole file, or the file's ``cases``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KNOWN = ("throttle.json", "sla.json")
"""Files that a suite runs. Others in a directory are not looked at."""

Vector = Mapping[str, Any]


def document(directory: Path, name: str) -> Any:
    """A known file as it is written. Raises ``ValueError``."""
    return json.loads((directory / name).read_bytes())


def cases(directory: Path, name: str) -> list[Vector]:
    """The cases of one known file; none where another known file is there instead. Raises ``ValueError``."""
    if not any((directory / each).is_file() for each in KNOWN):
        raise ValueError(f"{directory} holds none of {', '.join(KNOWN)}")
    if not (directory / name).is_file():
        return []
    whole = document(directory, name)
    found = whole.get("cases") if isinstance(whole, dict) else whole
    if not isinstance(found, list) or not found or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{name} is not a list of cases")
    return found


def repeated(vectors: Sequence[Vector], key: str = "id") -> list[str]:
    """Names, under ``key``, that more than one case has."""
    return [name for name, count in Counter(str(each.get(key)) for each in vectors).items() if count > 1]
