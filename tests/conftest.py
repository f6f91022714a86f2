"""Shared by every test: coroutines run on asyncio, the loop of the gateway; the same examples in every run."""

import pytest
from hypothesis import settings

# A shared machine may stall for longer than any deadline; a finding must come back in the next run.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
