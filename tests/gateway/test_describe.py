from __future__ import annotations

import json
from dataclasses import replace

from gateway import control
from gateway.describe import MOST_SHOWN, REDACTED, describe
from gateway.profiles import built_in
from policies.model import (
    Address,
    Auth,
    Jwt,
    Key,
    PolicySet,
    Proxy,
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
        headers=((b"authorization", b"Bearer " + raw),), tls=Tls(ca=SECRET, cert=SECRET), engine="httpx",
        proxy=Proxy(scheme="https", host="proxy.internal", port=3129, authorization=b"Basic " + raw, ca=SECRET),
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
    text = json.dumps(describe(full(), frozenset({SECRET})))
    assert SECRET not in text
    assert "pa55word" not in text
    for shown in ("acme", "k1", "minute", "authorization", "x-token", "ES256", f"{REDACTED}.example.com", "r:6379"):
        assert shown in text


def test_every_built_in_profile_is_shown_with_the_names_of_its_fields() -> None:
    for profile in built_in().by_name.values():
        crm = replace(full().upstreams["crm"], profile=profile)
        shown = describe(replace(full(), upstreams={"crm": crm}))["upstreams"]["crm"]["profile"]
        rules = [condition["source"]["headers"] for rule in shown["when"] for condition in rule["conditions"]]
        assert rules == [[*each.source.headers] for rule in profile.when for each in rule.conditions], profile.name


def test_fields_that_are_secret_by_nature_need_no_substitution_to_be_hidden() -> None:
    text = json.dumps({key: value for key, value in describe(full()).items() if key != "upstreams"})
    assert SECRET not in text


def test_the_credential_for_an_egress_proxy_is_never_shown_and_the_proxy_is() -> None:
    shown = describe(full())["upstreams"]["crm"]
    assert shown["proxy"] == {
        "scheme": "https", "host": "proxy.internal", "port": 3129, "authorization": REDACTED, "ca": REDACTED,
    }  # fmt: skip
    assert "s3cret" not in repr(full().upstreams["crm"].proxy)


def test_a_number_that_was_substituted_is_hidden_too() -> None:
    policy = PolicySet(version="v", server=Server(listen=Address(host="h", port=54_321)))
    assert describe(policy, frozenset({"54321"}))["server"]["listen"]["port"] == REDACTED


def test_many_tenants_are_counted_and_not_all_shown() -> None:
    tenants = {str(number): Tenant(id=str(number), tier="t") for number in range(MOST_SHOWN + 5)}
    shown = describe(PolicySet(version="v", tenants=tenants))
    assert (len(shown["tenants"]), shown["tenants_total"]) == (MOST_SHOWN, MOST_SHOWN + 5)


def test_a_value_is_hidden_however_the_load_has_spelt_it() -> None:
    upstream = Upstream(name="u", scheme="https", host="internal.example.com", port=443, base_path="", vendor="v")
    tier = Tier(name="t", limits=(Window(name="minute", amount=31_337, period_us=60_000_000),))
    policy = PolicySet(version="v", upstreams={"u": upstream}, tiers={"t": tier})
    text = json.dumps(describe(policy, frozenset({"Internal.Example.COM", "31337/1min"})))
    assert "internal.example.com" not in text
    assert "31337" not in text


def test_the_subjects_of_client_certificates_are_not_shown() -> None:
    tenant = Tenant(id="acme", tier="t", subjects=("CN=acme-client",))
    text = json.dumps(describe(PolicySet(version="v", tenants={"acme": tenant})))
    assert "acme-client" not in text


def test_a_set_of_fifty_five_thousand_routes_fits_the_control_line() -> None:
    routes = {
        str(number): Route(name=str(number), path=f"/{number}", methods=frozenset({"GET"}), upstream="u", group="g")
        for number in range(55_000)
    }
    description = describe(PolicySet(version="v", routes=routes))
    assert (len(description["routes"]), description["routes_total"]) == (MOST_SHOWN, 55_000)
    line = control.encode(control.Described(version="v", description=description, drain_delay_us=0, drain_timeout_us=0))
    assert len(line) < control.MAX_LINE


def test_what_is_too_large_or_too_secret_is_withheld_and_counted() -> None:
    tenants = {str(number): Tenant(id=str(number) + "x" * 20_000, tier="t") for number in range(1_000)}
    large = PolicySet(version="v", tenants=tenants)
    for description in (describe(large), describe(PolicySet(version="v"), frozenset(map(str, range(10_000, 13_000))))):
        assert "withheld" in description
        assert "tenants_total" in description
        assert len(control.encode(control.Answer(result=description))) < 1_000
