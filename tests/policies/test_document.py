"""Files laid together, merged and compiled: what a set means, and that every complaint comes in one run."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from policies.document import Composed, SourceFile, compose
from policies.format.findings import as_json, headline, render_annotations, render_text, summary
from policies.format.substitution import NOTHING, Lookups
from policies.model import Bucket, Concurrent, OnFailure, PolicySet, Quota, ResetAs, Tenant, Window

MINUTE = 60_000_000
DIGEST = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
SERVICE = """
tiers:
  basic: {limits: {minute: 60/min, day: 5_000/day, parallel: {concurrent: 5}}, sla: {target: none}, support: desk}
  standard:
    extends: basic
    limits: {minute: 600/min, day: {quota: 100_000/day, zone: Europe/Berlin, on_failure: closed}}
    sla: {target: 99.5%}
  premium:
    extends: standard
    limits: {surge: {rate: 100/s, burst: 500, mode: shadow}, day: null, month: 20_000_000/month}
    sla: {claim_days: 60}
upstreams:
  crm: {url: "https://api.crm.example.co.uk/v2/", headers: {X-Key: abc}}
routes:
  write:
    match: {path: "/crm/{rest:path}", methods: [POST]}
    upstream: crm
    strip: /crm/
    cost: {minute: 5}
    limits: {writes: 120/min}
support:
  desk: {hours: 24x7}
"""


def lookups(lines: Iterable[bytes] = (), **variables: str) -> Lookups:
    return Lookups(variable=variables.get, secret=lambda name: f"{name}-content\n", lines=lambda name: lines)


def composed(*texts: str, outside: Lookups = NOTHING) -> Composed:
    names = [f"{chr(ord('a') + at)}.yaml" for at in range(len(texts))]
    files = [SourceFile(name=name, data=text.encode()) for name, text in zip(names, texts, strict=True)]
    return compose(files, outside)


def policy_of(*texts: str, outside: Lookups = NOTHING) -> PolicySet:
    made = composed(*texts, outside=outside)
    assert made.policy is not None, made.findings
    return made.policy


def codes(made: Composed) -> list[str]:
    return [finding.code for finding in made.findings if finding.severity == "error"]


def tenant_of(text: str, outside: Lookups = NOTHING) -> Tenant:
    return policy_of(SERVICE, f"tenants:\n  acme: {{{text}}}\n", outside=outside).tenants["acme"]


def test_a_tier_is_merged_with_its_parents_by_name_in_file_order() -> None:
    tiers = policy_of(SERVICE).tiers
    assert tiers["premium"].limits == (
        Window(name="minute", amount=600, period_us=MINUTE),
        Concurrent(name="parallel", slots=5),
        Bucket(name="surge", amount=100, period_us=1_000_000, burst=500, shadow=True),
        Quota(name="month", amount=20_000_000, unit="month"),
    )
    day = Quota(name="day", amount=100_000, unit="day", zone="Europe/Berlin", on_failure=OnFailure.CLOSED)
    assert tiers["standard"].limits[1] == day


def test_sla_fields_and_support_are_inherited_field_by_field() -> None:
    premium = policy_of(SERVICE).tiers["premium"]
    assert str(premium.sla["target"]) == "99.5"
    assert premium.sla["claim_days"] == 60
    assert premium.support == "desk"
    assert policy_of(SERVICE).tiers["basic"].sla["target"] is None


def test_a_parent_may_be_written_after_its_child_and_in_another_file() -> None:
    made = policy_of("tiers: {child: {extends: parent}}\n", "tiers: {parent: {limits: {minute: 1/min}}}\n")
    assert made.tiers["child"].limits == (Window(name="minute", amount=1, period_us=MINUTE),)


def test_an_upstream_is_taken_apart() -> None:
    upstream = policy_of(SERVICE).upstreams["crm"]
    assert (upstream.scheme, upstream.host, upstream.port) == ("https", "api.crm.example.co.uk", 443)
    assert (upstream.base_path, upstream.vendor) == ("/v2", "example.co.uk")
    assert upstream.headers == ((b"x-key", b"abc"),)


def test_a_route_is_compiled() -> None:
    route = policy_of(SERVICE).routes["write"]
    assert (route.group, route.strip, route.methods) == ("write", "/crm", frozenset({"POST"}))
    assert (route.cost.of("minute"), route.cost.of("writes")) == (5, 1)
    assert route.limits == (Window(name="writes", amount=120, period_us=MINUTE),)


def test_a_tenant_overrides_removes_and_adds() -> None:
    tenant = tenant_of(
        "tier: basic, limits: {minute: 90/min, day: null, extra: 7/s}, routes: {write: {limits: {writes: 300/min}}},"
        " upstreams: {crm: {headers: {X-Key: own}}}, reset_as: unix-seconds"
    )
    assert tenant.limits == {
        "minute": Window(name="minute", amount=90, period_us=MINUTE),
        "day": None,
        "extra": Window(name="extra", amount=7, period_us=1_000_000),
    }
    assert tenant.route_limits["write"]["writes"] == Window(name="writes", amount=300, period_us=MINUTE)
    assert tenant.upstream_headers["crm"] == ((b"x-key", b"own"),)
    assert tenant.reset_as is ResetAs.UNIX_SECONDS
    assert not tenant.plain


def test_a_plain_tenant_is_plain_and_found_by_its_key_and_subject() -> None:
    made = policy_of(
        SERVICE, f"tenants:\n  'a/{{b}} c': {{tier: basic, keys: [{{id: k, sha256: {DIGEST}}}], subjects: [CN=x]}}\n"
    )
    tenant = made.tenants["a/{b} c"]
    assert tenant.plain
    assert made.keys[bytes.fromhex(DIGEST)] == (tenant, tenant.keys[0])
    assert made.subjects == {"CN=x": tenant}


def test_validity_dates_are_utc_microseconds() -> None:
    keys = f"keys: [{{id: k, sha256: {DIGEST}, not_before: 2026-01-01, expires: 2026-01-01T03:00:00+02:00}}]"
    key = tenant_of(f"tier: basic, {keys}").keys[0]
    assert key.not_before_us == 1_767_225_600_000_000
    assert key.expires_us == key.not_before_us + 3_600_000_000


def test_several_limits_in_one_text_stand_for_a_map() -> None:
    made = policy_of("tiers: {basic: {limits: '100 per minute; 1000/day'}}\n")
    assert [limit.name for limit in made.tiers["basic"].limits] == ["minute", "day"]


def test_a_merged_section_may_come_from_several_files() -> None:
    made = policy_of("version: 1\nserver: {listen: '[::1]:80'}\n", "version: 1\nserver: {drain: {delay: 2s}}\n")
    assert (made.server.listen.host, made.server.drain_delay_us) == ("::1", 2_000_000)


def test_the_same_name_in_two_files_quotes_both_places() -> None:
    made = composed("server:\n  workers: 1\n", "server:\n  workers: 1\n")
    (finding,) = made.findings
    assert headline(finding).startswith("b.yaml:2:3: error[TG102 duplicate-key]: server.workers: ")
    assert "a.yaml:2:3" in finding.message


def test_every_mistake_of_every_file_comes_in_one_run_in_order() -> None:
    made = composed(
        "tiers:\n  t: {limits: {minute: 60/mim, hour: 5/hr}}\n",
        "tenants:\n  x: {tier: t, keyz: []}\n  y: {tier: nope}\n",
        "a: [\n",
    )
    assert codes(made) == ["TG110", "TG110", "TG103", "TG101"]
    assert [finding.file for finding in made.findings] == ["a.yaml", "a.yaml", "b.yaml", "c.yaml"]
    assert made.policy is None


def test_one_wrong_limit_does_not_accuse_those_who_use_its_tier() -> None:
    made = composed(
        "tiers:\n  t: {limits: {minute: 60/mim}}\n  u: {extends: t}\n",
        "tenants:\n  x: {tier: t, limits: {minute: null}}\n  y: {tier: u}\n",
    )
    assert codes(made) == ["TG110"]


def test_the_version_follows_content_names_and_what_was_substituted() -> None:
    text = SERVICE + "  more: {hours: 24x7}\nserver: {problems_base: '${BASE:-/p/}'}\n"
    one = policy_of(text).version
    assert one == policy_of(text).version
    assert len(one) == 16
    assert one != policy_of(text, outside=lookups(BASE="/q/")).version
    assert one != policy_of(text + "# a comment\n").version
    named = compose([SourceFile(name="z.yaml", data=text.encode())]).policy
    assert named is not None
    assert named.version != one


def test_the_version_follows_the_tenants_file() -> None:
    text = SERVICE + "tenants_from: t.jsonl\n"
    versions = {
        policy_of(text, outside=lookups([b'{"id": "a", "tier": "%b"}\n' % tier])).version
        for tier in (b"basic", b"premium")
    }
    assert len(versions) == 2


def line_findings(*lines: str) -> list[tuple[str, int, int]]:
    outside = lookups([line.encode() + b"\n" for line in lines])
    made = composed(SERVICE + "tenants_from: t.jsonl\n", outside=outside)
    return [(f.code, f.line, f.column) for f in made.findings if f.severity == "error"]


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        ('{"id": "b", "tier": "basik"}', "TG201", 21),
        ('{"id": "b", "tier": "basic", "limit": {}}', "TG103", 30),
        ('{"id": "b", "tier": "basic", "limits": {"minute": "6/mim"}}', "TG110", 51),
        ('{"id": "b", "tier": "basic", "tier": "basic"}', "TG102", 30),
        ('{"id" : "b", "tier" : "basic", "tier" : "basic"}', "TG102", 32),
        ('{"id": "a", "tier": "basic"}', "TG102", 8),
        ('{"id": "b", "tier": "basic"', "TG137", 28),
        ('["b"]', "TG137", 1),
        ('{"id": "b", "x": ' + "[" * 500 + "]" * 500 + "}", "TG136", 1),
        ('{"id": "b", "x": ' + "[" * 5_000 + "]" * 5_000 + "}", "TG137", 1042),
        ('{"tier": "basic"}', "TG105", 1),
        ('{"id": 7, "tier": "basic"}', "TG104", 8),
        ('{"id": "anonymous", "tier": "basic"}', "TG213", 8),
        ('{"id": "\\ud83d\\ude00", "tier": "nope"}', "TG201", 32),
        ('{"id": "b", "tier": "basic", "subjects": ["${NOPE}"]}', "TG130", 43),
        ('{"id": "b", "tier": "basic", "keys": [{"id": "k", "sha256": "plain"}]}', "TG123", 61),
    ],
)
def test_a_wrong_line_of_a_tenants_file_is_found_in_its_place(line: str, code: str, column: int) -> None:
    assert line_findings('{"id": "a", "tier": "basic"}', "", line) == [(code, 3, column)]


def test_tenants_of_both_sources_share_one_space_of_ids() -> None:
    outside = lookups([b'{"id": "acme", "tier": "basic"}'])
    made = composed(SERVICE + "tenants_from: t.jsonl\n", "tenants: {acme: {tier: basic}}\n", outside=outside)
    (finding,) = [finding for finding in made.findings if finding.severity == "error"]
    assert (finding.code, finding.file) == ("TG102", "t.jsonl")
    assert "b.yaml:1:11" in finding.message


def test_a_file_full_of_broken_lines_ends_early() -> None:
    found = line_findings(*["{"] * 1_000)
    assert len(found) == 201


def test_references_in_a_tenants_file_are_followed() -> None:
    line = b'{"id": "a", "tier": "basic", "upstreams": {"crm": {"headers": {"k": "Bearer ${file:tok}"}}}}'
    made = policy_of(SERVICE + "tenants_from: t.jsonl\n", outside=lookups([line]))
    assert made.tenants["a"].upstream_headers["crm"] == ((b"k", b"Bearer tok-content"),)


def test_nothing_shows_a_secret() -> None:
    text = (
        "upstreams: {u: {url: 'http://u', headers: {k: '${file:tok}'}}}\n"
        "routes: {r: {match: {path: /r}, upstream: '${UP}', cost: '${COST}'}}\n"
    )
    made = composed(SERVICE, text, outside=lookups(UP="hidden-name", COST="hidden-cost"))
    assert codes(made) == ["TG114"]
    shown = (
        render_text(made.findings, made.sources) + render_annotations(made.findings) + repr(as_json(made.findings, 2))
    )
    for secret in ("hidden", "tok-content"):
        assert secret not in shown + repr(made)


def test_not_even_a_part_of_a_secret_is_quoted() -> None:
    text = "tiers: {t: {limits: {minute: '${RATE}'}}}\ntenants: {x: {tier: t}}\n"
    (finding,) = [one for one in composed(text, outside=lookups(RATE="60/hiddenunit")).findings if one.code != "TG405"]
    assert finding.code == "TG110"
    assert "hiddenunit" not in finding.message + finding.hint
    assert "${RATE}" in finding.message


def test_a_secret_quoted_by_another_place_is_masked() -> None:
    sla = "sla:\n  target: '${TARGET}'\n  bands: [{min: 99.9%, credit: 0%}, {min: 0%, credit: 9%}]\n"
    (finding,) = composed(sla, outside=lookups(TARGET="99.1234%")).findings
    assert finding.code == "TG301"
    assert "99.1234" not in finding.message + finding.hint


def test_findings_read_as_documented() -> None:
    key = "{id: k, sha256: 90aae915da86d3b3a4da7a996bc264bfbaf50a953cbbe8cd3478a2a6ccc7b900}"
    tenants = f"tenants: {{x: {{tier: t, keys: [{key}]}}}}\n"
    made = composed("tiers:\n  t:\n    limits: {minute: 600/mim}\n" + tenants)
    assert render_text(made.findings, made.sources) == (
        "a.yaml:3:22: error[TG110 bad-rate]: tiers.t.limits.minute: unknown time unit 'mim'\n"
        "     3 |     limits: {minute: 600/mim}\n"
        "       |                      ^^^^^^^ did you mean '600/min'? units: s, min, h, day, month\n"
    )
    assert summary(made.findings, 1) == "1 error, 0 warnings in 1 file"
    assert render_annotations(made.findings).startswith(
        "::error file=a.yaml,line=3,col=22,title=TG110 bad-rate::tiers.t.limits.minute: unknown"
    )


def test_a_plain_text_key_is_masked_in_its_source_line() -> None:
    made = composed(SERVICE, "tenants:\n  a: {tier: basic, keys: [{id: k, sha256: hunter2hunter2}]}\n")
    assert codes(made) == ["TG123"]
    assert "hunter2" not in render_text(made.findings, made.sources)


def test_a_hostile_file_cannot_drive_the_terminal() -> None:
    made = composed('tiers: {"\\e[2J": {limit: 1}}\n')
    assert "\x1b" not in render_text(made.findings, made.sources)
