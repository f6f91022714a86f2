"""A counter row as a sealed line, written straight in its canonical form: an export is made of little else.

The bytes are those of ``canonical``, which a test compares for rows of every kind; a month of one tenant has a hundred
thousand of them, and writing each as a value first would take ten times as long.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from policies.sla.canonical import LARGEST_INTEGER, canonical
from policies.sla.evidence import Row
from policies.sla.instants import written

DAY_S: Final = 86_400


def row_line(row: Row) -> tuple[str, str]:
    """The row's digest, and its line without the line feed. Raises ``ValueError`` for what has no canonical form."""
    counts = row.counts
    failed = sorted(each for each in counts.failed.items() if each[1])
    numbers = (counts.good, *counts.latency, *(number for _, number in failed))
    if max(numbers) > LARGEST_INTEGER:
        raise ValueError(f"{max(numbers)} requests in a minute have no canonical form")
    causes = ",".join([f"{_quoted(cause)}:{number}" for cause, number in failed])
    head = (
        f'{{"failed":{{{causes}}},"good":{counts.good},"group":{_quoted(row.group)},"kind":"counters",'
        f'"latency":[{",".join(map(str, counts.latency))}]'
    )
    tail = f',"slot":"{moment(row.slot_s)}","tenant":{"null" if row.tenant is None else _quoted(row.tenant)}}}'
    seal = sha256(f"{head}{tail}".encode()).hexdigest()
    return seal, f'{head},"sha256":"{seal}"{tail}'


def moment(at_s: int) -> str:
    """``instants.written``: of so many minutes few days differ, and few times of day."""
    day, rest = divmod(at_s, DAY_S)
    return date(day) + _time(rest)


@lru_cache(maxsize=1024)
def date(day: int) -> str:
    """``2026-04-01T`` of the day that begins so many days after 1970."""
    return written(day * DAY_S)[:11]


@lru_cache(maxsize=2048)
def _time(rest_s: int) -> str:
    return written(rest_s)[11:]


@lru_cache(maxsize=1024)
def _quoted(name: str) -> str:
    return canonical(name).decode()
