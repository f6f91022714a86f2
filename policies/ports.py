"""What the rules need from the outside, as Protocols; adapters live in ``gateway``.

Each promise names what is atomic and what may raise. ``async`` is allowed here in Protocol bodies only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from policies.admission.decision import Decision, Demand, Lease
    from policies.credential import Credential
    from policies.exchange import Exchange, Outcome
    from policies.model import Tenant
    from policies.snapshot import Snapshot

ANONYMOUS_ACCOUNT = "\x00"
"""First character of the account of a caller without a credential; no tenant id can begin with it."""


class Clock(Protocol):
    """Time as integers. ``steady_us`` never goes back; ``wall_us`` is Unix time and may be stepped."""

    def steady_us(self) -> int: ...

    def wall_us(self) -> int: ...


class AdmissionStore(Protocol):
    """Where the state of limits lives."""

    async def admit(self, account: str, demand: Demand) -> Decision:
        """Decide one call of ``account`` and charge it: all of ``demand``, or nothing at all.

        One round trip; the idempotency claim will travel in the same call. The answer describes every
        limit after the decision. Raises ``GatewayError`` ``store-unavailable`` when the store cannot
        answer and the policy says closed.
        """

    def release(self, lease: Lease) -> None:
        """Give the concurrency slots back. Idempotent; frees nobody else's slot; never raises."""

    def renew(self, lease: Lease) -> None:
        """Keep the slots of a call that is still alive for another lease. Never raises."""

    async def read(self, account: str, demand: Demand) -> Decision:
        """What ``admit`` would see now, charging nothing; ``allowed`` says whether the call would pass."""

    async def aclose(self) -> None:
        """Write what must survive, give up the state directory."""


class PolicySource(Protocol):
    """The policy in force."""

    @property
    def current(self) -> Snapshot:
        """One consistent snapshot; a request takes it once and keeps it to its end."""


class Identity(Protocol):
    """Who a credential stands for: see ``Authenticator``."""

    @property
    def tenant(self) -> Tenant: ...

    @property
    def credential_id(self) -> str: ...


class Authenticator(Protocol):
    """Who a credential stands for under one policy."""

    def recognise(self, snapshot: Snapshot, credential: Credential) -> Identity | None:
        """The owner of ``credential`` where that can be said without waiting, as for a key; else None.

        Raises as ``authenticate`` does.
        """

    async def authenticate(self, snapshot: Snapshot, credential: Credential) -> Identity:
        """The owner of ``credential``.

        Raises ``GatewayError`` ``unauthenticated`` when it is no good, and ``auth-unavailable`` when that
        cannot be found out (spec O11: a broken back end is never a 401).
        """


class OutcomeLog(Protocol):
    """Who takes note of finished requests: the SLA's counters, metrics, the access log.

    Called once for each request; never raises; takes at most a few microseconds.
    """

    def record(self, exchange: Exchange, outcome: Outcome) -> None: ...
