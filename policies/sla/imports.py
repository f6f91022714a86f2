"""Lines of evidence that others counted: at the balancer, by probes, in the ticket system (spec D4, T9, SC5).

Decides what such lines must say, to the letter, because they change a figure: JSON lines, or CSV with a header, the
same names in both. All of a text is read or nothing. Whose lines they are, and that they were taken in, is recorded by
whoever takes them.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from itertools import chain
from typing import Any, Final, Literal, get_args

from policies.sla.cases import ACTORS, KINDS, CaseEvent
from policies.sla.evidence import MINUTE_S
from policies.sla.export import Unreadable
from policies.sla.instants import EPOCH, written
from policies.sla.reading import count, one_of, shown, some_keys
from policies.sla.support import SEVERITIES

What = Literal["edge", "probes", "support"]
WHATS: Final[tuple[What, ...]] = get_args(What)

MOST_BYTES: Final = 16 * 1024 * 1024
"""What is taken at once; a month of minutes of a hundred tenants has to come in parts."""
MOST_LINES: Final = 400_000
LONGEST_LINE: Final = 4_096
MOST_FAILED: Final = 10**9
"""Requests that one minute of one group may have lost; more is a mistake, not an outage."""
TOLERANCE_S: Final = 300
"""How far a line may lie ahead of our clock (D5)."""

_SOURCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_ZONELESS: Final = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?)?", re.ASCII)
_LIKE: Final = "2026-10-01T12:00:00Z"
_WHOLE: Final = re.compile(r"\d{1,16}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What lines may be about: instants from ``oldest_s`` to ``now_s``, and these tenants and route groups."""

    now_s: int
    oldest_s: int
    tenants: Collection[str]
    groups: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """``failed`` requests that the edge answered itself, or refused, in the minute from ``slot_s`` on.

    ``tenant`` and ``group`` are empty where the edge does not know them; then only the platform has them.
    """

    slot_s: int
    tenant: str
    group: str
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What the vantage point ``point`` found in ``[from_s, to_s)``."""

    point: str
    from_s: int
    to_s: int
    ok: bool


Entry = Edge | Probe | CaseEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a text says: ``entries`` in its order, all of them about instants of ``[from_s, to_s)``."""

    entries: tuple[Entry, ...]
    from_s: int
    to_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """The names that a line has and may have; ``make`` reads one; ``key`` is what no two lines share."""

    needed: tuple[str, ...]
    allowed: tuple[str, ...]
    make: Callable[[Mapping[str, Any], str, Bounds], Entry]
    key: Callable[[Any], Hashable]
    span: Callable[[Any], tuple[int, int]]


def source_name(text: object) -> str:
    """The name of a source. Raises ``ValueError``."""
    if not isinstance(text, str) or _SOURCE.fullmatch(text) is None:
        raise ValueError(f"{shown(text)} is no name of a source: 1 to 64 letters, digits, dots, dashes, underlines")
    return text


def read(what: What, source: str, data: bytes, bounds: Bounds) -> Taken:
    """All entries of ``data``. Raises ``Unreadable``, which names the line and the reason."""
    form = _FORMS[what]
    entries: list[Entry] = []
    seen: dict[Hashable, int] = {}
    for number, said in _objects(data, form):
        try:
            entry = form.make(some_keys(said, "the line", form.needed, form.allowed), source, bounds)
        except ValueError as error:
            raise Unreadable(number, str(error)) from None
        first = seen.setdefault(form.key(entry), number)
        if first != number:
            raise Unreadable(number, f"it says again what line {first} has said")
        entries.append(entry)
    if not entries:
        raise Unreadable(0, "there are no lines in it")
    spans = [form.span(entry) for entry in entries]
    return Taken(entries=tuple(entries), from_s=min(start for start, _ in spans), to_s=max(end for _, end in spans))


# --- the text -------------------------------------------------------------------------------------------------------


def _objects(data: bytes, form: _Form) -> Iterator[tuple[int, Mapping[str, Any]]]:
    numbered = _lines(data)
    for number, line in numbered:
        if line.strip():
            whole = chain([(number, line)], numbered)
            yield from _json(whole) if line.lstrip().startswith("{") else _csv(whole, form)
            return


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    if data.count(b"\n") > MOST_LINES:
        raise Unreadable(0, f"there are more than {MOST_LINES:,} lines; send them in parts")
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if len(line) > LONGEST_LINE:
            raise Unreadable(number, f"it is longer than {LONGEST_LINE} bytes")
        try:
            yield number, line.decode()
        except UnicodeDecodeError:
            raise Unreadable(number, "it is not UTF-8") from None


def _json(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_object, parse_float=_no_number, parse_constant=_no_number)
        except _Said as error:
            raise Unreadable(number, str(error)) from None
        except (ValueError, RecursionError):
            raise Unreadable(number, "it is no JSON object, or cut off") from None
        yield number, value


class _Said(ValueError):
    """What is wrong with a line that JSON itself allows."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Said("it says a name twice")
    return found


def _no_number(text: str) -> Any:
    raise _Said(f"{shown(text)} is no whole number")


def _csv(lines: Iterable[tuple[int, str]], form: _Form) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Quoted line breaks are refused with the field that they stand in: nothing that is imported has any."""
    names: list[str] = []
    last = 0
    for number, line in lines:
        last = number if line else last
        row = _row(number, line)
        if not names:
            names = [each.strip() for each in row]
            _check_header(number, names, form)
        elif row:
            if len(row) != len(names):
                raise Unreadable(number, f"it has {len(row)} columns and the header {len(names)}, or is cut off")
            yield number, {name: _value(name, text) for name, text in zip(names, row, strict=True) if text != ""}
    if last == number:
        raise Unreadable(number, "it does not end with a line break and may be cut off")


def _row(number: int, line: str) -> list[str]:
    try:
        return next(csv.reader([line.removesuffix("\r")], strict=True), [])
    except csv.Error as error:
        raise Unreadable(number, f"it is no CSV: {error}") from None


def _check_header(number: int, names: list[str], form: _Form) -> None:
    try:
        some_keys(dict.fromkeys(names), "the header", form.needed, form.allowed)
    except ValueError as error:
        raise Unreadable(number, str(error)) from None
    if len(set(names)) != len(names):
        raise Unreadable(number, "the header says a name twice")


def _value(name: str, text: str) -> object:
    if name == "failed" and _WHOLE.fullmatch(text):
        return int(text)
    return {"true": True, "false": False}.get(text, text) if name == "ok" else text


# --- what a line says -----------------------------------------------------------------------------------------------


def _edge(said: Mapping[str, Any], source: str, bounds: Bounds) -> Edge:
    slot_s, part = _instant(said["minute"], "minute", bounds)
    if slot_s % MINUTE_S or part:
        raise ValueError(f"minute {shown(said['minute'])} is not the beginning of a minute")
    return Edge(
        slot_s=slot_s,
        tenant=_known(said["tenant"], "tenant", bounds.tenants) if said.get("tenant", "") != "" else "",
        group=_known(said["group"], "group", bounds.groups) if said.get("group", "") != "" else "",
        failed=count(said["failed"], "failed", most=MOST_FAILED),
    )


def _probe(said: Mapping[str, Any], source: str, bounds: Bounds) -> Probe:
    (from_s, _), (to_s, part) = _instant(said["from"], "from", bounds), _instant(said["to"], "to", bounds)
    if to_s + part <= from_s:
        raise ValueError(f"it ends at {shown(said['to'])}, not after it began at {shown(said['from'])}")
    if type(said["ok"]) is not bool:
        raise ValueError(f"ok is {shown(said['ok'])}, neither true nor false")
    try:
        point = source_name(said["vantage_point"])
    except ValueError as error:
        raise ValueError(str(error).replace("a source", "a vantage point")) from None
    return Probe(point=f"{source}/{point}", from_s=from_s, to_s=to_s + part, ok=said["ok"])


def _support(said: Mapping[str, Any], source: str, bounds: Bounds) -> CaseEvent:
    kind = one_of(said["kind"], "kind", KINDS)
    with_severity = kind in ("opened", "severity")
    if with_severity != ("severity" in said):
        raise ValueError(f"an event of kind {kind} {'needs' if with_severity else 'has no'} severity")
    return CaseEvent(
        source=source,
        id=_name(said["id"], "id"),
        ticket=_name(said["ticket"], "ticket"),
        tenant=_known(said["tenant"], "tenant", bounds.tenants),
        at_s=_instant(said["at"], "at", bounds)[0],
        kind=kind,
        actor=one_of(said["actor"], "actor", ACTORS),
        severity=one_of(said["severity"], "severity", SEVERITIES) if with_severity else None,
    )


_FORMS: Final[Mapping[What, _Form]] = {
    "edge": _Form(
        needed=("minute", "failed"), allowed=("tenant", "group"), make=_edge,
        key=lambda edge: (edge.slot_s, edge.tenant, edge.group),
        span=lambda edge: (edge.slot_s, edge.slot_s + MINUTE_S),
    ),
    "probes": _Form(
        needed=("vantage_point", "from", "to", "ok"), allowed=(), make=_probe,
        key=lambda probe: (probe.point, probe.from_s), span=lambda probe: (probe.from_s, probe.to_s),
    ),
    "support": _Form(
        needed=("id", "ticket", "tenant", "at", "kind", "actor"), allowed=("severity",), make=_support,
        key=lambda event: event.id, span=lambda event: (event.at_s, event.at_s + 1),
    ),
}  # fmt: skip


def _instant(value: object, what: str, bounds: Bounds) -> tuple[int, int]:
    """Whole Unix seconds, and 1 if there is a part of a second behind them."""
    text = value if isinstance(value, str) else ""
    if _INSTANT.fullmatch(text) is None:
        zoneless = _ZONELESS.fullmatch(text) is not None
        fault = "has no zone; write an offset such as Z or +02:00" if zoneless else f"is no instant like {_LIKE}"
        raise ValueError(f"{what} {shown(value)} {fault}")
    try:
        passed = datetime.fromisoformat(text.upper()) - EPOCH
    except (ValueError, OverflowError):
        raise ValueError(f"{what} {shown(value)} does not exist") from None
    at_s = passed.days * 86_400 + passed.seconds
    if at_s > bounds.now_s + TOLERANCE_S:
        raise ValueError(f"{what} {shown(value)} lies in the future: it is {written(bounds.now_s)}")
    if at_s < bounds.oldest_s:
        raise ValueError(f"{what} {shown(value)} lies before {written(bounds.oldest_s)}, from when on minutes are kept")
    return at_s, 1 if passed.microseconds else 0


def _known(value: object, what: str, known: Collection[str]) -> str:
    if isinstance(value, str) and value in known:
        return value
    near = get_close_matches(value, known, n=1) if isinstance(value, str) else []
    raise ValueError(f"{what} {shown(value)} is not known" + (f"; did you mean {near[0]!r}?" if near else ""))


def _name(value: object, what: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 200 or not value.isprintable():
        raise ValueError(f"{what} {shown(value)} is no printable text of 1 to 200 characters")
    return value
