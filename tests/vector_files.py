"""Which files of vectors have a suite, and what holds for all of them: a list of cases, each with a name of its own.

The list is the whole file, or the file's ``cases``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

KNOWN = ("throttle.json", "sla.json")
"""Files that a suite runs. Others in a directory are not looked at."""

Vector = Mapping[str, Any]
Complaints = Callable[[Vector], list[str]]
"""What is wrong with the form of one case."""


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


def well_formed(directory: Path, name: str, complaints: Complaints) -> list[Vector]:
    """The cases that can be run: none of a file that cannot be read, which ``findings`` says."""
    try:
        return [case for case in cases(directory, name) if not complaints(case)]
    except ValueError:
        return []


def findings(directory: Path, name: str, complaints: Complaints, *, key: str = "id") -> list[str]:
    """Everything that is wrong with the form of a file and of its cases, whose names stand under ``key``."""
    try:
        found = cases(directory, name)
    except ValueError as error:
        return [str(error)]
    said = [f"{each}: the {key} comes twice" for each in _repeated(found, key)]
    return said + [complaint for case in found for complaint in complaints(case)]


def _repeated(vectors: Sequence[Vector], key: str) -> list[str]:
    return [name for name, count in Counter(str(each.get(key)) for each in vectors).items() if count > 1]
