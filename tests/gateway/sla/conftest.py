"""The ledger's databases, for the commands that read and write them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.ledger.conftest import server, url
from tests.gateway.sla.ledgers import OPENED

__all__ = ["server", "url"]


@pytest.fixture(autouse=True)
def stores_are_closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()
