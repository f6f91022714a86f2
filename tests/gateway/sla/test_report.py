"""The report that a customer is handed: everything from the record, nothing from elsewhere, nobody's text as markup."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gateway.sla import report as formats
from gateway.sla import verify
from policies.sla.acts import ANNOUNCE
from policies.sla.chain import Act
from policies.sla.evidence import Basis
from policies.sla.export import write
from policies.sla.instants import read
from policies.sla.period import period
from policies.sla.record import Record, monthly
from policies.sla.support import SeverityChange
from policies.sla.terms import Chronic
from tests.gateway.sla.test_verify import tiergate
from tests.policies.sla_bases import basis_of, case_named, links, record_of
from tests.policies.test_sla_support_record import PREMIUM, case, quick_and_slow

MONTH = "late_extension_not_excluded"
HOSTILE = "</title><script>alert(1)</script>\"'&{{ 7*7 }}"
VOID = {"meta", "br", "link", "img", "input", "hr", "rect"}
SHOWN = (
    MONTH, "contract_not_in_force", "whole_month_down", "quorum_of_two", "maintenance_notice_47h59m59s",
    "dst_autumn_month_repeated_hour", "force_majeure_not_approved", "customer_caused_for_this_tenant",
)  # fmt: skip


@pytest.fixture(scope="module")
def basis() -> Basis:
    return basis_of(case_named(MONTH))


class Page(HTMLParser):
    """Reads a page as a browser would, and insists that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def page(record: Record) -> Page:
    return Page(formats.as_html(record).decode())


def quarter(tmp_path: Path, basis: Basis) -> list[Path]:
    paths = []
    for name in ("2026-04", "2026-05", "2026-06"):
        of = period(name)
        head = replace(basis.head, period=of, known_until_s=of.end_s + 86_400)
        rows = basis.rows if name == "2026-04" else ()
        alive = tuple(replace(each, from_s=of.start_s - 86_400, to_s=of.end_s + 86_400) for each in basis.alive)
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("".join(write(replace(basis, head=head, rows=rows, alive=alive))))
    return paths


@pytest.mark.parametrize("name", SHOWN)
def test_every_month_makes_a_page_that_needs_nothing_else(name: str) -> None:
    shown = page(record_of(name))
    tags = {tag for tag, _ in shown.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a"}
    for tag, attributes in shown.tags:
        assert not {"src", "href", "xlink:href", "style", "onload", "onclick"} & set(attributes), tag
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes.get("aria-label") or attributes.get("aria-labelledby")


def test_no_address_is_anywhere_in_the_page(basis: Basis) -> None:
    text = formats.as_html(monthly(basis)).decode()
    assert "://" not in text
    assert re.findall(r"url\(([^)]*)\)", text) == ["#hatch"] * text.count("url(")
    assert "default-src 'none'" in text


def test_the_page_says_what_the_record_says(basis: Basis) -> None:
    record = monthly(basis)
    text = page(record).text
    for said in (
        "99.8611 %", "promised: 99.9 %", "Commitment missed", "480.00 EUR", "before 2026-05-31 00:00:00 UTC",
        "1 h 00 min of 43 min 12 s used (138.88 %)", "only what had been announced in time counts",
        record["requests"]["success_percent"], "tier:premium", record["input_sha256"], record["log"]["tip"],
    ):  # fmt: skip
        assert said in text, said


def test_what_is_drawn_says_the_same_in_words(basis: Basis) -> None:
    text = page(monthly(basis)).text
    assert "Downtime from 2026-04-15 02:00:00 UTC to 2026-04-15 05:00:00 UTC" in text
    assert "16 min 48 s over the budget" in text


def test_an_estimate_is_called_one(basis: Basis) -> None:
    text = page(monthly(basis)).text
    assert "Estimates, by interpolation" in text
    assert "Reached, by exact count: 99.0000 %" in text


def test_a_running_month_says_so(basis: Basis) -> None:
    until = read("2026-04-20T00:00:00Z")
    record = monthly(replace(basis, head=replace(basis.head, known_until_s=until)))
    assert "Provisional." in page(record).text
    assert "Provisional." not in page(monthly(basis)).text


def test_a_month_that_is_over_and_not_closed_is_not_handed_out_as_final(basis: Basis) -> None:
    open_head = replace(basis.head, published_at_s=None)
    closed_head = replace(basis.head, published_at_s=read("2026-05-06T00:00:00Z"))
    assert "Not published." in page(monthly(replace(basis, head=open_head))).text
    assert "Not published." not in page(monthly(replace(basis, head=closed_head))).text


def test_the_last_day_of_a_drawing_is_written_within_it(basis: Basis) -> None:
    page_text = formats.as_html(monthly(basis)).decode()  # April: the 29th begins 67 of 1,000 from the edge
    assert re.search(r'<text x="930" y="52" text-anchor="end"[^>]*>29 April<', page_text)
    assert re.search(r'<text x="3" y="52" font-size[^>]*>1 April<', page_text)


def test_an_owner_comes_from_a_version_only_where_there_is_one(basis: Basis) -> None:
    head = replace(basis.head, owners={"crm": "managed"}, version=None)
    text = page(monthly(replace(basis, head=head))).text
    assert "upstream crm run by us policy files" in text
    assert "SLA version" not in text


def test_no_word_of_a_table_is_broken_to_fit_a_sheet_of_paper(basis: Basis) -> None:
    style = re.sub(r"\s+", " ", formats.as_html(monthly(basis)).decode())
    (cells,) = re.findall(r"th, td \{ text-align[^}]*\}", style)
    assert "overflow-wrap: break-word" in cells  # `anywhere` lets a column shrink to less than its longest word
    printed = style.partition("@media print")[2]
    assert ".scroll { overflow: visible; }" in printed  # paper does not scroll: what is cut off is lost


def hostile(basis: Basis) -> Record:
    """Somebody's names and notes as an attack on whoever reads the report."""
    content = {"id": HOSTILE, "from": "2026-04-20T00:00:00Z", "to": "2026-04-20T01:00:00Z", "note": HOSTILE}
    act = Act(kind=ANNOUNCE, actor=HOSTILE, at_s=read("2026-04-16T00:00:00Z"), content=content)
    head = replace(
        basis.head, tenant=HOSTILE, owners={HOSTILE: "managed"}, provenance={"target": HOSTILE}, published_at_s=None,
    )  # fmt: skip
    rows = tuple(replace(row, tenant=HOSTILE if row.tenant else None) for row in basis.rows)
    return monthly(replace(basis, head=head, rows=rows, acts=links([*(link.act for link in basis.acts), act])))


def test_names_and_notes_are_text_and_never_markup(basis: Basis) -> None:
    text = formats.as_html(hostile(basis)).decode()
    shown = Page(text)
    assert "script" not in {tag for tag, _ in shown.tags}
    assert "<script" not in text
    assert "{{ 7*7 }}" in shown.text
    assert shown.text.count("alert(1)") == text.count("alert(1)") >= 6


def test_csv_has_every_value_of_the_record_once(basis: Basis) -> None:
    record = monthly(basis)
    rows = list(csv.DictReader(io.StringIO(formats.as_csv(record).decode(), newline="")))
    named = {(row["section"], row["item"], row["field"]): row["value"] for row in rows}
    assert len(named) == len(rows)
    assert named["figure", "", "uptime_percent"] == "99.8611"
    assert named["windows", "1", "causes.1.cause"] == "gateway"
    assert named["exclusions", "1", "reason"] == "changed_late"
    assert named["provisional", "", ""] == "no"
    assert {row["section"] for row in rows} == {name for name, value in record.items() if value != []}


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1+cmd", "@SUM(A1)", "\t=1"])
def test_csv_takes_the_meaning_from_formulas(text: str) -> None:
    rows = list(csv.reader(io.StringIO(formats.as_csv({"tenant": text, "x": {text: 1}}).decode(), newline="")))
    assert rows[1] == ["tenant", "", "", f"'{text}"]
    assert rows[2] == ["x", "", f"'{text}", "1"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 01 s"), (3_600, "1 h 00 min"), (3_601, "1 h 00 min 01 s"),
     ("2592.5", "43 min 12 s"), (2_592_000, "720 h 00 min")],
)  # fmt: skip
def test_a_duration_is_written_for_people(seconds: object, said: str) -> None:
    assert formats.duration(seconds) == said


def test_three_months_make_a_quarter(tmp_path: Path, basis: Basis) -> None:
    record = verify.report_record(quarter(tmp_path, basis))
    text = page(record).text
    assert "Quarterly service level report: acme" in text
    assert "99.9542 %" in text
    assert "not the mean of months" in text
    with pytest.raises(verify.NotUsable, match="not the months"):
        verify.report_record([tmp_path / "2026-04.jsonl"] * 3)


def test_json_is_the_record_that_verify_confirms(tmp_path: Path, basis: Basis) -> None:
    export = tmp_path / "x.jsonl"
    export.write_text("".join(write(basis)))
    for name in ("json", "html", "csv"):
        done = tiergate("report", export, "--format", name, "--out", tmp_path / f"x.{name}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert tiergate("verify", export, "--record", tmp_path / "x.json").returncode == 0
    assert json.loads((tmp_path / "x.json").read_bytes()) == monthly(basis)
    assert tiergate("report", export, "--format", "json").stdout.encode() == (tmp_path / "x.json").read_bytes()


def test_an_export_that_was_altered_makes_no_report(tmp_path: Path, basis: Basis) -> None:
    export = tmp_path / "x.jsonl"
    lines: list[Any] = list(write(basis))
    export.write_text("".join([lines[0], lines[1].replace('"good":100', '"good":101'), *lines[2:]]))
    done = tiergate("report", export, "--format", "html")
    assert (done.returncode, done.stdout) == (1, "")
    assert "good is 101 and was 100" in done.stderr
    assert "tiergate sla verify" in done.stderr


def test_a_report_that_cannot_be_written_is_3(tmp_path: Path, basis: Basis) -> None:
    export = tmp_path / "x.jsonl"
    export.write_text("".join(write(basis)))
    done = tiergate("report", export, "--format", "html", "--out", tmp_path / "no" / "x.html")
    assert done.returncode == 3
    assert "x.html" in done.stderr


# --- support and the other commitments ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def supported() -> Record:
    made = basis_of(case_named("just_under_99_0"))
    terms = replace(made.head.terms, chronic=Chronic(misses=3, months=12))
    head = replace(made.head, terms=terms, support=PREMIUM, missed_before=("2025-12", "2026-02"))
    lowered = SeverityChange(at_s=read("2026-04-08T09:00:00Z"), to="S3")
    late = case(HOSTILE, "S1", "2026-04-08T08:00:00Z", "2026-04-08T10:00:00Z", changes=(lowered,))
    return monthly(replace(made, head=head, tickets=(*quick_and_slow(2), late)))


def test_the_page_shows_support_and_escapes_what_cases_are_called(supported: Record) -> None:
    text = page(supported).text
    for said in (
        "Promised: 90 % of S2 cases answered within 6 h. Reached: 80.0000 %", "(missed, 8 of 10)", HOSTILE,
        "its severity was lowered after it was due", "Channels: email, chat.", "in the zone Europe/Berlin",
        "Share of S2 cases answered within 6 h 90 % 80.0000 %", "99 % under 500 ms", "3 missed months of 12",
        "the target was also missed in 2025-12, 2026-02",
    ):  # fmt: skip
        assert said in text, said


def test_the_table_has_a_row_for_each_value_of_support(supported: Record) -> None:
    rows = list(csv.reader(io.StringIO(formats.as_csv(supported).decode())))
    assert ["support", "", "objectives.2.share_percent", "80.0000"] in rows
    assert ["support", "", "cases.1.ticket", "T-0"] in rows


def test_a_quarter_adds_up_the_cases_of_its_months(tmp_path: Path, basis: Basis) -> None:
    tickets = quick_and_slow(2)
    first = replace(basis, head=replace(basis.head, support=PREMIUM))
    paths = quarter(tmp_path, first)
    paths[0].write_text("".join(write(replace(first, tickets=tickets))))
    record = verify.report_record(paths)
    assert [(each["severity"], each["cases"]) for each in record["support"]["severities"]] == [
        ("S1", 0), ("S2", 10), ("S3", 0), ("S4", 0),
    ]  # fmt: skip
    assert "First responses by severity" in page(record).text
