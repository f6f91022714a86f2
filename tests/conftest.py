"""Shared by every test: coroutines run on asyncio, the loop that the gateway runs on."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
