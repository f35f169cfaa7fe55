"""What the executed notebooks show holds together: values are read from their outputs, which nbval has just made.

In a smoke run nothing is learned, so relations are asked for that hold by construction, or on the packaged sample.
"""

from __future__ import annotations

import re

import pytest

from helpers.shown import markdown_tables_of, number, tables_of, text_of
from sspcore.report.sample import open_sample
from sspcore.report.tables import SHIPPED

pytestmark = pytest.mark.xdist_group("notebooks")  # in the process that runs them, after them
DATASETS = ("uavid", "ruralscapes")


def scores_of(row: dict[str, str]) -> list[float]:
    """mIoU and TC of a table's row, in percent."""
    return [number(row[f"{key} (%)"] if f"{key} (%)" in row else row[key]) for key in ("mIoU", "TC")]


def test_on_the_sample_ssp_is_steadier_than_its_own_image_model_and_both_score_as_when_it_was_packed():
    (table,) = tables_of("00-07")
    alone, ssp = table["image model alone"], table["SSP"]
    assert number(ssp["TC (%)"]) > number(alone["TC (%)"]) + 5
    assert number(ssp["labels changed (%)"]) < number(alone["labels changed (%)"]) / 2
    for name, scores in open_sample().manifest["scores_on_the_clip"].items():
        assert scores_of(table[name]) == pytest.approx([100 * scores["miou"], 100 * scores["tc"]], abs=0.06)


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
        assert number(row["flow error (px)"]) < 1 and 0 <= int(row["failed"]) < int(row["pairs"]) / 2


def test_the_loss_by_hand_is_the_librarys_and_the_past_makes_it_smaller():
    terms = re.findall(r"^.+: CE ([\d.]+), L_tc ([\d.]+), .* = ([\d.]+)$", text_of("03-14"), re.MULTILINE)
    alone, ssp = ([float(term) for term in line] for line in terms)  # image model alone, SSP
    assert ssp[1] < alone[1] / 2 and ssp[2] < alone[2]  # L_tc, and the whole
    library = [float(value) for value in re.findall(r"\d\.\d+", text_of("03-16"))]
    assert library == pytest.approx(ssp, abs=0.006)  # L_tc is printed with two digits
    right = [float(share) for share in re.findall(r"right labels ([\d.]+)", text_of("03-27"))]
    assert right == sorted(right, reverse=True) and right[0] > right[-1]  # the further off the past, the fewer


def test_what_ssp_and_base_start_from_is_trained_like_them():
    (recipes,) = tables_of("03-18")
    assert recipes["Base (start)"] == recipes["Base"] and {"epochs", "lr", "batch_size"} <= recipes["Base"].keys()
    (row,) = {tuple(recipes[name][key] for key in ("epochs", "lr", "batch_size")) for name in ("Base", "SSP")}
    assert all(map(float, row))


def test_fused_labels_are_steadier_and_the_better_reading_of_the_mask_is_in_use():
    (scores,), (quality,) = tables_of("04-17"), tables_of("04-19")
    for row in scores.values():
        f1 = {}
        for reading in ("followed", "same-pixel"):
            precision, recall, f1[reading] = (number(row[f"{reading}: {key} (%)"]) for key in ("precision", "recall", "F1"))
            assert f1[reading] == pytest.approx(2 * precision * recall / (precision + recall), abs=0.2)
        assert f1["followed"] > f1["same-pixel"]
    assert text_of("04-17").count("larger F1: followed; in use: followed") == len(scores) == 2
    for name, row in quality.items():
        if name.endswith(", fused"):
            assert number(row["TC (%)"]) > number(quality[name.replace(", fused", ", unfused")]["TC (%)"]) + 5
    unfused, fused = (float(share) for share in re.findall(r"^\w+: ([\d.]+) %", text_of("05-16"), re.MULTILINE))
    assert fused < unfused / 2  # at full size, as chapter 04 counts


def test_distillation_brings_the_student_nearer_to_its_teacher():
    far, near = (re.findall(r"[\d.]+(?= at)", line) for line in text_of("05-20").splitlines())
    assert len(far) == len(near) == 2 and all(float(kd) < float(base) for kd, base in zip(near, far, strict=True))


def test_differences_in_words_are_those_of_the_scores():
    (words,) = tables_of("05-29")
    scores = dict(zip(map(SHIPPED.get, DATASETS), tables_of("05-22"), strict=True))
    assert len(words) == 8
    for name, row in words.items():
        pair, dataset = name.rsplit(", ", 1)
        new, old = (scores_of(scores[dataset][system]) for system in pair.split(" against "))
        told = [number(row[score].partition(":")[0]) for score in ("mIoU", "TC")]
        assert told == pytest.approx([a - b for a, b in zip(new, old, strict=True)], abs=0.11), name


def test_ssp_costs_little_above_base_and_as_much_as_is_printed():
    (costs,), (above,) = tables_of("06-15"), tables_of("12-04")
    for row in costs.values():
        assert number(row["parameters (M)"]) == pytest.approx(number(row["published (M)"]), abs=0.011)
        assert number(row["multiply-adds (G)"]) == pytest.approx(number(row["published (G)"]), rel=0.005)
    for column in ("parameters (M)", "multiply-adds (G)"):
        shown = column.replace("(", "above Base (")
        base, ssp = number(costs["Base"][column]), number(costs["SSP"][column])
        assert ssp - base == pytest.approx(number(above["SSP"][shown]), abs=0.06) and base < ssp < 1.05 * base
        assert 0 == number(above["Base"][shown]) < number(above["SSP"][shown]) < number(above["SSP-R"][shown])


def test_averaging_alone_buys_consistency_and_the_references_warp_takes_some():
    tables = tables_of("07-13")
    assert len(tables) == 2
    for table in tables:
        tc = {name: number(row["TC (%)"]) for name, row in table.items()}
        assert tc["Constant alpha 0.5"] > tc["Base"] + 5 and tc["SSP"] > tc["Base"]
        for row in table.values():
            assert number(row["TC, reference's warp (%)"]) < number(row["TC (%)"])
            assert abs(number(row["TC, exact flow (%)"]) - number(row["TC (%)"])) < 3


def test_tables_of_all_chapters_agree_on_a_system():
    seen: dict[tuple[str, str], list[list[float]]] = {}
    shown = tables_of("05-22"), tables_of("06-13"), markdown_tables_of("08-04"), markdown_tables_of("09-07")
    by_data = [[table for table in tables if {"Steps", "training steps"} & {*table.get("Base", ())}] for tables in shown]
    titles = [SHIPPED[dataset] for dataset in DATASETS]
    for dataset, tables in zip(titles, zip(*by_data, strict=True), strict=True):
        for name, row in (entry for table in tables for entry in table.items()):
            seen.setdefault((name, dataset), []).append(scores_of(row))
    for name, row in (entry for cell in ("12-06", "12-24") for entry in tables_of(cell)[0].items()):
        seen.setdefault(tuple(name.rsplit(", ", 1)), []).append(scores_of(row))
    assert min(len(seen[name, dataset]) for name in ("Base", "SSP") for dataset in titles) == 6
    for name, scores in seen.items():
        assert all(each == pytest.approx(scores[0], abs=0.11) for each in scores), name


def test_pictures_of_a_smoke_run_are_drawn_and_called_no_result():
    (origin,) = tables_of("08-12")
    assert origin["profile"]["value"] == "smoke" and origin["data"]["value"].endswith("smoke run: no result")
    errors = re.fullmatch(r"UAVid (\d+\.\d\d) px, RuralScapes (\d+\.\d\d) px", origin["metric_flow_epe_px"]["value"])
    assert errors and errors[0] in text_of("07-13") and "{" not in origin["versions"]["value"]
    drawn = set(re.findall(r"^(\w+)_\w+\.png$", text_of("08-06"), re.MULTILINE))
    assert {name.split("_")[0] for name in drawn} == set(DATASETS)


def test_differences_of_the_ablations_are_those_of_their_scores():
    for table in markdown_tables_of("09-07") + markdown_tables_of("12-16"):
        method = table["SSP-R" if "SSP-R" in table else "SSP"]
        changed = {name: row for name, row in table.items() if row["Δ mIoU"] != "–"}
        assert len(changed) in (1, 5)
        for name, row in changed.items():
            for column in ("mIoU", "TC", "mIoU moving"):
                expected = number(row[column]) - number(method[column])
                assert number(row[f"Δ {column}"]) == pytest.approx(expected, abs=0.011), (name, column)


def test_only_the_wrong_sampling_mode_drifts():
    (table,) = tables_of("10-21")
    share = {name: number(row["in the worst frame (%)"]) for name, row in table.items()}
    assert min(share["shifting camera"], share["turning camera"]) > 99 > share["turning, sampled nearest"]
    logits = {name: number(row["largest difference of logits"]) for name, row in table.items()}
    assert logits["turning, sampled nearest"] > 100 * logits["turning camera"]


def test_newer_releases_of_tensorrt_take_the_exported_graph():
    found = dict(re.findall(r"^(trt-[\d.]+) .*?: (.*)$", text_of("10-06"), re.MULTILINE))
    assert found["trt-10.3"] == found["trt-10.16"] == "no problem" and found["trt-8.6"].startswith("graph: opset 18")


def test_the_truth_is_fully_accurate_and_not_fully_consistent():
    for table in tables_of("11-06"):
        for row in table.values():
            assert number(row["miou"]) == 100 and number(row["miou_moving"]) == 100
            assert 50 < number(row["tc"]) <= 100


def test_beyond_the_paper_the_curve_ends_where_its_constants_do():
    (scores,), (above,) = tables_of("12-06"), tables_of("12-10")
    for name, row in above.items():
        dataset = name.rsplit(", ", 1)[1]
        low, high = (number(scores[f"{end}, {dataset}"]["TC (%)"]) for end in ("Base", "Constant alpha 0.5"))
        tc = number(scores[name]["TC (%)"])
        assert row["ends"] == ("below" if tc < low else "beyond" if tc > high else ""), name
    for row in tables_of("12-12")[0].values():
        assert all(0 < number(alpha) < 1 for alpha in row.values() if alpha != "–")
    for table in tables_of("12-18"):
        differences = [number(row["difference (points)"]) for row in table.values()]
        assert differences == sorted(differences)
    for name, row in tables_of("12-20")[0].items():
        share = number(row["by flow (%)"])
        assert 0 <= share <= 100 and share == {"homography": 0, "flow": 100}.get(name.split(", ")[0], share), name


def test_on_your_own_flight_the_past_makes_steadier():
    (scores,) = tables_of("13-21")
    tc = {name: number(row["TC (%)"]) for name, row in scores.items()}
    assert tc["KD-SSP"] > tc["KD Base"] + 3 and tc["Constant alpha 0.5"] > tc["Base"] + 3
    failed = [row["registration failed (%)"] for row in scores.values()]
    assert failed.count("–") == 3 and all(0 <= number(share) < 50 for share in failed if share != "–")  # three without a past
    assert 0 < float(re.search(r"mean alpha ([\d.]+)", text_of("13-15"))[1]) < 1
