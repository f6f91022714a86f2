"""Every answer in ``throttle.json`` is read as it should be: of the shipped vectors, or of ``--vectors DIR``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.upstreams import throttle_vectors as vectors
from tests.vector_files import Vector


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        found = vectors.well_formed(Path(metafunc.config.getoption("vectors")))
        metafunc.parametrize("case", found, ids=[case["id"] for case in found])


def test_the_file_has_cases_of_known_form_and_each_its_own_id(pytestconfig: pytest.Config) -> None:
    said = vectors.findings(Path(pytestconfig.getoption("vectors")))
    if said:
        pytest.fail("\n".join(said), pytrace=False)


def test_answer_is_read_as_it_should_be(case: Vector, record_property: Callable[[str, object], None]) -> None:
    record_property("vector", (vectors.FILE, case["id"]))
    differing = vectors.differences(case, vectors.profile_of(case))
    if differing:
        record_property("differing", "; ".join(differing))
        pytest.fail("; ".join(differing), pytrace=False)
