"""Evidence that others counted, on its way into the ledger: read whole, recorded, then taken (spec D4, T9, SC5).

The act comes first, so that nothing counts of which nobody knows where it came from, and its number is the rank of
what is taken: of two imports that speak of the same the later one holds. An import that failed behind its act is
repeated; what was taken already is taken again, which changes nothing. How lines are read is ``policies.sla.imports``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

from gateway import clock
from gateway.last_good import LastGood
from gateway.ledger.database import Database, StoreError
from gateway.ledger.store import RETENTION_S, Store
from gateway.policy_files import load
from gateway.settings import Settings
from gateway.sla import recording
from gateway.stores.quota_file import StateError
from policies.model import ANONYMOUS, PolicySet
from policies.sla.cases import CaseEvent
from policies.sla.chain import Link
from policies.sla.imports import WHATS, Bounds, Edge, Probe, Taken, What, read, source_name
from policies.sla.instants import written
from policies.sla.register import IMPORT

Record = Callable[[Mapping[str, object]], Link]
"""Records an act of importing with this content. Raises ``Refused`` and ``NotRecorded``."""


class NotTaken(Exception):
    """The ledger or the policies cannot be used now; the text says why. Trying again later may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What somebody wants to have taken: ``data`` of kind ``what`` from ``source``, a name that was looked at."""

    what: What
    source: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was taken; ``act`` is the number in the log, None when nothing was to be changed."""

    offer: Offer
    lines: int
    from_s: int
    to_s: int
    act: int | None = None

    @property
    def content(self) -> dict[str, Any]:
        return {
            "what": self.offer.what, "source": self.offer.source, "sha256": self.offer.sha256, "lines": self.lines,
            "from": written(self.from_s), "to": written(self.to_s),
        }  # fmt: skip


def offered(what: str, source: str, data: bytes) -> Offer:
    """Raises ``KeyError`` for a kind that is not imported, ``ValueError`` for a source that cannot be called so."""
    kind = next((each for each in WHATS if each == what), None)
    if kind is None:
        raise KeyError(what)
    return Offer(what=kind, source=source_name(source), data=data)


def take(
    settings: Settings, offer: Offer, env: Mapping[str, str], record: Record | None, *, make: bool = False
) -> Receipt:
    """Take all of ``offer``; with ``record`` None only look whether it would be. ``make``: also a new ledger.

    Raises ``ValueError`` (``Unreadable`` with the line) and ``Refused`` for what is not to be taken, ``NotTaken`` and
    ``NotRecorded``.
    """
    try:
        with closing(recording.opened(settings, make=make)) as database:
            return taken(database, offer, known(settings, env), record)
    except (StoreError, StateError, OSError) as error:
        raise NotTaken(str(error)) from error


def taken(
    database: Database, offer: Offer, names: tuple[Collection[str], Collection[str]], record: Record | None,
    now_s: int | None = None,
) -> Receipt:  # fmt: skip
    """The same for an open ledger; ``names`` are the tenants and the route groups that are known."""
    at_s = clock.now_s() if now_s is None else now_s
    store = Store(database)
    tenants, groups = names
    bounds = Bounds(
        now_s=at_s, oldest_s=at_s - RETENTION_S, tenants={*tenants, *store.tenants()} - {""}, groups=frozenset(groups)
    )
    found = read(offer.what, offer.source, offer.data, bounds)
    if offer.what == "support":
        store.check_events(cast(tuple[CaseEvent, ...], found.entries))
    receipt = Receipt(offer=offer, lines=len(found.entries), from_s=found.from_s, to_s=found.to_s)
    if record is None:
        return receipt
    act = record(receipt.content).number
    _put(store, offer, found, act, at_s)
    return Receipt(offer=offer, lines=receipt.lines, from_s=receipt.from_s, to_s=receipt.to_s, act=act)


def _put(store: Store, offer: Offer, found: Taken, act: int, now_s: int) -> None:
    match offer.what:
        case "edge":
            store.receive_edge(offer.source, cast(tuple[Edge, ...], found.entries), act, now_s)
        case "probes":
            store.receive_probes(cast(tuple[Probe, ...], found.entries), act)
        case "support":
            store.receive_events(cast(tuple[CaseEvent, ...], found.entries), act)


def through_socket(settings: Settings, actor: str) -> Record:
    """Records through the running gateway, or without one directly."""
    return lambda content: recording.record(settings, IMPORT, content, actor)


def within_gateway(settings: Settings, actor: str) -> Record:
    """Records from within the gateway's own process."""
    return lambda content: recording.directly(settings, [(IMPORT, content)], actor, make=True)[-1]


def known(settings: Settings, env: Mapping[str, str]) -> tuple[Collection[str], Collection[str]]:
    """Tenants and route groups of the policy files, or of the last good ones. Raises ``NotTaken``."""
    policy = _policy(settings, env)
    anonymous = (f"{ANONYMOUS}:{tier}" for tier in policy.tiers)
    return {*policy.tenants, *anonymous}, {route.group for route in policy.routes.values()}


def _policy(settings: Settings, env: Mapping[str, str]) -> PolicySet:
    kept = LastGood(settings.state_dir, settings.policies, settings.secrets_dir).place()
    for directory, secrets_dir in ((settings.policies, settings.secrets_dir), *([kept] if kept is not None else [])):
        try:
            policy = load(directory, env=env, secrets_dir=secrets_dir).policy
        except OSError:
            continue
        if policy is not None:
            return policy
    if not settings.policies.is_dir():
        raise NotTaken(f"there is no policy directory {settings.policies}; --policies or TIERGATE_POLICIES names it")
    check = f"`tiergate check {settings.policies}`"
    raise NotTaken(f"the policies in {settings.policies} do not say who the tenants are; {check} says why")
