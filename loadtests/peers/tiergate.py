"""Tiergate as a peer of itself: the policy of ``loadtests/policies/bench``, moved to free ports.

A second tenant is added whose only limit is used up by one call, so that refusals can be measured.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from loadtests.peers.peer import Launch, Place

BENCH = Path(__file__).resolve().parent.parent / "policies" / "bench"
REFUSED_KEY = "refused-key"
SPANS_SOON = {"OTEL_BSP_SCHEDULE_DELAY": "500"}
"""Spans leave within the second they were made in, so that their cost falls into the round that made them."""


def launch(place: Place) -> Launch:
    """``tiergate serve`` with the access log in ``place``."""
    return serving(place, moved(bench(), place))


def serving(place: Place, policy: dict[str, Any], tenants: Iterable[str] = ()) -> Launch:
    """``tiergate serve`` of ``policy``; ``tenants`` are the lines of its ``tenants_from``, if it has one."""
    policies, secrets = place.folder / "policies", place.folder / "secrets"
    for folder in (policies, secrets):
        folder.mkdir(exist_ok=True)
    if place.ca is not None:
        (secrets / "ca.pem").write_text(place.ca.read_text())
    if "tenants_from" in policy:
        with (policies / policy["tenants_from"]).open("w") as file:
            file.writelines(line + "\n" for line in tenants)
    (policies / "bench.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    env = SPANS_SOON | {
        "TIERGATE_STATE_DIR": str(place.folder / "state"),
        "TIERGATE_SECRETS_DIR": str(secrets),
    }
    return Launch(command=(sys.executable, "-m", "gateway.cli", "serve", "--policies", str(policies)), env=env)


def moved(policy: dict[str, Any], place: Place) -> dict[str, Any]:
    """``policy`` on the ports, the upstream and the access log of ``place``, with the tenant that is refused."""
    upstream: dict[str, Any] = {"url": f"{place.scheme}://127.0.0.1:{place.upstream}"}
    if place.ca is not None:
        upstream = {"url": f"https://localhost:{place.upstream}", "tls": {"ca": "${file:ca.pem}"}}
    own = {
        "listen": f"127.0.0.1:{place.port}",
        "admin": f"127.0.0.1:{place.admin}",
        "access_log": str(place.access_log),
    }
    refused = {"tier": "shut", "keys": [{"id": "bench", "sha256": digest(REFUSED_KEY), "demo": True}]}
    return policy | {
        "server": policy["server"] | own,
        "upstreams": dict.fromkeys(policy["upstreams"], upstream),
        "tiers": policy["tiers"] | {"shut": {"limits": {"hour": "1/h"}}},
        "tenants": policy["tenants"] | {"refused": refused},
    }


def digest(key: str) -> str:
    """What a policy file says of ``key``."""
    return hashlib.sha256(key.encode()).hexdigest()


def bench() -> dict[str, Any]:
    """The policy of ``BENCH`` as plain values."""
    policy: dict[str, Any] = yaml.safe_load((BENCH / "bench.yaml").read_text())
    return policy
