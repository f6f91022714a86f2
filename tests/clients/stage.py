"""The gateway on a socket in front of an upstream that throttles, for the clients that people use.

A URL says what happens behind it: whose dialect refuses, how often, how long a wait it announces, and what the
upstream's ``throttled_body`` is. The mock upstream says when each call reached it, and so what the client did.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.mock_upstream import Received
from tests.gateway.assembly import Gateway, gateway

KEY = "client-key"
"""Of a tenant that gets the drafts' delta seconds."""
UNIX_KEY = "unix-client-key"
"""Of a tenant with ``reset_as: unix-seconds``."""
STRICT_KEY = "strict-client-key"
"""Of a tenant that may call once in a while."""
PROFILES = ("github", "linear", "openai", "shopify", "slack", "stripe")
"""Profiles that an upstream of the stage names. ``plain`` names none: the generic reader."""
Body = Literal["native", "normalised"]
Dialects = Sequence[Literal["draft-06", "draft-11"]]
BOTH: Dialects = ("draft-11", "draft-06")
SLACK_S = 5.0
"""How much later than told a client may come on a busy machine."""


@dataclass(frozen=True)
class Stage:
    gateway: Gateway

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"

    def throttling(
        self, dialect: str, *, profile: str | None = None, body: Body = "native", wait: str = "1s", times: int = 1
    ) -> str:
        """Below this URL ``dialect`` refuses as many calls and then serves."""
        script = f"throttle={dialect}/wait={wait}/times={times}"
        return f"{self.url}/{body}/{profile or dialect}/{script}"

    @property
    def calls(self) -> list[Received]:
        """What reached the upstream."""
        return self.gateway.origin.requests

    @property
    def pauses(self) -> list[float]:
        """Seconds between one call that reached the upstream and the next."""
        return [after.at - before.at for before, after in zip(self.calls, self.calls[1:], strict=False)]

    def came_back_once(self, after_s: float) -> None:
        """Two calls, the second no sooner than it was told to, and not much later."""
        assert len(self.calls) == 2
        (pause,) = self.pauses
        assert after_s <= pause < after_s + SLACK_S


@contextlib.asynccontextmanager
async def staged(home: Path, *, ratelimit: Dialects = BOTH) -> AsyncIterator[Stage]:
    policies = home / "policies"
    policies.mkdir()
    (policies / "clients.yaml").write_text(_policy(ratelimit))
    async with gateway(home / "state", policies=policies) as running:
        yield Stage(running)


def _policy(ratelimit: Dialects) -> str:
    lines = [
        "version: 1",
        "auth: {keys: {headers: [x-api-key, authorization]}}",
        f"headers: {{ratelimit: [{', '.join(ratelimit)}]}}",
        "tiers: {any: {limits: {parallel: {concurrent: 20}}}, strict: {limits: {few: 1/2s}}}",
        "tenants:",
        f"  plain: {{tier: any, keys: [{{id: k, sha256: {_digest(KEY)}}}]}}",
        f"  unix: {{tier: any, keys: [{{id: k, sha256: {_digest(UNIX_KEY)}}}], reset_as: unix-seconds}}",
        f"  strict: {{tier: strict, keys: [{{id: k, sha256: {_digest(STRICT_KEY)}}}]}}",
        "upstreams:",
    ]
    routes = ["routes:"]
    for body in ("native", "normalised"):
        for profile in (*PROFILES, "plain"):
            name = f"{profile}-{body}"
            throttling = "" if profile == "plain" else f", throttling: {profile}"
            url = "http://127.0.0.1:${TIERGATE_MOCK_PORT}"
            lines.append(f'  {name}: {{url: "{url}", throttled_body: {body}{throttling}}}')
            prefix = f"/{body}/{profile}"
            routes.append(f'  {name}: {{match: {{path: "{prefix}/{{rest:path}}"}}, upstream: {name}, strip: {prefix}}}')
    return "\n".join([*lines, *routes])


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
