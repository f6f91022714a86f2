"""The exit codes of the measuring programs, and what they leave behind."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests import command
from loadtests.command import Found
from loadtests.instance import NotStarted


@pytest.fixture(autouse=True)
def termination() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def code(found: Found | Exception, folder: Path, *, quick: bool = False) -> int:
    def measure(chosen: argparse.Namespace) -> Found:
        if isinstance(found, Exception):
            raise found
        return found

    chosen = argparse.Namespace(quick=quick, json=folder / "found.json", plot=folder / "found.svg")
    return command.run(measure, chosen, text=str, wrong=lambda found: bool(found["wrong"]), plot=lambda found: "<svg/>")


@pytest.mark.parametrize(("wrong", "expected"), [(0, 0), (2, 1)])
def test_a_wrong_answer_is_exit_code_1_and_everything_is_written_all_the_same(
    wrong: int, expected: int, tmp_path: Path
) -> None:
    assert code({"wrong": wrong}, tmp_path) == expected
    assert json.loads((tmp_path / "found.json").read_text()) == {"wrong": wrong}
    assert (tmp_path / "found.svg").read_text() == "<svg/>"


@pytest.mark.parametrize("quick", [False, True])
def test_a_quick_run_says_that_it_judges_nothing(
    quick: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code({"wrong": 0}, tmp_path, quick=quick) == 0
    assert ("neither its figures nor its verdicts" in capsys.readouterr().out) is quick


@pytest.mark.parametrize("error", [NotStarted("no nginx"), OSError("no port")])
def test_what_cannot_be_started_is_exit_code_3_with_the_reason_and_no_figures(
    error: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(error, tmp_path) == 3
    assert str(error) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "many"])
def test_a_count_is_a_whole_number_above_0(given: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        command.positive(given)
