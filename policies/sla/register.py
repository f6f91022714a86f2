"""What the whole log of acts says: exclusions, versions, contracts, closed months, claims (spec X, V, C, D6).

The one fold of the log. Each act's content is judged by its noun's module; a kind that is not known is an error when it
is recorded and nothing when it is read, so that an older reader can read a newer log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from policies.model import nothing
from policies.sla.acts import Request
from policies.sla.chain import Link, Withheld
from policies.sla.claim import Claim
from policies.sla.closed import ClosedMonth
from policies.sla.contract import Contract
from policies.sla.promises import Own
from policies.sla.versions import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """``versions`` in order of publication; ``layers`` by version number and tenant; ``closures`` by tenant and period.

    ``claims`` by tenant and period: those of closed months with a credit, as the acts left them (``claim.state_at`` says
    what has expired since). ``last_at_s``: when the last act was recorded, None in an empty log.
    """

    requests: tuple[Request, ...] = ()
    versions: tuple[Version, ...] = ()
    layers: Mapping[str, Mapping[str, Own]] = field(default_factory=nothing)
    contracts: Mapping[str, Contract] = field(default_factory=nothing)
    closures: Mapping[tuple[str | None, str], tuple[ClosedMonth, ...]] = field(default_factory=nothing)
    claims: Mapping[tuple[str, str], Claim] = field(default_factory=nothing)
    last_at_s: int | None = None

    def closed(self, tenant: str | None, period: str) -> tuple[ClosedMonth, ...]:
        """The month's records as published, by revision; none before it is closed."""
        return self.closures.get((tenant, period), ())


def register(links: Iterable[Link | Withheld]) -> Register:
    """The fold of a whole log. Raises ``ValueError`` that names the act for one that makes no sense."""
    raise NotImplementedError


def withheld(links: Iterable[Link | Withheld], tenant: str | None) -> tuple[Link | Withheld, ...]:
    """The log as ``tenant`` may read it: acts about another tenant keep their place alone. None: the public's."""
    raise NotImplementedError
