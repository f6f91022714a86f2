"""What the whole log of acts says: exclusions, versions, contracts, closed months, claims (spec X, V, C, D6).

The one fold of the log. Each act's content is judged by its noun's module; a kind that is not known is an error when it
is recorded (``entry``) and nothing when it is read, so that an older reader can read a newer log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from policies.model import nothing
from policies.sla import acts, claims, closed, contract, instants, publication
from policies.sla.acts import Request
from policies.sla.chain import Act, Link, Withheld
from policies.sla.claim import Claim
from policies.sla.closed import ClosedMonth
from policies.sla.contract import Contract
from policies.sla.promises import Own, own_from
from policies.sla.publication import Edition
from policies.sla.reading import count, filled, or_none, sha256, some_keys, text
from policies.sla.versions import Version

IMPORT: Final = "import"
"""Evidence that somebody else counted was taken in: ``what, source, sha256, lines, from, to``."""
NOTE: Final = "note"
"""A remark that belongs into the log and decides nothing: ``text``."""


def _no_closures() -> Mapping[tuple[str | None, str], tuple[ClosedMonth, ...]]:
    return nothing()  # type: ignore[return-value]


def _no_claims() -> Mapping[tuple[str, str], Claim]:
    return nothing()  # type: ignore[return-value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """``editions`` are the published versions with what is in them, in order of publication.

    ``contracts`` by tenant. ``closures`` by tenant and period. ``claims`` by tenant and period: those of closed months
    with a credit, as the acts left them (``claim.state_at`` says what has expired since).
    """

    requests: tuple[Request, ...] = ()
    editions: tuple[Edition, ...] = ()
    contracts: Mapping[str, Contract] = field(default_factory=nothing)
    closures: Mapping[tuple[str | None, str], tuple[ClosedMonth, ...]] = field(default_factory=_no_closures)
    claims: Mapping[tuple[str, str], Claim] = field(default_factory=_no_claims)
    notes: tuple[str, ...] = ()

    @property
    def versions(self) -> tuple[Version, ...]:
        return tuple(each.version for each in self.editions)

    def edition(self, number: str) -> Edition | None:
        """The published version of that number."""
        return next((each for each in self.editions if each.version.number == number), None)

    def closed(self, tenant: str | None, period: str) -> tuple[ClosedMonth, ...]:
        """The month's records as published, by revision; none before it is closed."""
        return self.closures.get((tenant, period), ())

    def contract(self, tenant: str) -> Contract:
        return self.contracts.get(tenant, NO_CONTRACT)


NO_CONTRACT: Final = Contract()


def complaint(act: Act) -> str | None:
    """What is wrong with the content of an act; None for a sound one, and for a kind that is not known."""
    check = _FORMS.get(act.kind)
    if check is None:
        return acts.complaint(act)
    try:
        check(act.content)
    except ValueError as error:
        return str(error)
    return None


def is_known(kind: str) -> bool:
    return kind in _FORMS or kind in acts.KINDS


def register(links: Iterable[Link | Withheld]) -> Register:
    """The fold of a whole log. Raises ``ValueError`` that names the act for one that makes no sense."""
    read = [link for link in links if isinstance(link, Link)]
    found = _Found()
    for link in read:
        found.take(link)
    return Register(
        requests=acts.requests(read),
        editions=tuple(found.editions),
        contracts=MappingProxyType(found.contracts),
        closures=MappingProxyType(found.closures),
        claims=MappingProxyType(found.claims),
        notes=tuple(found.notes),
    )


def withheld(links: Iterable[Link | Withheld], tenant: str | None) -> tuple[Link | Withheld, ...]:
    """The log as ``tenant`` may read it: acts about another tenant keep their place alone. None: the public's.

    A version is shown to everybody, because what is promised to one customer alone is in acts of its own.
    """
    return tuple(_withheld(link) if _is_about_another(link, tenant) else link for link in links)


def _is_about_another(link: Link | Withheld, tenant: str | None) -> bool:
    return isinstance(link, Link) and link.act.content.get("tenant") not in (None, tenant)


def _withheld(link: Link | Withheld) -> Withheld:
    return Withheld(number=link.number, previous=link.previous, hash=link.hash)


class _Found:
    """What the log has said so far; ``pending`` are the layers of the version that comes next, by its number."""

    def __init__(self) -> None:
        self.editions: list[Edition] = []
        self.pending: dict[str, dict[str, Own]] = {}
        self.contracts: dict[str, Contract] = {}
        self.closures: dict[tuple[str | None, str], tuple[ClosedMonth, ...]] = {}
        self.claims: dict[tuple[str, str], Claim] = {}
        self.notes: list[str] = []

    def take(self, link: Link) -> None:
        step = _STEPS.get(link.act.kind)
        if step is None:
            return
        try:
            _FORMS[link.act.kind](link.act.content)
            step(self, link.act)
        except ValueError as error:
            raise ValueError(f"act {link.number}: {error}") from None

    def layer(self, act: Act) -> None:
        content: Mapping[str, Any] = act.content
        number = content["version"]
        if any(each.version.number == number for each in self.editions):
            raise ValueError(f"version {number} is published, and nobody's terms in it can change")
        self.pending.setdefault(number, {})[content["tenant"]] = own_from(content)

    def version(self, act: Act) -> None:
        version = publication.version_of(act)
        layers = self.pending.pop(version.number, {})
        if self.pending:
            raise ValueError(f"terms of version {', '.join(self.pending)} are recorded, and that comes first")
        edition = publication.edition_of(version, MappingProxyType(layers))
        publication.check_next(self.editions, edition, self.contracts)
        self.editions.append(edition)

    def bind(self, act: Act) -> None:
        tenant = str(act.content["tenant"])
        self.contracts[tenant] = contract.bound(self.contracts.get(tenant, NO_CONTRACT), act.content)

    def pin(self, act: Act) -> None:
        tenant = str(act.content["tenant"])
        self.contracts[tenant] = contract.pinned(self.contracts.get(tenant, NO_CONTRACT), act.content, act.at_s)

    def close(self, act: Act) -> None:
        made = closed.closed(act)
        key = (made.tenant, made.period)
        before = self.closures.get(key, ())
        if made.revision != len(before) + 1:
            raise ValueError(f"revision {made.revision} of {made.period} does not follow the {len(before)} before it")
        self.closures[key] = (*before, made)
        if made.tenant is not None:
            self._reopen(made.tenant, made)

    def _reopen(self, tenant: str, made: ClosedMonth) -> None:
        claim = claims.reopened(self.claims.pop((tenant, made.period), None), made)
        if claim is not None:
            self.claims[tenant, made.period] = claim

    def claim(self, act: Act) -> None:
        key = (str(act.content["tenant"]), str(act.content["period"]))
        self.claims[key] = claims.stepped(self.claims.get(key), act)

    def note(self, act: Act) -> None:
        self.notes.append(str(act.content["text"]))


def _import_complaint(content: Mapping[str, Any]) -> None:
    some_keys(content, "an act of import", ("what", "source", "sha256", "lines", "from", "to"), ("note",))
    filled(content, "what", "source")
    sha256(content["sha256"], "sha256")
    count(content["lines"], "lines")
    for name in ("from", "to"):
        or_none(content[name], instants.read)


def _note_complaint(content: Mapping[str, Any]) -> None:
    some_keys(content, "an act of note", ("text",), ("tenant",))
    text(content["text"], "text")


_FORMS: Final[Mapping[str, Callable[[Mapping[str, Any]], None]]] = {
    publication.LAYER: publication.layer_complaint,
    publication.VERSION: publication.version_complaint,
    contract.BIND: contract.bind_complaint,
    contract.PIN: contract.pin_complaint,
    closed.CLOSE: closed.close_complaint,
    claims.CLAIM: claims.claim_complaint,
    IMPORT: _import_complaint,
    NOTE: _note_complaint,
}

_STEPS: Final[Mapping[str, Callable[[_Found, Act], None]]] = {
    publication.LAYER: _Found.layer, publication.VERSION: _Found.version, contract.BIND: _Found.bind,
    contract.PIN: _Found.pin, closed.CLOSE: _Found.close, claims.CLAIM: _Found.claim, NOTE: _Found.note,
}  # fmt: skip
