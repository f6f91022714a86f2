"""An act of an operator on its way into the ledger's log (spec V1, X4, X8, C4).

A running gateway records it with its own clock; without one it goes directly into the ledger. Either way it is judged
against the whole log inside the transaction that appends it, so that nobody else records meanwhile and a refused act
leaves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.settings import Settings
from policies.sla.chain import Link


class Refused(Exception):
    """The log does not take the act; the text says why and what would do."""


def record(settings: Settings, kind: str, content: Mapping[str, object], actor: str) -> Link:
    """Record one act; of several that it is resolved into, the last.

    Raises ``Refused``, and ``NotRecorded`` when neither a gateway nor the ledger can be reached.
    """
    raise NotImplementedError
