"""The ledger's databases, for the commands that read and write them."""

from __future__ import annotations

from tests.gateway.ledger.conftest import server, url

__all__ = ["server", "url"]
