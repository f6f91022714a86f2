"""One upstream's answer as a profile looks at it, and where in it values stand.

``values_of`` compiles a profile's ``Source`` into a function; what the values mean is said by whoever asks. A body
is whatever bounded, decoded copy the caller holds, or None. Nothing here raises for anything an upstream sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import orjson

from policies.patterns import Capture, capture
from policies.throttling import Condition, Path, Source
from upstreams.amounts import Received

MISSING: Final = object()
MOST_VALUES: Final = 64
"""More values of one source are not looked at; no provider sends more."""


class Answer:
    """``fields`` are the lines that the reader asks for, by lower-case name; ``received`` is when it came."""

    __slots__ = ("_body", "_json", "_text", "fields", "received", "status")

    def __init__(
        self, status: int, fields: Mapping[bytes, list[bytes]], body: bytes | None, received: Received
    ) -> None:
        self.status = status
        self.fields = fields
        self.received = received
        self._body = body
        self._json: object = None
        self._text: str | None = None

    def json(self) -> object:
        """The body as JSON; ``MISSING`` where it is none."""
        if self._json is None:
            self._json = read_json(self._body) if self._body else MISSING
        return self._json

    def text(self) -> str:
        if self._text is None:
            self._text = self._body.decode("utf-8", "replace") if self._body else ""
        return self._text


Values = Callable[[Answer, bytes], list[str]]
"""The values of a source; the octets stand for the ``*`` of its field names."""
Holds = Callable[[Answer], bool]


def read_json(data: bytes | str) -> object:
    """``data`` as JSON, or ``MISSING``. The parser bounds the depth; a null document is missing, too."""
    try:
        loaded = orjson.loads(data)
    except (orjson.JSONDecodeError, RecursionError):
        return MISSING
    return MISSING if loaded is None else loaded


def follow(path: Path, value: object) -> list[object]:
    """What ``path`` leads to in ``value``: each node is visited once at most."""
    found = [value]
    for step in path:
        found = [member for each in found for member in _members(each, step)]
        if not found:
            break
    return found


def _members(value: object, step: str | int | None) -> Iterable[object]:
    if isinstance(value, dict):
        if step is None:
            return value.values()
        return (value[step],) if step in value else ()
    if isinstance(value, list):
        if step is None:
            return value
        return (value[step],) if isinstance(step, int) and step < len(value) else ()
    return ()


def written(value: object) -> str:
    """A JSON value as it would be written; of an object or array only that it is one."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    return repr(value)


def values_of(source: Source) -> Values:
    """``source`` compiled. Its values come in the answer's order, without the blanks around them."""
    narrowed = _narrowed(capture(source.match)) if source.match is not None else None
    if source.text:
        pattern = capture(source.match or "(?s).+")
        return lambda answer, _: _present(pattern(answer.text()))
    if not source.headers:
        return _of_body(source.paths, narrowed)
    names = tuple(name.encode("ascii") for name in source.headers)
    if source.paths:
        return _of_field_json(names, source.paths, narrowed)
    return _of_field(names, narrowed)


def holds(condition: Condition) -> Holds:
    """``condition`` compiled."""
    values, equals, absent = values_of(condition.source), condition.equals, condition.absent
    if equals is None:
        return lambda answer: bool(values(answer, b"*")) is not absent
    wanted = frozenset(equals)
    return lambda answer: (not wanted.isdisjoint(values(answer, b"*"))) is not absent


Narrow = Callable[[list[str]], list[str]]


def _narrowed(pattern: Capture) -> Narrow:
    return lambda texts: [found for text in texts if (found := pattern(text)) is not None]


def _present(text: str | None) -> list[str]:
    return [] if text is None else [text]


def _of_field(names: tuple[bytes, ...], narrowed: Narrow | None) -> Values:
    def values(answer: Answer, star: bytes) -> list[str]:
        texts = _lines(answer.fields, names, star)
        return narrowed(texts) if narrowed is not None else texts

    return values


def _of_body(paths: tuple[Path, ...], narrowed: Narrow | None) -> Values:
    def values(answer: Answer, _: bytes) -> list[str]:
        texts = _leaves(answer.json(), paths)
        return narrowed(texts) if narrowed is not None else texts

    return values


def _of_field_json(names: tuple[bytes, ...], paths: tuple[Path, ...], narrowed: Narrow | None) -> Values:
    def values(answer: Answer, star: bytes) -> list[str]:
        documents = [read_json(line) for line in _lines(answer.fields, names, star)]
        texts = [text for document in documents for text in _leaves(document, paths)]
        return narrowed(texts) if narrowed is not None else texts

    return values


def _leaves(document: object, paths: tuple[Path, ...]) -> list[str]:
    if document is MISSING:
        return []
    return [written(value) for path in paths for value in follow(path, document)[:MOST_VALUES] if value is not None]


def _lines(fields: Mapping[bytes, list[bytes]], names: tuple[bytes, ...], star: bytes) -> list[str]:
    """The lines of the first of ``names`` that is there. A ``*`` for the star means any."""
    for name in names:
        if b"*" in name:
            found = _starred(fields, name, star)
        else:
            found = fields.get(name)
        if found:
            return [line.decode("latin-1").strip(" \t") for line in found[:MOST_VALUES]]
    return []


def _starred(fields: Mapping[bytes, list[bytes]], name: bytes, star: bytes) -> list[bytes] | None:
    if star != b"*":
        return fields.get(name.replace(b"*", star))
    matching = (lines for field, lines in fields.items() if star_of(name, field) is not None)
    return [line for lines in matching for line in lines]


def star_of(name: bytes, field: bytes) -> bytes | None:
    """What stands for the ``*`` of ``name`` in ``field``; None when it is another name."""
    before, _, after = name.partition(b"*")
    length = len(field) - len(before) - len(after)
    if length < 1 or not field.startswith(before) or not field.endswith(after):
        return None
    return field[len(before) : len(before) + length]
