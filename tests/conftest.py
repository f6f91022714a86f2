"""Shared by every test: coroutines run on asyncio, the loop of the gateway; the same examples in every run."""

from collections import defaultdict

import pytest
from hypothesis import settings

# A shared machine may stall for longer than any deadline; a finding must come back in the next run.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--vectors", default="tests/vectors", metavar="DIR", help="where the files of vectors are")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many cases of each file of vectors passed, and what differs in those that did not."""
    outcomes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        told = dict(getattr(report, "user_properties", ()))
        if "vector" in told and (report.when == "call" or report.failed):
            file, case = told["vector"]
            outcomes[file].append((case, told.get("differing", "an error, see above") if report.failed else ""))
    for file, cases in outcomes.items():
        failed = [f"FAILED {case}: {said}" for case, said in cases if said]
        terminalreporter.section(f"vectors of {file}")
        for line in failed:
            terminalreporter.line(line)
        terminalreporter.line(f"{len(cases)} cases: {len(cases) - len(failed)} passed, {len(failed)} failed")
