"""Shapes of a case's values: what each complains about, and where. And a kind of case, which is made of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

Shape = Callable[[str, Any], list[str]]
"""Takes where a value stands and the value; gives what is wrong with it."""

Case = Mapping[str, Any]
"""A case as it runs: ``input``, ``policy`` over the file's defaults, ``exclusions``, ``period``, ``tenant`` and
``expect``; each there, though perhaps empty."""

NONE: Mapping[str, Shape] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """``run`` gives what ``expect`` may list, under the same names; the shapes refuse unknown keys and values."""

    input: Shape
    expect: Shape
    run: Callable[[Case], Mapping[str, object]]


def seconds(text: str) -> int:
    """Unix seconds of an instant with an offset. Raises ``ValueError``, also for a part of a second."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None or at.microsecond:
        raise ValueError(text)
    return int(at.timestamp())


def _shape(what: str, fits: Callable[[Any], object]) -> Shape:
    return lambda where, value: [] if fits(value) else [f"{where} is {value!r}, not {what}"]


def _is_instant(value: object) -> bool:
    try:
        seconds(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _is_decimal(value: object) -> bool:
    try:
        return isinstance(value, str) and Decimal(value).is_finite()
    except InvalidOperation:
        return False


text = _shape("text", lambda value: isinstance(value, str))
flag = _shape("true or false", lambda value: isinstance(value, bool))
count = _shape("a count", lambda value: type(value) is int and value >= 0)
decimal = _shape("a decimal number as text", _is_decimal)
instant = _shape("an instant with an offset, to the second", _is_instant)
month = _shape("a month", lambda value: isinstance(value, str) and re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", value))
word = _shape("text or a count", lambda value: isinstance(value, str) or (type(value) is int and value >= 0))
anything: Shape = lambda where, value: []  # noqa: E731 - a shape like the others


def one_of(*words: str) -> Shape:
    return _shape(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


def nullable(shape: Shape) -> Shape:
    return lambda where, value: [] if value is None else shape(where, value)


def either(*shapes: Shape) -> Shape:
    """One of them fits; if not, the complaints of the last."""

    def complaints(where: str, value: Any) -> list[str]:
        said = [shape(where, value) for shape in shapes]
        return [] if [] in said else said[-1]

    return complaints


def array(shape: Shape, length: int | None = None) -> Shape:
    def complaints(where: str, value: Any) -> list[str]:
        if not isinstance(value, list) or length not in (None, len(value)):
            return [f"{where} is no list{'' if length is None else f' of {length}'}"]
        return [said for at, each in enumerate(value) for said in shape(f"{where}[{at}]", each)]

    return complaints


def row(*shapes: Shape) -> Shape:
    """A list with one value for each shape."""

    def complaints(where: str, value: Any) -> list[str]:
        if not isinstance(value, list) or len(value) != len(shapes):
            return [f"{where} is no list of {len(shapes)}"]
        return [said for at, shape in enumerate(shapes) for said in shape(f"{where}[{at}]", value[at])]

    return complaints


def table(shape: Shape, *words: str) -> Shape:
    """A mapping; ``words`` are the keys it may have, any when there are none."""

    def complaints(where: str, value: Any) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where} is no mapping"]
        unknown = [f"{where} has an unknown key {key}" for key in value if words and key not in words]
        return unknown + [said for key, each in value.items() for said in shape(f"{where}.{key}", each)]

    return complaints


def record(required: Mapping[str, Shape], optional: Mapping[str, Shape] = NONE, *, wrong: bool = False) -> Shape:
    """A mapping with known keys; ``wrong`` also lets ``wrong_...`` in, the answers of common mistakes."""
    known = {**required, **optional}

    def complaints(where: str, value: Any) -> list[str]:
        if not isinstance(value, dict):
            return [f"{where} is no mapping"]
        return list(_of_record(where, value))

    def _of_record(where: str, value: dict[str, Any]) -> Iterator[str]:
        yield from (f"{where} has no {key}" for key in required if key not in value)
        for key, each in value.items():
            if key in known:
                yield from known[key](f"{where}.{key}", each)
            elif not (wrong and key.startswith("wrong_")):
                yield f"{where} has an unknown key {key}"

    return complaints


def expecting(shapes: Mapping[str, Shape]) -> Shape:
    """What a case is about: at least one of these keys, any of them, and answers of common mistakes."""
    of_keys = record({}, shapes, wrong=True)

    def complaints(where: str, value: Any) -> list[str]:
        return of_keys(where, value) or ([] if set(value) & set(shapes) else [f"{where} lists nothing"])

    return complaints
