from __future__ import annotations

import json
from pathlib import Path

from gateway.describe import REDACTED, TENANTS_SHOWN, describe, references, substituted
from policies.model import (
    Address,
    Auth,
    Jwt,
    Key,
    PolicySet,
    Route,
    Server,
    StoreChoice,
    Tenant,
    Tier,
    Tls,
    Upstream,
    Window,
)

SECRET = "s3cret-s3cret"


def full() -> PolicySet:
    """A policy with the secret in every place that can hold one."""
    raw = SECRET.encode()
    upstream = Upstream(
        name="crm", scheme="https", host=f"{SECRET}.example.com", port=443, base_path=f"/{SECRET}", vendor="v",
        headers=((b"authorization", b"Bearer " + raw),), tls=Tls(ca=SECRET, cert=SECRET),
    )  # fmt: skip
    tenant = Tenant(
        id="acme", tier="basic", keys=(Key(id="k1", digest=raw),), upstream_headers={"crm": ((b"x-token", raw),)}
    )
    return PolicySet(
        version="v1",
        server=Server(admin=Address(host="0.0.0.0", port=9900), admin_token_digest=raw),
        store=StoreChoice(url="redis://user:pa55word@r:6379/0"),
        auth=Auth(jwt=Jwt(issuer="i", audience="a", algorithms=("ES256",), jwks=SECRET)),
        tiers={"basic": Tier(name="basic", limits=(Window(name="minute", amount=60, period_us=60_000_000),))},
        upstreams={"crm": upstream},
        routes={"r": Route(name="r", path="/r", methods=frozenset({"GET"}), upstream="crm", group="r")},
        tenants={"acme": tenant},
        keys={raw: (tenant, tenant.keys[0])},
    )


def test_no_secret_is_shown_and_all_else_is() -> None:
    text = json.dumps(describe(full(), (SECRET,)))
    assert SECRET not in text
    assert "pa55word" not in text
    for shown in ("acme", "k1", "minute", "authorization", "x-token", "ES256", f"{REDACTED}.example.com", "r:6379"):
        assert shown in text


def test_fields_that_are_secret_by_nature_need_no_substitution_to_be_hidden() -> None:
    text = json.dumps({key: value for key, value in describe(full()).items() if key != "upstreams"})
    assert SECRET not in text


def test_a_number_that_was_substituted_is_hidden_too() -> None:
    policy = PolicySet(version="v", server=Server(listen=Address(host="h", port=54_321)))
    assert describe(policy, ("54321",))["server"]["listen"]["port"] == REDACTED


def test_many_tenants_are_counted_and_not_all_shown() -> None:
    tenants = {str(number): Tenant(id=str(number), tier="t") for number in range(TENANTS_SHOWN + 5)}
    shown = describe(PolicySet(version="v", tenants=tenants))
    assert (len(shown["tenants"]), shown["tenants_total"]) == (TENANTS_SHOWN, TENANTS_SHOWN + 5)


def test_references_and_their_values_are_found_in_the_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text("x: ${HOST}\ny: ${PORT:-80}\nz: $${NOT\n")
    (tmp_path / "sub" / "b.yaml").write_text('t: "Bearer ${file:token}"')
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "token").write_text("abcdef\n")
    assert references(tmp_path) == (frozenset({"HOST", "PORT"}), frozenset({"token"}))
    assert substituted(tmp_path, {"HOST": "api.example.com", "OTHER": "unused"}, secrets) == (
        "api.example.com",
        "abcdef",
    )
