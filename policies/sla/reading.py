"""Reads JSON values that nobody vouches for: which keys, which types, which range; every complaint says where.

Shapes only; what a value means is for whoever reads it. All raise ``ValueError``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

from policies.sla.canonical import LARGEST_INTEGER

T = TypeVar("T")

LONGEST_TEXT: Final = 4_096
_DECIMAL: Final = re.compile(r"\d{1,15}(\.\d{1,12})?", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def keys(value: object, what: str, *names: str) -> Mapping[str, Any]:
    """An object that has exactly ``names``."""
    found = mapping(value, what)
    missing, unknown = [name for name in names if name not in found], [name for name in found if name not in names]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(missing)}")
    if unknown:
        raise ValueError(f"{what} has no key {', '.join(map(shown, unknown))}")
    return found


def some_keys(value: object, what: str, needed: Sequence[str], allowed: Sequence[str]) -> Mapping[str, Any]:
    """An object that has all of ``needed``, perhaps some of ``allowed``, and nothing else."""
    found = mapping(value, what)
    missing = [name for name in needed if name not in found]
    unknown = [name for name in found if name not in (*needed, *allowed)]
    if missing:
        raise ValueError(f"{what} needs {', '.join(missing)}")
    if unknown:
        raise ValueError(f"{what} has no {', '.join(map(shown, unknown))}")
    return found


def mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {shown(value)}, not an object")
    return value


def array(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what} is {shown(value)}, not a list")
    return value


def text(value: object, what: str, *, most: int = LONGEST_TEXT) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"{what} is {shown(value)}, not text of at most {most} characters")
    return value


def filled(content: Mapping[str, Any], *names: str) -> None:
    """Each of ``names`` is text with something in it."""
    for name in names:
        if not text(content[name], name):
            raise ValueError(f"{name} is empty")


def count(value: object, what: str, *, least: int = 0, most: int = LARGEST_INTEGER) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{what} is {shown(value)}, not a whole number from {least} to {most}")
    return value


def one_of(value: object, what: str, words: Sequence[Any]) -> Any:
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{what} {shown(value)} is none of {', '.join(words)}")
    return value


def sha256(value: object, what: str) -> str:
    if not isinstance(value, str) or _SHA256.fullmatch(value) is None:
        raise ValueError(f"{what} is {shown(value)}, not 64 hex digits")
    return value


def decimal(value: object, what: str) -> Decimal:
    """Of plain digits: an exponent could stand for more of them than there is memory."""
    if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
        raise ValueError(f"{what} is {shown(value)}, not a decimal number as text")
    return Decimal(value)


def or_none(value: object, read: Callable[[object], T]) -> T | None:
    return None if value is None else read(value)
