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
