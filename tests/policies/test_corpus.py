"""A file for every mistake we could think of, each with the complaint it must give in its first line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from policies.document import Composed, SourceFile, compose
from policies.format.findings import Finding
from policies.format.kinds import KINDS
from policies.format.substitution import Lookups
from policies.format.units import ValueProblem, closest
from policies.format.yaml_tree import read_tree

HERE = Path(__file__).parent
BASE = SourceFile(name="base.yaml", data=(HERE / "corpus_base" / "base.yaml").read_bytes())
CASES = sorted((HERE / "corpus").glob("*.yaml"))
EXPECTATION = re.compile(r"# expect: (TG\d{3}) (\d+):(\d+)(?: (.+))?")
SECRET = "s3cr3t-value"
OUTSIDE_A_YAML_FILE = {"TG108", "TG109", "TG137", "TG138", "TG403"}
"""Codes that no small YAML file can give; each has a test of its own."""


@dataclass(frozen=True)
class Expected:
    code: str
    line: int
    column: int
    hint: str


def expected_of(path: Path) -> Expected:
    found = EXPECTATION.fullmatch(path.read_text(encoding="utf-8").split("\n", 1)[0])
    assert found, f"{path.name} has no expectation"
    return Expected(found[1], int(found[2]), int(found[3]), found[4] or "")


def secret(name: str) -> str:
    if name.startswith("/") or ".." in name:
        raise ValueProblem("TG133", f"'{name}' is outside the secrets folder", "name a file without '..' and '/'")
    if name != "token":
        raise ValueProblem("TG132", f"secret file '{name}' is not there", closest(name, ["token"]))
    return SECRET


def no_lines(name: str) -> Iterable[bytes]:
    raise ValueProblem("TG100", f"'{name}' cannot be read", "the path is relative to the policy directory")


LOOKUPS = Lookups(variable={"ACME_KEY": SECRET}.get, secret=secret, lines=no_lines, variables=("ACME_KEY",))


def composed(*files: SourceFile) -> Composed:
    return compose(files, LOOKUPS)


@cache
def case(path: Path) -> Composed:
    return composed(BASE, source(path))


def source(path: Path, prefix: str = "") -> SourceFile:
    return SourceFile(name=prefix + path.name, data=path.read_bytes())


def errors(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]


def test_the_base_alone_has_no_finding() -> None:
    assert composed(BASE).findings == ()


def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) >= 80


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_one_mistake_gives_one_finding_in_its_place(path: Path) -> None:
    wanted = expected_of(path)
    findings = case(path).findings
    wrong = [finding for finding in findings if finding.severity == KINDS[wanted.code].severity]
    got = [(finding.file, finding.code, finding.line, finding.column) for finding in wrong]
    assert got == [(path.name, wanted.code, wanted.line, wanted.column)], [finding.message for finding in findings]
    assert wanted.hint in wrong[0].hint or wanted.hint in wrong[0].message
    assert errors(findings) == errors(wrong)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_policy_comes_out_exactly_when_nothing_is_an_error(path: Path) -> None:
    made = case(path)
    assert (made.policy is None) == bool(errors(made.findings))


def test_all_files_together_report_every_code_in_one_run() -> None:
    """Files share one process, so of two that set one key the first counts; those only one file can give go first.

    Files that do not parse are composed apart, because with them nothing is said about names.
    """
    first = {"TG209", "TG210", "TG211", "TG301", "TG402", "TG405", "TG406"}
    whole = [path for path in CASES if not read_tree(path.name, path.read_bytes(), str).broken]
    broken = composed(BASE, *(source(path) for path in CASES if path not in whole))
    made = composed(BASE, *(source(path, "0-" if expected_of(path).code in first else "1-") for path in whole))
    codes = {finding.code for finding in (*made.findings, *broken.findings)}
    assert set(KINDS) - OUTSIDE_A_YAML_FILE - {"TG217", "TG405"} - codes == set()  # other files set memory:// and jwt
    assert len(made.findings) >= 80
    assert list(made.findings) == sorted(made.findings, key=lambda finding: finding.sort_key)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_no_finding_shows_what_a_substitution_gave(path: Path) -> None:
    made = case(path)
    assert SECRET not in repr(made.findings) + repr(made.policy)


def test_every_code_is_in_the_corpus_or_tested_apart() -> None:
    assert {expected_of(path).code for path in CASES} == set(KINDS) - OUTSIDE_A_YAML_FILE
