"""What the recorded acts of the log say about exclusions (spec X1, X4-X8).

An act's time is the recorder's, so that nobody can date an announcement or a record himself. The log itself, its
hashes and its withheld places are ``policies.sla.chain``'s; whether an exclusion holds is decided by ``exclusions``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, get_args

from policies.sla.chain import Act, Link, Withheld
from policies.sla.exclusions import Announcement, Exclusion, ExclusionType
from policies.sla.instants import read
from policies.sla.spans import Span

ANNOUNCE: Final = "announce"
"""A window of maintenance, as customers are told of it: ``id, from, to``, perhaps ``cancelled``."""
WORK: Final = "work"
"""When the work was done: ``id, from, to`` (X6)."""
EXCLUDE: Final = "exclude"
"""Any other exclusion: ``id, type, from, to, reason, evidence`` (X8)."""
APPROVE: Final = "approve"
"""A second person's word for what another recorded: ``id`` (X8)."""

_SCOPE: Final = frozenset({"tenant", "group", "note"})
_KEYS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    ANNOUNCE: (frozenset({"id", "from", "to"}), _SCOPE | {"cancelled"}),
    WORK: (frozenset({"id", "from", "to"}), frozenset({"tenant", "note"})),
    EXCLUDE: (frozenset({"id", "type", "from", "to", "reason", "evidence"}), _SCOPE),
    APPROVE: (frozenset({"id"}), frozenset({"tenant", "note"})),
}
"""Of each kind the keys that its content has, and those that it may have."""
KINDS: Final = frozenset(_KEYS)


@dataclass(slots=True, kw_only=True)
class _Asked:
    """What the log has said of one exclusion so far; ``by`` recorded it."""

    exclusion: Exclusion
    by: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An exclusion as the log asks for it, with who recorded it and why."""

    exclusion: Exclusion
    by: str
    notes: tuple[str, ...] = ()


def complaint(act: Act) -> str | None:
    """What is wrong with the content of an act; None for a sound one, and for a kind that is not about exclusions."""
    if act.kind not in _KEYS:
        return None
    needed, allowed = _KEYS[act.kind]
    given = set(act.content)
    if needed - given:
        return f"an act of {act.kind} needs {', '.join(sorted(needed - given))}"
    if given - needed - allowed:
        return f"an act of {act.kind} has no {', '.join(sorted(map(str, given - needed - allowed)))}"
    try:
        _checked(act)
    except ValueError as error:
        return str(error)
    return None


def _checked(act: Act) -> None:
    content = act.content
    for name in ("id", "reason", "evidence"):
        if name in content and (not isinstance(content[name], str) or not content[name]):
            raise ValueError(f"{name} is text that is not empty")
    for name in ("tenant", "group", "note"):
        if not isinstance(content.get(name), str | None):
            raise ValueError(f"{name} is text or absent")
    for name in ("tenant", "group"):  # an export folds all groups that nobody names into the empty one
        if content.get(name) == "":
            raise ValueError(f"{name} is empty; leave it out")
    if not isinstance(content.get("cancelled", False), bool):
        raise ValueError("cancelled is true or false")
    if "type" in content and content["type"] not in get_args(ExclusionType)[1:]:
        raise ValueError(f"{content['type']!r} is no type that is recorded; maintenance is announced")
    if "from" in content:
        _window(content)


def requests(links: Iterable[Link | Withheld]) -> tuple[Request, ...]:
    """The exclusions that the log asks for, in the order of their first act.

    Raises ``ValueError`` for an act that is not sound, or that is about an exclusion of which nothing was recorded.
    """
    known: dict[str, _Asked] = {}
    for link in links:
        if isinstance(link, Link) and link.act.kind in _KEYS:
            said = complaint(link.act)
            if said is not None:
                raise ValueError(f"act {link.number}: {said}")
            try:
                _STEPS[link.act.kind](known, link.act)
            except ValueError as error:
                raise ValueError(f"act {link.number}: {error}") from None
    return tuple(Request(exclusion=each.exclusion, by=each.by, notes=tuple(each.notes)) for each in known.values())


def _announced(known: dict[str, _Asked], act: Act) -> None:
    content, (start, end) = act.content, _window(act.content)
    told = Announcement(at_s=act.at_s, from_s=start, to_s=end, cancelled=bool(content.get("cancelled")))
    asked = known.get(str(content["id"]))
    if asked is None:
        known[str(content["id"])] = _begun(act, Exclusion(
            id=str(content["id"]), type="scheduled_maintenance", announcements=(told,), **_scope(content),
        ))  # fmt: skip
        return
    if asked.exclusion.type != "scheduled_maintenance" or _scope(content) != _scope_of(asked.exclusion):
        raise ValueError(f"{content['id']} was recorded as something else")
    asked.exclusion = replace(asked.exclusion, announcements=(*asked.exclusion.announcements, told))
    _note(asked, content)


def _worked(known: dict[str, _Asked], act: Act) -> None:
    asked = _known(known, act)
    if asked.exclusion.type != "scheduled_maintenance":
        raise ValueError(f"{act.content['id']} is no announced maintenance")
    asked.exclusion = replace(asked.exclusion, actual=_window(act.content))
    _note(asked, act.content)


def _excluded(known: dict[str, _Asked], act: Act) -> None:
    content = act.content
    if content["id"] in known:
        raise ValueError(f"{content['id']} is recorded already")
    known[str(content["id"])] = _begun(act, Exclusion(
        id=str(content["id"]), type=_type(content), window=_window(content), recorded_at_s=act.at_s, **_scope(content),
    ))  # fmt: skip


def _approved(known: dict[str, _Asked], act: Act) -> None:
    """The recorder's own approval is none (X8)."""
    asked = _known(known, act)
    asked.exclusion = replace(asked.exclusion, approved=asked.exclusion.approved or act.actor != asked.by)
    _note(asked, act.content)


_STEPS: Final[Mapping[str, Callable[[dict[str, _Asked], Act], None]]] = {
    ANNOUNCE: _announced, WORK: _worked, EXCLUDE: _excluded, APPROVE: _approved,
}  # fmt: skip


def _known(known: Mapping[str, _Asked], act: Act) -> _Asked:
    asked = known.get(str(act.content["id"]))
    if asked is None:
        raise ValueError(f"nothing is recorded of {act.content['id']}")
    return asked


def _begun(act: Act, exclusion: Exclusion) -> _Asked:
    asked = _Asked(exclusion=exclusion, by=act.actor)
    _note(asked, act.content)
    return asked


def _note(asked: _Asked, content: Mapping[str, object]) -> None:
    asked.notes += [str(content[name]) for name in ("reason", "evidence", "note") if content.get(name)]


def _scope(content: Mapping[str, object]) -> dict[str, Any]:
    return {"tenant": content.get("tenant"), "group": content.get("group")}


def _scope_of(exclusion: Exclusion) -> dict[str, Any]:
    return {"tenant": exclusion.tenant, "group": exclusion.group}


def _type(content: Mapping[str, object]) -> ExclusionType:
    return next(each for each in get_args(ExclusionType) if each == content["type"])


def _window(content: Mapping[str, object]) -> Span:
    return read(content["from"]), read(content["to"])
