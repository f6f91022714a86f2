"""``tiergate sla verify``: files -> whether an export gives the record that was published, and agrees with a log.

Needs the files alone: no policy directory, no state, no environment. What is true is worked out by ``policies.sla``;
here it is read, said and turned into an exit code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.exit_codes import EXIT_FINDING
from gateway.sla.wording import in_words, whose
from gateway.terminal import clean
from policies.sla import own_log
from policies.sla.canonical import canonical
from policies.sla.evaluate import Figure
from policies.sla.evidence_form import plain
from policies.sla.export import LONGEST_LINE, Export, Unreadable, parsed, read
from policies.sla.instants import written
from policies.sla.quarter import quarterly
from policies.sla.reconcile import Disagreement, Reconciliation, reconcile
from policies.sla.record import Record
from policies.sla.verification import Finding, Verification, verification

JSON_SCHEMA_VERSION = 1
LONGEST_RECORD = 64 << 20
SHOWN = 50
"""Disagreements of one reason that the text lists; ``--output json`` has them all."""

Progress = Callable[[Iterator[str]], Iterator[str]]


class NotReadable(Exception):
    """A file that is not what it should be; the message names it, the line and the reason."""


class NotUsable(Exception):
    """Files that do not belong together."""


class NotSound(Exception):
    """An export that does not hold together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What ``verify`` found. ``compared`` says whether a record was given."""

    export: Export
    compared: bool
    verified: Verification
    reconciled: Reconciliation | None

    @property
    def exit_code(self) -> int:
        agreed = self.reconciled is None or not self.reconciled.disagreements
        return 0 if self.verified.is_confirmed and agreed else EXIT_FINDING


def verify(export: Path, record: Path | None, my_log: Path | None, progress: Progress = iter) -> Answer:
    """Raises ``NotReadable``, ``NotUsable`` and ``OSError``."""
    found = export_of(export, progress)
    given = None if record is None else record_in(record)
    verified = verification(found, given)
    return Answer(
        export=found, compared=given is not None, verified=verified, reconciled=_reconciled(found, verified, my_log)
    )


def _reconciled(export: Export, verified: Verification, my_log: Path | None) -> Reconciliation | None:
    if my_log is None or verified.record is None:
        return None
    try:
        with _opened(my_log) as lines:
            entries = list(own_log.read(lines))
    except Unreadable as error:
        raise NotReadable(f"{my_log}: {error}") from error
    try:
        return reconcile(export.basis, entries)
    except ValueError as error:
        raise NotUsable(str(error)) from error


def export_of(path: Path, progress: Progress = iter) -> Export:
    """Raises ``NotReadable`` and ``OSError``."""
    try:
        with _opened(path) as lines:
            return read(progress(lines))
    except Unreadable as error:
        raise NotReadable(f"{path}: {error}") from error


def report_record(exports: list[Path], progress: Progress = iter) -> Record:
    """The record of one export, or the quarter of three. Raises ``NotReadable``, ``NotUsable``, ``NotSound`` and
    ``OSError``.

    An export that does not hold together gives no report: whoever prints it would vouch for it.
    """
    return joined([_sound_record(path, progress) for path in exports])


def joined(records: list[Record]) -> Record:
    """The one, or the quarter of three. Raises ``NotUsable``."""
    if len(records) == 1:
        return records[0]
    try:
        return quarterly(records)
    except ValueError as error:
        raise NotUsable(str(error)) from error


def _sound_record(path: Path, progress: Progress) -> Record:
    verified = verification(export_of(path, progress))
    if verified.record is None or verified.findings:
        raise NotSound(f"{path}: {verified.findings[0].said}; tiergate sla verify {path} says more")
    return verified.record


def record_in(path: Path) -> Record:
    """A record as it was published. Raises ``NotReadable`` and ``OSError``."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        text = file.read(LONGEST_RECORD + 1)
    if len(text) > LONGEST_RECORD:
        raise NotReadable(f"{path}: it is longer than {LONGEST_RECORD} characters")
    try:
        value = parsed(1, " ".join(text.splitlines()) + "\n", most=LONGEST_RECORD + 1)
        canonical(value)
    except (Unreadable, ValueError) as error:
        raise NotReadable(f"{path}: it is no record: {getattr(error, 'reason', error)}") from error
    if value.get("kind") != "monthly":
        raise NotReadable(f"{path}: it is no monthly record")
    return value


class _opened:
    """A file as lines that are never longer than a line may be by more than one character."""

    def __init__(self, path: Path) -> None:
        self._file = path.open(encoding="utf-8", errors="surrogateescape", newline="\n")

    def __enter__(self) -> Iterator[str]:
        return iter(lambda: self._file.readline(LONGEST_LINE + 2), "")

    def __exit__(self, *_: object) -> None:
        self._file.close()


# --- shown --------------------------------------------------------------------------------------------------------


def as_json(answer: Answer) -> str:
    """For programs; the shape has a version."""
    shape: dict[str, Any] = {
        "schema": JSON_SCHEMA_VERSION,
        "confirmed": answer.verified.is_confirmed,
        "findings": [_finding_value(each) for each in answer.verified.findings],
        "record": answer.verified.record,
        "reconciliation": None if answer.reconciled is None else _reconciliation_value(answer.reconciled),
    }
    return json.dumps(shape, indent=2, default=str) + "\n"


def _finding_value(finding: Finding) -> dict[str, Any]:
    return {
        "what": finding.what, "line": finding.line, "name": finding.name, "claimed": finding.claimed,
        "found": finding.found, "message": finding.said,
    }  # fmt: skip


def _reconciliation_value(found: Reconciliation) -> dict[str, Any]:
    return {
        "by": found.mode,
        "entries": found.entries,
        "outside": found.outside,
        "unlisted": found.unlisted,
        "recorded": _figure_value(found.recorded),
        "if_your_log_stood": _figure_value(found.yours),
        "disagreements": [_disagreement_value(each) for each in found.disagreements],
    }


def _figure_value(figure: Figure) -> dict[str, Any]:
    return {
        "uptime_percent": figure.uptime_percent,
        "downtime_seconds": figure.downtime_seconds,
        "credit_percent": plain(figure.credit_percent),
    }


def _disagreement_value(each: Disagreement) -> dict[str, Any]:
    return {
        "minute": written(each.minute_s), "reason": each.reason, "line": each.line, "request_id": each.request_id,
        "your_log": each.yours, "export": each.ours, "effect_seconds": each.effect_s,
    }  # fmt: skip


def as_text(answer: Answer) -> str:
    """For people: the verdict, what does not hold, and where a log disagrees."""
    lines = [*_conclusion(answer), *(_finding_line(each) for each in answer.verified.findings)]
    if answer.reconciled is not None:
        lines += ["", *_reconciliation_lines(answer.reconciled)]
    return "".join(f"{clean(line)}\n" for line in lines)


def _conclusion(answer: Answer) -> Iterator[str]:
    record, head = answer.verified.record, answer.export.basis.head
    if record is not None:
        yield f"{whose(head.tenant)}, {head.period.name}: {in_words(record['figure'])}"
        yield f"evidence sha256:{record['input_sha256']}"
    against = "and gives the record" if answer.compared else "(no record was given to compare it with)"
    yield f"confirmed: the export holds together {against}" if answer.verified.is_confirmed else "NOT confirmed:"


def _finding_line(finding: Finding) -> str:
    place = "" if finding.line is None else f"line {finding.line}: "
    seals = f" (sealed sha256:{finding.claimed}, is sha256:{finding.found})" if finding.what in _SEALED else ""
    return f"  {place}{finding.said}{seals}"


_SEALED = ("row", "line", "call", "ticket")


def _reconciliation_lines(found: Reconciliation) -> Iterator[str]:
    by = "request by request" if found.mode == "calls" else "minute by minute"
    if found.unlisted:
        by += f", {found.unlisted} of them minute by minute, since the export does not list their calls"
    outside = f", {found.outside} of them outside of the judged time" if found.outside else ""
    yield f"your log: {found.entries} requests{outside}, compared {by}"
    reasons = [each.reason for each in found.disagreements]
    for reason in dict.fromkeys(reasons):
        listed = [each for each in found.disagreements if each.reason == reason]
        yield f"{len(listed)} x {reason}: {REASONS[reason]}"
        yield from (_disagreement_line(each) for each in listed[:SHOWN])
        if len(listed) > SHOWN:
            yield f"  ... and {len(listed) - SHOWN} more; --output json has them all"
    if not reasons:
        yield "no disagreement"
        return
    yield f"as recorded: {_figure_words(found.recorded)}; if your log stood: {_figure_words(found.yours)}"


REASONS = {
    "not_in_export": "your log has a request that the gateway did not record; it may never have arrived",
    "not_in_log": "the gateway recorded a request that your log does not have",
    "status_differs": "you and the gateway saw different answers; a proxy between you may have answered",
    "twice_in_log": "your log has the same request id more than once",
    "more_requests_in_log": "your log has more requests in that minute",
    "fewer_requests_in_log": "your log has fewer requests in that minute",
    "more_failures_in_log": "you saw more failures in that minute than were recorded of any cause",
    "fewer_failures_in_log": "you saw fewer failures in that minute; those recorded stay counted",
    "minute_edge": "as many are missing here as the neighbouring minute has too many: clocks, not requests",
}


def _disagreement_line(each: Disagreement) -> str:
    place = "" if each.line is None else f" line {each.line}"
    name = "" if each.request_id is None else f" {each.request_id}"
    effect = "not worked out" if each.effect_s is None else f"{each.effect_s:+d} s" if each.effect_s else "none"
    return f"  {written(each.minute_s)}{place}{name}: yours {each.yours}, export {each.ours}; effect {effect}"


def _figure_words(figure: Figure) -> str:
    return (
        f"{figure.uptime_percent or 'no data'} %, {figure.downtime_seconds} s, credit {plain(figure.credit_percent)} %"
    )
