"""What only the whole set can tell; each rule with the set that keeps it and the set that breaks it."""

from __future__ import annotations

import pytest

from policies.document import SourceFile, compose
from policies.findings import Finding
from policies.limits import name_problem
from policies.service import store_problem
from policies.substitution import NOTHING
from policies.targets import registrable, url_problem
from policies.templates import path_problem, strip_problem

BASE = """
tiers:
  basic: {limits: {minute: 60/min, parallel: {concurrent: 5}}}
  other: {limits: {minute: 600/min, soft: {window: 10/min, mode: shadow}}}
upstreams: {origin: {url: http://127.0.0.1:9000}}
routes: {items: {match: {path: /items}, upstream: origin, limits: {writes: 30/min}}}
tenants: {one: {tier: basic}, two: {tier: other}}
"""


def found(text: str, base: str = BASE) -> list[Finding]:
    files = [SourceFile(name="base.yaml", data=base.encode()), SourceFile(name="x.yaml", data=text.encode())]
    return list(compose(files, NOTHING).findings)


def codes(text: str, base: str = BASE) -> list[str]:
    return [finding.code for finding in found(text, base)]


def route(more: str, path: str = "/r") -> str:
    return f"routes: {{r: {{match: {{path: '{path}'}}, upstream: origin, {more}}}}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (route("cost: 60"), []),  # fits basic's minute exactly
        (route("cost: 61"), ["TG205"]),
        (route("cost: 61, tiers: [other]"), []),  # basic may not call it
        (route("cost: {minute: 61}"), ["TG205"]),
        (route("cost: {soft: 11}"), []),  # a shadow limit refuses nothing
        (route("cost: {writes2: 31}, limits: {writes2: 30/min}"), ["TG205"]),
        (route("cost: 6"), []),  # cost never applies to concurrent
        (route("cost: {parallel: 1}"), ["TG207"]),
        (route("cost: {nothing: 1}"), ["TG207"]),
        (route("cost: 0"), []),
    ],
)
def test_cost_fits_every_limit_of_every_call(text: str, expected: list[str]) -> None:
    assert codes(text) == expected


@pytest.mark.parametrize(
    ("tenant", "expected"),
    [
        ("{tier: basic, limits: {minute: 300/min}}", []),  # an override
        ("{tier: basic, limits: {fresh: 300/min}}", []),  # a new limit, spelt in full
        ("{tier: basic, limits: {minute: null}}", []),
        ("{tier: basic, limits: {fresh: null}}", ["TG207"]),
        ("{tier: basic, limits: {minute: {mode: shadow}}}", ["TG127"]),
        ("{tier: basic, limits: {writes: 5/min}}", ["TG206"]),
        ("{tier: basic, routes: {items: {limits: {writes: 300/min}}}}", []),
        ("{tier: basic, routes: {items: {limits: {minute: 300/min}}}}", ["TG206"]),
        ("{tier: basic, routes: {items: {limits: {wirtes: null}}}}", ["TG207"]),
        ("{tier: basic, routes: {itmes: {}}}", ["TG201"]),
        ("{tier: basic, upstreams: {orgin: {}}}", ["TG201"]),
        ("{tier: basic, upstreams: {origin: {headers: {Host: x}}}}", ["TG121"]),
        ("{tier: basic, subjects: [CN=x, CN=x]}", ["TG208"]),
        ("{tier: basic, subjects: CN=x}", ["TG104"]),
        ("{tier: basic, keys: [{id: k, sha25: x}]}", ["TG103"]),
        (f"{{tier: basic, keys: [{{id: k, sha256: {'0' * 64}}}]}}", ["TG123"]),
        (f"{{tier: basic, keys: [{{id: k, sha256: '{'ab ' * 21}a'}}]}}", ["TG123"]),
    ],
)
def test_what_a_tenant_may_override(tenant: str, expected: list[str]) -> None:
    assert codes(f"tenants: {{acme: {tenant}}}\n") == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("{path: '/a/{x}', methods: [GET]}", "{path: '/a/{y}', methods: [POST]}", []),
        ("{path: '/a/{x}', methods: [GET]}", "{path: '/a/{y}', methods: [GET]}", ["TG203"]),
        ("{path: '/a/{x}'}", "{path: '/a/{y}', methods: [GET]}", ["TG203"]),  # no methods means any
        ("{path: '/a/{x}'}", "{path: '/a/b'}", []),  # a literal is more specific
        ("{path: '/a/{rest:path}'}", "{path: '/a/{x}'}", []),
        ("{path: '/a/{x}/c'}", "{path: '/a/b/{y}'}", []),  # decided segment by segment
        ("{path: '/a/{rest:path}'}", "{path: '/a/{more:path}'}", ["TG203"]),
    ],
)
def test_routes_overlap_when_nothing_decides_between_them(first: str, second: str, expected: list[str]) -> None:
    text = f"routes:\n  p: {{match: {first}, upstream: origin}}\n  q: {{match: {second}, upstream: origin}}\n"
    assert codes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {workers: 2}\n", ["TG211"]),
        ("server: {workers: 2}\nstore: {url: 'redis://h'}\n", []),
        ("server: {admin: '0.0.0.0:1'}\n", ["TG210"]),
        ("server: {admin: 'localhost:1'}\n", []),
        ("server: {admin: '[::1]:1'}\n", []),
        ("server: {problems_base: docs}\n", ["TG118"]),
        ("headers: {ratelimit: [draft-11]}\n", []),
        ("headers: {ratelimit: [draft-7]}\n", ["TG120"]),
        ("auth: {keys: {headers: [x-api-key, cookie]}}\n", ["TG121"]),
        ("auth: {anonymous: {tier: nobody}}\n", ["TG201"]),
        ("tenants:\n", []),  # an empty section says nothing
    ],
)
def test_the_service_sections(text: str, expected: list[str]) -> None:
    assert codes(text) == expected


@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        ("sla: {target: 99.9%}", []),
        ("sla: {target: none}", []),
        ("sla: {target: 99.5%}", []),  # the first band's edge moves with the target
        ("sla: {target: 99%}", ["TG301"]),
        ("sla: {target: 99.5%, bands: [{min: 99.5%, credit: 0%}, {min: 0%, credit: 5%}]}", []),
        ("sla: {target: 99.5%, bands: [{min: 99.9%, credit: 0%}, {min: 0%, credit: 5%}]}", ["TG301"]),
        ("sla: {bands: []}", ["TG302"]),
        ("sla: {min_run: 1500ms}", ["TG111"]),
        ("sla: {counted_causes: [gateway], excluded_causes: [gateway]}", ["TG120"]),
    ],
)
def test_bands_and_targets(tier: str, expected: list[str]) -> None:
    base = BASE + "sla: {bands: [{min: 99.9%, credit: 0%}, {min: 99%, credit: 10%}, {min: 0%, credit: 50%}]}\n"
    text = f"tiers: {{t: {{{tier}}}}}\ntenants: {{x: {{tier: t}}}}\n"
    assert codes(text, base) == expected


@pytest.mark.parametrize(
    ("calendars", "expected"),
    [
        ("", ["TG303"]),
        ("calendars: {office: {zone: UTC, open: {mon: ['09:00-17:00']}}}", []),  # the only one
        ("calendars: {business: {zone: UTC, open: {sat-sun: ['09:00-24:00']}}}", []),
        ("calendars: {office: {zone: UTC, open: {}}}", ["TG129"]),
        ("calendars: {office: {zone: UTC, open: {mon-wed: ['09:00-17:00'], tue: ['09:00-17:00']}}}", ["TG129"]),
        ("calendars: {office: {zone: UTC, open: {mon: ['09:00-12:00', '11:00-17:00']}}}", ["TG129"]),
        ("calendars: {office: {zone: UTC, open: {fri-mon: ['09:00-17:00']}, holidays: [2027-02-30]}}", ["TG116"]),
    ],
)
def test_business_time_needs_opening_hours(calendars: str, expected: list[str]) -> None:
    users = "tiers: {t: {support: s}}\ntenants: {x: {tier: t}}\nsupport: {s: {hours: 24x7, respond: {S3: 4bh}}}\n"
    assert codes(users + calendars) == expected


def test_a_leftover_is_a_warning_and_its_policy_still_loads() -> None:
    findings = found("tiers: {unused: {limits: {minute: 1/min}}}\nupstreams: {idle: {url: http://h}}\n")
    assert [(finding.code, finding.severity) for finding in findings] == [("TG401", "warning")] * 2


def test_the_loss_bound_of_memory_is_stated_once() -> None:
    text = "tiers: {t: {limits: {d: 1/day, m: 1/month}}}\ntenants: {x: {tier: t}}\nstore: {url: 'memory://'}\n"
    (finding,) = found(text)
    assert finding.code == "TG402"
    assert "1 s" in finding.message
    assert codes(text.replace("memory://", "sqlite:///x.db")) == []


@pytest.mark.parametrize(
    ("url", "sound"),
    [
        ("http://h", True),
        ("https://h:8443/base/", True),
        ("http://[::1]:80", True),
        ("http://10.0.0.300", False),
        ("http://h:0", False),
        ("http://h/a/../b", False),
        ("http://h//b", False),
        ("http://h/a b", False),
        ("http://u@h", False),
        ("http://h#f", False),
        ("ftp://h", False),
        ("http://", False),
        ("http://bücher.example", False),
    ],
)
def test_upstream_urls(url: str, sound: bool) -> None:
    assert (url_problem(url) is None) == sound


@pytest.mark.parametrize(
    ("url", "sound"),
    [
        ("memory://", True),
        ("sqlite:///x.db", True),
        ("sqlite:////var/x.db", True),
        ("redis://:pw@h:6379/0", True),
        ("redis+cluster://h", True),
        ("memory://x", False),
        ("sqlite://x.db", False),
        ("redis://", False),
        ("redis://h:99999", False),
        ("postgres://h", False),
    ],
)
def test_store_urls(url: str, sound: bool) -> None:
    assert (store_problem(url) is None) == sound


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/", None),
        ("/a/{b}/c/{rest:path}", None),
        ("/a/", None),
        ("/a/{b}/{b}", "TG124"),
        ("/a/{1b}", "TG124"),
        ("/a/{b:int}", "TG124"),
        ("/a?b", "TG124"),
        ("/a\\b", "TG124"),
        ("/a/../b", "TG204"),
        ("/a%2Fb", "TG204"),
        ("/_gateway", "TG213"),
        ("/_gateways", None),
    ],
)
def test_path_templates(path: str, code: str | None) -> None:
    problem = path_problem(path)
    assert (problem and problem[0]) == code


@pytest.mark.parametrize(
    ("strip", "path", "sound"),
    [
        ("/crm", "/crm/{rest:path}", True),
        ("/crm/", "/crm/{rest:path}", True),
        ("/crm", "/crm", True),
        ("/cr", "/crm/{rest:path}", False),
        ("/crm/x", "/crm/{rest:path}", False),
        ("crm", "/crm/{rest:path}", False),
        ("/", "/crm", True),
    ],
)
def test_strip_is_cut_at_a_segment_of_the_literal_front(strip: str, path: str, sound: bool) -> None:
    assert (strip_problem(strip, path) is None) == sound


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("api.example.com", "example.com"),
        ("example.com", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("10.1.2.3", "10.1.2.3"),
        ("localhost", "localhost"),
        ("::1", "::1"),
    ],
)
def test_the_vendor_of_a_host(host: str, domain: str) -> None:
    assert registrable(host) == domain


@pytest.mark.parametrize("name", ["", "täglich", "a\x1fb", "a\nb", "x" * 65, "日"])
def test_limit_names_that_no_structured_field_string_carries(name: str) -> None:
    assert name_problem(name) is not None


@pytest.mark.parametrize("name", ["minute", "a b", 'say "hi"', "back\\slash", "~"])
def test_limit_names_that_one_carries(name: str) -> None:
    assert name_problem(name) is None
