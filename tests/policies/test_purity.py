"""Floor 0 is pure: no await, no clock, no environment, no files, no sockets (DESIGN section 2).

``impurities`` reads one module's syntax tree; every rule has a planted fault below that shows it bite.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

POLICIES = Path(__file__).resolve().parents[2] / "policies"

BANNED_MODULES = frozenset({
    # time, chance
    "random", "secrets", "time", "uuid",
    # waiting
    "anyio", "asyncio", "concurrent", "multiprocessing", "signal", "subprocess", "threading",
    # files, environment
    "glob", "io", "logging", "os", "pathlib", "platform", "shutil", "tempfile",
    # sockets
    "aiohttp", "http", "httpx", "httpx2", "requests", "select", "socket", "ssl", "urllib.request",
})  # fmt: skip
BANNED_CALLS = frozenset({"open", "input", "print", "eval", "exec", "__import__", "breakpoint"})
PURE_PARTS_OF_SYS = frozenset({"intern", "maxsize"})
CLOCK_METHODS = frozenset({"now", "today", "utcnow"})
CLOCK_OWNERS = frozenset({"datetime", "date"})


def impurities(source: str, name: str) -> list[str]:
    """Every breach in ``source`` as ``file:line: what``."""
    tree = ast.parse(source)
    protocol_lines = set(_protocol_lines(tree))
    return [
        f"{name}:{line}: {what}" for line, what in _breaches(tree) if not (what == "async" and line in protocol_lines)
    ]


def _protocol_lines(tree: ast.Module) -> Iterator[int]:
    """Lines of coroutine *declarations*: methods of a Protocol whose body is a docstring or ``...``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split("[")[0] == "Protocol" for base in node.bases):
            for member in node.body:
                if isinstance(member, ast.AsyncFunctionDef) and _only_declared(member):
                    yield member.lineno


def _only_declared(function: ast.AsyncFunctionDef) -> bool:
    return all(isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for line in function.body)


def _breaches(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                yield node.lineno, "async"
            case ast.Import(names=names):
                yield from ((node.lineno, f"imports {a.name}") for a in names if _banned(a.name))
            case ast.ImportFrom(module="sys", names=names):
                yield from ((node.lineno, f"uses sys.{a.name}") for a in names if a.name not in PURE_PARTS_OF_SYS)
            case ast.ImportFrom(module=str(module)) if _banned(module):
                yield node.lineno, f"imports {module}"
            case ast.Call(func=ast.Name(id=called)) if called in BANNED_CALLS:
                yield node.lineno, f"calls {called}()"
            case ast.Attribute(attr=part, value=ast.Name(id="sys")) if part not in PURE_PARTS_OF_SYS:
                yield node.lineno, f"uses sys.{part}"
            case ast.Attribute(attr=method, value=owner) if method in CLOCK_METHODS and _is_clock(owner):
                yield node.lineno, f"reads a clock: {ast.unparse(node)}"


def _banned(module: str) -> bool:
    return module in BANNED_MODULES or module.split(".")[0] in BANNED_MODULES


def _is_clock(owner: ast.expr) -> bool:
    return ast.unparse(owner).split(".")[-1] in CLOCK_OWNERS


@pytest.mark.parametrize("path", sorted(POLICIES.rglob("*.py")), ids=lambda path: str(path.relative_to(POLICIES)))
def test_floor_zero_is_pure(path: Path) -> None:
    name = f"policies/{path.relative_to(POLICIES)}"
    assert impurities(path.read_text(encoding="utf-8"), name) == []


@pytest.mark.parametrize(
    ("source", "line", "what"),
    [
        ("import time\n", 1, "imports time"),
        ("x = 1\nfrom os import environ\n", 2, "imports os"),
        ("import os.path\n", 1, "imports os.path"),
        ("import sys\nsys.stdin.read()\n", 2, "uses sys.stdin"),
        ("from sys import argv\n", 1, "uses sys.argv"),
        ("from pathlib import Path\n", 1, "imports pathlib"),
        ("from urllib.request import urlopen\n", 1, "imports urllib.request"),
        ("def f():\n    import socket\n", 2, "imports socket"),  # also inside a function
        ("from datetime import datetime\ndatetime.now()\n", 2, "reads a clock: datetime.now"),
        ("import datetime as d\nd.datetime.utcnow()\n", 2, "reads a clock: d.datetime.utcnow"),
        ("from datetime import date\nf = date.today\n", 2, "reads a clock: date.today"),  # also uncalled, as a default
        ("text = open('x').read()\n", 1, "calls open()"),
        ("print('x')\n", 1, "calls print()"),
        ("async def f():\n    pass\n", 1, "async"),
        # a coroutine with a body is one also when its class is a Protocol
        ("class P(Protocol):\n    async def f(self):\n        return 1\n", 2, "async"),
        ("class P:\n    async def f(self): ...\n", 2, "async"),
    ],
)
def test_planted_fault_is_found(source: str, line: int, what: str) -> None:
    assert f"planted.py:{line}: {what}" in impurities(source, "planted.py")


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime, timezone\ndatetime.fromtimestamp(0, timezone.utc)\n",
        "from zoneinfo import ZoneInfo\nzone = ZoneInfo('UTC')\n",
        "from urllib.parse import quote\n",
        "import sys\nname = sys.intern('a')\n",
        "class P(Protocol):\n    async def f(self) -> int:\n        '''Declared only.'''\n    async def g(self): ...\n",
        "def f(clock):\n    return clock.now()\n",  # a passed-in clock
    ],
)
def test_pure_code_passes(source: str) -> None:
    assert impurities(source, "pure.py") == []
