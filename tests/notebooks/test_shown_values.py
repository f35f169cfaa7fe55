"""What the executed notebooks show holds together: values are read from their outputs, which nbval has just made.

In a smoke run nothing is learned, so relations are asked for that hold by construction, or on the packaged sample.
"""

from __future__ import annotations

import re

import pytest

from helpers.shown import number, tables_of, text_of

pytestmark = pytest.mark.xdist_group("notebooks")  # in the process that runs them, after them


def test_on_the_sample_ssp_is_steadier_than_its_own_image_model_and_no_less_accurate():
    (table,) = tables_of("00-07")
    alone, ssp = table["image model alone"], table["SSP"]
    assert number(ssp["TC (%)"]) > number(alone["TC (%)"]) + 5
    assert number(ssp["labels changed (%)"]) < number(alone["labels changed (%)"]) / 2
    assert number(ssp["mIoU (%)"]) > number(alone["mIoU (%)"]) - 2


def test_prepared_clips_are_whole_and_some_frames_are_labelled():
    (rules,), (clips,) = tables_of("01-06"), tables_of("01-07")
    for name, row in clips.items():
        dataset = name.split(",")[0]
        frames, labelled, count = (int(row[key]) for key in ("frames", "labelled frames", "clips"))
        assert 0 < labelled < frames <= count * int(rules["clip_length"][dataset])
        assert frames >= count * int(rules["min_clip_length"][dataset]) and count >= int(row["sequences"])


def test_flow_explains_more_than_a_homography_and_that_more_than_no_warp():
    left = dict(re.findall(r"^([\w ]+): ([\d.]+) grey levels", text_of("02-15"), re.MULTILINE))
    assert float(left["flow"]) < float(left["homography"]) < float(left["no warp"])
    (apart,) = tables_of("02-17")  # by class, how far the two warps lie apart
    assert max(apart, key=lambda name: number(apart[name]["apart (px)"])) == "vehicle"
    (matchers,), (errors,) = tables_of("02-21"), tables_of("02-23")
    for row in matchers.values():
        assert 0 < int(row["inliers"]) <= int(row["matches"]) and number(row["left (grey levels)"]) < float(left["no warp"])
    for row in errors.values():
        assert number(row["flow error (px)"]) < 1 and 0 <= int(row["failed"]) <= int(row["registrations"])


def test_averaging_alone_buys_consistency_and_the_references_warp_takes_some():
    tables = tables_of("07-13")
    assert len(tables) == 2
    for table in tables:
        tc = {name: number(row["TC (%)"]) for name, row in table.items()}
        assert tc["Constant alpha 0.5"] > tc["Base"] + 5 and tc["SSP"] > tc["Base"]
        for row in table.values():
            assert number(row["TC, reference's warp (%)"]) < number(row["TC (%)"])
            assert abs(number(row["TC, exact flow (%)"]) - number(row["TC (%)"])) < 3


def test_only_the_wrong_sampling_mode_drifts():
    (table,) = tables_of("10-21")
    share = {name: number(row["in the worst frame (%)"]) for name, row in table.items()}
    assert min(share["shifting camera"], share["turning camera"]) > 99 > share["turning, sampled nearest"]
    logits = {name: number(row["largest difference of logits"]) for name, row in table.items()}
    assert logits["turning, sampled nearest"] > 100 * logits["turning camera"]


def test_newer_releases_of_tensorrt_take_the_exported_graph():
    found = dict(re.findall(r"^(trt-[\d.]+) .*?: (\d+) problems", text_of("10-06"), re.MULTILINE))
    assert found["trt-10.3"] == found["trt-10.16"] == "0" and int(found["trt-8.6"]) >= 1


def test_the_truth_is_fully_accurate_and_not_fully_consistent():
    for table in tables_of("11-06"):
        for row in table.values():
            assert number(row["miou"]) == 100 and number(row["miou_moving"]) == 100
            assert 50 < number(row["tc"]) <= 100
