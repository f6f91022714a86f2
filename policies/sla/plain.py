"""Values of frozen dataclasses as plain JSON values, and back by their annotations.

For what a version of the SLA holds: the one place that knows how a ``Decimal``, a ``Fraction`` or a mapping by number
is written there. What the values mean is not known here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from policies.sla.canonical import canonical
from policies.sla.reading import array, decimal, mapping, shown

T = TypeVar("T")


def plain(value: object) -> Any:
    """The JSON value of ``value``. Raises ``ValueError`` for what has no one form."""
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Decimal | Fraction):
        return canonical(value).decode().strip('"')
    canonical(value)
    return value


def made(kind: type[T], value: object, what: str) -> T:
    """The dataclass ``kind`` of a JSON value. Raises ``ValueError`` that says where it is wrong."""
    found = mapping(value, what)
    hints = _hints(cast(Hashable, kind))
    unknown = [name for name in found if name not in hints]
    missing = [name for name in _needed(kind) if name not in found]
    if unknown or missing:
        said = f"has no key {', '.join(map(shown, unknown))}" if unknown else f"lacks {', '.join(missing)}"
        raise ValueError(f"{what} {said}")
    return kind(**{name: _made(hints[name], each, f"{what}.{name}") for name, each in found.items()})


@lru_cache(maxsize=64)
def _hints(kind: Hashable) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _needed(kind: Any) -> list[str]:
    return [part.name for part in fields(kind) if part.default is MISSING and part.default_factory is MISSING]


def _made(hint: Any, value: object, what: str) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return None if value is None and NoneType in parts else _made(parts[0], value, what)
    if origin is tuple:
        return _tuple(parts, array(value, what), what)
    if origin is Literal:
        return _checked(value in parts, value, what)
    if origin is not None:
        return _mapping(parts, mapping(value, what), what)
    if is_dataclass(hint):
        return made(cast(type, hint), value, what)
    return _scalar(hint, value, what)


def _tuple(parts: tuple[Any, ...], values: list[Any], what: str) -> tuple[Any, ...]:
    if len(parts) == 2 and parts[1] is Ellipsis:
        return tuple(_made(parts[0], each, what) for each in values)
    if len(values) != len(parts):
        raise ValueError(f"{what} has {len(values)} parts, not {len(parts)}")
    return tuple(_made(part, each, what) for part, each in zip(parts, values, strict=True))


def _mapping(parts: tuple[Any, ...], values: Mapping[str, Any], what: str) -> Mapping[Any, Any]:
    key, each = parts
    return MappingProxyType(
        {_key(key, name, what): _made(each, value, f"{what}.{name}") for name, value in values.items()}
    )


def _key(hint: Any, name: str, what: str) -> Any:
    if hint is not int:
        return _made(hint, name, what)
    if not (name.isascii() and name.isdigit() and len(name) < 10):
        raise ValueError(f"{what} has no key {shown(name)}")
    return int(name)


def _scalar(hint: Any, value: object, what: str) -> Any:
    if hint is Decimal:
        return decimal(value, what)
    if hint is Fraction:
        return _fraction(value, what)
    return _checked(type(value) is hint, value, what)


def _fraction(value: object, what: str) -> Fraction:
    above, _, below = value.partition("/") if isinstance(value, str) else ("", "", "")
    digits = all(part.isascii() and part.isdigit() and len(part) < 20 for part in (above, below or "1"))
    if not digits or not int(below or "1"):
        raise ValueError(f"{what} is {shown(value)}, not a fraction such as 9/10")
    return Fraction(int(above), int(below or "1"))


def _checked(sound: bool, value: object, what: str) -> object:
    if not sound:
        raise ValueError(f"{what} cannot be {shown(value)}")
    return value
