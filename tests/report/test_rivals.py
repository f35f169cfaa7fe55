"""The comparison with what steadies without learning: distances to the curve, sentences and picture, on rows made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sspcore.report.rivals import comparison, discussion, frontier_of_all, rows_of


def row(system: str, kind: str, miou: float | None, tc: float, moving: float | None, network: float, motion: float) -> dict:
    return {
        "system": system, "kind": kind, "dataset": "uavid", "seed": 0, "miou": miou, "miou_moving": moving, "tc": tc,
        "tc_exact_flow": tc, "flicker": 0.02, "lag": None, "network_ms": network, "motion_ms": motion,
    }


REPORT = {"rows": [
    row("Base", "image", 0.70, 0.80, 0.60, 10, 0),
    row("Constant alpha 0.5", "control", 0.72, 0.86, 0.58, 11, 4),
    row("Constant alpha 0.9", "control", 0.66, 0.90, 0.40, 11, 4),
    row("Majority vote 5", "control", 0.71, 0.88, 0.55, 13, 4),
    row("Flow average 0.7", "control", 0.70, 0.89, 0.61, 12, 30),
    row("One-euro filter 0.9", "control", None, 0.89, None, 14, 4),
    row("SSP", "video", 0.71, 0.88, 0.59, 12, 4),
    row("SSP-R", "video", 0.72, 0.91, 0.60, 12, 4),
    row("Base", "image", 0.5, 0.5, 0.5, 1, 1) | {"dataset": "ruralscapes"},
]}
ROWS = rows_of(REPORT, "uavid")


def test_distances_to_the_curve_are_those_of_a_straight_line() -> None:
    found = {each["system"]: (each["above_curve"], each["above_curve_end"]) for each in ROWS}
    assert len(found) == 8 and found["Base"] == found["Constant alpha 0.9"] == found["One-euro filter 0.9"] == (None, "")
    at_88 = np.interp(88, [80, 86, 90], [70, 72, 66])
    assert found["Majority vote 5"][0] == found["SSP"][0] == pytest.approx(71 - at_88)
    assert found["SSP-R"] == (pytest.approx(6), "beyond")  # the curve ends at 0.90
    assert all(each["above_curve"] is None for each in rows_of(REPORT, "ruralscapes"))


def test_the_table_is_in_percent_and_says_where_the_curve_ends() -> None:
    shown = comparison(ROWS)["SSP-R"]
    assert shown["mIoU (%)"] == 72 and shown["TC (%)"] == 91 and shown["lag (frames)"] is None
    assert shown["curve"] == "beyond" and shown["network (ms)"] == 12 and shown["motion (ms)"] == 4


def test_the_sentences_follow_from_the_rows() -> None:
    front, ssp, recurrent, curve, moving, cost, seeds = discussion(ROWS).splitlines()
    # what SSP-R does not beat: only Constant alpha 0.5 has as much mIoU, with less TC
    assert front.endswith(": SSP-R.")
    assert ssp == "* **SSP**: as much mIoU and TC, and more of one, without learning: none."
    assert recurrent.startswith("* **SSP-R**: ") and recurrent.endswith(": none.")
    assert curve.endswith("the best rival first: Flow average 0.7 +2.5, SSP +2.0, SSP-R +6.0 (beyond the curve).")
    assert moving.startswith("* **Moving classes**, no worse than Base: Flow average 0.7, SSP-R (of Majority vote 5, ")
    assert "Base 10.0 ms, Constant alpha 0.5 15.0 ms (the least of the others), SSP 16.0 ms, SSP-R 16.0 ms" in cost
    assert cost.endswith("Flow average 0.7 42.0 ms (the most).")
    assert "One training seed" in seeds


def test_a_rival_that_does_better_is_named_and_nothing_is_said_of_nothing() -> None:
    worse = [each | {"miou": 0.69} if each["system"] == "SSP" else each for each in ROWS]
    said = discussion(worse)
    assert "**SSP**: as much mIoU and TC, and more of one, without learning: Majority vote 5, Flow average 0.7." in said
    assert discussion([]) == "" and len(frontier_of_all([], "t").axes) == 1


def test_the_picture_has_a_panel_of_all_classes_and_one_of_moving_ones() -> None:
    drawn = frontier_of_all(ROWS, "UAVid")
    panels = [axes for axes in drawn.axes if axes.get_xlabel()]
    assert [axes.get_title() for axes in panels] == ["all classes", "moving classes"]
    names = [{text.get_text() for text in axes.texts} for axes in panels]
    assert {"Majority vote 5", "Flow average 0.7", "SSP", "SSP-R", r"$\alpha$=0.9"} <= names[0] == names[1]
    assert "One-euro filter 0.9" not in names[0]
