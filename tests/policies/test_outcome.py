"""What the vectors' ``classify`` cases do not hold (spec O1-O9); those run in ``test_sla_vectors``."""

from __future__ import annotations

import pytest

from policies.sla.outcome import classify
from tests.policies.sla_outcome_vectors import outcome


@pytest.mark.parametrize("reason", ["egress-proxy", "egress-proxy-timeout"])
@pytest.mark.parametrize("owner", ["third_party", "customer", "managed"])
def test_our_own_egress_proxy_never_counts_against_the_owner_of_the_upstream(reason: str, owner: str) -> None:
    given = {"origin": "gateway", "reason": reason, "status": 502, "phase": "upstream_connect"}
    assert classify(outcome({**given, "upstream_owner": owner})) == ("bad", "gateway")


@pytest.mark.parametrize("status", [429, 503])
def test_shedding_counts_unless_the_tenant_was_over_its_limit(status: int) -> None:
    given = {"origin": "gateway", "reason": "shed", "status": status}
    assert classify(outcome({**given, "over_limit": False})) == ("bad", "gateway")
    assert classify(outcome({**given, "over_limit": True})) == ("ignored", "own_limit")


@pytest.mark.parametrize("reason", ["auth_backend", "store_down", "draining"])
def test_our_own_fault_in_the_dress_of_a_401_is_still_ours(reason: str) -> None:
    assert classify(outcome({"origin": "gateway", "reason": reason, "status": 401})) == ("bad", "gateway")


@pytest.mark.parametrize(("elapsed_ms", "wanted"), [(29_999, "client_abort"), (30_000, "gateway")])
def test_patience_ends_at_its_millisecond(elapsed_ms: int, wanted: str) -> None:
    given = {"origin": "client", "elapsed_ms": elapsed_ms, "phase": "auth"}
    assert classify(outcome(given))[1] == wanted
