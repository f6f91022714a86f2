"""When a month's record may be published, and what another revision of it needs (spec P6, D6).

A first record and a change in the customer's favour are published at once; any other change needs a second person.
How a record is made is ``policies.sla.record``, how it is written into the log ``recording``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.sla.exporting import final_at_s
from gateway.sla.wording import in_words, whose
from policies.sla.closed import ClosedMonth
from policies.sla.instants import written
from policies.sla.period import Period
from policies.sla.record import Record
from policies.sla.revision import Difference, Favour, diff, favours

Step = Literal["first", "unchanged", "applies", "needs_approval"]

EVERY_TIME: Final = ("revision", "input_sha256", "provisional", "log", "period.known_until", "period.published_at")
"""What differs between two records of the same evidence: no reason for a revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """A month's record as it would be published now; ``before`` is the one in force, None for the first."""

    tenant: str | None
    period: str
    record: Record
    before: ClosedMonth | None
    changes: tuple[Difference, ...] = ()
    favour: Favour = "neither"

    @property
    def step(self) -> Step:
        if self.before is None:
            return "first"
        if not self.changes:
            return "unchanged"
        return "applies" if self.favour == "customer" else "needs_approval"

    @property
    def content(self) -> dict[str, Any]:
        """Of the act."""
        return {
            "tenant": self.tenant, "period": self.period, "revision": self.record["revision"],
            "input_sha256": self.record["input_sha256"], "record": self.record,
        }  # fmt: skip


def closing(record: Record, before: ClosedMonth | None) -> Closing:
    """``record`` beside the one in force."""
    found = Closing(tenant=record["tenant"], period=record["period"]["name"], record=record, before=before)
    if before is None:
        return found
    old = dict(before.record)
    changes = tuple(each for each in diff(old, record) if not _differs_every_time(each))
    return Closing(
        tenant=found.tenant, period=found.period, record=record, before=before, changes=changes,
        favour=favours(old, record),
    )  # fmt: skip


def _differs_every_time(change: Difference) -> bool:
    return any(change.path == name or change.path.startswith(f"{name}.") for name in EVERY_TIME)


def too_early(period: Period, known_until_s: int, now_s: int, *, early: bool) -> str | None:
    """Why the month cannot be closed yet; None when it can."""
    if now_s < period.end_s:
        return f"{period.name} ends at {written(period.end_s)}: nothing can be closed before"
    if known_until_s < period.end_s:
        return (
            f"the ledger knows {period.name} only until {written(known_until_s)}: what came later may still be in a "
            f"spool; from {written(final_at_s(period))} on, what is missing then counts as darkness"
        )
    if now_s < final_at_s(period) and not early:
        return (
            f"{period.name} is final at {written(final_at_s(period))}, five days after its end: until then counters "
            "may come late and exclusions may be recorded; --early closes it now"
        )
    return None


def refusal(found: Closing, actor: str, *, approved: bool) -> str | None:
    """Why the record is not published; None when it may be."""
    if found.step != "needs_approval" or found.before is None:
        return None
    if not approved:
        return "the change does not favour the customer: another person publishes it with --approve"
    if actor == found.before.by:
        return f"{actor} published the revision in force; another person has to approve this one"
    return None


def lines(found: Closing, refused: str | None, *, shown: int = 20) -> Iterator[str]:
    """What became of it, in words."""
    month = f"{whose(found.tenant)}, {found.period}"
    what = in_words(found.record["figure"])
    credit = found.record["credit"]["percent"]
    worth = f", credit {credit} %" if credit != "0" else ""
    if found.step == "unchanged":
        yield f"{month}: unchanged since revision {found.record['revision'] - 1} ({what}{worth})"
        return
    verb = "not published" if refused else "published"
    yield f"{month}: revision {found.record['revision']} {verb} ({what}{worth})"
    if refused:
        yield f"  {refused}"
    for each in found.changes[:shown]:
        yield f"  {each.path}: {each.old} -> {each.new}"
    if len(found.changes) > shown:
        yield f"  ... and {len(found.changes) - shown} more; --output json has them all"


def as_value(found: Closing, refused: str | None) -> dict[str, Any]:
    """The same for programs."""
    return {
        "tenant": found.tenant, "period": found.period, "revision": found.record["revision"],
        "step": found.step, "published": refused is None and found.step != "unchanged", "refused": refused,
        "favours": None if found.before is None else found.favour,
        "changes": [{"path": each.path, "old": each.old, "new": each.new} for each in found.changes],
        "figure": found.record["figure"], "credit": found.record["credit"],
        "input_sha256": found.record["input_sha256"],
    }  # fmt: skip
