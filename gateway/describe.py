"""What a loaded policy says, as JSON for the admin listener, with everything secret taken out.

Secret are: header values and key digests, key sets, certificates, tokens, and any text that came out of a
``${VAR}`` or ``${file:NAME}`` (spec policy.md: no dump ever shows what came from one).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from policies.model import PolicySet

REDACTED = "***"
TENANTS_SHOWN = 1_000
SECRET_FIELDS = frozenset({"digest", "admin_token_digest", "jwks", "cert", "ca"})
PAIR_FIELDS = frozenset({"headers", "upstream_headers"})
LOOK_UPS = frozenset({"keys", "subjects"})
"""Fields of the policy set that repeat what the tenants say."""

_REFERENCE = re.compile(r"\$\{(?:file:([^}]+)|([A-Za-z_][A-Za-z0-9_]*)(?::-[^}]*)?)\}")
_USERINFO = re.compile(r"://[^/@\s]+@")
_SHORTEST = 4
"""Shorter values are not worth hiding inside other text: they would blot out half the dump."""


def references(directory: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the variables and of the secret files that the policy files mention."""
    found = [pair for path in sorted(directory.rglob("*.y*ml")) for pair in _REFERENCE.findall(_text(path))]
    return frozenset(name for _, name in found if name), frozenset(name for name, _ in found if name)


def substituted(directory: Path, env: Mapping[str, str], secrets_dir: Path | None) -> tuple[str, ...]:
    """Every text that may have come out of a substitution, longest first."""
    variables, files = references(directory)
    values = {env[name] for name in variables if name in env}
    if secrets_dir is not None:
        values |= {_text(secrets_dir / name).strip() for name in files}
    return tuple(sorted((value for value in values if len(value) >= _SHORTEST), key=len, reverse=True))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def describe(policy: PolicySet, hidden: tuple[str, ...] = ()) -> dict[str, Any]:
    """The policy as plain JSON values; at most ``TENANTS_SHOWN`` tenants, with the number of all."""
    shown = {part.name: getattr(policy, part.name) for part in fields(policy) if part.name not in LOOK_UPS}
    shown["tenants"] = dict(list(policy.tenants.items())[:TENANTS_SHOWN])
    plain: dict[str, Any] = _plain(shown, hidden)
    plain["tenants_total"] = len(policy.tenants)
    return plain


def _plain(value: Any, hidden: tuple[str, ...]) -> Any:
    if is_dataclass(value):
        return {part.name: _member(part.name, getattr(value, part.name), hidden) for part in fields(value)}
    if isinstance(value, Mapping):
        return {_hide(str(name), hidden): _member(str(name), item, hidden) for name, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(_plain(item, hidden) for item in value)
    if isinstance(value, tuple | list):
        return [_plain(item, hidden) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return _hide(value.decode("latin-1"), hidden)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return REDACTED if str(value) in hidden else value
    return _hide(str(value), hidden)


def _member(name: str, value: Any, hidden: tuple[str, ...]) -> Any:
    if name in SECRET_FIELDS:
        return REDACTED if value else None
    if name in PAIR_FIELDS:
        return _pairs(value, hidden)
    return _plain(value, hidden)


def _pairs(value: Any, hidden: tuple[str, ...]) -> Any:
    """Header pairs by name only; a mapping of upstream names to pairs the same way."""
    if isinstance(value, Mapping):
        return {str(name): _pairs(pairs, hidden) for name, pairs in value.items()}
    if isinstance(value, tuple):
        return {name.decode("latin-1"): REDACTED for name, _ in value}
    return _plain(value, hidden)


def _hide(text: str, hidden: tuple[str, ...]) -> str:
    text = _USERINFO.sub(f"://{REDACTED}@", text)
    for value in hidden:
        text = text.replace(value, REDACTED)
    return text
