"""A store on each kind of database: SQLite files, and a real PostgreSQL that is started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger.database import Database
from gateway.ledger.store import Store
from tests.gateway.ledger.postgres import Postgres, postgres


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    return request.getfixturevalue("server").database()  # type: ignore[no-any-return]


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(Database(url))
    opened.open()
    yield opened
    opened.close()
