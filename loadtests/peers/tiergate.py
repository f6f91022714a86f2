"""Tiergate as a peer of itself: the policy of ``loadtests/policies/bench``, moved to free ports.

A second tenant is added whose only limit is used up by one call, so that refusals can be measured.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import yaml

from loadtests.peers.peer import Launch, Place

BENCH = Path(__file__).resolve().parent.parent / "policies" / "bench"
REFUSED_KEY = "refused-key"


def launch(place: Place) -> Launch:
    """``tiergate serve`` with the access log in ``place``."""
    policies, secrets = place.folder / "policies", place.folder / "secrets"
    for folder in (policies, secrets):
        folder.mkdir(exist_ok=True)
    if place.ca is not None:
        (secrets / "ca.pem").write_text(place.ca.read_text())
    (policies / "bench.yaml").write_text(yaml.safe_dump(moved(_bench(), place), sort_keys=False))
    env = environment() | {
        "TIERGATE_ACCESS_LOG": str(place.access_log),
        "TIERGATE_STATE_DIR": str(place.folder / "state"),
        "TIERGATE_SECRETS_DIR": str(secrets),
    }
    return Launch(command=(sys.executable, "-m", "gateway.cli", "serve", "--policies", str(policies)), env=env)


def moved(policy: dict[str, Any], place: Place) -> dict[str, Any]:
    """``policy`` on the ports and the upstream of ``place``, with the tenant that is refused."""
    upstream: dict[str, Any] = {"url": f"{place.scheme}://127.0.0.1:{place.upstream}"}
    if place.ca is not None:
        upstream = {"url": f"https://localhost:{place.upstream}", "tls": {"ca": "${file:ca.pem}"}}
    digest = hashlib.sha256(REFUSED_KEY.encode()).hexdigest()
    refused = {"tier": "shut", "keys": [{"id": "bench", "sha256": digest, "demo": True}]}
    return policy | {
        "server": {"listen": f"127.0.0.1:{place.port}", "admin": f"127.0.0.1:{place.admin}"},
        "upstreams": dict.fromkeys(policy["upstreams"], upstream),
        "tiers": policy["tiers"] | {"shut": {"limits": {"hour": "1/h"}}},
        "tenants": policy["tenants"] | {"refused": refused},
    }


def environment() -> dict[str, str]:
    """``bench.env`` as a mapping."""
    lines = (BENCH / "bench.env").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def _bench() -> dict[str, Any]:
    policy: dict[str, Any] = yaml.safe_load((BENCH / "bench.yaml").read_text())
    return policy
