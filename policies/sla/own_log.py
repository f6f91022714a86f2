"""A customer's own request log: JSON lines, or CSV with a header, each with a time and a status, perhaps a request id.

Times carry an offset or are Unix seconds: a time without a zone could be any minute, and is refused. Pure text; what
is made of the entries is ``reconcile``.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any, Final

from policies.sla.export import LONGEST_LINE, Unreadable
from policies.sla.instants import EPOCH
from policies.sla.reading import shown

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "time": ("time", "timestamp", "@timestamp", "ts", "at"),
    "status": ("status", "status_code", "http_status", "code"),
    "request_id": ("request_id", "request-id", "x-request-id", "x_request_id", "id"),
}
"""The keys or columns that are looked for, any case; others are left alone."""
NO_ANSWER: Final = frozenset({"", "-", "0", "000", "none", "null", "timeout", "error"})
"""What stands for a status where there was no answer at all."""
_STATUS: Final = re.compile(r"[1-5]\d\d", re.ASCII)
_UNIX: Final = re.compile(r"\d{9,11}(\.\d{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request as the customer saw it. ``status`` None: no answer came. ``line`` is its place in the log."""

    line: int
    at_us: int
    status: int | None
    id: str | None

    @property
    def is_failure(self) -> bool:
        return self.status is None or self.status >= 500


def read(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries, in the log's order. Raises ``Unreadable``."""
    numbered = ((number, _sound(number, line)) for number, line in enumerate(lines, 1))
    for number, line in numbered:
        if line.strip():
            whole = chain([(number, line)], numbered)
            yield from _json(whole) if line.lstrip().startswith("{") else _csv(whole)
            return


def _sound(number: int, line: str) -> str:
    if len(line) > LONGEST_LINE:
        raise Unreadable(number, f"it is longer than {LONGEST_LINE} characters")
    return line.removeprefix("\ufeff") if number == 1 else line


def _json(lines: Iterable[tuple[int, str]]) -> Iterator[Entry]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_float=str)
        except (ValueError, RecursionError):
            raise Unreadable(number, "it is no JSON object") from None
        if not isinstance(value, dict):
            raise Unreadable(number, "it is no JSON object")
        yield _entry(number, {str(key).lower(): each for key, each in value.items()})


def _csv(lines: Iterable[tuple[int, str]]) -> Iterator[Entry]:
    rows = _Rows(lines)
    names: list[str] = []
    try:
        for row in csv.reader(rows, strict=True):
            if not names:
                names = [each.strip().lower() for each in row]
                _check_columns(rows.number, names)
            elif row:
                if len(row) != len(names):
                    raise Unreadable(rows.number, f"it has {len(row)} columns, and the header {len(names)}")
                yield _entry(rows.number, dict(zip(names, row, strict=True)))
    except csv.Error as error:
        raise Unreadable(rows.number, f"it is no CSV: {error}") from None


class _Rows:
    """The lines for the CSV reader, which knows no numbers: ``number`` is that of the last line it took."""

    def __init__(self, lines: Iterable[tuple[int, str]]) -> None:
        self.number = 0
        self._lines = iter(lines)

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            self.number = number
            yield line


def _check_columns(number: int, names: list[str]) -> None:
    for what in ("time", "status"):
        found = [name for name in names if name in NAMES[what]]
        if len(found) != 1:
            raise Unreadable(number, f"it names {len(found)} columns of {what}; call one of them {what}")


def _entry(number: int, found: Mapping[str, Any]) -> Entry:
    try:
        return Entry(
            line=number,
            at_us=_time(_of(found, "time")),
            status=_status(_of(found, "status")),
            id=str(given) if (given := _of(found, "request_id", optional=True)) not in (None, "", "-") else None,
        )
    except ValueError as error:
        raise Unreadable(number, str(error)) from None


def _of(found: Mapping[str, Any], what: str, *, optional: bool = False) -> Any:
    for name in NAMES[what]:
        if name in found:
            return found[name]
    if optional:
        return None
    raise ValueError(f"it has no {what}; one of {', '.join(NAMES[what])} is looked for")


def _status(value: object) -> int | None:
    text = str(value).strip().lower()
    if value is None or text in NO_ANSWER:
        return None
    if _STATUS.fullmatch(text) is None or isinstance(value, bool):
        raise ValueError(f"status {shown(value)} is none of 100 to 599, nor empty for no answer")
    return int(text)


def _time(value: object) -> int:
    """Unix microseconds."""
    text = str(value).strip()
    if _UNIX.fullmatch(text):
        return _unix(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"time {shown(value)} is no instant, or a day that does not exist") from None
    if at.tzinfo is None:
        raise ValueError(f"time {shown(value)} has no zone; write an offset such as Z or +02:00")
    return (at - EPOCH) // timedelta(microseconds=1)


def _unix(text: str) -> int:
    try:
        return int(Decimal(text) * 1_000_000)
    except InvalidOperation:
        raise ValueError(f"time {shown(text)} is no instant") from None
