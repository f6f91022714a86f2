"""Every case of ``sla.json`` comes out as it should: of the shipped vectors, or of ``--vectors DIR``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.policies import sla_vectors as vectors
from tests.vector_files import Vector


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        found = vectors.well_formed(Path(metafunc.config.getoption("vectors")))
        metafunc.parametrize("case", found, ids=[case["name"] for case in found])


def test_the_file_has_cases_of_known_form_and_each_its_own_name(pytestconfig: pytest.Config) -> None:
    said = vectors.findings(Path(pytestconfig.getoption("vectors")))
    if said:
        pytest.fail("\n".join(said), pytrace=False)


def test_case_comes_out_as_it_should(
    case: Vector, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    record_property("vector", (vectors.FILE, case["name"]))
    differing = vectors.differences(case, vectors.defaults(Path(pytestconfig.getoption("vectors"))))
    if differing:
        record_property("differing", "; ".join(differing))
        pytest.fail("; ".join(differing), pytrace=False)
