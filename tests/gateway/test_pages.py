"""What the gateway publishes about its tiers."""

from __future__ import annotations

from gateway.pages import published
from policies.model import Bucket, PolicySet, Quota, Tier, Window
from policies.snapshot import Snapshot


def test_tiers_are_published_in_plain_numbers_and_without_shadow_limits() -> None:
    limits = (
        Window(name="minute", amount=60, period_us=60_000_000),
        Window(name="trial", amount=1, period_us=60_000_000, shadow=True),
        Bucket(name="surge", amount=100, period_us=1_000_000, burst=500),
        Quota(name="day", amount=5, unit="day", zone="Europe/Berlin"),
    )
    page = published(
        Snapshot(PolicySet(version="v", tiers={"basic": Tier(name="basic", limits=limits, support="mail")}))
    )
    assert page == {
        "policy": "v",
        "tiers": {
            "basic": {
                "limits": [
                    {"name": "minute", "kind": "window", "limit": 60, "window_seconds": 60},
                    {"name": "surge", "kind": "bucket", "limit": 500, "rate": 100, "per_seconds": 1},
                    {"name": "day", "kind": "quota", "limit": 5, "per": "day", "zone": "Europe/Berlin"},
                ],
                "support": "mail",
            }
        },
    }
