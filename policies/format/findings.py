"""One complaint about a policy set (``Finding``), and how complaints are shown: text, JSON, annotations.

What is wrong is decided elsewhere; the kinds are in ``policies.format.kinds``. Form: spec conventions.md section 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from policies.format.kinds import KINDS, Severity

_BREAKS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
SHOWN_WIDTH = 160
JSON_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``line`` and ``column`` count from 1, ``span`` characters are meant; ``path`` is dotted, as in messages.

    ``secret`` says that the source line itself may hold a credential and must be masked from ``column`` on.
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    path: str = ""
    span: int = 1
    secret: bool = False

    @property
    def slug(self) -> str:
        return KINDS[self.code].slug

    @property
    def severity(self) -> Severity:
        return KINDS[self.code].severity

    @property
    def sort_key(self) -> tuple[str, int, int, str, str]:
        return (self.file, self.line, self.column, self.code, self.message)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sorted by file, line, column; the same complaint once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: finding.sort_key))


def errors_of(findings: Iterable[Finding]) -> int:
    return sum(finding.severity == "error" for finding in findings)


def lines_of(text: str) -> list[str]:
    """The lines of a source as YAML counts them."""
    return _BREAKS.split(text)


def render_text(findings: Sequence[Finding], sources: Mapping[str, str]) -> str:
    """Every finding with its source line and a caret; ends with a newline unless empty."""
    split: dict[str, list[str]] = {}
    blocks = []
    for finding in findings:
        if finding.file not in split:
            split[finding.file] = lines_of(sources.get(finding.file, ""))
        blocks.append(_block(finding, split[finding.file]))
    return "".join(blocks)


def headline(finding: Finding) -> str:
    """``file:line:col: error[TGnnn slug]: path: what``, one line."""
    place = f"{shown_name(finding.file)}:{finding.line}:{finding.column}"
    return f"{place}: {finding.severity}[{finding.code} {finding.slug}]: {clean(_said(finding))}"


def summary(findings: Sequence[Finding], files: int) -> str:
    """``4 errors, 0 warnings in 2 files``."""
    errors = errors_of(findings)
    warnings = len(findings) - errors
    return f"{_count(errors, 'error')}, {_count(warnings, 'warning')} in {_count(files, 'file')}"


def as_json(findings: Sequence[Finding], files: int) -> dict[str, object]:
    """The machine form; its ``schema`` number changes when its shape does."""
    errors = errors_of(findings)
    return {
        "schema": JSON_SCHEMA_VERSION,
        "ok": errors == 0,
        "errors": errors,
        "warnings": len(findings) - errors,
        "files": files,
        "findings": [_as_map(finding) for finding in findings],
    }


def render_annotations(findings: Sequence[Finding]) -> str:
    """Workflow commands that show as annotations on the pull request."""
    return "".join(_annotation(finding) for finding in findings)


def clean(text: str) -> str:
    """``text`` without control characters, so that a hostile file cannot drive a terminal."""
    return _CONTROLS.sub("?", text.replace("\n", " ").replace("\t", " "))


def shown_name(path: str) -> str:
    """A path with what no terminal should get, and bytes that are no UTF-8, as escapes."""
    if path.isprintable():
        return path
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in path)


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8 (PEP 383)
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _said(finding: Finding) -> str:
    return f"{finding.path}: {finding.message}" if finding.path else finding.message


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _block(finding: Finding, lines: Sequence[str]) -> str:
    head = headline(finding) + "\n"
    hint = clean(finding.hint)
    if not 1 <= finding.line <= len(lines) or not lines[finding.line - 1].strip():
        return head + (f"      = help: {hint}\n" if hint else "")
    line, column = _cut(lines[finding.line - 1], finding.column)
    if finding.secret:
        line = line[: column - 1] + "*" * min(12, max(1, finding.span))
    carets = "^" * max(1, min(finding.span, len(line) - column + 1))
    pad = " " * (column - 1)
    return f"{head}{finding.line:>6} | {clean(line)}\n       | {pad}{carets}{' ' + hint if hint else ''}\n"


def _cut(line: str, column: int) -> tuple[str, int]:
    """At most ``SHOWN_WIDTH`` characters of ``line`` around ``column``, and where the column is in them."""
    if len(line) <= SHOWN_WIDTH:
        return line, min(column, len(line) + 1)
    start = max(0, min(column - 1 - SHOWN_WIDTH // 2, len(line) - SHOWN_WIDTH))
    return line[start : start + SHOWN_WIDTH], column - start


def _as_map(finding: Finding) -> dict[str, object]:
    return {
        **{key: value for key, value in asdict(finding).items() if key != "secret"},
        "slug": finding.slug,
        "severity": finding.severity,
    }


def _annotation(finding: Finding) -> str:
    text = _said(finding) + (f" ({finding.hint})" if finding.hint else "")
    place = f"file={_property(shown_name(finding.file))},line={finding.line},col={finding.column}"
    title = f"title={finding.code} {finding.slug}"
    return f"::{finding.severity} {place},{title}::{_data(clean(text))}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
