"""One way to write a value as bytes, so that a hash of it can be repeated by anybody.

JSON as RFC 8785 (JCS) wants it, of what that can hold without doubt: keys in order of their UTF-16 code units, no white
space, integers up to 2**53 - 1, UTF-8. Exact values that JSON lacks become text: a ``Decimal`` plain and without
trailing zeros, a ``Fraction`` as ``1/3``. Floats are refused, because two programs may read them differently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import orjson

LARGEST_INTEGER: Final = 2**53 - 1


def canonical(value: object) -> bytes:
    """``value`` as bytes. Raises ``ValueError`` for what has no one form, such as a float or a lone surrogate."""
    return orjson.dumps(_plain(value))


def digest(value: object) -> str:
    """SHA-256 over the canonical bytes, 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _plain(value: object) -> object:
    quick = _QUICK.get(type(value))
    return _plain_of_any(value) if quick is None else quick(value)


def _plain_of_any(value: object) -> object:
    match value:
        case None | bool():
            return value
        case str():
            return _sound(value)
        case int():
            return _small(value)
        case Decimal() if value.is_finite():
            return _written(value)
        case Fraction():
            return str(value)
        case list() | tuple():
            return _listed(value)
        case Mapping():
            return _ordered(value)
    raise ValueError(f"{type(value).__name__} {value!r} has no canonical form")


def _ordered(value: Mapping[Any, object]) -> dict[str, object]:
    if set(map(type, value)) <= {str} and all(map(str.isascii, value)):
        keys = sorted(value)
    else:
        keys = sorted(map(_sound, value), key=lambda key: key.encode("utf-16-be"))
    return {key: _plain(value[key]) for key in keys}


def _small(number: int) -> int:
    if abs(number) > LARGEST_INTEGER:
        raise ValueError(f"int {number!r} has no canonical form")
    return int(number)


def _listed(values: Collection[Any]) -> list[object]:
    if set(map(type, values)) == {int} and max(values) <= LARGEST_INTEGER and min(values) >= -LARGEST_INTEGER:
        return list(values)
    return [_plain(each) for each in values]


def _sound(text: object) -> str:
    if type(text) is str and text.isascii():
        return text
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is a key and no text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is no Unicode text") from None
    return str(text)


def _written(number: Decimal) -> str:
    """99.90 and 99.9 are one number, and so is 0 with any sign."""
    digits = format(number, "f") if number else "0"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def percent(share: Fraction) -> str:
    """``99.9`` for 999/1000. Raises ``ValueError`` for a share that no decimal number of percent is."""
    whole = 100 * share
    number = Decimal(whole.numerator) / Decimal(whole.denominator)
    if Fraction(number) != whole:
        raise ValueError(f"a share of {share} is no decimal number of percent")
    return _written(number)


_QUICK: Final[Mapping[type, Callable[[Any], object]]] = {int: _small, str: _sound, list: _listed, dict: _ordered}
"""What nearly all of a month's rows are made of, without asking for every other type first."""
