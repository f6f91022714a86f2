"""What is on docs/sla.md, and where the ways to work its examples out are listed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PAGE = Path("docs/sla.md").read_text(encoding="utf-8")
RULES = [
    *(f"T{n}" for n in range(1, 12)),
    "O1", "O2", "O2b", "O3", "O3b", "O4", "O5", "O5b", *(f"O{n}" for n in range(6, 14)),
    *(f"X{n}" for n in range(1, 10)), *(f"P{n}" for n in range(1, 8)), *(f"C{n}" for n in range(1, 6)),
    *(f"V{n}" for n in range(1, 7)), *(f"D{n}" for n in range(1, 9)), "R1", "R2", "K1", "K2",
    *(f"SC{n}" for n in range(1, 6)),
]  # fmt: skip
EXAMPLE = re.compile(r"^> - (.+): \*\*(.+)\*\*$", re.MULTILINE)
RULE = re.compile(r"^\*\*([A-Z]+\d+b?)\. ", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    rule: str
    words: str
    result: str


def examples() -> list[Example]:
    parts = RULE.split(PAGE)
    return [
        Example(rule, found[1], found[2])
        for rule, text in zip(parts[1::2], parts[2::2], strict=True)
        for found in EXAMPLE.finditer(text.split("\n## ")[0])
    ]


Work = Callable[..., str]
WORKED: dict[tuple[str, re.Pattern[str]], Work] = {}


def example(rule: str, pattern: str) -> Callable[[Work], Work]:
    """``pattern``'s groups are the arguments of the function."""

    def add(work: Work) -> Work:
        WORKED[rule, re.compile(pattern)] = work
        return work

    return add


def number(text: str) -> int:
    return int(text.replace(",", ""))
