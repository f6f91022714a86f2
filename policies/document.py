"""All files of a directory -> one ``PolicySet``, or every complaint about them in one run.

Pure: what is outside the text (variables, secret files, the tenants file) comes through ``Lookups``. The steps are
one visible list in ``compose``; each step skips what an earlier one has complained about, so that one mistake gives
one finding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from policies.format.build import build
from policies.format.findings import Finding, errors_of, in_order
from policies.format.report import Report
from policies.format.sections import lay_together
from policies.format.substitution import NOTHING, Lookups, substitute
from policies.format.yaml_tree import read_tree
from policies.model import PolicySet
from policies.throttling import Catalogue

NO_PROFILES = Catalogue()
NEEDS_EVERY_FILE = frozenset(
    (
        "TG201", "TG202", "TG205", "TG206", "TG207", "TG210", "TG211", "TG301", "TG302", "TG303",
        "TG401", "TG402", "TG405", "TG406", "TG407",
    )
)  # fmt: skip
"""Complaints that a file which could not be read might answer; said only when every file was."""
SHORTEST_MASKED = 4
"""Shorter values (a port's end, a count) are no secret and would blot out half of every message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """``name`` is relative to the directory and part of the version; ``shown`` is how findings call the file."""

    name: str
    data: bytes
    shown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """``policy`` is None when a finding is an error. ``sources`` holds each file's text, for carets; ``substituted``
    what came from outside, for whoever must not show it."""

    policy: PolicySet | None
    findings: tuple[Finding, ...]
    sources: dict[str, str]
    substituted: frozenset[str] = field(default=frozenset(), repr=False)


def compose(
    files: Sequence[SourceFile],
    lookups: Lookups = NOTHING,
    *,
    profiles: Catalogue = NO_PROFILES,
    partial: bool = False,
) -> Composed:
    """Read, merge, validate and compile ``files``.

    ``profiles`` are the built-in throttling profiles. ``partial`` says that a file of the set could not be read at
    all.
    """
    seen = _Seen(lookups)
    ordered = sorted(files, key=lambda file: file.name)
    for file in ordered:
        seen.add(file.name.encode("utf-8", "surrogateescape"), file.data)
    report = Report()
    trees = [read_tree(file.shown or file.name, file.data, seen.substitute) for file in ordered]
    sections = lay_together(trees, report)
    policy = build(sections, report, seen.lookups, profiles)
    if partial or any(tree.broken for tree in trees):
        report.findings = [finding for finding in report.findings if finding.code not in NEEDS_EVERY_FILE]
    findings = in_order(map(seen.masked, report.findings))
    sources = {tree.file: tree.text for tree in trees}
    if errors_of(findings):
        return Composed(policy=None, findings=findings, sources=sources)
    return Composed(policy=policy(seen.version()), findings=findings, sources=sources, substituted=seen.substituted)


class _Seen:
    """Everything that went into the set, hashed: names, contents, and what substitutions gave."""

    def __init__(self, lookups: Lookups) -> None:
        self._hash = hashlib.sha256()
        self._outside = lookups
        self._values: set[str] = set()
        self.lookups = Lookups(
            variable=self._variable, secret=self._secret, lines=self._lines,
            variables=lookups.variables, shown=lookups.shown,
        )  # fmt: skip

    def add(self, *parts: bytes) -> None:
        for part in parts:
            self._hash.update(len(part).to_bytes(8, "big"))
            self._hash.update(part)

    def version(self) -> str:
        return self._hash.hexdigest()[:16]

    @property
    def substituted(self) -> frozenset[str]:
        return frozenset(self._values)

    def substitute(self, text: str) -> str:
        return substitute(text, self.lookups)

    def masked(self, finding: Finding) -> Finding:
        """``finding`` without any value from outside, also where it speaks of another place than its own."""
        message, hint = finding.message, finding.hint
        for value in self._values:
            if value in message or value in hint:
                message, hint = message.replace(value, "${...}"), hint.replace(value, "${...}")
        return (
            finding
            if (message, hint) == (finding.message, finding.hint)
            else replace(finding, message=message, hint=hint)
        )

    def _variable(self, name: str) -> str | None:
        value = self._outside.variable(name)
        self.add(b"variable", name.encode(), b"" if value is None else value.encode("utf-8", "surrogateescape"))
        self._values.update((value,) if value and len(value) >= SHORTEST_MASKED else ())
        return value

    def _secret(self, name: str) -> str:
        value = self._outside.secret(name)
        self.add(b"secret", name.encode("utf-8", "replace"), value.encode())
        self._values.update(line for line in value.splitlines() if len(line) >= SHORTEST_MASKED)
        return value

    def _lines(self, name: str) -> Iterator[bytes]:
        update = self._hash.update
        for line in self._outside.lines(name):
            update(line)
            yield line
