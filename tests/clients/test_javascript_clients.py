"""JavaScript clients as they are published: the back-off of a well-known guide, and a parser of rate-limit fields."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.clients import node
from tests.clients.stage import KEY, UNIX_KEY, Dialects, Stage, staged

pytestmark = pytest.mark.anyio

GUIDE = (node.HERE / "fetch_with_exponential_backoff.mjs").read_text()
"""As it is printed: it takes ``ratelimit-reset`` for a Unix time, and waits for a second at least."""
CALL_GUIDE = """
const [url, key, retries] = process.argv.slice(2);
const told = {warn: console.warn};
console.warn = () => {};
try {
  const answer = await fetchWithExponentialBackoff(url, {headers: {'x-api-key': key}}, Number(retries));
  console.log(answer.status);
} catch (error) {
  console.log(error.message);
}
"""
PARSE = """
import { parseRateLimit } from 'ratelimit-header-parser';
const [url, key] = process.argv.slice(2);
const answer = await fetch(url, {headers: {'x-api-key': key}});
const {limit, used, remaining, reset} = parseRateLimit(answer);
console.log(JSON.stringify({status: answer.status, limit, used, remaining, reset}));
"""


async def guide(stage: Stage, url: str, *, key: str, retries: int = 3) -> str:
    return (await node.run(GUIDE + CALL_GUIDE, url, key, str(retries))).strip()


@pytest.mark.realtime
async def test_the_guides_client_comes_back_at_the_moment_that_it_is_told(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert await guide(stage, stage.throttling("github", wait="2s"), key=UNIX_KEY) == "200"
        stage.came_back_once(after_s=2)


@pytest.mark.realtime
async def test_the_guides_client_needs_the_unix_form(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert await guide(stage, stage.throttling("github", wait="2s"), key=KEY) == "200"
        assert stage.pauses[0] < 2  # seconds from now, taken for 1970: it comes after its own second


@pytest.mark.realtime
async def test_the_guides_client_gives_up_after_as_many_calls_as_it_was_allowed(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        said = await guide(stage, stage.throttling("github", times=9), key=UNIX_KEY, retries=1)
        assert said == "Upstream API rate limit exceeded. Out of retries."
        stage.came_back_once(after_s=1)


def test_every_npm_package_is_pinned_by_its_hash() -> None:
    packages = json.loads(node.LOCK.read_text())["packages"]
    assert {name: entry.get("integrity", "")[:7] for name, entry in packages.items() if name} == {
        "node_modules/ratelimit-header-parser": "sha512-"
    }


async def parsed(home: Path, ratelimit: Dialects) -> Any:
    folder = await asyncio.to_thread(node.packages)
    async with staged(home, ratelimit=ratelimit) as stage:
        found = await node.run(PARSE, stage.throttling("github", wait="30s"), KEY, folder=folder)
        assert len(stage.calls) == 1
    return json.loads(found)


async def test_the_parser_reads_the_triple(tmp_path: Path) -> None:
    begun = time.time()
    found = await parsed(tmp_path, ["draft-06"])
    assert (found["status"], found["limit"], found["used"], found["remaining"]) == (429, 5000, 5000, 0)
    reset = datetime.fromisoformat(found["reset"]).timestamp()
    assert begun + 29 < reset < time.time() + 32


async def test_the_parser_takes_the_structured_field_for_a_draft_that_it_knows(tmp_path: Path) -> None:
    """Version 0.1.0 stops at a ``RateLimit`` field and looks for words of draft -07 in it; JSON writes NaN as null."""
    found = await parsed(tmp_path, ["draft-11", "draft-06"])
    assert (found["limit"], found["used"], found["remaining"], found["reset"]) == (None, None, None, None)
