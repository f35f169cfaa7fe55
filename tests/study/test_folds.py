"""What `benchmarks/folds.py` compares, and what it works out of rows made by hand."""

from __future__ import annotations

import pytest

from benchmarks import folds
from sspcore.study import Study
from sspcore.study.keys import Keys


def row(variant: str, fold: int, miou: float, moving: float | None, tc: float, system: str = "KD Base", **changes) -> dict:
    fields = {"variant": variant, "fold": fold, "system": system, "changes": changes, "dataset": "uavid"}
    return fields | {"miou": miou, "miou_moving": moving, "tc": tc, "above_curve": None}


ROWS = [
    row("Base", 0, 0.5, 0.7, 0.6, "Base"), row("KD Base", 0, 0.6, 0.4, 0.7), row("temperature 2", 0, 0.5, 0.5, 0.7),
    row("labels of the truth", 0, 0.9, 0.9, 0.9, distil_from="truth"),
    row("Base", 1, 0.5, 0.7, 0.6, "Base"), row("KD Base", 1, 0.6, 0.6, 0.7), row("temperature 2", 1, 0.7, 0.52, 0.8),
    row("labels of the truth", 1, 0.9, 0.9, 0.9, distil_from="truth"),
]


@pytest.mark.parametrize("name, profile, dataset", [
    *((name, "demo", "uavid") for name in folds.SETS), ("kd-moving", "paper", "ruralscapes"),
])
def test_each_variant_is_another_training_of_the_same_fold(name, profile, dataset, monkeypatch, tmp_path):
    monkeypatch.setattr(Keys, "clips", lambda self, dataset: f"clips of {dataset}")
    data = tmp_path if profile == "paper" else None
    study, comparison = Study.open(profile, data=data, root=tmp_path, overrides={"held_out": 1}), folds.SETS[name]
    variants = comparison.variants(study, dataset)
    keys = {each.name: study.changed(each.overrides).train_key(each.system, dataset) for each in variants}
    assert len({*keys.values()}) == len(variants) == len(keys)
    assert not next(each for each in variants if each.name == comparison.compared_with).overrides
    for each in variants:  # one change, or as many as the name says
        assert len({key.rpartition(".")[2] for key in each.overrides} - {"schedule_epochs"}) <= 1 + each.name.count(",")
    other = study.changed({"held_out_fold": 1})
    assert all(other.changed(each.overrides).train_key(each.system, dataset) != keys[each.name] for each in variants)
    for each in (each for each in variants if "twice the steps" in each.name):
        recipe = "kd_image" if name == "kd-moving" else "kd_video"
        before, after = (which.profile.recipe(recipe, dataset) for which in (study, study.changed(each.overrides)))
        assert (after.epochs, after.schedule_epochs) == (2 * before.epochs, 2 * before.schedule_epochs)
    assert ("labels of the truth" in keys) == (profile == "demo" and name == "kd-moving")


def test_folds_are_paired_and_the_choice_looks_at_the_compared_system_alone():
    lines = {line["variant"]: line for line in folds.summary(ROWS, "KD Base")}
    assert lines["temperature 2"]["miou"] == pytest.approx(0.6) and lines["temperature 2"]["miou_better"] == 1
    assert lines["temperature 2"]["miou_moving_better"] == 1 and lines["KD Base"]["tc_better"] == 0
    assert folds.chosen(ROWS, folds.SETS["kd-moving"]) == "temperature 2", "Base and the truth score higher"


def test_height_above_the_curve_is_that_of_video_systems_and_needs_constants():
    rows = [row("Base", 0, 0.6, None, 0.7, "Base"), row("Constant alpha 0.5", 0, 0.5, None, 0.9, "Constant alpha 0.5"),
            row("rate 8", 0, 0.58, None, 0.8, "SSP")]
    assert [folds.height(each, rows) for each in rows] == [None, None, pytest.approx(0.03)]
    assert folds.height(rows[2], [rows[0], rows[2]]) is None
    assert folds.height(rows[2] | {"tc": None}, rows) is None, "of stills there is no TC"


def test_what_is_printed_names_data_set_and_choice():
    labels = [{"dataset": "uavid", "fold": 0, "labels": "unfused", "miou": 0.5, "miou_moving": None}]
    content = {"summary": folds.summary(ROWS, "KD Base"), "labels": labels, "chosen": "temperature 2"}
    text = folds.tables(content, folds.SETS["kd-moving"])
    assert "60.00%" in text and "50.00%       -" in text and text.endswith("chosen by miou_moving: temperature 2")
