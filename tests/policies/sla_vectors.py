"""A case of ``sla.json``: what happened, under which terms, and the figures to be reached.

Source: spec sla.md section 14, whose keys and words are the only ones. One table names the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests import vector_files
from tests.policies import sla_credit_vectors, sla_figure_vectors, sla_outcome_vectors, sla_support_vectors
from tests.policies.vector_shapes import (
    Case,
    Kind,
    Shape,
    anything,
    array,
    flag,
    instant,
    month,
    nullable,
    one_of,
    record,
    seconds,
    table,
    text,
)
from tests.vector_files import Vector, cases, document

FILE = "sla.json"
PLAIN = "availability"
"""The kind of a case that names none."""

KINDS: Mapping[str, Kind] = {
    **sla_figure_vectors.KINDS,
    **sla_outcome_vectors.KINDS,
    **sla_credit_vectors.KINDS,
    **sla_support_vectors.KINDS,
}
TYPES = ("scheduled_maintenance", "force_majeure", "customer_caused", "third_party", "suspension")
SPAN: Mapping[str, Shape] = {"from": instant, "to": instant}
EXCLUSION = record(
    {"type": one_of(*TYPES)},
    {
        "announcements": array(record({"at": instant, **SPAN}, {"cancelled": flag})),
        "actual": nullable(record(SPAN)), **SPAN, "recorded_at": instant, "approved": flag, "tenant": text,
    },
)  # fmt: skip
POLICY_WORDS = (
    "slot_seconds", "threshold_percent", "min_run_seconds", "min_run_errors", "min_requests_per_slot",
    "max_bridge_seconds", "merge_gap_seconds", "scope", "idle_inherits_platform", "alive_quorum", "counted_causes",
    "excluded_causes", "maintenance_notice_seconds", "maintenance_cap_seconds", "exclusion_record_seconds",
    "denominator", "display_decimals", "target", "bands", "cap", "claim_days", "sla_change_notice_days",
    "client_patience_ms", "support_targets", "escalation",
    # only in the file's defaults so far
    "currency_minor", "egress_min_hosts", "egress_min_owners", "burn_min_errors", "burn_rules", "calendar",
)  # fmt: skip
POLICY = table(anything, *POLICY_WORDS)
COMMON: Mapping[str, Shape] = {
    "kind": text,
    "policy": POLICY,
    "exclusions": array(EXCLUSION),
    "period": record({"month": month}, {"tz": text}),
    "tenant": nullable(text),
}


def well_formed(directory: Path) -> list[Vector]:
    """The cases that can be run."""
    return vector_files.well_formed(directory, FILE, complaints)


def findings(directory: Path) -> list[str]:
    """Everything that is wrong with the form of the file, of its head and of its cases."""
    said = vector_files.findings(directory, FILE, complaints, key="name")
    try:
        return [*(_of_file(document(directory, FILE)) if cases(directory, FILE) else []), *said]
    except ValueError:
        return said


def _of_file(whole: Any) -> list[str]:
    if not isinstance(whole, dict):
        return [f"{FILE} has no defaults"]
    return record({"about": array(text), "defaults": POLICY, "cases": anything})(FILE, whole)


def complaints(case: Vector) -> list[str]:
    """What is wrong with the form of a case."""
    name, kind = case.get("name"), _kind(case)
    if kind not in KINDS:
        return [f"{name}: unknown kind {kind}"]
    shapes = {"name": text, "input": KINDS[kind].input, "expect": KINDS[kind].expect, "why": text}
    return [f"{name}: {said}" for said in record(shapes, COMMON)("the case", case)]


def _kind(case: Vector) -> str:
    return str(case.get("kind", PLAIN))


def defaults(directory: Path) -> Mapping[str, Any]:
    """The terms of the file's cases where they give none."""
    given: Mapping[str, Any] = document(directory, FILE)["defaults"]
    return given


def complete(case: Vector, given: Mapping[str, Any]) -> Case:
    """The case with everything that it may leave out, under the file's defaults ``given``."""
    return {"exclusions": [], "period": {}, "tenant": None, **case, "policy": {**given, **case.get("policy", {})}}


def normal(value: Any) -> Any:
    """Instants as Unix seconds, at any offset, so that equal ones are equal."""
    if isinstance(value, list):
        return [normal(each) for each in value]
    return seconds(value) if isinstance(value, str) and not instant("", value) else value


def differences(case: Vector, given: Mapping[str, Any]) -> list[str]:
    """What the case expects and does not find, under the file's defaults ``given``."""
    found = KINDS[_kind(case)].run(complete(case, given))
    wanted = {key: value for key, value in case["expect"].items() if not key.startswith("wrong_")}
    said = [f"{key} is {found[key]}, not {want}" for key, want in wanted.items() if normal(found[key]) != normal(want)]
    reached = [found[key] for key in wanted]
    mistakes = {key: value for key, value in case["expect"].items() if key.startswith("wrong_")}
    return said + [f"the answer is {value}, the mistake {key}" for key, value in mistakes.items() if value in reached]
