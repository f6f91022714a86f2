"""Documentation that cannot rot: what the docs list is compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import metrics
from gateway.settings import VARIABLES
from policies.schema import ProxyForm

OPERATING = Path("docs/operating.md").read_text(encoding="utf-8")
PAGES = [Path("README.md"), *Path("docs").rglob("*.md")]


def rows(section: str) -> list[list[str]]:
    """The cells of the table in the section with this heading."""
    text = OPERATING.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_setting_is_documented_as_it_is() -> None:
    expected = [[f"`{v.name}`", f"`{v.default}`" if v.default else "", v.meaning] for v in VARIABLES]
    assert [[cell.strip() for cell in row] for row in rows("Settings")] == expected


def test_every_metric_is_documented_with_its_labels() -> None:
    expected = {name: list(labels) for name, (_, labels, _) in metrics.HISTOGRAMS.items()}
    expected |= {f"{name}_total": list(labels) for name, (_, labels) in metrics.COUNTERS.items()}
    expected |= {name: list(labels) for name, (_, labels, _) in metrics.GAUGES.items()}
    assert {
        row[0].strip("`"): re.findall(r"`(\w+)`", row[1] if len(row) > 1 else "") for row in rows("Metrics")
    } == expected


def test_every_key_of_an_egress_proxy_is_documented() -> None:
    assert [row[0].strip("`") for row in rows("HTTP/2 and egress proxies")] == [
        "proxy: URL", *(f"proxy.{name}" for name in ProxyForm.model_fields)
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


NAMED = re.findall(
    r"`((?:policies|gateway|middleware|upstreams|scripts|docs|loadtests)/[\w/.-]*)`", PAGES[0].read_text()
)


@pytest.mark.parametrize("path", NAMED)
def test_paths_that_the_readme_names_exist(path: str) -> None:
    assert Path(path).exists()
