"""Controls, ceilings and the matrix of metrics, on a tiny rendered release with label maps written by hand (no training)."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from helpers.studies import DATASET, TINY, write_predictions
from sspcore.core.errors import ArtefactError
from sspcore.core.files import write_json
from sspcore.core.images import write_image
from sspcore.data.clips import class_shares
from sspcore.data.truth import exact_labels, exact_motion
from sspcore.evaluation.clips import score
from sspcore.evaluation.controls import CARRIED, CONSTANT, HELD
from sspcore.evaluation.folders import find_clips, score_folders
from sspcore.metrics import METRICS, FrameRecord, MetricSuite
from sspcore.motion.cache import FlowStore
from sspcore.motion.flow import build_flow
from sspcore.study import Study
from sspcore.study import measures as measure
from sspcore.study.measures import TRUTH, metric_matrix


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    made = Study.open("smoke", root=tmp_path_factory.mktemp("measure"), overrides=TINY)
    write_predictions(made, "Base", 0.2)
    write_predictions(made, "SSP", 0.1)
    return made


@pytest.fixture(scope="module")
def rows(study) -> dict[str, dict]:
    names = ["Base", "SSP", *measure.controls(study, DATASET, ["Base", "SSP"])]
    return {row["system"]: row for row in metric_matrix(study, names, DATASET, "exact")}


def test_systems_are_found_where_their_scores_fit_this_study(study):
    assert measure.evaluated_systems(study, DATASET) == ["Base", "SSP"]
    stale = Study.open("smoke", root=study.workspace.root, overrides=TINY, seed=1)
    assert measure.evaluated_systems(stale, DATASET) == []
    write_predictions(stale, "Base", 0.2, key="of-another-time")
    assert measure.evaluated_systems(stale, DATASET) == []
    for name in ("Constant alpha 0.5 (KD Base)", "Constant alpha 0.5", "Constant alpha 0.3", "Base (start)", "KD Base"):
        write_predictions(stale, name, 0.2)
    assert measure.evaluated_systems(stale, DATASET) == [
        "KD Base", "Constant alpha 0.3", "Constant alpha 0.5", "Constant alpha 0.5 (KD Base)"
    ]


def test_estimators_and_controls(study, monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "RAFT_WEIGHTS", tmp_path / "raft.pth")
    assert measure.estimators(study, DATASET) == ["exact", "dis-fast", "dis-medium"]
    (tmp_path / "raft.pth").touch()
    assert measure.estimators(study, DATASET)[-1] == "raft-20"
    assert measure.controls(study, DATASET, ["Base"]) == [CONSTANT, HELD, CARRIED, TRUTH]
    assert measure.controls(study, DATASET, ["SSP"]) == [CONSTANT, TRUTH]


def test_rows_hold_all_metrics_and_rank_what_they_should(rows, study):
    assert [row["kind"] for row in rows.values()] == ["image", "video", "control", "control", "control", "truth"]
    for row in rows.values():
        assert set(METRICS) <= set(row) and row["vc8"] is not None and row["vc16"] is None
    for metric in ("miou", "tc", "vc8", "vote5", "boundary_iou"):
        assert rows["SSP"][metric] > rows["Base"][metric]
    assert rows["SSP"]["flicker"] < rows["Base"]["flicker"]


def test_the_constant_label_is_perfectly_consistent_and_wrong(rows, study):
    for metric in ("tc", "tc_pooled", "tc_masked", "vote5"):
        assert rows[CONSTANT][metric] == 1
    assert rows[CONSTANT]["flicker"] == 0 and rows[CONSTANT]["miou_moving"] == 0
    shares = class_shares(study.clips(DATASET, "train"), study.spec(DATASET), study.profile.input_size)
    clip = study.clips(DATASET, "val")[0]
    used = next(measure._label_maps(study, CONSTANT, DATASET)(clip))
    assert np.unique(used).tolist() == [study.spec(DATASET).id_of(max(shares, key=shares.get))]


def test_a_carried_memory_is_more_consistent_than_the_truth(rows):
    assert rows[TRUTH]["miou"] == rows[TRUTH]["vc8"] == rows[TRUTH]["boundary_iou"] == 1
    assert rows[TRUTH]["tc"] < rows[CARRIED]["tc"] and rows[CARRIED]["tc"] > 0.97
    assert rows[HELD]["tc"] < rows[CARRIED]["tc"] and rows[HELD]["miou"] < rows["Base"]["miou"]


def test_ceilings_are_the_truth_scored_by_hand(study, rows):
    truth, size = study.truth_root(DATASET), study.profile.input_size
    names = ("tc", "tc_masked", "flicker")
    suite = MetricSuite(8, names)
    for clip in study.clips(DATASET, "val"):
        suite.start_clip()
        for k in range(len(clip)):
            there, hidden = exact_motion(truth, clip, k, k + 1, size) if k + 1 < len(clip) else (None, None)
            back = exact_motion(truth, clip, k, k - 1, size)[0] if k else None
            suite.update(FrameRecord(exact_labels(truth, clip, k, size), None, there, back, hidden))
    ceiling = measure.ceilings(study, DATASET, ["exact", "dis-fast"])
    assert len(study.clips(DATASET, "val")) == 2
    assert {name: ceiling["exact"][name] for name in names} == pytest.approx(suite.compute())
    assert ceiling["exact"]["tc_masked"] > ceiling["exact"]["tc"] != ceiling["dis-fast"]["tc"]


def test_real_data_has_no_ceilings():
    with pytest.raises(ArtefactError, match="uavid: real data has no dense truth"):
        measure.ceilings(SimpleNamespace(truth_root=lambda dataset: None), DATASET, ["dis-fast"])


def test_agrees_with_the_results_table_under_the_same_flow(study):
    row = metric_matrix(study, ["SSP"], DATASET, "dis-fast")[0]
    predictions, size = study.predict("SSP", DATASET), study.profile.input_size
    flows = study.flows(DATASET, "dis-fast")
    suite = score(study.clips(DATASET, "val"), predictions, study.spec(DATASET), flows, size, ("tc", "tc_reference"))
    assert suite.compute() == pytest.approx({name: row[name] for name in ("tc", "tc_reference")})


def test_agrees_with_folders_scored_from_outside(study, tmp_path):
    size, truth = study.profile.input_size, study.truth_root(DATASET)
    for clip in study.clips(DATASET, "val"):
        for kind in ("frames", "labels"):
            (tmp_path / kind / clip.name).mkdir(parents=True)
        for k, number in enumerate(clip.numbers):
            write_image(tmp_path / "frames" / clip.name / f"{number:06d}.png", clip.frame(k, size))
            write_image(tmp_path / "labels" / clip.name / f"{number:06d}.png", exact_labels(truth, clip, k, size))
    clips = find_clips(study.predict("SSP", DATASET), tmp_path / "frames", tmp_path / "labels")
    spec = study.spec(DATASET)
    scores = score_folders(clips, spec.n_classes, FlowStore(tmp_path / "cache", build_flow("dis-fast"), None), spec.moving_ids)
    row = metric_matrix(study, ["SSP"], DATASET, "dis-fast")[0]
    assert scores["metrics"] == {metric: row[metric] for metric in METRICS}


def test_rows_are_kept_and_made_anew_when_predictions_change(study, rows, monkeypatch):
    scored = []
    original = measure.score_all
    monkeypatch.setattr(measure, "score_all", lambda c, maps, *rest: scored.append(list(maps)) or original(c, maps, *rest))
    again = metric_matrix(study, ["SSP", TRUTH], DATASET, "exact")
    assert scored == [] and again == [rows["SSP"], rows[TRUTH]]
    path = study.predict("SSP", DATASET) / "key.json"
    before = path.read_text()
    write_json(path, {"key": "another"})
    metric_matrix(study, ["SSP", TRUTH], DATASET, "exact")
    assert scored[-1] == ["SSP"]
    path.write_text(before)
    stored = study.workspace.base / "metrics" / DATASET / f"seed{study.seed}" / "exact" / "ssp.json"
    metric_matrix(study, ["SSP"], DATASET, "exact")
    whole = stored.read_text()
    for damaged in (whole.replace('"tc": 0.', '"tc": 0.1'), whole[:50], "", "[]"):
        assert damaged != whole
        stored.write_text(damaged)
        assert metric_matrix(study, ["SSP"], DATASET, "exact") == [rows["SSP"]]
        assert scored[-1] == ["SSP"] and stored.read_text() == whole
    forced = Study.open("smoke", root=study.workspace.root, overrides=TINY, force=("evaluate",))
    metric_matrix(forced, [TRUTH], DATASET, "exact")
    assert scored[-1] == [TRUTH]
