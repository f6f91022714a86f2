"""The shipped policy directories: an editor accepts every file, and the whole loads."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

import policies
from policies.document import Composed, SourceFile, compose
from policies.format.json_schema import DRAFT, policy_schema
from policies.format.sections import SECTIONS
from policies.format.substitution import Lookups
from policies.format.yaml_tree import read_tree
from policies.model import Window
from policies.schema import PolicyFile
from policies.throttling import Catalogue, Profile

EXAMPLES = Path(next(iter(policies.__path__))) / "examples"
FILES = sorted([*(EXAMPLES / "demo").glob("*.yaml"), *(EXAMPLES / "full").glob("*.yaml")])
CORPUS_BASE = Path(__file__).parent / "corpus_base" / "base.yaml"
VARIABLES = {
    name: hashlib.sha256(name.encode()).hexdigest()
    for name in ("ACME_K1_SHA256", "ACME_K2_SHA256", "ACME_EMEA_SHA256", "ADMIN_TOKEN_SHA256")
}
VALIDATOR = Draft7Validator(policy_schema())
NAMED = {name for file in FILES for name in re.findall(r"throttling: ([a-z]\S*)", file.read_text())}
PROFILES = Catalogue([Profile(name=name) for name in NAMED])
"""Of the profiles that are built in, whose files are not this floor's, those that the examples name."""


def composed(name: str) -> Composed:
    directory = EXAMPLES / name
    outside = Lookups(
        variable=VARIABLES.get,
        secret=lambda secret: (EXAMPLES / "full-secrets" / secret).read_text(),
        lines=lambda lines: (directory / lines).read_bytes().splitlines(),
    )
    files = [SourceFile(name=path.name, data=path.read_bytes()) for path in directory.glob("*.yaml")]
    return compose(files, outside, profiles=PROFILES)


def plain(path: Path) -> Any:
    """A file as an editor's language server sees it."""
    return read_tree(path.name, path.read_bytes(), lambda text: text).data


def test_the_schema_is_a_draft_07_schema_of_which_nothing_is_required() -> None:
    schema = policy_schema()
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == DRAFT
    assert "required" not in schema
    assert set(schema["properties"]) == set(SECTIONS) == set(PolicyFile.model_fields)
    text = json.dumps(schema)
    assert "$defs" not in text
    assert "prefixItems" not in text
    closed = [part for part in schema["definitions"].values() if part["type"] == "object"]
    assert all(part["additionalProperties"] is False for part in closed)


def test_every_section_and_every_map_is_described() -> None:
    schema = policy_schema()
    assert all("description" in part for part in schema["definitions"].values())


@pytest.mark.parametrize("path", [*FILES, CORPUS_BASE], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_file_is_accepted_by_the_schema(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(plain(path))] == []


@pytest.mark.parametrize(
    "text",
    [
        "tenant: {}",
        "tiers: {t: {limit: {}}}",
        "tiers: {t: {limits: {minute: 60/mim}}}",
        "tiers: {t: {limits: {surge: {rate: 10/s}}}}",
        "upstreams: {u: {url: http://u, timeouts: {total: 5min}}}",
        "upstreams: {u: {url: http://u, owner: them}}",
        "tenants: {t: {keys: []}}",
        "server: {workers: none}",
        "sla: {target: 99.5}",
    ],
)
def test_an_editor_underlines_what_check_refuses(text: str) -> None:
    assert list(VALIDATOR.iter_errors(read_tree("f", text.encode(), lambda value: value).data))


def test_the_full_example_uses_every_key_and_says_which_are_not_built() -> None:
    made = composed("full")
    assert [(finding.code, finding.path) for finding in made.findings if finding.code != "TG404"] == [
        ("TG402", "store.url")
    ]
    assert {finding.path.rpartition(".")[2] for finding in made.findings if finding.code == "TG404"} == {
        "idempotency",
    }
    assert made.policy is not None
    assert set(made.policy.tenants) == {"acme", "acme-emea", "globex", "initech/eu", "umbrella corp"}
    sections: set[str] = set().union(*(plain(path) for path in (EXAMPLES / "full").glob("*.yaml")))
    assert sections == set(SECTIONS)


def test_every_key_of_the_format_is_in_the_full_example() -> None:
    text = "".join(path.read_text() for path in (EXAMPLES / "full").glob("*.yaml"))
    schema = policy_schema()
    keys = {key for part in schema["definitions"].values() for key in part.get("properties", ())}
    assert {key for key in keys if not re.search(rf"(^|[\s{{,]){re.escape(key)}:", text)} == set()


def test_the_secrets_folder_is_named_from_the_root_of_the_repository() -> None:
    head = (EXAMPLES / "full" / "gateway.yaml").read_text()
    named = re.search(r"TIERGATE_SECRETS_DIR=(\S+) tiergate check (\S+)", head)
    assert named is not None
    assert [(EXAMPLES.parent.parent / path).is_dir() for path in named.groups()] == [True, True]


def test_the_demo_has_one_documented_warning() -> None:
    made = composed("demo")
    assert [finding.code for finding in made.findings] == ["TG402"]
    assert "TG402" in (EXAMPLES / "demo" / "gateway.yaml").read_text()


def test_the_demo_is_what_the_readme_says() -> None:
    policy = composed("demo").policy
    assert policy is not None
    tiers = {tenant.id: tenant.tier for tenant in policy.tenants.values()}
    assert tiers == {"acme": "premium", "globex": "basic", "initech": "standard"}
    for name in tiers:
        tenant, key = policy.keys[hashlib.sha256(f"demo-{name}-key".encode()).digest()]
        assert (tenant.id, key.demo) == (name, True)
    assert policy.tiers["basic"].limits[0] == Window(name="minute", amount=60, period_us=60_000_000)
    assert str(policy.tenants["initech"].reset_as) == "unix-seconds"
    assert policy.auth.anonymous_tier is None
    assert {upstream.authority for upstream in policy.upstreams.values()} == {"127.0.0.1:9000"}
    assert policy.routes["reports"].tiers == {"standard", "premium"}


def test_the_order_of_files_changes_nothing() -> None:
    files = [SourceFile(name=path.name, data=path.read_bytes()) for path in (EXAMPLES / "demo").glob("*.yaml")]
    outside = Lookups(variable=VARIABLES.get, secret=str, lines=lambda name: ())
    policy = compose(files, outside, profiles=PROFILES).policy
    assert policy is not None
    assert compose(files[::-1], outside, profiles=PROFILES).policy == policy
