"""Which good policies this version and this machine's addresses cannot serve, at the start as at every reload.

Yields sentences; whether they end a start or reject an edit is the caller's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from policies.model import Address, PolicySet, Server

STORES_BUILT = ("memory",)
STORES_PLANNED = ("sqlite", "redis", "rediss", "redis+cluster")


def objections(policy: PolicySet, server: Server) -> Iterator[str]:
    """Why ``policy`` cannot be served as ``server`` says, the running one at a reload; nothing when it can."""
    scheme = policy.store.url.partition("://")[0]
    if scheme not in STORES_BUILT:
        planned = " is planned but not in this version" if scheme in STORES_PLANNED else " is not a store"
        yield f"store.url: {scheme}://{planned}; use memory:// with one worker"
    if server.workers > 1:
        yield (
            f"{server.workers} workers cannot share a memory:// store: each would allow every limit in full. "
            "Either run one worker (server.workers: 1, TIERGATE_WORKERS=1), or use a store that workers share: "
            "sqlite:// on one host or redis:// on many; neither is in this version yet"
        )
    demo = next(_demo_keys(policy), None)
    if demo is not None and not is_loopback(server.listen.host):
        yield (
            f"tenant {demo} has a demo key, whose text is public, and {shown(server.listen)} can be reached by others: "
            "listen on 127.0.0.1, or take the demo keys out of the policy"
        )
    if not is_loopback(server.admin.host) and server.admin_token_digest is None:
        yield (
            f"the admin listener on {server.admin.host} can be reached by others: set server.admin_token_sha256, "
            "or listen on 127.0.0.1"
        )


def _demo_keys(policy: PolicySet) -> Iterator[str]:
    return (tenant.id for tenant in policy.tenants.values() if any(key.demo for key in tenant.keys))


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def shown(address: Address) -> str:
    """``host:port`` as a URL spells it."""
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
