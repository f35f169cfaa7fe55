"""Pictures and words about the metrics: colours, counts and sentences follow the numbers."""

from __future__ import annotations

import json
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sspcore.evaluation.controls import CARRIED, CONSTANT, rank_correlation
from sspcore.metrics import METRICS
from sspcore.report import metrics as report
from sspcore.report import verdicts
from sspcore.report.style import BLACK
from sspcore.study.measures import TRUTH

GOOD = {"miou": 0.6, "tc": 0.7, "tc_reference": 0.6, "flicker": 0.02, "vc8": 0.5, "lag": 1.0}


def made_row(name: str, kind: str, **values: float | None) -> dict:
    return {"system": name, "kind": kind, "dataset": "uavid", "estimator": "exact", "seed": 0} | dict.fromkeys(METRICS) | values


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def rows() -> list[dict]:
    return [
        made_row("Base", "image", **GOOD | {"tc": 0.5, "vc8": 0.4, "flicker": 0.05}),
        made_row("SSP", "video", **GOOD),
        made_row("Constant alpha 0.5", "control", **GOOD | {"tc": 0.65, "miou": 0.61}),
        made_row("Constant alpha 0.9", "control", **GOOD | {"tc": 0.85, "miou": 0.5, "lag": 3.0}),
        made_row(
            CONSTANT, "control", **GOOD | {"tc": 1.0, "tc_reference": 0.9, "miou": 0.1, "flicker": 0.0, "vc8": 0.1, "lag": 9.0}
        ),
        made_row(TRUTH, "truth", miou=1.0, tc=0.9, tc_reference=0.8, flicker=0.01, vc8=1.0, lag=0.0),
    ]


@pytest.fixture
def matrices(rows) -> dict:
    shaken = [row | {"tc": row["tc"] - 0.03, "estimator": "dis-fast"} for row in rows]
    return {"uavid": {"exact": rows, "dis-fast": shaken}}


def test_control_map_colours_controls_only(rows):
    axes = report.control_map(rows, "title").axes[0]
    values = axes.images[0].get_array()
    colours = {(x, y): value for (y, x), value in np.ndenumerate(values)}
    column = {name: verdicts.ORDER.index(name) for name in METRICS}
    assert colours[column["tc"], 0] == colours[column["tc"], 5] == report.PLAIN
    assert colours[column["tc"], 2] == report.NOT_FOOLED and colours[column["tc"], 4] == report.FOOLED
    assert colours[column["miou"], 2] == report.FOOLED and colours[column["miou"], 4] == report.NOT_FOOLED
    assert colours[column["flicker"], 3] == report.FOOLED  # a tie: as good as the best student
    assert colours[column["lag"], 3] == report.NOT_FOOLED and colours[column["vc16"], 4] == report.UNKNOWN
    texts = [text.get_text() for text in axes.texts]
    assert "61.0" in texts and "9.00" in texts and "–" in texts


def test_correlation_map_is_in_the_order_of_families(rows):
    axes = report.correlation_map(rank_correlation(rows), len(rows), "title").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(verdicts.ORDER)
    assert set(verdicts.ORDER) == set(METRICS) and len(verdicts.ORDER) == len(METRICS)
    at = {text.get_position(): text.get_text() for text in axes.texts}
    names, matrix = list(METRICS), rank_correlation(rows)
    for line, column in (("miou", "tc"), ("lag", "flicker"), ("vc8", "miou")):
        shown = at[(verdicts.ORDER.index(column), verdicts.ORDER.index(line))]
        assert shown == f"{matrix[names.index(line), names.index(column)]:.2f}".replace("-", "−")
    assert at[verdicts.ORDER.index("vc16"), 0] == ""


def test_frontier_spans_seeds_and_draws_a_curve_for_each_averaged_system(rows):
    rows = [*rows, made_row("KD Base", "image", **GOOD), made_row("Constant alpha 0.5 (KD Base)", "control", **GOOD)]
    other = [row | {"tc": row["tc"] + 0.02, "miou": row["miou"] - 0.04} for row in rows]
    picture = report.seed_frontier({0: rows, 1: other}, "title")
    above, below = picture.axes
    curves = [line for line in below.get_lines() if line.get_color() == BLACK and len(line.get_xdata()) > 1]
    assert [len(line.get_xdata()) for line in curves] == [3, 2]
    assert list(curves[0].get_xdata()) == pytest.approx([51, 66, 86]) and curves[0].get_ydata()[0] == pytest.approx(58)
    assert len(above.containers) == len(rows) - 1 and len(below.containers) == len(rows) - 2  # truth is a line
    assert [text.get_text() for text in above.texts] == [CONSTANT] and "KD Base" in [text.get_text() for text in below.texts]
    bar = above.containers[0].lines[2][0].get_segments()[0]
    assert bar[:, 0] == pytest.approx([50, 52])
    assert "seeds 0, 1" in picture.get_suptitle()
    assert "seeds" not in report.seed_frontier({0: rows}, "title").get_suptitle()


def test_verdicts_count_cases_over_flows(matrices):
    found = verdicts.verdicts(matrices)
    assert str(found["tc"].trivial) == "2 of 2" and str(found["tc"].averaging) == "2 of 4"
    assert str(found["miou"].trivial) == "0 of 1" and str(found["miou"].averaging) == "1 of 2"  # reads no flow: counted once
    assert str(found["tc"].above_truth) == "2 of 10" and found["tc"].truth == pytest.approx((0.87, 0.9))
    assert found["tc"].flow == pytest.approx(0.03) and found["tc"].columns()["change with the flow"] == "3.0"
    assert found["vc16"].truth is None and str(found["vc16"].trivial) == "–"


def test_the_recommendation_follows_the_numbers(matrices, rows):
    correlations = {"uavid": rank_correlation(rows)}
    text = verdicts.recommendation(matrices, correlations)
    assert "**Fooled by trivial controls**: `tc` (2 of 2), `tc_reference` (2 of 2), `flicker` (2 of 2)." in text
    assert "**Never fooled by trivial controls**: `miou`, `vc8`, `lag`." in text
    assert "`miou` for accuracy: never fooled" in text and "`tc_reference` serves to stand beside printed" in text
    assert "87.0 to 90.0" in text and "vc16" not in text and "lag` (" not in text.split("Scores above")[0].split("Averaging")[0]
    assert "moves it by 3.0 at most" in text
    alone = verdicts.recommendation({"uavid": {"exact": rows}}, correlations)
    assert "moves it by" not in alone  # nothing is known of other flows
    real = {"uavid": {flow: rows[:-1] for flow, rows in matrices["uavid"].items()}}  # no truth of every frame
    text = verdicts.recommendation(real, correlations)
    assert "for consistency, only beside the accuracy: no other of its family, `tc_reference` aside, is fooled in a" in text
    # least fooled, but never advised: its slips are known
    for flows in matrices["uavid"].values():
        flows[4].update(tc_reference=0.0)
    assert "`tc_reference` for consistency" not in verdicts.recommendation(matrices, correlations)
    # were the constant label inconsistent, nothing would warn of it
    for flows in matrices["uavid"].values():
        flows[4].update(tc=0.0, tc_reference=0.0, flicker=0.9)
    text = verdicts.recommendation(matrices, correlations)
    assert "Fooled by trivial controls" not in text and "`tc`" in text.split("\n")[2]
    assert "`tc_reference` for consistency" not in text
    for flows in matrices["uavid"].values():
        del flows[:2]
    assert verdicts.recommendation(matrices, correlations) == "No trained system has been scored: nothing can be recommended."


def test_what_is_written_can_be_read_back(tmp_path, matrices, rows):
    study = SimpleNamespace(
        figures=tmp_path, seed=0, profile=SimpleNamespace(name="made"), clips_key=lambda name: name, data_origin="made up",
        titles=lambda names: dict.fromkeys(names, "UAVid"),
    )
    for name in ("ruralscapes_controls_exact.png", "uavid_controls_dis-fast.pdf", "uavid_controls_dis-fast.png", "mine.png"):
        (tmp_path / name).touch()
    maps = {("uavid", "exact"): report.control_map(rows, CARRIED)}
    correlations = {"uavid": rank_correlation(rows)}
    paths = report.write_measures(study, matrices, correlations, maps, {"uavid": report.seed_frontier({0: rows}, "title")})
    names = [*(f"metrics.{suffix}" for suffix in ("json", "csv", "md", "tex", "html")), "uavid_controls_exact.png"]
    assert [path.name for path in paths] == [*names, "uavid_frontier_all.png"]
    assert "| SSP |" in paths[2].read_text() and "### UAVid, dis-fast flow" in paths[2].read_text()
    assert all(path.is_file() for path in paths)
    written = json.loads(paths[0].read_text())
    assert len(written["rows"]) == 12 and written["provenance"]["data"] == "made up" and "commit" in written["provenance"]
    assert {path.name for path in tmp_path.glob("*.p*")} == {
        "uavid_controls_exact.png", "uavid_controls_exact.pdf", "uavid_frontier_all.png", "uavid_frontier_all.pdf", "mine.png"
    }
    assert paths[0] == tmp_path / "tables" / "metrics.json"
    ceilings = written["ceilings"]["uavid"]
    assert ceilings["exact"]["tc"] == 0.9 and ceilings["dis-fast"]["tc"] == pytest.approx(0.87)
    found = written["rank_correlation"]["uavid"]
    assert found["flow"] == "exact" and TRUTH not in found["rows"] and len(found["rows"]) == 5
    matrix = np.array(found["matrix"], float)
    assert np.array_equal(matrix, correlations["uavid"], equal_nan=True)
