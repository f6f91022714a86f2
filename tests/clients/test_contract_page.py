"""docs/throttling.md shows a 429 as it is sent, and explains every field and member that one has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from tests.clients.stage import KEY, staged

pytestmark = pytest.mark.anyio

PAGE = Path("docs/throttling.md").read_text(encoding="utf-8")
OF_EVERY_ANSWER = {"content-length", "date", "server", "vary", "via", "x-request-id"}
"""Not about throttling, and therefore not on the page."""
EACH_ITS_OWN = {"retry_after_seconds", "violated-policies", "request_id"}
"""Members that the example has with other values."""
UNEXPLAINED = {"cache-control", "content-type", "error", "type", "title", "status"}
"""In the example, and no more to be said of them here."""


def explained() -> set[str]:
    """What the first column of its tables names."""
    section = PAGE.partition("\n## The fields\n")[2].partition("\n## ")[0]
    return {
        name for cell in re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE) for name in re.findall(r"`([\w-]+)", cell)
    }


def shown() -> tuple[list[str], list[str], str]:
    """Names of the fields and of the body's members in the page's example, and its body."""
    (example,) = re.findall(r"^```http\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    head, _, body = example.partition("\n\n")
    return [line.partition(":")[0] for line in head.splitlines()[1:]], list(json.loads(body)), body


async def test_the_example_has_the_fields_and_members_of_a_429_in_their_order(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, httpx.AsyncClient(trust_env=False) as client:
        url = stage.throttling("github", body="normalised", wait="47s")
        answer = await client.get(url, headers={"x-api-key": KEY})
    fields, members, body = shown()
    assert [name for name in answer.headers if name not in OF_EVERY_ANSWER] == fields
    assert list(answer.json()) == members
    assert {key: value for key, value in answer.json().items() if key not in EACH_ITS_OWN} == {
        key: value for key, value in json.loads(body).items() if key not in EACH_ITS_OWN
    }


@pytest.mark.parametrize(
    ("dialect", "profile"), [("github", "github"), ("openai-billing", "openai"), ("iso", "plain"), ("stripe", "stripe")]
)
async def test_every_field_of_a_429_is_on_the_page(dialect: str, profile: str, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, httpx.AsyncClient(trust_env=False) as client:
        url = stage.throttling(dialect, profile=profile, body="normalised")
        answer = await client.get(url, headers={"x-api-key": KEY})
    assert answer.status_code == 429
    ours = {name for name in answer.headers if not name.startswith("stripe-")} - OF_EVERY_ANSWER - UNEXPLAINED
    assert sorted(ours - explained()) == []
    assert sorted(set(answer.json()) - UNEXPLAINED - explained()) == []
