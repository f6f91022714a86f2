"""The ledger as the SLA's commands read it: counters, the log of acts, and the promises that both are judged by.

Joins what ``gateway.ledger`` keeps with ``policies.sla``; judges nothing and records nothing. One view of the log from
its opening on; what all tenants' evidence of a period has in common is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from gateway.ledger import acts
from gateway.ledger.database import Database, default_url, parsed
from gateway.ledger.days import DAY_S
from gateway.ledger.housekeeping import forgotten_before_s
from gateway.ledger.store import RETENTION_S, Store
from gateway.settings import Settings
from gateway.sla.exporting import Background, Publication, background, basis, contract_of, seen
from policies.format.units import closest
from policies.model import ANONYMOUS
from policies.sla import closed
from policies.sla.agreement import Agreement, Plan, agreement
from policies.sla.chain import Link, verify
from policies.sla.closed import ClosedMonth
from policies.sla.credit import minor_digits
from policies.sla.evidence import Basis, Call, Fee
from policies.sla.instants import read as instant
from policies.sla.period import Period
from policies.sla.reading import decimal, shown
from policies.sla.register import Register, register

T = TypeVar("T")


class NoSuch(Exception):
    """What was asked for is not there; the text says what is, or what to do."""


class Broken(Exception):
    """The ledger contradicts itself; the text says where."""


class Ledger:
    """``links`` is the log of acts, ``register`` what it says. Close it when done.

    Every method that reads raises ``StoreError``, and ``Broken`` for what was damaged.
    """

    def __init__(self, store: Store, plan: Plan) -> None:
        """Raises ``Broken`` for a log that does not hold."""
        self.store = store
        self.plan = plan
        self.links = links(store.database)
        self.register = _register(self.links)
        self._registers: dict[int, Register] = {len(self.links): self.register}
        self._backgrounds: dict[Period, Background] = {}

    def tenants(self) -> list[str]:
        """Everybody who has minutes, a place in the policy files or a contract. Nobody's calls are the platform's."""
        named = {*self.store.tenants(), *self.plan.tiers, *self.register.contracts}
        return sorted(name for name in named if name and name.partition(":")[0] != ANONYMOUS)

    def has_terms(self, tenant: str) -> bool:
        """Whether anything says what is promised to it."""
        return tenant in self.plan.tiers or bool(self.register.contract(tenant).bindings)

    def agreement(self, tenant: str | None, month: str, acts_read: int | None = None) -> Agreement:
        """What stands for the month; ``acts_read``: by as many acts of the log as had been recorded.

        Raises ``NoSuch`` for an unknown tenant, ``Broken`` for a pin that cannot stand.
        """
        read = self._register_of(len(self.links) if acts_read is None else acts_read)
        if tenant is not None and not self.has_terms(tenant):
            raise NoSuch(self._unknown(tenant))
        try:
            return agreement(read, self.plan, tenant, month)
        except ValueError as error:
            raise Broken(f"the terms of {shown(tenant)} in {month} cannot be found: {error}") from error

    def _unknown(self, tenant: str) -> str:
        known = self.tenants()
        if tenant in known:
            return (
                f"{shown(tenant)} has minutes in the ledger, but no tier: the policy files do not name it and no "
                f"contract is recorded; tiergate sla bind {tenant} TIER --from MONTH says which terms stand"
            )
        hint = closest(tenant, known) or f"tenants are {', '.join(known[:20])}" if known else "the ledger has no tenant"
        return f"{shown(tenant)} is no tenant of this ledger, nor of the policy files; {hint}"

    def behind(self, of: Period) -> Background:
        """What everybody's evidence of the period has in common, read once."""
        if of not in self._backgrounds:
            self._backgrounds[of] = _sound(lambda: background(self.store, of))
        return self._backgrounds[of]

    def basis(
        self, agreed: Agreement, said: Publication, calls: Iterable[Call] = (), acts_read: int | None = None
    ) -> Basis:
        """The evidence, with as many acts as had been recorded."""
        told = self.links if acts_read is None else self.links[:acts_read]
        behind = self.behind(agreed.period)
        return _sound(lambda: basis(self.store, told, agreed, behind, said, calls))

    def current(
        self, tenant: str | None, month: str, now_s: int, *, fee: Fee | None = None, calls: Iterable[Call] = ()
    ) -> Basis:
        """The evidence as it is now: of a closed month what its next revision would be made from.

        Raises as ``agreement`` does, and ``NoSuch`` for a month that has not begun, or that may be forgotten in part.
        """
        agreed = self.agreement(tenant, month)
        check_begun(agreed.period, now_s)
        check_kept(agreed.period, self.register, now_s)
        before = self.register.closed(tenant, month)
        paid = fee if fee is not None or not before else fee_of(before[-1].record)
        began_s, _ = contract_of(agreed, self.behind(agreed.period))
        said = Publication(
            known_until_s=self.behind(agreed.period).known_until_s(now_s),
            revision=len(before) + 1,
            published_at_s=publication_of(before[0].record).published_at_s if before else None,
            fee=paid,
            missed_before=missed_before(self.register, agreed),
            credited_before=closed.credited_before(
                self.register.closures,
                tenant,
                agreed.period,
                began_s,
                agreed.terms.cap,
                None if paid is None else paid.currency,
            ),
        )
        return self.basis(agreed, said, calls)

    def as_published(self, closed: ClosedMonth, calls: Iterable[Call] = ()) -> Basis:
        """What a closed month's record was made from, unless counters have changed since."""
        record = closed.record
        acts_read = record["log"]["acts"]
        agreed = self.agreement(closed.tenant, closed.period, acts_read)
        return self.basis(agreed, publication_of(record), calls, acts_read)

    def _register_of(self, acts_read: int) -> Register:
        if acts_read not in self._registers:
            self._registers[acts_read] = _register(self.links[:acts_read])
        return self._registers[acts_read]

    def close(self) -> None:
        self.store.close()


def opened(settings: Settings, plan: Plan) -> Ledger:
    """Raises ``NoSuch`` where there is no ledger, ``StateError`` for a newer one, ``StoreError`` and ``Broken``."""
    database = Database(url_of(settings))
    if database.is_sqlite and not Path(database.url.database or "").is_file():
        raise NoSuch(
            f"there is no ledger at {database.name}; a gateway makes it there when it runs with this state directory, "
            "--ledger or TIERGATE_LEDGER_URL names another"
        )
    store = Store(database)
    try:
        store.open()
        return Ledger(store, plan)
    except BaseException:
        store.close()
        raise


def url_of(settings: Settings) -> str:
    """Raises ``StateError`` for an address of no ledger."""
    url = settings.ledger_url or default_url(settings.state_dir)
    parsed(url)
    return url


def links(database: Database) -> tuple[Link, ...]:
    """The whole log in its order. Raises ``Broken`` for one that was tampered with."""
    try:
        read = acts.links(database)
    except ValueError as error:
        raise Broken(f"the ledger's log cannot be read: {error}") from error
    found = verify(read)
    if found is not None:
        raise Broken(f"act {found.number} of the ledger's log does not hold: {found.reason}")
    return read


def _sound(read: Callable[[], T]) -> T:
    """Counters that were damaged where they lie."""
    try:
        return read()
    except ValueError as error:
        raise Broken(f"the ledger's counters cannot be read: {error}") from error


def _register(told: Sequence[Link]) -> Register:
    try:
        return register(told)
    except ValueError as error:
        raise Broken(f"the ledger's log makes no sense: {error}") from error


def check_begun(of: Period, now_s: int) -> None:
    """Raises ``NoSuch``."""
    if of.start_s >= now_s:
        raise NoSuch(f"{of.name} has not begun in {of.zone}: there is nothing to be judged yet")


def check_kept(of: Period, register: Register, now_s: int) -> None:
    """A figure of what is left would be another figure (D7). Raises ``NoSuch``."""
    if seen(of)[0] < now_s - RETENTION_S and seen(of)[0] < forgotten_before_s(register, now_s):
        raise NoSuch(
            f"the minutes of {of.name} are older than {RETENTION_S // DAY_S} days, after which they are forgotten: no "
            "figure is made of what is left. What was published of it, if it was closed, stands as it is"
        )


def missed_before(register: Register, agreed: Agreement) -> tuple[str, ...]:
    """The earlier months whose target was missed, as published, as far as the terms look back (C5)."""
    return closed.missed_before(register.closures, agreed.tenant, agreed.period.name, agreed.terms.chronic)


def publication_of(record: Mapping[str, Any]) -> Publication:
    """What was said of a record when it was published."""
    period = record["period"]
    return Publication(
        known_until_s=instant(period["known_until"]),
        revision=record["revision"],
        published_at_s=None if period["published_at"] is None else instant(period["published_at"]),
        fee=fee_of(record),
        missed_before=tuple(record["credit"]["missed_before"]),
        credited_before=Decimal(record["credit"]["credited_before"]),
    )


def fee_from(text: str) -> Fee:
    """``4800.00 EUR``. Raises ``ValueError``."""
    amount, _, currency = text.partition(" ")
    minor_digits(currency)
    return Fee(amount=decimal(amount, "the amount"), currency=currency)


def fee_of(record: Mapping[str, Any]) -> Fee | None:
    """The month's fee that a record was made with."""
    fee = record["credit"]["fee"]
    return None if fee is None else Fee(amount=Decimal(fee["amount"]), currency=fee["currency"])
