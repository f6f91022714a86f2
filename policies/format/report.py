"""Where a value stands (``Place``), and the list that complaints about it are added to (``Report``).

A place knows its own value; a location inside it is looked up only when something is wrong, so that a hundred
thousand good tenants cost no positions. No finding quotes what a substitution gave.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic_core import ErrorDetails
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from policies.format.findings import Finding
from policies.format.kinds import KINDS
from policies.format.units import ValueProblem, closest, short
from policies.format.yaml_tree import Unreadable, read_tree, span_of

Loc = tuple[str | int, ...]
KeysAt = Callable[[Loc], tuple[str, ...]]
TAG = "\x00"
"""Begins the parts of a pydantic location that name a member of a union and no key; no key can."""

_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
"""JSON spells what is beyond the BMP as two escapes, YAML does not; the stand-in keeps all columns."""


@dataclass(frozen=True, slots=True)
class Spot:
    """``raw`` is the scalar as the file has it, None for maps and lists."""

    file: str
    line: int
    column: int
    span: int
    raw: str | None


class Place(Protocol):
    """The value of one entry of one section."""

    @property
    def path(self) -> str: ...

    def spot(self, loc: Loc, *, on_key: bool) -> Spot: ...


@dataclass(slots=True)
class YamlPlace:
    """A key of a YAML file with its value."""

    file: str
    path: str
    key: Node
    value: Node

    def spot(self, loc: Loc, *, on_key: bool) -> Spot:
        key, value = _descend(self.key, self.value, loc)
        return _spot(self.file, key if on_key else value, 0)


@dataclass(slots=True)
class LinePlace:
    """One line of a JSON-lines file. Its positions are found by reading the line again as YAML, a superset of JSON."""

    file: str
    path: str
    line: int
    text: bytes

    def spot(self, loc: Loc, *, on_key: bool) -> Spot:
        root = read_tree(self.file, _PAIR.sub(b"x" * 12, self.text), lambda text: text).root
        if root is None:
            return Spot(self.file, self.line, 1, 1, None)
        key, value = _descend(root, root, loc)
        return _spot(self.file, key if on_key else value, self.line - 1)


@dataclass(slots=True)
class MapPlace:
    """A section whose keys may come from several files; ``entries`` has the place of each."""

    path: str
    entries: Mapping[str, Place]
    home: Place

    def spot(self, loc: Loc, *, on_key: bool) -> Spot:
        entry = self.entries.get(str(loc[0])) if loc else None
        if entry is None:
            return self.home.spot((), on_key=True)
        return entry.spot(loc[1:], on_key=on_key)


@dataclass(slots=True)
class Report:
    """Complaints so far."""

    findings: list[Finding] = field(default_factory=list)
    errors: int = 0

    def file(self, finding: Finding) -> None:
        self.findings.append(finding)
        self.errors += finding.severity == "error"

    def add(
        self,
        code: str,
        place: Place,
        loc: Loc,
        message: str,
        hint: str = "",
        *,
        on_key: bool = False,
        secret: bool = False,
    ) -> None:
        """Complain about ``loc`` inside ``place``; ``on_key`` points at the key instead of the value."""
        spot = place.spot(loc, on_key=on_key)
        if spot.raw is not None and "${" in spot.raw:
            message, hint = f"the value that {short(spot.raw)} stands for {KINDS[code].about}", ""
        path = dotted(place.path, loc)
        self.file(
            Finding(
                file=spot.file, line=spot.line, column=spot.column, code=code, message=message, hint=hint,
                path=path, span=spot.span, secret=secret,
            )
        )  # fmt: skip

    def add_reference(self, problem: ValueProblem, place: Place, loc: Loc) -> None:
        """A substitution that failed; such a message is about the reference and quotes no value."""
        spot = place.spot(loc, on_key=False)
        self.file(
            Finding(
                file=spot.file, line=spot.line, column=spot.column, code=problem.code, message=problem.message,
                hint=problem.hint, path=dotted(place.path, loc), span=spot.span,
            )
        )  # fmt: skip

    def add_problem(self, problem: ValueProblem, place: Place, loc: Loc) -> None:
        self.add(problem.code, place, loc, problem.message, problem.hint, secret=problem.code == "TG123")

    def add_validation(self, errors: list[ErrorDetails], place: Place, keys_at: KeysAt) -> None:
        """What pydantic found. ``keys_at`` gives the keys that the map at a location may have."""
        strangers = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]
        for error in errors:
            if error["input"] is not Unreadable and not _is_misspelt(error, strangers):
                self._add_one(error, place, keys_at)

    def _add_one(self, error: ErrorDetails, place: Place, keys_at: KeysAt) -> None:
        loc = tuple(part for part in error["loc"] if not (isinstance(part, str) and part.startswith(TAG)))
        kind, context = error["type"], error.get("ctx", {})
        problem = context.get("error")
        if isinstance(problem, ValueProblem):
            self.add_problem(problem, place, loc)
        elif kind == "extra_forbidden":
            self._add_unknown_key(place, loc, keys_at(error["loc"][:-1]))
        elif kind == "missing":
            self.add("TG105", place, loc[:-1], f"'{loc[-1]}' is required here", f"add '{loc[-1]}:'", on_key=True)
        elif kind in ("literal_error", "enum"):
            self._add_choice(place, loc, error["input"], str(context.get("expected", "")))
        elif kind == "union_tag_not_found":
            self._add_unclear_limit(place, loc, error["input"])
        elif kind == "too_long":
            many, most = len(error["input"]), context["max_length"]
            self.add("TG104", place, loc, f"{many} entries are too many", f"{most} at most", on_key=True)
        else:
            expected, hint = _SHAPES.get(kind, (error["msg"].lower(), ""))
            hint = "write it, or remove the key" if error["input"] is None else hint
            if kind in ("list_type", "tuple_type") and isinstance(error["input"], str) and "keys" not in loc:
                hint = f"did you mean [{error['input'][:60]}]?"
            self.add("TG104", place, loc, f"{_shape_of(error['input'])}, but {expected}", hint)

    def _add_unknown_key(self, place: Place, loc: Loc, keys: tuple[str, ...]) -> None:
        hint = closest(str(loc[-1]), keys) or (f"known here: {', '.join(keys)}" if 0 < len(keys) <= 16 else "")
        self.add("TG103", place, loc, f"{short(loc[-1])} is not a setting", hint, on_key=True)

    def _add_choice(self, place: Place, loc: Loc, value: object, expected: str) -> None:
        words = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
        near = closest(str(value), words, cutoff=0.4)
        self.add("TG120", place, loc, f"{short(value)} is not a choice", f"{near} one of: {', '.join(words)}".strip())

    def _add_unclear_limit(self, place: Place, loc: Loc, value: object) -> None:
        kinds = [
            kind for kind in ("window", "quota", "rate", "concurrent") if isinstance(value, dict) and kind in value
        ]
        said = f"a limit is one kind, but this mixes {' and '.join(kinds)}" if kinds else "this names no kind of limit"
        hint = (
            "make two limits of it"
            if kinds
            else "spell it in full: {window: 60/min}, {quota: 5_000/day}, {rate: 100/s, burst: 500} or {concurrent: 5}"
        )
        self.add("TG127", place, loc, said, hint)


def _is_misspelt(error: ErrorDetails, strangers: list[Loc]) -> bool:
    """Whether a missing key is there under a name so near to its own that the unknown key is the mistake."""
    loc = error["loc"]
    near = (str(other[-1]) for other in strangers if other[:-1] == loc[:-1])
    return error["type"] == "missing" and any(closest(name, [str(loc[-1])]) for name in near)


_SHAPES = {
    "model_type": ("a map is expected", "write 'key: value' lines below it"),
    "model_attributes_type": ("a map is expected", "write 'key: value' lines below it"),
    "dict_type": ("a map is expected", "write 'key: value' lines below it"),
    "tuple_type": ("a list is expected", "put it in brackets: [a, b]"),
    "list_type": ("a list is expected", "put it in brackets: [a, b]"),
    "string_type": ("a text is expected", "quote it"),
}


def _shape_of(value: object) -> str:
    match value:
        case None:
            return "there is no value"
        case bool():
            return "this is true or false"
        case dict():
            return "this is a map"
        case list():
            return "this is a list"
        case str():
            return "this is a text"
    return "this is a number"


def dotted(path: str, loc: Loc) -> str:
    """``tenants.acme`` and ``("keys", 0)`` as ``tenants.acme.keys[0]``."""
    for part in loc:
        path = f"{path}[{part}]" if isinstance(part, int) else f"{path}.{part}" if path else part
    return path


def _descend(key: Node, value: Node, loc: Loc) -> tuple[Node, Node]:
    """The key and value nodes at ``loc``, or those as near to it as exist."""
    for part in loc:
        found = child_of(value, part)
        if found is None:
            break
        key, value = found
    return key, value


def child_of(node: Node, part: str | int) -> tuple[Node, Node] | None:
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    if isinstance(node, MappingNode):
        pairs: list[tuple[Any, Node]] = node.value
        return next(((key, value) for key, value in pairs if isinstance(key, ScalarNode) and key.value == part), None)
    return None


def _spot(file: str, node: Node, lines_before: int) -> Spot:
    mark = node.start_mark
    raw = node.value if isinstance(node, ScalarNode) else None
    return Spot(file, mark.line + 1 + lines_before, mark.column + 1, span_of(node), raw)
