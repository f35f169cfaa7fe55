"""Accuracy, consistency, cost: what is drawn follows from kinds, labels keep apart, costs are those of the models."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from matplotlib.markers import MarkerStyle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from torchvision.models.optical_flow import raft_large

from helpers.tables import row
from sspcore.core.paths import REPOSITORY
from sspcore.models.systems import PAPER_SYSTEMS, SYSTEMS, build
from sspcore.report.cost import with_costs
from sspcore.report.frontier import GROUPS, averaging, curve_names, frontier, image_of, points_of
from sspcore.report.labels import Label, place_labels
from sspcore.report.style import figure
from sspcore.study.cost import Macs, count_macs, stream_macs
from sspcore.study.profiles import load_profile

CURVE = [row(f"Constant alpha {alpha}", "control", 0.6, tc) for alpha, tc in ((0.9, 0.9), (0.3, 0.75), (0.5, 0.8))]


def names(picture) -> list[str]:
    return [text.get_text() for text in picture.axes[0].texts]


def test_the_control_is_a_curve_in_the_order_of_alpha_from_its_image_model():
    kd = [row("KD Base", "image", 0.65, 0.72), row("Constant alpha 0.5 (KD Base)", "control", 0.64, 0.82)]
    rows = [row("Base", "image", 0.6, 0.7), row("SSP", "video", 0.62, 0.85), *CURVE, *kd]
    base, distilled = frontier(rows, "t").axes[0].lines[:2]
    assert base.get_xydata() == pytest.approx(np.array([[70, 60], [75, 60], [80, 60], [90, 60]]))
    assert distilled.get_xydata() == pytest.approx(np.array([[72, 65], [82, 64]]))


def test_without_base_and_with_missing_values_what_is_there_is_drawn():
    systems = [row("TCB_ocr", "video", 0.62, 0.85), row("SSP", "video", None, 0.85)]
    picture = frontier([*systems, *CURVE, row("Constant label", "control", 0.1, 1)], "t")
    assert len(picture.axes[0].lines[0].get_xdata()) == 3
    assert {"TCB_ocr", "Constant label"} <= set(names(picture)) and "SSP" not in names(picture)
    assert averaging("Constant label") is None and averaging("SSP (no interpolation)") is None
    assert names(frontier([row("Base", "image", None, None)], "t")) == []


@pytest.mark.parametrize("size, label", [
    ([736, 1280], "teacher (larger image)"), ([1440, 2560], "teacher, scored at 1440x2560"),
])
def test_the_legend_says_where_a_teacher_was_scored_at_its_own_size(size, label):
    base = row("Base", "image", 0.6, 0.7) | {"scored_size": [736, 1280]}
    rows = [row("Teacher", "image", 0.9, 0.5) | {"scored_size": size}, base]
    labels = [text.get_text() for legend in frontier(rows, "t").legends for text in legend.get_texts()]
    assert [text for text in labels if text.startswith("teacher")] == [label]


def test_several_seeds_become_a_mean_with_bars():
    rows = [row("SSP", "video", miou, tc) for miou, tc in ((0.60, 0.80), (0.66, 0.84), (0.63, 0.85))]
    picture = frontier(rows, "t")
    horizontal, vertical = (lines.get_segments()[0] for lines in picture.axes[0].containers[0].lines[2])
    assert horizontal[:, 0] == pytest.approx([80, 85]) and vertical[:, 1] == pytest.approx([60, 66])
    assert points_of(rows, "tc", "miou")["SSP"].centre == pytest.approx((83, 63))
    assert "mean of 3 seeds" in picture.axes[0].get_title()


def test_areas_are_proportional_to_cost_and_scratch_is_hollow():
    rows = [row("Base", "image", 0.6, 0.7) | {"gmacs": 4.0, "encoder_start": "ImageNet (PyPI)"},
            row("SegFormer-b2", "image", 0.5, 0.6) | {"gmacs": 1.0}]
    full, small = frontier(rows, "t").axes[0].collections
    assert full.get_sizes()[0] == pytest.approx(4 * small.get_sizes()[0])
    assert np.allclose(small.get_facecolor()[0, :3], 1) and not np.allclose(full.get_facecolor()[0, :3], 1)


def test_flow_that_is_not_in_the_area_is_a_plus_after_the_name():
    rows = [row(name, "video", 0.6, tc) | {"gmacs": 1.0, "flow_counted": counted}
            for name, tc, counted in (("DFF", 0.7, False), ("NetWarp", 0.8, True), ("SSP", 0.9, None))]
    for shown, there in ((rows, True), (rows[1:], False)):
        picture = frontier(shown, "t")
        labels = [text.get_text() for legend in picture.legends for text in legend.get_texts()]
        assert any(text.startswith("name+: optical flow") for text in labels) == there
        assert set(names(picture)) == ({"DFF+", "NetWarp", "SSP"} if there else {"NetWarp", "SSP"})


def test_all_markers_of_one_cost_cover_the_same_area():
    """The path that matplotlib draws, worked out corner by corner; a circle is as large as a square."""
    for group in GROUPS.values():
        marker = MarkerStyle(group.marker)
        corners = marker.get_path().transformed(marker.get_transform()).to_polygons()[0]
        x, y = corners[:, 0], corners[:, 1]
        assert abs((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2 == pytest.approx(group.fill, rel=0.02)
        assert np.abs(corners).max() == pytest.approx(group.reach, rel=0.02)


def test_the_image_model_of_every_system():
    assert [image_of(name) for name in ("SSP", "KD-SSP", "TCB_ocr", "KD-SSP-R")] == ["Base", "KD Base", "Base", "KD Base"]
    assert image_of("SegFormer-b2") == "SegFormer-b2" and image_of("Ground truth") is None
    assert image_of("Base (start)") == "Base" and image_of("SSP (untrained image model)") == "Base"
    assert all(image_of(name) in SYSTEMS for name in PAPER_SYSTEMS)
    assert curve_names(["SSP", "Constant alpha 0.9", "Constant alpha 0.3"]) == {
        "Base": ["Constant alpha 0.3", "Constant alpha 0.9"]
    }


def overlaps(a, b) -> bool:
    return a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1


def within(box, frame) -> bool:
    return frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_fourteen_crowded_names_do_not_overlap_and_stay_within_the_axes():
    rng = np.random.default_rng(0)
    spots = [*rng.normal([80, 70], [1.5, 0.7], (8, 2)), *rng.normal([90, 72], [0.7, 0.4], (6, 2)), [60, 40], [95, 50]]
    picture, axes = figure(8.4, 6.2)
    axes.scatter(*np.array(spots).T)
    systems = (*PAPER_SYSTEMS, "SSP-R", "KD-SSP-R")
    labels = [Label(name, *spot, 5.0, size=8.5) for name, spot in zip(systems, spots, strict=False)]
    written = place_labels(axes, [*labels, Label("", *spots[-1], 5.0)])
    picture.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in written]  # without the leader
    assert len(written) == 14
    assert not any(overlaps(a, b) for a, b in itertools.combinations(boxes, 2))
    assert all(within(box, axes.get_window_extent()) for box in boxes)


@pytest.mark.parametrize("dataset", ["uavid", "ruralscapes"])
def test_the_names_of_the_committed_results_keep_apart_and_off_the_rim(dataset):
    """All names of a picture, those of alphas too; what stands side by side has a gap of an en between."""
    results = json.loads((REPOSITORY / "figures" / "tables" / "results.json").read_text(encoding="utf-8"))
    rows = results.get("rows_by_seed", results["rows"])  # as the committed picture is drawn
    picture = frontier([row for row in rows if row["dataset"] == dataset], "t")
    (axes,) = picture.axes
    picture.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    wide = [Bbox.from_extents(box.x0 - 4, box.y0, box.x1 + 4, box.y1) for box in boxes]
    assert len(boxes) >= 20 and {"DFF+", "NetWarp+", "SSP"} <= set(names(picture))
    assert not any(overlaps(a, b) for a, b in itertools.combinations(wide, 2))
    assert all(within(box, axes.get_window_extent()) for box in wide)
    spots = axes.transData.transform([collection.get_offsets()[0] for collection in axes.collections])
    assert not any(box.contains(*spot) for box in boxes for spot in spots)


def test_a_name_far_from_its_point_has_a_line_to_it():
    picture, axes = figure(4, 3)
    ring = [Label("", *spot, 12.0) for spot in np.array([[0.5, 0.5], [0.44, 0.5], [0.56, 0.5], [0.5, 0.58], [0.5, 0.42]])]
    crowd = [Label(f"a long name {k}", 0.5, 0.5, 12.0) for k in range(6)]
    written = place_labels(axes, [*ring, *crowd])
    assert len(written) == 6 and 1 <= len(axes.patches) <= 6


def test_costs_are_those_of_the_profiles_models_and_rows_name_their_data():
    profile = load_profile("smoke")
    rows = [{"system": name, "dataset": "uavid"} for name in ("Base", "DFF", "KD Base", "Constant alpha 0.5")]
    rows.append({"system": "SSP", "dataset": "uavid", "gmacs": 7.0})
    found = with_costs({"provenance": {"data": "rendered data, not the real data set"}, "rows": rows}, profile)["rows"]
    base = stream_macs(build("Base", 8, profile, load_weights=False).eval().to("meta"), profile.input_size, Macs())
    assert found[0]["gmacs"] == found[2]["gmacs"] == pytest.approx(base.linear, abs=1e-4)
    assert found[1]["flow_counted"] is False and found[0]["flow_counted"] is None and found[1]["gmacs"] < base.linear
    assert found[3]["gmacs"] == pytest.approx(base.linear, rel=0.01) and found[4]["gmacs"] == 7.0
    assert {entry["data"] for entry in found} == {"rendered data, not the real data set"} and "gmacs" not in rows[0]


def test_a_flow_that_a_system_holds_is_in_its_cost():
    profile = load_profile("smoke", {"train_flow": True})
    rows = [{"system": name, "dataset": "uavid"} for name in ("Base", "DFF")]
    base, dff = with_costs({"provenance": {"data": "rendered data"}, "rows": rows}, profile)["rows"]
    raft = raft_large(weights=None).eval().to("meta")
    frame = torch.empty(1, 3, 128, 160, device="meta")  # 96 lines are padded to 128
    flow = count_macs(lambda: raft(frame, frame, num_flow_updates=8)).total
    assert dff["flow_counted"] is True
    assert dff["gmacs"] == pytest.approx((base["gmacs"] + 7 * flow) / 8, rel=0.01)
    assert dff["gmacs_with_attention"] == pytest.approx(dff["gmacs"], abs=1e-3)  # correlation is no attention
