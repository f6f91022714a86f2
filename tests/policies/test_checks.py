"""What only the whole set can tell; each rule with the set that keeps it and the set that breaks it."""

from __future__ import annotations

import pytest

from policies.document import SourceFile, compose
from policies.format.findings import Finding
from policies.format.limits import name_problem
from policies.format.path_templates import path_problem, strip_problem
from policies.format.service import store_problem
from policies.format.substitution import NOTHING, Lookups
from policies.format.upstreams import pem_problem, registrable, url_problem

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
    """Without TG405 and TG406, which have tests of their own: tenants here have no credentials."""
    return [finding.code for finding in found(text, base) if finding.code not in ("TG405", "TG406")]


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
        ("server: {workers: 2}\nstore: {url: 'redis://h'}\n", ["TG217"]),
        ("store: {url: 'sqlite:///x.db'}\n", ["TG217"]),
        ("server: {admin: '0.0.0.0:1'}\n", ["TG210"]),
        ("server: {admin: 'localhost:1'}\n", []),
        ("server: {admin: '[::1]:1'}\n", []),
        ("server: {problems_base: docs}\n", ["TG118"]),
        ("server: {access_log: off, traces: {ratio: 1%}}\n", []),
        ("server: {access_log: ''}\n", ["TG120"]),
        ("server: {traces: {exporter: jaeger}}\n", ["TG120"]),
        ("server: {traces: {ratio: 0.01}}\n", ["TG113"]),  # a hundredth of a percent, or one percent?
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
    assert [(f.code, f.severity) for f in findings if f.code != "TG405"] == [("TG401", "warning")] * 2


def test_the_loss_bound_of_memory_is_stated_once() -> None:
    text = "tiers: {t: {limits: {d: 1/day, m: 1/month}}}\ntenants: {x: {tier: t}}\nstore: {url: 'memory://'}\n"
    (finding,) = [finding for finding in found(text) if finding.code != "TG405"]
    assert finding.code == "TG402"
    assert "1 s" in finding.message
    assert "sqlite" not in finding.hint


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
        ("http://h/caf%C3%A9", True),
        ("http://h/café", False),
        ("http://h/%zz", False),
        ("http://h/%2e%2e/b", False),
        ("http://h/a%2Fb", False),
        ("http://h/..;x/b", False),
        ("http://169.254.169.254", False),
        ("http://[fe80::1]", False),
        ("http://[::ffff:169.254.169.254]", False),
        ("http://0xA9FEA9FE", False),
        ("http://2852039166", False),
        ("http://h2.example", True),
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
        ("/a/..;x", "TG204"),
        ("/a/.;/b", "TG204"),
        ("/a/;x", "TG204"),
        ("/a;v=1/b", None),
        ("/a\x85b", "TG124"),
        ("/" + "a" * 8191, None),
        ("/" + "a" * 8192, "TG204"),
        ("/" + "ä" * 5000, "TG204"),
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


OLD = "90aae915da86d3b3a4da7a996bc264bfbaf50a953cbbe8cd3478a2a6ccc7b900"


def test_subjects_that_authenticate_as_each_other_are_one_subject() -> None:
    text = "tenants: {a: {tier: basic, subjects: ['CN=prod, O=X']}, b: {tier: basic, subjects: ['CN=prod,O=X']}}\n"
    (finding,) = [finding for finding in found(text) if finding.severity == "error"]
    assert finding.code == "TG208"
    assert "tenant 'a'" in finding.message
    assert "TG208" in codes("tenants: {a: {tier: basic, subjects: ['CN = a', 'CN=a']}}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("TG405", "tenants.one")]),  # two tenants, one warning
        ("auth: {jwt: {issuer: 'https://i', audience: a, algorithms: [ES256], jwks: 'https://i/k'}}\n", []),
        (f"tenants: {{k: {{tier: basic, keys: [{{id: k, sha256: {OLD}}}]}}}}\nauth: {{keys: {{headers: []}}}}\n",
         [("TG405", "tenants.one"), ("TG406", "tenants.k.keys")]),
        ("tenants: {s: {tier: basic, subjects: [CN=x]}}\n",
         [("TG405", "tenants.one"), ("TG406", "tenants.s.subjects")]),
        ("auth: {mtls: {header: x-subject}}\n", [("TG405", "tenants.one"), ("TG406", "auth.mtls")]),
        ("auth: {mtls: {header: x-subject}}\nserver: {trusted_proxies: [10.0.0.0/8]}\n", [("TG405", "tenants.one")]),
        ("upstreams: {u: {url: 'http://u', tls: {verify: false}}}\n" + route("cost: 1").replace("origin", "u"),
         [("TG405", "tenants.one"), ("TG406", "upstreams.u.tls")]),
    ],
)  # fmt: skip
def test_what_cannot_have_an_effect_is_said_once(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(finding.code, finding.path) for finding in found(text)] == expected
    assert {finding.severity for finding in found(text)} <= {"warning"}


@pytest.mark.parametrize(
    ("tenant", "hint"),
    [
        ("{tier: basic, limits: {minit: 300/min}}", "'minute'"),
        ("{tier: basic, limits: {minit: {window: 300/min}}}", None),  # in full: meant
        ("{tier: basic, limits: {surge: 300/min}}", None),
        ("{tier: basic, routes: {items: {limits: {write: 300/min}}}}", "'writes'"),
    ],
)
def test_a_short_limit_of_a_name_that_nearly_exists_is_a_warning(tenant: str, hint: str | None) -> None:
    similar = [finding for finding in found(f"tenants: {{acme: {tenant}}}\n") if finding.code == "TG407"]
    assert len(similar) == (hint is not None)
    assert all(str(hint) in finding.hint for finding in similar)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (route("idempotency: {require: true}"), ["routes.r.idempotency"]),
        (route("idempotency: {}"), ["routes.r.idempotency"]),
    ],
)
def test_what_is_accepted_and_not_built_is_said(text: str, keys: list[str]) -> None:
    assert sorted(finding.path for finding in found(text) if finding.code == "TG404") == keys


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END CERTIFICATE-----\n"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nZmFrZQ==\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("text", "key", "sound"),
    [
        (CERTIFICATE, False, True),
        (CERTIFICATE + CERTIFICATE, False, True),
        (CERTIFICATE + PRIVATE, True, True),
        (PRIVATE + CERTIFICATE, True, True),
        ("subject=CN\n" + CERTIFICATE, False, True),  # explanatory text (RFC 7468 section 5.2)
        (CERTIFICATE, True, False),
        (PRIVATE, False, False),
        ("", False, False),
        ("/etc/ssl/ca.pem", False, False),
        (CERTIFICATE[:-20], False, False),
        (CERTIFICATE.replace("Zm", "Z?"), False, False),
        (CERTIFICATE.replace("ZmFrZQ==", ""), False, False),
        ("-----BEGIN CERTIFICATE-----\nZmFrZQ==\n-----END PRIVATE KEY-----\n", False, False),
    ],
)
def test_pem_texts_have_their_blocks(text: str, key: bool, sound: bool) -> None:
    assert (pem_problem(text, key=key) is None) == sound


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (route("limits: {w: 1.5/min}"), "'3/2min'"),
        (route("limits: {w: '5.000/h'}"), "'5000/h'"),
        (route("limits: {w: 1.5/day}"), "whole numbers"),
        (route("limits: {w: none}"), "null"),
        (route("cost: 1", "/r/{rest:pth}"), "'{rest:path}'"),
        (route("cost: 1").replace("path: '/r'", "path: /r, methods: GET"), "[GET]"),
        (route("cost: 1").replace("path: '/r'", "path: /r, methods: [GTE]"), "'GET'"),
        (route("cost: 1").replace("path: '/r'", "path: /r, methods: [TRACE]"), "remove"),
        (route("cost: 1").replace("path: '/r'", "path: /r, methods: [CONNECT]"), "remove"),
        (route("cost: 1, cors: {origins: ['https://a.example:443']}"), "'https://a.example'"),
        (route("cost: 1, idempotency: {ttl: 0s}"), "24h"),
        ("upstreams: {u: {url: '127.0.0.1:9100'}}\n", "'http://127.0.0.1:9100'"),
        ("upstreams: {u: {url: api.example.com}}\n", "'https://api.example.com'"),
        (f"tenants: {{k: {{tier: basic, keys: [{{id: k, sha256: {OLD[:11]}g{OLD[12:]}}}]}}}}\n", "0-9 and a-f"),
        ("tenants: {k: {tier: basic, keys: [{id: k, sha256: "
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}]}}\n", "unset"),
    ],
)  # fmt: skip
def test_what_was_probably_meant(text: str, hint: str) -> None:
    (finding,) = [finding for finding in found(text) if finding.severity == "error"]
    assert hint in finding.hint


def test_a_file_that_does_not_parse_leaves_no_name_dangling() -> None:
    """What it would have defined is unknown, so nothing is said about names; everything else is."""
    broken = SourceFile(name="broken.yaml", data=b"tiers: {basic: [\n")
    text = b"tenants: {a: {tier: basic}}\nroutes: {r: {match: {path: x}, upstream: gone}}\n"
    text += b"calendars: {c: {zone: no, open: {}}}\n"
    found = compose([broken, SourceFile(name="x.yaml", data=text)], NOTHING).findings
    assert [finding.code for finding in found] == ["TG101", "TG124", "TG117"]


def test_a_long_chain_of_tiers_is_followed() -> None:
    chain = "".join(f"  t{at}: {{extends: t{at + 1}}}\n" for at in range(5_000))
    text = f"tiers:\n{chain}  t5000: {{limits: {{minute: 1/min}}}}\ntenants: {{x: {{tier: t0}}}}\n"
    policy = compose([SourceFile(name="a.yaml", data=text.encode())], NOTHING).policy
    assert policy is not None
    assert [limit.name for limit in policy.tiers["t0"].limits] == ["minute"]


def test_a_long_circle_of_tiers_is_one_finding() -> None:
    chain = "".join(f"  t{at}: {{extends: t{(at + 1) % 3000}}}\n" for at in range(3_000))
    found = compose([SourceFile(name="a.yaml", data=f"tiers:\n{chain}".encode())], NOTHING).findings
    assert [finding.code for finding in found] == ["TG202"]
    assert len(found[0].message) < 400


def test_a_hundred_thousand_similar_limits_do_not_drown_a_set() -> None:
    lines = [b'{"id": "t%d", "tier": "basic", "limits": {"minit": "5/min"}}' % at for at in range(300)]
    files = [SourceFile(name="a.yaml", data=BASE.encode() + b"tenants_from: t.jsonl\n")]
    made = compose(files, Lookups(variable=lambda name: None, secret=str, lines=lambda name: lines))
    assert made.policy is not None
    assert sum(finding.code == "TG407" for finding in made.findings) == 50


def test_a_line_without_an_id_has_no_id_in_its_path() -> None:
    files = [SourceFile(name="a.yaml", data=BASE.encode() + b"tenants_from: t.jsonl\n")]
    made = compose(files, Lookups(variable=lambda name: None, secret=str, lines=lambda name: [b'{"tier": "basic"}']))
    (finding,) = [finding for finding in made.findings if finding.code == "TG105"]
    assert finding.path == "tenants"
