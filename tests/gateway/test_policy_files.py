"""A policy directory on a real disk: what is read, what is refused, and that nothing outside is."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from gateway.check import run_check
from gateway.policy_files import Loaded, load
from policies.format.yaml_tree import LARGEST_FILE

TIERS = "tiers: {basic: {limits: {minute: 60/min}}}\ntenants: {acme: {tier: basic}}\n"
TIERS += "auth: {jwt: {issuer: 'https://id', audience: a, algorithms: [ES256], jwks: 'https://id/keys'}}\n"
UPSTREAM = (
    "upstreams: {u: {url: http://u, headers: {k: '${file:%s}'}}}\nroutes: {r: {match: {path: /r}, upstream: u}}\n"
)


def loaded(directory: Path, secrets: Path | None = None, **env: str) -> Loaded:
    return load(directory, env=env, secrets_dir=secrets)


def codes(found: Loaded) -> list[str]:
    return [finding.code for finding in found.findings]


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    directory = tmp_path / "policy"
    directory.mkdir()
    (directory / "tiers.yaml").write_text(TIERS)
    return directory


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "token").write_text("t0ken\n")
    return folder


def test_folders_are_read_and_hidden_names_are_not(policy: Path) -> None:
    (policy / "tenants").mkdir()
    (policy / "tenants" / "globex.yaml").write_text("tenants: {globex: {tier: basic}}\n")
    (policy / ".hidden.yaml").write_text("tiers: [")
    (policy / "notes.txt").write_text("not yaml")
    found = loaded(policy)
    assert found.policy is not None
    assert set(found.policy.tenants) == {"acme", "globex"}
    assert [path.name for path in found.files] == ["globex.yaml", "tiers.yaml"]


def test_a_config_map_is_read_once(tmp_path: Path) -> None:
    real = tmp_path / "..2026_11_22"
    real.mkdir()
    (real / "tiers.yaml").write_text(TIERS)
    (tmp_path / "..data").symlink_to(real.name)
    (tmp_path / "tiers.yaml").symlink_to("..data/tiers.yaml")
    found = loaded(tmp_path)
    assert found.findings == ()
    assert len(found.files) == 1


def test_a_folder_that_links_to_its_parent_ends(policy: Path) -> None:
    (policy / "loop").symlink_to(policy)
    assert codes(loaded(policy)) == []


def test_a_yml_file_is_named_and_not_read(policy: Path) -> None:
    (policy / "more.yml").write_text("tenants: {globex: {tier: nope}}\n")
    found = loaded(policy)
    assert codes(found) == ["TG403"]
    assert found.findings[0].hint == "did you mean 'more.yaml'?"
    assert found.policy is not None


def test_an_empty_directory_is_no_policy(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert codes(found) == ["TG138"]
    assert found.policy is None


def test_a_missing_directory_is_the_callers_problem(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        loaded(tmp_path / "nowhere")


def test_a_file_too_large_is_one_finding(policy: Path) -> None:
    (policy / "big.yaml").write_bytes(b"# x\n" * (LARGEST_FILE // 4 + 1))
    assert codes(loaded(policy)) == ["TG108"]


def test_ten_megabytes_of_nested_nonsense_are_one_finding(policy: Path) -> None:
    (policy / "deep.yaml").write_bytes(b"[" * LARGEST_FILE)
    assert codes(loaded(policy)) == ["TG136"]


def test_a_pipe_never_blocks(policy: Path) -> None:
    os.mkfifo(policy / "pipe.yaml")
    assert codes(loaded(policy)) == ["TG100"]


def test_a_dangling_link_is_a_finding(policy: Path) -> None:
    (policy / "gone.yaml").symlink_to("nowhere.yaml")
    assert codes(loaded(policy)) == ["TG100"]


def test_invalid_utf8_is_found_in_its_place(policy: Path) -> None:
    (policy / "latin.yaml").write_bytes("tenants:\n  # für\n".encode("latin-1"))
    (finding,) = loaded(policy).findings
    assert (finding.code, finding.line, finding.column) == ("TG107", 2, 6)


def test_a_secret_is_read_without_its_line_end(policy: Path, secrets: Path) -> None:
    (policy / "u.yaml").write_text(UPSTREAM % "token")
    found = loaded(policy, secrets)
    assert found.policy is not None
    assert found.policy.upstreams["u"].headers == ((b"k", b"t0ken"),)
    assert (secrets / "token").resolve() in found.files
    assert "t0ken" not in repr(found)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../outside", "TG133"),
        ("a/../../outside", "TG133"),
        ("a/../token", "TG133"),  # inside, but nobody writes this by accident
        ("/etc/hostname", "TG133"),
        ("link", "TG133"),
        ("folder-link/outside", "TG133"),
        ("", "TG133"),
        ("tokn", "TG132"),
        (".", "TG132"),
        ("binary", "TG132"),
        ("x" * 300, "TG132"),
    ],
)
def test_a_secret_that_is_not_there_or_not_inside(policy: Path, secrets: Path, name: str, code: str) -> None:
    (secrets.parent / "outside").write_text("0utside")
    (secrets / "link").symlink_to("../outside")
    (secrets / "folder-link").symlink_to("..")
    (secrets / "binary").write_bytes(b"\xff\xfe")
    (policy / "u.yaml").write_text(UPSTREAM % name)
    found = loaded(policy, secrets)
    assert codes(found) == [code]
    assert (found.findings[0].line, found.findings[0].column) == (1, 45)
    assert "0utside" not in repr(found)


def test_a_link_inside_the_secrets_folder_is_followed(policy: Path, secrets: Path) -> None:
    (secrets / "..data").mkdir()
    (secrets / "..data" / "real").write_text("inside")
    (secrets / "alias").symlink_to("..data/real")
    (policy / "u.yaml").write_text(UPSTREAM % "alias")
    assert codes(loaded(policy, secrets)) == []


def test_without_a_secrets_folder_the_variable_is_named(policy: Path) -> None:
    (policy / "u.yaml").write_text(UPSTREAM % "token")
    (finding,) = loaded(policy).findings
    assert finding.code == "TG132"
    assert "TIERGATE_SECRETS_DIR" in finding.hint


def test_the_version_ignores_where_the_directory_is(policy: Path, tmp_path: Path) -> None:
    first = loaded(policy).policy
    second = loaded(policy.rename(tmp_path / "moved")).policy
    assert first is not None
    assert second is not None
    assert first.version == second.version


def test_the_version_follows_a_secrets_content(policy: Path, secrets: Path) -> None:
    (policy / "u.yaml").write_text(UPSTREAM % "token")
    first = loaded(policy, secrets).policy
    (secrets / "token").write_text("rotated\n")
    second = loaded(policy, secrets).policy
    assert first is not None
    assert second is not None
    assert first.version != second.version


def tenants(directory: Path, content: bytes) -> Path:
    (directory / "from.yaml").write_text("tenants_from: export/tenants.jsonl\n")
    (directory / "export").mkdir()
    (directory / "export" / "tenants.jsonl").write_bytes(content)
    return directory


def test_a_tenants_file_may_begin_with_a_bom_and_end_without_a_newline(policy: Path) -> None:
    lines = b'\xef\xbb\xbf{"id":"a","tier":"basic"}\r\n\n{"id":"b","tier":"basic"}'
    found = loaded(tenants(policy, lines))
    assert found.policy is not None
    assert set(found.policy.tenants) == {"acme", "a", "b"}


def test_a_broken_line_carries_its_own_text_for_the_caret(policy: Path) -> None:
    content = b'{"id":"a","tier":"basic"}\n{"id":"b","tier":"basik"}\n'
    found = loaded(tenants(policy, content))
    (finding,) = found.findings
    assert finding.file == str(policy / "export/tenants.jsonl")
    assert (finding.line, finding.column) == (2, 18)
    assert found.sources[finding.file].split("\n") == ["", '{"id":"b","tier":"basik"}']


def test_a_line_too_long_is_one_finding_and_the_next_is_read(policy: Path) -> None:
    content = b'{"id":"' + b"x" * (3 << 20) + b'","tier":"basic"}\n{"id":"b","tier":"nope"}\n'
    found = loaded(tenants(policy, content))
    assert [(finding.code, finding.line) for finding in found.findings] == [("TG108", 1), ("TG201", 2)]


def test_a_tenants_file_that_is_a_folder_is_a_finding(policy: Path) -> None:
    (policy / "from.yaml").write_text("tenants_from: .\n")
    (finding,) = loaded(policy).findings
    assert (finding.code, finding.line, finding.column) == ("TG100", 1, 15)


def test_progress_of_a_large_tenants_file_is_told(policy: Path) -> None:
    tenants(policy, b"".join(b'{"id":"t%d","tier":"basic"}\n' % number for number in range(10_001)))
    told: list[tuple[str, int, int]] = []
    found = load(policy, env={}, secrets_dir=None, progress=lambda name, done, total: told.append((name, done, total)))
    assert found.policy is not None
    assert len(told) == 3
    assert told[-1][1] == told[-1][2] == (policy / "export/tenants.jsonl").stat().st_size


def test_a_file_name_that_is_no_utf_8_is_read_and_shown_escaped(policy: Path) -> None:
    (Path(os.fsdecode(os.fsencode(policy) + b"/\xff\x1b[2J\n.yaml"))).write_text("tiers: {x: {limit: {}}}\n")
    out = io.StringIO()
    assert run_check(policy, "text", out, {}) == 1
    shown = out.getvalue().encode().decode()
    assert "/\\xff\\x1b[2J\\x0a.yaml:1:13: error[TG103" in shown
    for output in ("json", "github"):
        out = io.StringIO()
        run_check(policy, output, out, {})
        assert "\x1b" not in out.getvalue().encode().decode()


def test_json_files_that_nothing_refers_to_are_named(policy: Path) -> None:
    (policy / "more.jsonl").write_text('{"id": "x", "tier": "basic"}\n')
    (policy / "tiers.json").write_text("{}")
    found = loaded(policy)
    assert [(finding.code, Path(finding.file).name) for finding in found.findings] == [
        ("TG403", "more.jsonl"),
        ("TG403", "tiers.json"),
    ]
    assert found.policy is not None
    (policy / "tiers.json").unlink()
    (policy / "t.yaml").write_text("tenants_from: more.jsonl\n")
    assert codes(loaded(policy)) == []


def test_json_files_of_the_secrets_folder_are_not_named(policy: Path) -> None:
    (policy / "secrets").mkdir()
    (policy / "secrets" / "jwks.json").write_text("{}")
    assert codes(loaded(policy, policy / "secrets")) == []


def test_folders_too_deep_are_a_finding(policy: Path) -> None:
    deep = policy.joinpath(*(["d"] * 17))
    deep.mkdir(parents=True)
    (deep / "lost.yaml").write_text("tiers: {lost: {}}\n")
    assert codes(loaded(policy)) == ["TG136"]


def test_one_file_too_many_is_a_finding(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.policy_files.MOST_FILES", 2)
    (policy / "u.yaml").write_text("version: 1\n")
    assert codes(loaded(policy)) == []
    (policy / "v.yaml").write_text("version: 1\n")
    found = loaded(policy)
    assert codes(found) == ["TG108"]
    assert found.policy is None


def test_names_of_a_file_that_cannot_be_read_do_not_dangle(policy: Path) -> None:
    (policy / "tiers.yaml").rename(policy.parent / "gone")
    os.mkfifo(policy / "tiers.yaml")
    (policy / "u.yaml").write_text("tenants: {acme: {tier: basic}}\n")
    assert codes(loaded(policy)) == ["TG100"]


def test_policy_files_are_counted_without_what_they_refer_to(policy: Path) -> None:
    (policy / "t.jsonl").write_text('{"id": "x", "tier": "basic"}\n')
    (policy / "u.yaml").write_text("tenants_from: t.jsonl\n")
    found = loaded(policy)
    assert (found.policy_files, len(found.files)) == (2, 3)
