"""A whole gateway, supervisor and workers, around a toy application and a toy policy file, for process tests.

``python toy.py serve`` runs ``gateway.supervisor`` with the settings of its environment. The policy is
``policy.json`` in the policy directory: the keys of ``toy_load``. What the toy application does is in its path.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway import logs, supervisor, worker
from gateway import settings as settings_of
from gateway.access_log import AccessLog
from gateway.compose import Composed, running
from gateway.last_good import LastGood
from gateway.metrics import Metrics
from gateway.policy_source import PolicySource
from gateway.servable import objections
from gateway.settings import Settings
from policies.model import Address, PolicySet, Server, StoreChoice


@dataclass(frozen=True)
class Loaded:
    policy: PolicySet | None
    findings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    substituted: frozenset[str] = frozenset()


def toy_load(directory: Path, *, env: Mapping[str, str], secrets_dir: Path | None) -> Loaded:
    """``{"delay_us", "timeout_us", "workers", "store", "name"}``, all optional; what is not JSON is a mistake."""
    try:
        text = (directory / "policy.json").read_text()
        said = json.loads(text)
    except (OSError, ValueError) as error:
        return Loaded(None, (f"policy.json:1:1: error: {error}",))
    if "mistakes" in said:
        return Loaded(None, tuple(f"policy.json:{line}:1: error: {'long' * 200}" for line in range(said["mistakes"])))
    server = Server(
        listen=Address(host="127.0.0.1", port=said.get("port", 0)),
        admin=Address(host="127.0.0.1", port=0),
        workers=said.get("workers", 1),
        drain_delay_us=said.get("delay_us", 0),
        drain_timeout_us=said.get("timeout_us", 5_000_000),
    )
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    policy = PolicySet(version=version, server=server, store=StoreChoice(url=said.get("store", "memory://")))
    return Loaded(policy, files=(directory / "policy.json",))


class Toy:
    """``/pid``, ``/policy``, ``/slow/SECONDS`` and ``/die``."""

    def __init__(self, source: PolicySource) -> None:
        self.source = source

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        word, _, rest = scope["path"].strip("/").partition("/")
        if word == "slow":
            await asyncio.sleep(float(rest))
        if word == "die":
            os._exit(7)
        text = {"pid": str(os.getpid()), "policy": self.source.current.version}.get(word, word).encode()
        head = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": text})

    async def live(self, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": message["type"] + ".complete"})


async def toy_compose(settings: Settings, index: int) -> Composed:
    said = os.environ.get("TOY_START")
    if said == "environment":
        raise OSError("the toy store is locked")
    if said == "bug":
        raise RuntimeError("the toy is broken")
    source = PolicySource(
        settings.policies,
        env=os.environ,
        load=toy_load,
        last_good=LastGood(settings.state_dir, settings.policies),
        objection=lambda policy: objections(policy, running(settings, policy)),
    )

    async def aclose() -> None:
        (settings.state_dir / "closed").write_text(str(os.getpid()))

    async def settle() -> None:
        (settings.state_dir / "settled").write_text(str(index))

    return Composed(
        app=Toy(source),
        source=source,
        metrics=Metrics(),
        access_log=AccessLog(settings.access_log or "-"),
        flush=lambda: None,
        last_used=lambda since_s: {"acme/k1": 1_700_000_000},
        counted=lambda: {"gateway_outcomes_recorded": 3},
        measured=lambda: {"gateway_ledger_behind_seconds": 0.0},
        objections=lambda: (),
        aclose=aclose,
        settle=settle,
    )


def toy_command(settings: Settings, descriptor: int, index: int) -> Sequence[str]:
    given = ("--descriptor", str(descriptor), "--index", str(index), "--settings", worker.packed(settings))
    return (sys.executable, __file__, "worker", *given)


def main() -> None:
    if sys.argv[1] == "worker":
        worker.main(sys.argv[2:], compose=toy_compose)
    settings = settings_of.from_environment(os.environ)
    logs.configure(settings.log_level, "supervisor")
    sys.exit(supervisor.run(settings, env=os.environ, load=toy_load, command=toy_command))


if __name__ == "__main__":
    main()
