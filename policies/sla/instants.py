"""Instants as text: RFC 3339 in UTC with a ``Z`` and nothing else, so that one instant has one form.

Offsets, other zones, leap seconds and days that no calendar has are refused, because a record must be read the same
by everybody. What people may type is ``policies.format.scalars``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FORM: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{6}))?Z", re.ASCII)


def written(at_s: int) -> str:
    """``2026-04-01T00:00:00Z``. Raises ``ValueError`` for an instant outside of the years 1 to 9999."""
    return f"{_moment(at_s).isoformat()[:19]}Z"


def written_us(at_us: int) -> str:
    """The same with six digits behind the second."""
    whole_s, part = divmod(at_us, 1_000_000)
    return f"{written(whole_s)[:-1]}.{part:06}Z"


def read(text: object) -> int:
    """Unix seconds. Raises ``ValueError`` that says what is wrong."""
    at_us = read_us(text)
    if at_us % 1_000_000 or "." in str(text):
        raise ValueError(f"{text!r} has parts of a second")
    return at_us // 1_000_000


def read_us(text: object) -> int:
    """Unix microseconds, of text with or without six digits behind the second. Raises ``ValueError`` likewise."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"{str(text)[:40]!r} is no instant in UTC, such as 2026-04-01T00:00:00Z")
    try:
        passed = datetime.fromisoformat(f"{found[1]}+00:00") - EPOCH
    except ValueError:
        raise ValueError(f"{text!r} does not exist") from None
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + int(found[2] or 0)


def duration(seconds: int) -> str:
    """``60 days``, ``59 days 23:59:59``, ``47:59:59``: a time that has passed, to the second."""
    days, rest = divmod(seconds, 86_400)
    clock = f"{rest // 3_600}:{rest // 60 % 60:02}:{rest % 60:02}"
    if days < 3:
        return f"{seconds // 3_600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} days {clock}" if rest else f"{days} days"


def _moment(at_s: int) -> datetime:
    try:
        return EPOCH + timedelta(seconds=at_s)
    except OverflowError:
        raise ValueError(f"{at_s} s lie outside of the calendar") from None
