"""How many cases there are (issue: at least 150; RULINGS 30 says what counts as one), and that no two share a name.

A row of a table is a case; a test without a table is one. Engines, framings and byte positions are parameters.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

HERE = Path(__file__).parent
TABLES = ("CASES", "INJECTIONS", "LIES", "FAULTS", "PATIENT", "STAGES", "DISTRUST", "GARBLED")
FED_BY_A_TABLE = frozenset(("case", "name", "injection", "lie", "stage_name"))


def cases() -> dict[str, list[str]]:
    """The names of all cases, by module."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        if path.name == Path(__file__).name:
            continue
        module = importlib.import_module(f"tests.upstreams.conformance.{path.stem}")
        names = found[path.stem] = []
        for table in TABLES:
            rows = getattr(module, table, ())
            names += rows if isinstance(rows, dict) else [row.name for row in rows]
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction):
            if name.startswith("test_") and not FED_BY_A_TABLE & inspect.signature(function).parameters.keys():
                names.append(name)
    return found


def test_there_are_as_many_cases_as_promised() -> None:
    assert sum(len(names) for names in cases().values()) >= 150


def test_no_case_is_counted_twice() -> None:
    for module, names in cases().items():
        assert sorted(names) == sorted(set(names)), module
