"""What an operator's command says, as acts to be recorded: instants, windows, and which parts one name stands for.

Nothing is recorded or printed here, and nothing is judged that the log itself judges (``policies.sla.entry``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.sla.recording import Asked
from policies.format.scalars import parse_instant
from policies.format.units import ValueProblem, closest
from policies.model import Maintenance
from policies.sla.acts import ANNOUNCE, APPROVE, EXCLUDE, WORK, Request
from policies.sla.instants import written
from policies.sla.period import month
from policies.sla.register import Register
from policies.sla.scope import groups_served_by, named_parts

SECOND_US: Final = 1_000_000


class NotUsable(Exception):
    """An argument that says nothing; the text names it and what would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whom or what an exclusion is about; all None is everybody and everything."""

    tenant: str | None = None
    groups: tuple[str, ...] = ()
    upstream: str | None = None


def instant(text: str, option: str) -> int:
    """Unix seconds of an RFC 3339 instant with its offset. Raises ``NotUsable``."""
    try:
        at_us = parse_instant(text)
    except ValueProblem as problem:
        raise NotUsable(f"{option}: {problem.message}; {problem.hint}") from problem
    if len(text.strip()) == len("2026-12-25"):
        raise NotUsable(f"{option}: {text} has no time and no offset from UTC; write {text.strip()}T00:00:00Z")
    if at_us % SECOND_US:
        raise NotUsable(f"{option}: {text} has parts of a second; windows are of whole seconds")
    return at_us // SECOND_US


def beginning(text: str, zone: str, option: str) -> int:
    """The same, or a month (``2027-01``), which is when it begins in ``zone``."""
    try:
        return month(text, zone).start_s
    except ValueError:
        if len(text) == len("2027-01") and text[:4].isdigit():
            raise NotUsable(f"{option}: {text} is no month, such as 2027-01") from None
        return instant(text, option)


def window(from_: str | None, to: str | None) -> dict[str, str]:
    """Raises ``NotUsable`` where an end is missing."""
    if from_ is None or to is None:
        raise NotUsable("a window has --from and --to, such as 2026-12-01T22:00:00Z")
    return {"from": written(instant(from_, "--from")), "to": written(instant(to, "--to"))}


def check_tenant(name: str | None, tenants: Collection[str]) -> None:
    """An act about nobody would have no effect and no reader. Raises ``NotUsable``; without ``tenants`` nothing."""
    if name is not None and tenants and name not in tenants:
        near = closest(name, tenants) or "no policy file and no recorded contract names it"
        raise NotUsable(f"{name} is no tenant; {near}")


def check_new(name: str, served: Collection[str]) -> None:
    """Raises ``NotUsable`` for a tenant whose calls were counted already."""
    if name in served:
        raise NotUsable(
            f"--new: calls of {name} are counted already, and cannot be left out afterwards; leave out --new"
        )


# --- exclusions -----------------------------------------------------------------------------------------------------


def announced(
    register: Register, groups: Mapping[str, tuple[str, ...]], name: str, window_: Mapping[str, str], scope: Scope,
    note: str | None,
) -> list[Asked]:  # fmt: skip
    """A window, or its change: what was announced keeps the scope that it had. Raises ``NotUsable``."""
    known = parts_of(register, name)
    if known and scope == Scope():
        return [_part(ANNOUNCE, each, {**window_, **_noted(note)}) for each in known]
    return [(ANNOUNCE, {"id": id_, **window_, **whose, **_noted(note)}) for id_, whose in _split(name, scope, groups)]


def cancelled(register: Register, name: str, note: str | None) -> list[Asked]:
    """The window as it was announced last, which takes place no more. Raises ``NotUsable``."""
    known = [each for each in _known(register, name) if each.exclusion.announcements]
    if not known:
        raise NotUsable(f"{name} is no announced maintenance")
    return [_part(ANNOUNCE, each, {**_last_window(each), "cancelled": True, **_noted(note)}) for each in known]


def of_plan(plan: Mapping[str, Maintenance], name: str) -> tuple[dict[str, str], Scope, str | None]:
    """Window, scope and note of a window that the policy files plan. Raises ``NotUsable``."""
    found = plan.get(name)
    if found is None:
        near = closest(name, plan) or f"planned are: {', '.join(sorted(plan)) or 'none'}"
        raise NotUsable(f"{name} is planned in no policy file, and no --from and --to are given; {near}")
    if found.from_us % SECOND_US or found.to_us % SECOND_US:
        raise NotUsable(f"maintenance.{name} has parts of a second; windows are of whole seconds")
    ends = {"from": written(found.from_us // SECOND_US), "to": written(found.to_us // SECOND_US)}
    return ends, Scope(groups=found.groups), found.note or None


def worked(register: Register, name: str, window_: Mapping[str, str], note: str | None) -> list[Asked]:
    """Raises ``NotUsable``."""
    return [_part(WORK, each, {**window_, **_noted(note)}, scoped=False) for each in _known(register, name)]


def excluded(
    groups: Mapping[str, tuple[str, ...]], name: str, content: Mapping[str, str], scope: Scope, note: str | None
) -> list[Asked]:
    """Raises ``NotUsable``."""
    return [(EXCLUDE, {"id": id_, **content, **whose, **_noted(note)}) for id_, whose in _split(name, scope, groups)]


def approved(register: Register, name: str, note: str | None) -> list[Asked]:
    """Raises ``NotUsable``."""
    return [_part(APPROVE, each, _noted(note), scoped=False) for each in _known(register, name)]


def parts_of(register: Register, name: str) -> list[Request]:
    """The exclusion of that name, or those that it was resolved into, one for each route group."""
    exact = [each for each in register.requests if each.exclusion.id == name]
    return exact or [
        each
        for each in register.requests
        if each.exclusion.group and each.exclusion.id == f"{name}/{each.exclusion.group}"
    ]


def _known(register: Register, name: str) -> list[Request]:
    found = parts_of(register, name)
    if not found:
        near = closest(name, [each.exclusion.id for each in register.requests])
        raise NotUsable(f"nothing is recorded of {name}; {near or '`tiergate sla acts` lists what is'}")
    return found


def _split(name: str, scope: Scope, groups: Mapping[str, tuple[str, ...]]) -> list[tuple[str, dict[str, str]]]:
    """The id and scope of each part (X1)."""
    if scope.upstream is not None and scope.groups:
        raise NotUsable("--upstream already says which groups; leave out --group")
    chosen = scope.groups
    if scope.upstream is not None:
        try:
            chosen = groups_served_by(scope.upstream, groups)
        except ValueError as error:
            raise NotUsable(f"--upstream: {error}") from error
    _check_groups(chosen, groups)
    whose = {} if scope.tenant is None else {"tenant": scope.tenant}
    if len(chosen) == 1 and scope.upstream is None:
        return [(name, {**whose, "group": chosen[0]})]
    parts = named_parts(name, chosen)
    return [(id_, whose if group is None else {**whose, "group": group}) for id_, group in parts.items()]


def _check_groups(chosen: Sequence[str], groups: Mapping[str, tuple[str, ...]]) -> None:
    for group in chosen:
        if groups and group not in groups:
            near = closest(group, groups) or f"there are {', '.join(sorted(groups))}"
            raise NotUsable(f"--group: no route has the group {group}; {near}")


def _part(kind: str, request: Request, content: Mapping[str, Any], *, scoped: bool = True) -> Asked:
    """An act about what is recorded already, marked as that was."""
    asked = request.exclusion
    scope = {"tenant": asked.tenant, **({"group": asked.group} if scoped else {})}
    return kind, {"id": asked.id, **content, **{name: each for name, each in scope.items() if each is not None}}


def _last_window(request: Request) -> dict[str, str]:
    last = request.exclusion.announcements[-1]
    return {"from": written(last.from_s), "to": written(last.to_s)}


def _noted(note: str | None) -> dict[str, str]:
    return {} if not note else {"note": note}
