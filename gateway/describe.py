"""What a loaded policy says, as JSON for the admin listener, with everything secret taken out.

Secret are: header values and key digests, key sets, certificates, tokens, and any text that came out of a
``${VAR}`` or ``${file:NAME}`` (spec policy.md: no dump ever shows what came from one).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from itertools import islice
from typing import Any

import orjson

from policies.model import PolicySet
from policies.throttling import Source

REDACTED = "***"
MOST_SHOWN = 1_000
"""Of tenants, routes, tiers, upstreams and of every list inside them."""
MOST_HIDDEN = 2_000
LARGEST = 8 << 20
"""Bytes of JSON: half of what the control line carries (``control.MAX_LINE``)."""
SECRET_FIELDS = frozenset({"digest", "admin_token_digest", "jwks", "cert", "ca", "subjects", "authorization"})
PAIR_FIELDS = frozenset({"headers", "upstream_headers"})
LOOK_UPS = frozenset({"keys", "subjects"})
"""Fields of the policy set that repeat what the tenants say."""

_USERINFO = re.compile(r"://[^/@\s]+@")
_DIGITS = re.compile(r"[0-9]{4,18}")
_SHORTEST = 4
"""Shorter values are not worth hiding inside other text: they would blot out half the dump."""


class Hidden:
    """The values that came out of substitutions, to be found in any text, however it was spelt, and as numbers."""

    __slots__ = ("_numbers", "_pattern")

    def __init__(self, values: Iterable[str]) -> None:
        wanted = sorted({value.strip() for value in values if len(value.strip()) >= _SHORTEST}, key=len, reverse=True)
        # a host is lower-cased, a rate becomes a number: what is shown is not always spelt as it was given
        self._pattern = re.compile("|".join(map(re.escape, wanted)), re.IGNORECASE) if wanted else None
        self._numbers = {int(run) for value in wanted for run in _DIGITS.findall(value)}

    def text(self, text: str) -> str:
        text = _USERINFO.sub(f"://{REDACTED}@", text)
        return self._pattern.sub(REDACTED, text) if self._pattern is not None else text

    def number(self, number: int) -> int | str:
        return REDACTED if number in self._numbers else number


def describe(policy: PolicySet, substituted: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The policy as plain JSON values, bounded: at most ``MOST_SHOWN`` of anything, with the number of all."""
    totals = {f"{name}_total": len(getattr(policy, name)) for name in ("tenants", "routes", "tiers", "upstreams")}
    if len(substituted) > MOST_HIDDEN:
        return {**totals, "withheld": f"{len(substituted):,} substituted values are too many to take out"}
    hidden = Hidden(substituted)
    parts = (part.name for part in fields(policy) if part.name not in LOOK_UPS)
    plain = {name: _member(name, getattr(policy, name), hidden) for name in parts}
    size = len(orjson.dumps(plain, default=str, option=orjson.OPT_NON_STR_KEYS))
    if size > LARGEST:
        return {**totals, "withheld": f"{size:,} bytes are too many to show"}
    return {**plain, **totals}


def _plain(value: Any, hidden: Hidden) -> Any:
    if isinstance(value, Source):  # its ``headers`` are names alone, without anything to hide
        return {part.name: _plain(getattr(value, part.name), hidden) for part in fields(value)}
    if is_dataclass(value):
        return {part.name: _member(part.name, getattr(value, part.name), hidden) for part in fields(value)}
    if isinstance(value, Mapping):
        shown = islice(value.items(), MOST_SHOWN)
        return {hidden.text(str(name)): _member(str(name), item, hidden) for name, item in shown}
    if isinstance(value, frozenset):
        return sorted(str(_plain(item, hidden)) for item in islice(value, MOST_SHOWN))
    if isinstance(value, tuple | list):
        return [_plain(item, hidden) for item in value[:MOST_SHOWN]]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return hidden.text(value.decode("latin-1"))
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return hidden.number(value)
    return hidden.text(str(value))


def _member(name: str, value: Any, hidden: Hidden) -> Any:
    if name in SECRET_FIELDS:
        return REDACTED if value else None
    if name in PAIR_FIELDS:
        return _pairs(value, hidden)
    return _plain(value, hidden)


def _pairs(value: Any, hidden: Hidden) -> Any:
    """Header pairs by name only; a mapping of upstream names to pairs the same way."""
    if isinstance(value, Mapping):
        return {str(name): _pairs(pairs, hidden) for name, pairs in islice(value.items(), MOST_SHOWN)}
    if isinstance(value, tuple):
        return {name.decode("latin-1"): REDACTED for name, _ in value[:MOST_SHOWN]}
    return _plain(value, hidden)
