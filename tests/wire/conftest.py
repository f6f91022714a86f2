"""One gateway for each server and engine of a module, on the loop of production."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.wire.harness import SERVERS
from tests.wire.stage import Stage, staged

ON_BOTH_SERVERS = [pytest.param((server, "http1"), id=server) for server in SERVERS]
EVERYWHERE = [
    pytest.param((server, engine), id=f"{server}-{engine}") for server in SERVERS for engine in ("http1", "httpx")
]
"""Upstream faults are an engine's to find; what a caller does wrong is not."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stage" in metafunc.fixturenames:
        engines = getattr(metafunc.module, "EVERY_ENGINE", False)
        metafunc.parametrize("stage", EVERYWHERE if engines else ON_BOTH_SERVERS, indirect=True, scope="module")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
async def stage(
    request: pytest.FixtureRequest, anyio_backend: object, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    server, engine = request.param
    tenants = getattr(request.module, "TENANTS", ())
    changes = getattr(request.module, "UPSTREAMS", {})
    async with staged(tmp_path_factory.mktemp("wire"), server, engine, tenants=tenants, changes=changes) as started:
        yield started
