"""``tiergate throttle`` as a platform engineer meets it: a conclusion with its reason, and what the caller gets."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from gateway.profiles import built_in
from gateway.throttle_command import chosen, question
from gateway.throttle_report import as_text
from gateway.throttle_trial import judge
from tests.gateway.test_cli import tiergate

AT = ("--now", "2026-09-21T14:13:20Z")
PROFILE = """\
when: [{status: 418, header: X-Busy, match: 'till (\\d+)', executed: nothing}]
remaining: X-Left
retry_after: [{header: X-Busy, match: 'till (\\d+)', unit: epoch-seconds}]
"""


@pytest.fixture
def teapot(tmp_path: Path) -> str:
    file = tmp_path / "teapot.yaml"
    file.write_text(PROFILE)
    return str(file)


def reported(profile: Path, fields: tuple[str, ...], body: Path) -> str:
    """What is said of a 429, without a process of its own."""
    asked = question(
        chosen(None, None, profile), status=429, headers=fields, body=body, now=None, native=False, keep_status=False
    )
    return as_text(judge(asked))


def test_a_throttle_that_is_no_429_is_concluded_by_a_rule_and_answered_as_one(teapot: str) -> None:
    busy = ("--header", "X-Busy: till 1790000030", "--header", "x-left: 0")
    done = tiergate("throttle", "--profile", teapot, "--status", "418", *busy, *AT)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert text.startswith("teapot answers 418: a throttle (quota), nothing was executed\n")
    assert "decided by: when[0]: status 418 and header x-busy matches till (\\d+)\n" in text
    assert "wait: 30 s, says x-busy\n" in text
    assert "  429\n" in text
    assert "  retry-after: 30\n" in text
    assert "  proxy-status: tiergate; received-status=418\n" in text
    assert '"violated-policies":["teapot-quota"]' in text


def test_the_same_as_json_has_the_whole_answer(teapot: str) -> None:
    busy = ("--header", "X-Busy: till 1790000030")
    done = tiergate("throttle", "--profile", teapot, "--status", "418", *busy, *AT, "--output", "json")
    said = json.loads(done.stdout)
    assert said["throttle"]["retry_after_seconds"] == 30
    assert said["decided_by"].startswith("when[0]: status 418")
    assert said["answer"]["status"] == 429
    assert json.loads(said["answer"]["body"])["provider"] == "teapot"


def test_the_status_stays_under_keep_status_and_the_body_under_native(teapot: str, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"brewing": true}')
    given = ("--profile", teapot, "--status", "418", "--header", "X-Busy: till 1790000030", "--body", str(body), *AT)
    kept = tiergate("throttle", *given, "--keep-status").stdout
    native = tiergate("throttle", *given, "--native").stdout
    assert "  418\n" in kept
    assert "  retry-after: 30\n" in kept
    assert "  429\n" in native
    assert '  {"brewing": true}\n' in native


def test_a_host_chooses_the_profile_as_an_upstreams_url_does() -> None:
    host = next(host for profile in built_in().by_name.values() for host in profile.hosts if "*" not in host)
    name = built_in().of_host(host)
    assert name is not None
    done = tiergate("throttle", "--host", host, "--status", "429", "--output", "json")
    assert json.loads(done.stdout)["profile"] == name.name
    assert (
        json.loads(tiergate("throttle", "--host", "nobody.example.com", "--status", "429", "--output", "json").stdout)[
            "profile"
        ]
        == "generic"
    )


def test_an_estimate_is_said_to_be_one() -> None:
    text = tiergate("throttle", "--status", "429").stdout
    assert "wait: estimated at 60 s (what is usual for quota), and up to a fifth is added by chance\n" in text
    assert '"estimated":true' in text


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("default_wait: 20s", "wait: estimated at 20 s (the profile's default_wait), "),
        ("{when: [{status: 429, kind: billing}], default_wait: 20s}", "wait: estimated at 86400 s (nobody says when "),
        (
            "{when: [{status: 429, limit: m}], limits: {m: {window: 30s}}}",
            "wait: estimated at 30 s (the window of m), ",
        ),
        ("{remaining: X-Left, reset: X-Reset}", "wait: 9 s, says reset of quota\n"),
        ("retry_after: [{body: error.retry_in}]", "wait: 4 s, says body error.retry_in\n"),
        (
            "{when: [{status: 429, limit: m}], limits: {m: {remaining: X-Room}}}",
            "<- has room, so another one refused\n",
        ),
        ("{when: [{status: 429, limit: m}], limits: {m: {remaining: X-Left}}}", "<- the one that refused\n"),
    ],
)
def test_what_is_said_of_the_wait_is_what_the_caller_gets(profile: str, said: str, tmp_path: Path) -> None:
    file, body = tmp_path / "one.yaml", tmp_path / "body.json"
    file.write_text(profile)
    body.write_text('{"error": {"retry_in": 4}}')
    assert said in reported(file, ("x-left: 0", "x-reset: 9", "x-room: 3"), body)


@pytest.mark.parametrize(
    ("fields", "content", "said"),
    [
        ((), '{"code": "paid"}', "a throttle (billing)"),
        (("content-type: application/json",), '{"code": "paid"}', "a throttle (billing)"),
        (
            ("content-type: image/png",),
            '{"code": "paid"}',
            "the body was not looked at: its content-type is not one of ",
        ),
        ((), '{"code": "paid", "much": "' + "x" * 70_000 + '"}', "the body was not looked at: "),
        (("content-encoding: br",), '{"code": "paid"}', "the body was not looked at: "),
    ],
    ids=["json by its looks", "json", "not json", "large", "coded"],
)
def test_a_body_decides_only_where_the_gateway_would_look_at_it(
    fields: tuple[str, ...], content: str, said: str, tmp_path: Path
) -> None:
    file, body = tmp_path / "one.yaml", tmp_path / "body"
    file.write_text("when: [{status: 429, body: code, equals: paid, kind: billing}]")
    body.write_text(content)
    text = reported(file, fields, body)
    assert said in text
    assert ("a throttle (billing)" in text) is ("  x-should-retry: false\n" in text)


def test_a_host_may_be_typed_as_a_url_or_with_a_port() -> None:
    host = next(host for profile in built_in().by_name.values() for host in profile.hosts if "*" not in host)
    for typed in (f"https://{host}/v3", f"{host.upper()}:443", f"{host}."):
        assert chosen(None, typed, None) is built_in().of_host(host)


def test_the_list_names_every_profile_with_its_hosts() -> None:
    heading, *lines = tiergate("throttle", "--list").stdout.splitlines()
    assert heading.split() == ["profile", "grade", "hosts"]
    assert [line.split()[0] for line in lines] == sorted(built_in().by_name)
    as_json = json.loads(tiergate("throttle", "--list", "--output", "json").stdout)
    assert {row["name"]: tuple(row["hosts"]) for row in as_json["profiles"]} == {
        name: profile.hosts for name, profile in built_in().by_name.items()
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--status"),
        (("--status", "99"), "--status"),
        (("--status", "429", "--provider", "generik"), "did you mean 'generic'?"),
        (("--status", "429", "--provider", "generic", "--host", "a.example.com"), "give one of them"),
        (("--status", "429", "--header", "no colon"), "is not a field"),
        (("--status", "429", "--header", "bad name : x"), "is not a field"),
        (("--status", "429", "--header", "bad name: x"), "is not a field"),
        (("--status", "429", "--header", "x: a\nretry-after: 1"), "is not a field"),
        (("--status", "429", "--header", "x: \u20ac"), "is not a field"),
        (("--status", "429", "--header", "two words: x"), "is not a field"),
        (("--status", "429", "--host", "https://[::1"), "is not a host"),
        (("--status", "429", "--output", "github"), "'text', 'json'"),
        (("--status", "429", "--profile", "/dev/null"), "/dev/null: nothing is in it"),
        (("--status", "429", "--now", "tomorrow"), "--now"),
    ],
)
def test_what_cannot_be_used_is_64_with_a_reason(arguments: tuple[str, ...], said: str) -> None:
    done = tiergate("throttle", *arguments)
    assert done.returncode == 64, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


BY_BODY = "when: [{status: 403, body: code, equals: LIMITED, executed: nothing}]\n"
JSON = ("--header", "content-type: application/json")
GZIP = ("--header", "content-encoding: gzip")
LIMITED = b'{"code": "LIMITED"}'


@pytest.mark.parametrize(
    ("body", "fields", "throttled", "unread"),
    [
        (LIMITED, JSON, True, None),
        (gzip.compress(LIMITED), (*JSON, *GZIP), True, None),
        (LIMITED, (), True, None),  # JSON by its looks
        (LIMITED, ("--header", "content-type: a/b"), False, "its content-type is not one of application/json, +json"),
        (LIMITED + b" " * 65_536, JSON, False, "it has more than 65536 octets"),
        (LIMITED, (*JSON, *GZIP), False, "it cannot be decoded, or to more than 65536 octets"),
        (b"", JSON, False, None),
    ],
)
def test_the_conclusion_is_that_of_the_answer(
    body: bytes, fields: tuple[str, ...], throttled: bool, unread: str | None, tmp_path: Path
) -> None:
    profile, content = tmp_path / "${HOME}.yaml", tmp_path / "body"
    profile.write_text(BY_BODY)
    content.write_bytes(body)
    given = ("throttle", "--profile", str(profile), "--status", "403", "--body", str(content), *fields)
    said = json.loads(tiergate(*given, "--output", "json").stdout)
    assert (said["throttle"]["throttled"], said["answer"]["status"] == 429) == (throttled, throttled)
    assert said["body_not_looked_at"] == unread
    assert (f"the body was not looked at: {unread}\n" in tiergate(*given).stdout) == (unread is not None)


def test_a_body_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    content = tmp_path / "body"
    content.write_bytes(b"\x1b[31mred\r\n")
    text = tiergate("throttle", "--status", "404", "--body", str(content)).stdout
    assert "\x1b" not in text
    assert "[31mred" in text
    other = tiergate("throttle", "--status", "404", "--body", str(content), "--provider", "salesforce").stdout
    assert "the body was not looked at: this profile looks at bodies of status " in other


def test_a_broken_profile_is_64_with_its_position(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("when:\n  - {stauts: 429}\n")
    done = tiergate("throttle", "--profile", str(file), "--status", "429")
    assert done.returncode == 64
    assert "bad.yaml:2:6: error[TG103" in done.stderr
    assert "did you mean 'status'?" in done.stderr


def test_a_file_that_is_not_there_is_3() -> None:
    done = tiergate("throttle", "--status", "429", "--body", "/nonexistent/body.json")
    assert done.returncode == 3
    assert "/nonexistent/body.json" in done.stderr
