"""The log of acts as commands read it: straight from the ledger, with what was promised when.

Reading needs no gateway. Nothing is recorded here (``recording``).
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

from gateway.clock import now_s
from gateway.ledger import acts as table
from gateway.ledger.database import StoreError, default_file
from gateway.ledger.store import Store
from gateway.policy_files import load
from gateway.settings import Settings
from gateway.sla.recording import NotRecorded, opened
from gateway.stores.quota_file import StateError
from policies.model import PolicySet
from policies.sla.chain import Link
from policies.sla.promises import Promises, promises_of, terms_for
from policies.sla.register import Register, register
from policies.sla.versions import governing


class NoPolicies(Exception):
    """The policy files are needed and cannot be read; the text says why."""


def links(settings: Settings) -> tuple[Link, ...]:
    """The whole log; empty where a gateway runs that has kept no ledger yet. Raises ``NotRecorded``."""
    if not settings.ledger_url and settings.control_socket.exists() and not default_file(settings.state_dir).exists():
        return ()
    try:
        with closing(opened(settings)) as database:
            return table.links(database)
    except (StoreError, StateError, OSError, ValueError) as error:
        raise NotRecorded(str(error)) from error


def policy_of(settings: Settings) -> PolicySet:
    """Raises ``NoPolicies``."""
    try:
        found = load(settings.policies, env=os.environ, secrets_dir=settings.secrets_dir)
    except OSError as error:
        named = "--policies or TIERGATE_POLICIES names it"
        raise NoPolicies(f"policy directory {settings.policies}: {error.strerror}; {named}") from error
    if found.policy is None:
        first = next(each for each in found.findings if each.severity == "error")
        said = f"{first.file}:{first.line}: {first.message}"
        raise NoPolicies(f"{said}; `tiergate check {settings.policies}` says more")
    return found.policy


@dataclass(frozen=True, kw_only=True)
class Book:
    """The log and what it says. Its properties raise ``ValueError`` for a log that makes no sense."""

    settings: Settings
    links: tuple[Link, ...]

    @cached_property
    def register(self) -> Register:
        return register(self.links)

    @cached_property
    def promises(self) -> Promises:
        """What is promised now: by the version in force, else by the policy files, else nothing."""
        version = governing(self.register.versions, now_s())
        edition = None if version is None else self.register.edition(version.number)
        if edition is not None:
            return edition.promises
        try:
            return promises_of(policy_of(self.settings))
        except NoPolicies:
            return Promises()

    @cached_property
    def tenants(self) -> frozenset[str]:
        """Everybody whom the policy files or a contract name; empty where the files cannot be read."""
        try:
            named = policy_of(self.settings).tenants
        except NoPolicies:
            return frozenset()
        return frozenset((*named, *self.register.contracts))

    @property
    def served(self) -> frozenset[str]:
        """Everybody who has minutes in the ledger. Raises ``NotRecorded``."""
        try:
            with closing(opened(self.settings)) as database:
                return frozenset(Store(database).tenants())
        except (StoreError, StateError, OSError) as error:
            raise NotRecorded(str(error)) from error

    @property
    def zone(self) -> str:
        """Of the SLA: the one in which a version begins with a month (V2)."""
        return terms_for(self.promises, None, None).zone


def read(settings: Settings) -> Book:
    """Raises ``NotRecorded`` when the ledger cannot be read."""
    return Book(settings=settings, links=links(settings))
