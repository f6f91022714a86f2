"""A ``Basis`` as JSON lines, and back: the header first, then a line for each row, interval, act, call and case.

Pure text. Reading is strict about form, which it says with the line's number; what was altered in sound form is no
error here but an altered ``Place``, for ``verification`` to name. The order of the lines is of no account.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from policies.sla.canonical import canonical, digest
from policies.sla.chain import Link, Withheld
from policies.sla.evidence import Alive, Basis, Call, Failing, Head, Row
from policies.sla.evidence_form import KINDS, SEAL, Part, Value, header_value, lines_of
from policies.sla.evidence_reading import head_of, part_of
from policies.sla.reading import keys, mapping, sha256, shown

CLAIMS: Final = ("lines", "totals", "rows_sha256", "input_sha256")
"""What the header says of the rest."""
LONGEST_LINE: Final = 1 << 20


class Unreadable(ValueError):
    """A file that is no export: ``line`` counts from 1, 0 is the whole file."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a part stands, and the digest that it carries. It was altered when that is not the one of its content."""

    line: int
    part: Part
    claimed: str
    found: str

    @property
    def is_altered(self) -> bool:
        return self.claimed != self.found


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What an export says. ``header`` is its first line as it stands, ``places`` has each part's by its key."""

    basis: Basis
    header: Value
    places: Mapping[object, Place]

    @property
    def altered(self) -> tuple[Place, ...]:
        """The lines that are not as they were sealed, in their order."""
        return tuple(sorted((each for each in self.places.values() if each.is_altered), key=lambda each: each.line))


def write(basis: Basis) -> Iterator[str]:
    """The lines, each with its line feed."""
    lines = list(lines_of(basis))
    header = header_value(basis, (seal for seal, _ in lines))
    yield canonical(header).decode() + "\n"
    for _, line in lines:
        yield line + "\n"


def read(lines: Iterable[str]) -> Export:
    """What ``lines`` say, each with its line feed. Raises ``Unreadable``."""
    numbered = enumerate(lines, 1)
    number, first = next(numbered, (0, ""))
    if not number:
        raise Unreadable(0, "the file is empty")
    header = parsed(number, first)
    head = _head(header)
    found = _Found()
    for number, line in numbered:
        found.take(number, line, head)
    found.check_complete(header, number)
    return Export(basis=found.basis(head), header=header, places=found.places)


def key_of(part: Part) -> object:
    """What may come only once."""
    match part:
        case Row():
            return "counters", part.tenant is None, part.group, part.slot_s
        case Alive():
            return "alive", part.replica, part.boot, part.from_s
        case Failing():
            return "probe", part.vantage, part.from_s
        case Link() | Withheld():
            return "act", part.number
        case Call():
            return "call", part.id, part.known_us
    return "ticket", part.id


class _Found:
    """The parts that were read so far."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        self.places: dict[object, Place] = {}

    def take(self, number: int, line: str, head: Head) -> None:
        value = parsed(number, line)
        try:
            claimed = sha256(value.pop(SEAL, None), SEAL)
            part = part_of(value, head)
            found = digest(value)
        except ValueError as error:
            raise Unreadable(number, str(error)) from None
        before = self.places.setdefault(key_of(part), Place(line=number, part=part, claimed=claimed, found=found))
        if before.line != number:
            raise Unreadable(number, f"it says again what line {before.line} says")
        self.parts[value["kind"]].append(part)

    def check_complete(self, header: Value, last: int) -> None:
        for kind, parts in self.parts.items():
            told = header["lines"][kind]
            if told != len(parts):
                said = f"the export ends here with {len(parts)} lines of {kind}, and its header says {told}"
                raise Unreadable(last, said)

    def basis(self, head: Head) -> Basis:
        rows, alive, failing, acts, calls, tickets = (tuple(self.parts[kind]) for kind in KINDS)
        ordered = tuple(sorted(acts, key=lambda link: link.number))
        return Basis(head=head, rows=rows, alive=alive, failing=failing, acts=ordered, calls=calls, tickets=tickets)


def _head(header: Value) -> Head:
    try:
        if header.get("kind") != "header":
            raise ValueError(f"an export begins with its header, not with {shown(header.get('kind'))}")
        for name in ("rows_sha256", "input_sha256"):
            sha256(header.get(name), name)
        lines = keys(header.get("lines"), "lines", *KINDS)
        if not all(type(each) is int and each >= 0 for each in lines.values()):
            raise ValueError("lines are not counted by whole numbers")
        _check_totals(header.get("totals"))
        canonical(header)  # a lone surrogate or too large a number is no one's to hash later
        return head_of({name: each for name, each in header.items() if name not in CLAIMS})
    except ValueError as error:
        raise Unreadable(1, str(error)) from None


def _check_totals(value: object) -> None:
    for scope, days in mapping(value, "totals").items():
        if scope not in ("tenant", "platform"):
            raise ValueError(f"totals has no key {shown(scope)}")
        for day, counters in mapping(days, "totals").items():
            if not all(type(each) is int and each >= 0 for each in mapping(counters, day).values()):
                raise ValueError(f"totals of {shown(day)} are no whole numbers")


def parsed(number: int, line: str, *, most: int = LONGEST_LINE) -> Value:
    """One line as an object. Raises ``Unreadable``."""
    if len(line) > most:
        raise Unreadable(number, f"it is longer than {most} characters")
    if not line.endswith("\n"):
        raise Unreadable(number, "it is cut off: it has no line feed")
    try:
        value = json.loads(line, object_pairs_hook=_once, parse_float=_no_number, parse_constant=_no_number)
        line.encode()
    except UnicodeEncodeError:
        raise Unreadable(number, "it is not UTF-8") from None
    except RecursionError:
        raise Unreadable(number, "it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Unreadable(number, f"it is no JSON: {error.msg} at character {error.colno}") from None
    except ValueError as error:
        raise Unreadable(number, str(error)) from None
    if not isinstance(value, dict):
        raise Unreadable(number, "it is no object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> Value:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {shown(twice)} comes twice")
    return made


def _no_number(text: str) -> None:
    raise ValueError(f"{shown(text)} is no whole number")
