"""The log of recorded acts, each bound to the one before it.

A link's hash covers the previous hash and the act, as canonical JSON; whoever holds the last hash holds the whole log.
What an act means (announce, approve, exclude, publish, claim) is decided elsewhere; who may perform it and where
the log is kept is the gateway's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from policies.sla.canonical import digest

ORIGIN: Final = "0" * 64
"""What stands for the previous hash in the first link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """``at_s`` is the recorder's own time, Unix seconds, never the author's; ``content`` has a canonical form."""

    kind: str
    actor: str
    at_s: int
    content: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An act in its place: ``number`` counts from 1, hashes are 64 hex digits."""

    number: int
    act: Act
    previous: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """The place of an act that its reader may not see, such as another customer's: only that it is there holds."""

    number: int
    previous: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The first link that does not hold. Nothing is known of the links behind it."""

    number: int
    reason: str


def append(last: Link | None, act: Act) -> Link:
    """The link for ``act`` behind ``last``, which is None for the first.

    Raises ``ValueError`` for an act without an actor or kind, one dated before ``last``, and content without a
    canonical form.
    """
    if not act.kind or not act.actor:
        raise ValueError("an act has a kind and an actor")
    if last is not None and act.at_s < last.act.at_s:
        raise ValueError(f"an act of {act.at_s} cannot follow one of {last.act.at_s}")
    previous = ORIGIN if last is None else last.hash
    return Link(number=1 if last is None else last.number + 1, act=act, previous=previous, hash=_hash(previous, act))


def _hash(previous: str, act: Act) -> str:
    written = {"actor": act.actor, "at": act.at_s, "content": act.content, "kind": act.kind}
    return digest({"act": written, "previous": previous})


def verify(links: Iterable[Link | Withheld], tip: str | None = None) -> Break | None:
    """The first broken link of a whole log in its order; None when all hold.

    A log that was cut short at its end still holds: ``tip`` is the last hash as somebody else kept it.
    """
    last: Link | Withheld | None = None
    number, latest_s = 0, None
    for number, link in enumerate(links, 1):
        reason = _fault(link, number, last, latest_s)
        if reason is not None:
            return Break(number=number, reason=reason)
        last, latest_s = link, link.act.at_s if isinstance(link, Link) else latest_s
    if tip is not None and tip != (ORIGIN if last is None else last.hash):
        return Break(number=number + 1, reason="the log does not end at the hash that was kept")
    return None


def _fault(link: Link | Withheld, number: int, last: Link | Withheld | None, latest_s: int | None) -> str | None:
    """``latest_s``: when the last act that is shown was recorded; withheld ones lie between."""
    if link.number != number:
        return f"number {link.number} stands in place {number}"
    if link.previous != (ORIGIN if last is None else last.hash):
        return "it does not continue the link before it"
    if isinstance(link, Withheld):
        return None
    if latest_s is not None and link.act.at_s < latest_s:
        return "it is dated before a link before it"
    try:
        sound = _hash(link.previous, link.act) == link.hash
    except ValueError as error:
        return str(error)
    return None if sound else "its content is not what was recorded"
