"""scripts/install without a network: what it trusts, what it refuses, and how it says so.

Where the script gets past its checks it asks the interpreter stub for its version, is told an old one and
stops there: exit code 3 with the stub's version in the message is the proof that it got that far.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT, USAGE = 3, 64


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what the script reads, and an interpreter stub that calls itself 3.10.2."""
    place = tmp_path / "a clone"
    (place / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "install", place / "scripts" / "install")
    shutil.copytree(ROOT / "requirements", place / "requirements")
    shutil.copy(ROOT / "pyproject.toml", place / "pyproject.toml")
    stub(place / "old-python", 'case "$2" in *print*) echo 3.10.2 ;; *) exit 1 ;; esac')
    return place


def stub(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def install(clone: Path, *arguments: str, python: str = "old-python") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [clone / "scripts" / "install", *arguments],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(clone / python)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def made(clone: Path, *, root: Path | None = None, test: bool = True) -> Path:
    """An environment as the script leaves it, of stubs, with the stamp that fits."""
    for program in ("python", "tiergate"):
        stub(clone / ".venv" / "bin" / program, "exit 0")

    def total(name: str) -> str:
        with (clone / name).open("rb") as file:
            return subprocess.run(["cksum"], stdin=file, capture_output=True, text=True, check=True).stdout.strip()

    names = {"run": "requirements/run.txt", "project": "pyproject.toml"} | (
        {"test": "requirements/test.txt"} if test else {}
    )
    lines = [f"root {root or clone}", *(f"{word} {total(name).replace(' ', '-')}" for word, name in names.items())]
    stamp = clone / ".venv" / "stamp"
    stamp.write_text("\n".join(lines) + "\n")
    return stamp


def started_over(result: subprocess.CompletedProcess[str]) -> bool:
    return result.returncode == ENVIRONMENT and "3.10.2" in result.stderr


def test_unknown_argument_is_a_usage_error(clone: Path) -> None:
    assert install(clone, "everything").returncode == USAGE


def test_old_interpreter_is_named_with_its_version_and_the_remedy(clone: Path) -> None:
    result = install(clone)
    assert result.returncode == ENVIRONMENT
    assert "Python 3.11 or newer is needed" in result.stderr
    assert "3.10.2" in result.stderr
    assert not (clone / ".venv").exists()
    assert not (clone / ".venv.lock").exists()


def test_interpreter_without_venv_is_told_what_to_install(clone: Path) -> None:
    stub(clone / "bare-python", 'case "$2" in *print*) echo 3.12.1 ;; *ensurepip*) exit 1 ;; esac')
    result = install(clone, python="bare-python")
    assert result.returncode == ENVIRONMENT
    assert "python3-venv" in result.stderr


@pytest.mark.parametrize("kind", ["run", "test"])
def test_environment_that_fits_costs_nothing(clone: Path, kind: str) -> None:
    made(clone)
    result = install(clone, kind)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_environment_of_an_interrupted_install_is_made_anew(clone: Path) -> None:
    made(clone).unlink()
    assert started_over(install(clone))


def test_environment_of_another_folder_is_made_anew(clone: Path) -> None:
    made(clone, root=clone.parent / "before it was moved")
    assert started_over(install(clone))


@pytest.mark.parametrize("lock", ["run", "test"])
def test_environment_of_other_locks_is_made_anew(clone: Path, lock: str) -> None:
    made(clone)
    (clone / "requirements" / f"{lock}.txt").write_text("changed\n")
    assert started_over(install(clone, "test"))


def test_environment_whose_interpreter_is_gone_is_made_anew(clone: Path) -> None:
    made(clone)
    (clone / ".venv" / "bin" / "python").unlink()
    assert started_over(install(clone))


def test_lock_of_a_killed_install_is_taken_over(clone: Path) -> None:
    finished = subprocess.Popen(["true"])
    finished.wait()
    (clone / ".venv.lock").mkdir()
    (clone / ".venv.lock" / "pid").write_text(f"{finished.pid}\n")
    assert started_over(install(clone))
    assert not list(clone.glob(".venv.lock*"))


def test_failed_step_shows_the_end_of_its_log(clone: Path) -> None:
    stub(
        clone / "broken-python",
        'case "$*" in *print*) echo 3.12.1 ;; *"-m venv"*) echo "no space left on device"; exit 1 ;; esac',
    )
    result = install(clone, python="broken-python")
    assert result.returncode == ENVIRONMENT
    assert "no space left on device" in result.stderr
