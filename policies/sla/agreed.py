"""Whether the head of some evidence says what the log of acts says was promised (spec V1, V2, V4, R2).

For whoever holds an export and nothing else: the terms, the owners and the contract stand in its header, and what they
were made from stands in its log. A log that shows no version has nothing to be held against.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from policies.sla.closed import credited_before, missed_before
from policies.sla.evidence import Basis, Head
from policies.sla.evidence_form import terms_value
from policies.sla.promises import NOTHING_OWN, Own, terms_for
from policies.sla.publication import Edition
from policies.sla.register import Register, register
from policies.sla.versions import governing


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """``claimed`` is what the head says of ``name``, ``found`` what the log gives."""

    name: str
    claimed: object
    found: object


def mismatches(basis: Basis) -> tuple[Mismatch, ...]:
    """Everything in which the head and the log differ. Raises ``ValueError`` for a log that makes no sense."""
    read = register(basis.acts)
    return (*_of_months(read, basis.head), *_of_version(read, basis))


def _of_months(read: Register, head: Head) -> Iterator[Mismatch]:
    """Which earlier months were missed, and what was credited of them, is what was published of them (C2, C5)."""
    found = missed_before(read.closures, head.tenant, head.period.name, head.terms.chronic)
    if head.terms.chronic is not None and found != head.missed_before:
        yield Mismatch(name="missed_before", claimed=list(head.missed_before), found=list(found))
    currency = None if head.fee is None else head.fee.currency
    credited = credited_before(read.closures, head.tenant, head.period, head.contract[0], head.terms.cap, currency)
    if credited != head.credited_before:
        yield Mismatch(name="credited_before", claimed=f"{head.credited_before:f}", found=f"{credited:f}")


def _of_version(read: Register, basis: Basis) -> tuple[Mismatch, ...]:
    if not read.editions:
        return ()
    edition = _governing(read, basis.head)
    named = None if basis.head.version is None else (basis.head.version.number, basis.head.version.sha256)
    found = None if edition is None else (edition.version.number, edition.version.sha256)
    if named != found:
        return (Mismatch(name="version", claimed=_shown(named), found=_shown(found)),)
    of_terms = () if edition is None else _of_terms(read, edition, basis.head)
    return (*_of_contract(read, basis.head), *of_terms)


def _shown(version: tuple[str, str] | None) -> str:
    return "none" if version is None else f"{version[0]} ({version[1][:12]})"


def _governing(read: Register, head: Head) -> Edition | None:
    pin = None if head.tenant is None else read.contract(head.tenant).pin_at(head.period.start_s)
    found = governing(read.versions, head.period.start_s, pin)
    return None if found is None else read.edition(found.number)


def _of_contract(read: Register, head: Head) -> Iterator[Mismatch]:
    """Each end that is on record. Where a contract has none, the service's own beginning may stand."""
    if head.tenant is not None and read.contract(head.tenant).bindings:
        found = read.contract(head.tenant).force_in(head.period)
        begun = found[0] is None or found[0] == head.contract[0]
        if not begun or found[1] != head.contract[1]:
            yield Mismatch(name="contract", claimed=list(head.contract), found=list(found))


def _of_terms(read: Register, edition: Edition, head: Head) -> Iterator[Mismatch]:
    yield from _differing("owners", head.owners, edition.promises.owners)
    own = edition.promises.tenants.get(head.tenant or "", NOTHING_OWN)
    if own.department_of is not None:
        return  # it stands on its customer's layer, which is not its own to read
    terms = terms_for(edition.promises, head.tenant, _tier(read, head, own))
    promised = terms_value(replace(terms, scope="platform") if head.tenant is None else terms)
    yield from _differing("terms", terms_value(head.terms), promised)


def _tier(read: Register, head: Head, own: Own) -> str | None:
    """By contract or by its own layer, else the one that the head says its terms come from; one that says nothing adds
    nothing."""
    bound = None if head.tenant is None else read.contract(head.tenant).tier_from(head.period.start_s) or own.tier
    named = (origin.removeprefix("tier:") for origin in head.provenance.values() if origin.startswith("tier:"))
    return bound or next(named, None)


def _differing(what: str, claimed: Mapping[str, object], found: Mapping[str, object]) -> Iterator[Mismatch]:
    for name in sorted({*claimed, *found}):
        if claimed.get(name) != found.get(name):
            yield Mismatch(name=f"{what}.{name}", claimed=claimed.get(name), found=found.get(name))
