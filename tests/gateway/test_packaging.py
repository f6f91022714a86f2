"""One distribution owns the four generic package names, and its version, data and image are what they claim."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gateway", "middleware", "policies", "upstreams")


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def module_names() -> list[str]:
    found = []
    for package in PACKAGES:
        found.append(package)
        found += [module.name for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")]
    return sorted(name for name in found if not name.endswith("__main__"))


def owners(name: str, search: list[str]) -> list[Path]:
    """Every place on the import path that offers a package or module called ``name``."""
    places = dict.fromkeys(Path(entry or ".").resolve() for entry in search)
    return [place for place in places if (place / name).is_dir() or (place / f"{name}.py").is_file()]


@pytest.mark.parametrize("name", PACKAGES)
def test_generic_package_name_has_exactly_one_owner(name: str) -> None:
    assert owners(name, sys.path) == [ROOT]
    recorded = importlib.metadata.packages_distributions().get(name, [])
    assert set(recorded) <= {"tiergate"}


def test_second_owner_of_a_name_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    assert owners("policies", [str(tmp_path), str(ROOT), str(ROOT)]) == [tmp_path, ROOT]


def test_version_is_the_newest_of_the_changelog() -> None:
    headings = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d{2}-\d{2}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings
    assert headings[0] == project()["version"]


@pytest.mark.parametrize("name", module_names())
def test_module_imports(name: str) -> None:
    assert importlib.import_module(name).__name__ == name


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("lock", ["run", "test"])
def test_lock_pins_every_package_with_hashes_and_names_no_index(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    entries = re.findall(
        r"^([A-Za-z0-9_.-]+)==\S+[^\n]*\\\n((?:\s+--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE
    )
    pins = re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE)
    assert len(entries) == len(pins) > 20
    assert not re.search(r"://|--(extra-)?index|--find-links", text)


def test_locks_hold_every_dependency() -> None:
    declared = [str(line) for line in project()["dependencies"]]
    locked = (ROOT / "requirements" / "run.txt").read_text().lower()
    names = [re.split(r"[<>=;\[ ]", line)[0] for line in declared]
    assert [name for name in names if f"\n{name.lower()}==" not in locked] == []


def test_test_lock_is_a_superset_of_the_run_lock() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[A-Za-z0-9_.-]+==[^\s;]+", (ROOT / "requirements" / name).read_text(), re.MULTILINE))

    assert pins("run.txt") - pins("test.txt") == set()


# --- no provider in code (RULINGS 12) ---------------------------------------------------------------------------


def provider_names() -> set[str]:
    """Names of the shipped throttling profiles, and those of the vectors: data, so that the list cannot rot."""
    profiles = {path.stem for path in (ROOT / "upstreams" / "providers").glob("*.yaml")}
    vectors = yaml.safe_load((ROOT / "tests" / "vectors" / "throttle.json").read_text())
    return {name for name in profiles | set(_providers_in(vectors)) if name not in {"generic", "ietf", "unknown"}}


def _providers_in(node: object) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _providers_in(item)]
    if not isinstance(node, dict):
        return []
    own = [value for key, value in node.items() if key == "provider" and isinstance(value, str)]
    return own + [name for value in node.values() for name in _providers_in(value)]


WORDS = {"box", "front", "lever", "linear", "meta", "monday", "notion", "resend", "square", "zoom"}
"""Providers that are also English words: for them only a literal of that name or a host counts."""


CI_FORMAT = {
    path: {"github"}
    for path in ("gateway/check.py", "gateway/cli.py", "gateway/command_line.py", "policies/format/findings.py")
}
"""``--output github`` is a form of findings for a CI system (DESIGN section 12), not an upstream."""


def mentions(text: str, names: set[str]) -> list[str]:
    return sorted(name for name in names if re.search(_mention(name), text, re.IGNORECASE))


def _mention(name: str) -> str:
    word = re.escape(name)
    return rf"[\"']{word}[\"']|\b{word}\.(com|io|us|app)\b" if name in WORDS else rf"(?<![a-z]){word}(?![a-z])"


def test_no_provider_is_named_in_code() -> None:
    names = provider_names()
    assert len(names) > 3
    found = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            path = str(file.relative_to(ROOT))
            found[path] = mentions(file.read_text(encoding="utf-8"), names - CI_FORMAT.get(path, set()))
    assert {path: hits for path, hits in found.items() if hits} == {}


def test_provider_in_code_is_noticed() -> None:
    name = min(provider_names() - WORDS)
    assert mentions(f"if host.endswith('{name.title()}.com'):", provider_names()) == [name]
    assert mentions('if provider == "front":  # at the front', {"front"}) == ["front"]
    assert mentions("one at the front of the line", {"front"}) == []


# --- the image, for which no engine is at hand: its structure --------------------------------------------------


def instructions(text: str) -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [
        (word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


DOCKERFILE = instructions((ROOT / "Dockerfile").read_text())


def last_stage() -> list[tuple[str, str]]:
    start = max(at for at, (word, _) in enumerate(DOCKERFILE) if word == "FROM")
    return DOCKERFILE[start:]


def test_image_has_two_stages_of_one_slim_base() -> None:
    bases = [rest.split()[0] for word, rest in DOCKERFILE if word == "FROM"]
    assert bases == ["python:3.11-slim"] * 2


def test_image_runs_the_install_script_that_everybody_runs() -> None:
    assert ("RUN", "scripts/install run") in DOCKERFILE


def test_image_does_not_run_as_root() -> None:
    users = [rest for word, rest in last_stage() if word == "USER"]
    assert users
    assert users[-1] not in {"root", "0"}


def test_image_copies_only_what_exists_and_the_ignore_file_lets_through() -> None:
    allowed = {
        line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    sources = [s for word, rest in DOCKERFILE if word == "COPY" and "--from" not in rest for s in rest.split()[:-1]]
    assert set(PACKAGES) <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if source not in allowed] == []


def test_image_serves_by_default_and_is_watched() -> None:
    stage = dict(last_stage())
    assert stage["ENTRYPOINT"] == '["tiergate"]'
    assert stage["CMD"] == '["serve", "--policies", "/etc/tiergate"]'
    assert stage["EXPOSE"] == "8080 9900"
    assert "/readyz" in stage["HEALTHCHECK"]
