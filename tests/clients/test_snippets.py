"""The back-off that docs/throttling.md offers to copy does what the page says, in each language."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import go
import httpx
import pytest

from tests.clients import node
from tests.clients.stage import KEY, STRICT_KEY, staged

pytestmark = [pytest.mark.anyio, pytest.mark.realtime]

PAGE = Path("docs/throttling.md").read_text(encoding="utf-8")
GO_ROOT = Path(go.__file__).parent
GO_CACHE = Path(sys.prefix) / "cache" / "go"
"""What the compiler keeps: the standard library takes it most of a minute the first time."""
COMPILE_S = 600
CALL_JS = """
const [url, key, attempts] = process.argv.slice(2);
const answer = await call(url, {headers: {'x-api-key': key}}, Number(attempts));
console.log(answer.status);
"""
CALL_GO = """package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
)

func main() {
	attempts, _ := strconv.Atoi(os.Args[3])
	response, err := call(http.DefaultClient, func() (*http.Request, error) {
		request, err := http.NewRequest("GET", os.Args[1], nil)
		if err == nil {
			request.Header.Set("X-Api-Key", os.Args[2])
		}
		return request, err
	}, attempts)
	if err != nil {
		panic(err)
	}
	fmt.Println(response.StatusCode)
}
"""

Call = Callable[[str, str, int], Awaitable[int]]
"""A snippet at work: URL, key and attempts in, the status of the last answer out."""


def snippet(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


async def python(url: str, key: str, attempts: int) -> int:
    names: dict[str, Any] = {}
    exec(compile(snippet("python"), "docs/throttling.md", "exec"), names)

    def call() -> int:
        with httpx.Client(trust_env=False) as client:
            answer = names["call"](client, client.build_request("GET", url, headers={"x-api-key": key}), attempts)
            return int(answer.status_code)

    return await asyncio.to_thread(call)


async def javascript(url: str, key: str, attempts: int) -> int:
    return int(await node.run(snippet("javascript") + CALL_JS, url, key, str(attempts)))


def compiled() -> Path:
    """The Go snippet with a ``main`` of ours, made once for each text: offline, from the standard library alone."""
    texts = {"backoff.go": snippet("go"), "main.go": CALL_GO}
    folder = GO_CACHE / hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:16]
    program = folder / "backoff.exe"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        go_tool("build", "-o", program.name, *texts, folder=folder)
    return program


def go_tool(*arguments: str, folder: Path, program: str = "go") -> str:
    env = {
        **os.environ, "GOROOT": str(GO_ROOT), "GOCACHE": str(GO_CACHE / "build"), "GOPATH": str(GO_CACHE / "path"),
        "GOTOOLCHAIN": "local", "GOPROXY": "off", "GOENV": "off", "GOTELEMETRY": "off", "CGO_ENABLED": "0",
    }  # fmt: skip
    ended = subprocess.run(
        [GO_ROOT / "bin" / program, *arguments],
        cwd=folder, env=env, capture_output=True, text=True, timeout=COMPILE_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


async def golang(url: str, key: str, attempts: int) -> int:
    program = await asyncio.to_thread(compiled)
    process = await asyncio.create_subprocess_exec(program, url, key, str(attempts), stdout=subprocess.PIPE)
    said, _ = await asyncio.wait_for(process.communicate(), node.DEADLINE_S)
    return int(said)


every_language = pytest.mark.parametrize("call", [python, javascript, golang], ids=["python", "javascript", "go"])


@every_language
async def test_snippet_comes_back_when_the_wait_is_over(call: Call, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert await call(stage.throttling("github", body="normalised"), KEY, 4) == 200
        stage.came_back_once(after_s=1)


@every_language
async def test_snippet_hands_back_the_last_429(call: Call, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert await call(stage.throttling("github", body="normalised", times=9), KEY, 2) == 429
        stage.came_back_once(after_s=1)


@every_language
async def test_snippet_does_not_wait_where_waiting_is_no_use(call: Call, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert await call(stage.throttling("openai-billing", profile="openai", body="normalised"), KEY, 4) == 429
        assert len(stage.calls) == 1


@every_language
async def test_snippet_does_not_wait_longer_than_it_says(call: Call, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        assert await call(stage.throttling("github", body="normalised", wait="10m"), KEY, 4) == 429
        assert len(stage.calls) == 1


@every_language
async def test_snippet_comes_back_when_a_limit_of_the_gateways_own_lets_it(call: Call, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        url = f"{stage.url}/native/plain/ok"
        assert [await call(url, STRICT_KEY, attempts) for attempts in (1, 2)] == [200, 200]
        assert len(stage.calls) == 2


async def test_the_go_snippet_is_formatted_as_go_is(tmp_path: Path) -> None:
    (tmp_path / "backoff.go").write_text(snippet("go"), encoding="utf-8")
    assert go_tool("-l", ".", folder=tmp_path, program="gofmt") == ""
