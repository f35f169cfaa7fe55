"""Tables: every cell is the row's figure, best and second best are marked, the origin stands above."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest

from helpers.tables import row
from sspcore.core.files import read_json
from sspcore.core.paths import REPOSITORY
from sspcore.report import ablations, metrics, seeds
from sspcore.report.figures import per_class
from sspcore.report.results import SCORES, SIZE_NOTE, document, write_tables
from sspcore.report.tables import SHIPPED, flow_errors, origin_rows, shown_names, side_by_side
from sspcore.study.published import published, published_rows

TABLES = REPOSITORY / "figures" / "tables"
FIRST = 4  # columns before the scores


@pytest.fixture
def results() -> dict:
    origin = {"data": "rendered data, not the real data set", "profile": "smoke", "seed": 3, "commit": "abc"}
    rows = [row("Teacher", "image", 0.9, 0.5), row("Base", "image", 0.61, 0.70), row("SSP", "video", 0.62, 0.85),
            row("TCB_ocr", "video", 0.60, 0.72), row("Constant alpha 0.5", "control", 0.99, 0.99)]
    return {"provenance": origin, "rows": rows}


def cells(markdown: str, system: str) -> list[str]:
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {system} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown_marks_students_only_and_names_the_data(results):
    text = document(results).to_markdown()
    assert "Ours: rendered data, not the real data set" in text and "seed 3" in text and "not comparable" in text
    assert "### UAVid (rendered data, not the real data set)" in text
    assert cells(text, "SSP")[FIRST:FIRST + 2] == ["**62.00**", "**85.00**"]
    assert cells(text, "Base")[FIRST:FIRST + 2] == ["<ins>61.00</ins>", "70.00"]
    assert cells(text, "Teacher")[FIRST] == "90.00" and cells(text, "Constant alpha 0.5")[FIRST] == "99.00"
    assert cells(text, "SSP")[-1] == "79.75 / 92.10" and cells(text, "Constant alpha 0.5")[-1] == "–"
    assert cells(text, "Base")[FIRST + 3] == "–"  # not measured


def test_rows_say_what_stood_in_what_it_began_from_and_what_it_costs(results):
    results["rows"][1] |= {"stand_in": None, "gmacs": 2.345, "flow_counted": False, "training_steps": None}
    text = document(results).to_markdown()
    assert cells(text, "SSP")[1:4] == ["small for large", "scratch", "7"] and cells(text, "SSP")[-2] == "1.50"
    assert cells(text, "Base")[1:4] == ["the paper's own", "scratch", "–"] and cells(text, "Base")[-2] == "2.35+"
    del results["rows"][1]["gmacs"]
    assert cells(document(results).to_markdown(), "Base")[-2] == "–"


def test_a_teacher_scored_at_its_own_size_says_so_everywhere(results):
    """As under the published settings: label maps of 1440x2560 beside those of 736x1280."""
    for one in results["rows"]:
        one["scored_size"] = [736, 1280]
    same = document(results)
    assert "scored at" not in same.to_markdown() + same.to_html() + same.to_latex() and SIZE_NOTE not in same.notes
    results["rows"][0]["scored_size"] = [1440, 2560]
    found = document(results)
    name = "Teacher (scored at 1440x2560)"
    assert cells(found.to_markdown(), name)[FIRST] == "90.00" and cells(found.to_markdown(), "SSP")[FIRST] == "**62.00**"
    assert f"<td>{name}</td>" in found.to_html() and f"{name}$^\\dagger$ & 90.00" in found.to_latex()
    assert all(SIZE_NOTE in text for text in (found.to_markdown(), found.to_html(), found.to_latex()))
    lines = {line["system"]: line["scored_size"] for line in csv.DictReader(io.StringIO(found.to_csv()))}
    assert lines["Teacher"] == "1440x2560" and lines["SSP"] == "736x1280"
    entries = seeds.summary([one | {"seed": seed} for seed in (0, 1) for one in results["rows"][:2]])
    assert shown_names(entries) == [name, "Base"] == list(seeds.document({
        "provenance": results["provenance"] | {"seeds": [0, 1]}, "rows": entries,
    }).tables["UAVid (rendered data, not the real data set)"]["System"])
    table = per_class(results["rows"][:3], "IoU").axes[0]
    assert [tick.get_text() for tick in table.get_yticklabels()] == [name, "Base", "SSP"]
    for one in results["rows"][1:]:  # a row of former times, which says no size
        del one["scored_size"]
    assert "scored at" not in document(results).to_markdown()


def test_html_is_one_page_with_the_same_cells(results):
    results["rows"][3]["stand_in"] = "<small>"
    results["provenance"]["minutes"] = 1.5
    page = document(results).to_html()
    body = page[page.index("<tbody>"):page.index("</tbody>")]
    for piece in ("<strong>62.00</strong>", "<ins>61.00</ins>", "&lt;small&gt;", "79.75", "322.80"):
        assert piece in body
    head = page[page.index("<thead>"):page.index("</thead>")].count("<th>")
    assert head == FIRST + len(SCORES) + 2 + 4
    assert {line.count("<td") for line in body.split("<tr>")[1:]} == {head} and body.count("<tr>") == 5 + 3  # three headings
    assert "until this table" in page and "src=" not in page and "href=" not in page and "<script" not in page
    assert page.count("rendered data, not the real data set") >= 3


def test_latex_escapes_and_balances(results):
    text = document(results).to_latex()
    assert r"TCB\_ocr$^\dagger$" in text and "–" not in text and r"\toprule" in text and text.count("{tabular}") == 2
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({line.count("&") for line in rows[1:]}) == 1
    system, *cells = next(line for line in rows if line.startswith("SSP$")).rstrip("\\ ").split(" & ")
    assert cells == [r"\textbf{62.00}", r"\textbf{85.00}", r"\textbf{62.00}", "1.50", "79.75", "92.10"]
    assert r"\underline{61.00}" in text and text.count(r"\midrule") == 3
    assert sum(column in "lr" for column in text[text.index("{tabular}{") + 10:].split("}")[0]) == 1 + len(cells)


def test_a_provenance_is_written_without_the_marks_of_a_program():
    origin = {
        "commit": "abc", "seeds": [0, 1], "versions": {"torch": "2.15.0", "numpy": "2.4.6"}, "minutes": 61.3, "machine": None,
        "metric_flow_epe_px": {"uavid": 0.4557, "mine": None, "ruralscapes": 0.31},
    }
    shown = {entry: value for entry, value, _ in origin_rows(origin, SHIPPED | {"mine": "My town"})}
    assert shown == {
        "commit": "abc", "seeds": "0, 1", "versions": "torch 2.15.0, numpy 2.4.6", "minutes": "61.3", "machine": "–",
        "metric_flow_epe_px": "UAVid 0.46 px, My town –, RuralScapes 0.31 px",
    }
    assert flow_errors({"metric_flow_epe_px": {"mine": None}}) == "mine –"


def test_csv_holds_the_fractions(results):
    rows = list(csv.DictReader(io.StringIO(document(results).to_csv())))
    assert [float(r["miou"]) for r in rows] == [0.9, 0.61, 0.62, 0.60, 0.99]
    assert "per_class_iou" not in rows[0]


def test_files_are_written_together(results, tmp_path):
    names = [path.name for path in write_tables(results, tmp_path)]
    assert names == ["results.json", "results.csv", "results.md", "results.tex", "results.html"]
    assert json.loads((tmp_path / "results.json").read_text()) == results


@pytest.mark.parametrize("name, make", [
    ("results", document), ("seeds", seeds.document), ("ablations_ssp-r", ablations.document),
    ("metrics", metrics.document),
])
@pytest.mark.parametrize("suffix, form", [("md", "markdown"), ("csv", "csv"), ("tex", "latex"), ("html", "html")])
def test_committed_tables_come_from_their_json(name, make, suffix, form):
    written = make(read_json(TABLES / f"{name}.json"))
    assert getattr(written, f"to_{form}")() == (TABLES / f"{name}.{suffix}").read_text(encoding="utf-8")


def test_data_sets_stand_side_by_side_with_gaps_and_in_sections():
    left = pd.DataFrame({"System": ["A", "C"], "mIoU": ["1", "3"]}, index=["one", "two"])
    right = pd.DataFrame({"System": ["B", "C"], "mIoU": ["5", "6"]}, index=["one", "two"])
    wide = side_by_side({"uavid": left, "ruralscapes": right}, {"mIoU": "m"})
    assert list(wide.columns) == [("", "System"), ("UAVid", "m"), ("RuralScapes", "m")]
    assert wide.to_numpy().tolist() == [["A", "1", "–"], ["B", "–", "5"], ["C", "3", "6"]]
    assert list(wide.index) == ["one", "one", "two"]


def test_published_figures_are_the_papers():
    assert published("KD-SSP", "uavid_miou") == pytest.approx(0.8063)
    assert published("SSP", "ruralscapes_tc") == pytest.approx(0.9406)
    assert published("Constant alpha 0.5", "uavid_tc") is None and len(published_rows()) == 12
