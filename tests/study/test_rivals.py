"""What is compared, and what is counted along the flow: on a stub of a study and frames made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sspcore.core.errors import SspError
from sspcore.data.datasets import UAVID
from sspcore.models.controls import RIVALS
from sspcore.study import rivals

SIZE, ROAD, CAR = (8, 12), 1, UAVID.moving_ids[-1]
FRAMES = 4


def labels_at(position: int, late: int = 0) -> np.ndarray:
    """A car that drives into view from the left in frame 1, by two columns a frame; `late`: predicted so much later."""
    labels = np.full(SIZE, ROAD, np.uint8)
    labels[3:6, : 2 * max(0, position - late)] = CAR
    return labels


@pytest.fixture
def study(monkeypatch):
    clip = SimpleNamespace(name="seq16_000")
    still = np.zeros((2, *SIZE), np.float32)

    def knowledge(clip, size, flows, truth):
        for k in range(FRAMES):
            yield {"target": labels_at(k)} | {
                name: still for name, there in (("flow_to_next", k + 1 < FRAMES), ("flow_to_previous", k > 0)) if there
            }

    maps = {
        "Base": [np.full(SIZE, ROAD + k % 2, np.uint8) for k in range(FRAMES)],  # another class in every second frame
        "SSP": [labels_at(k) for k in range(FRAMES)], "Majority vote 5": [labels_at(k, 2) for k in range(FRAMES)],
    }
    monkeypatch.setattr(rivals, "knowledge", knowledge)
    trained = {"Base", "SSP"}
    monkeypatch.setattr(
        rivals.places, "training", lambda study, name, dataset: SimpleNamespace(is_made=lambda: name in trained)
    )
    return SimpleNamespace(
        profile=SimpleNamespace(name="smoke", input_size=SIZE, metric_flow="dis-fast"), trained=trained, seed=3,
        spec=lambda dataset: UAVID, truth_root=lambda dataset: "truth", clips=lambda dataset, split: [clip],
        label_maps=lambda name, dataset, clip: maps[name], controls=lambda: ["Constant alpha 0.5"],
        titles=lambda datasets: {"uavid": "UAVid"}, origin=lambda datasets: {"commit": "c"},
    )


def test_what_is_trained_is_compared_and_nothing_is_trained(study) -> None:
    names = ["Base", "Constant alpha 0.5", *RIVALS, "SSP", "SSP (gate at inference)"]  # the last streams SSP's weights
    assert rivals.compared(study, "uavid") == names
    study.trained |= {"SSP-R", "SSP (gate)"}
    assert rivals.compared(study, "uavid") == [*names[:-1], "SSP (gate)", names[-1], "SSP-R"]
    study.trained -= {"Base"}
    with pytest.raises(SspError, match="UAVid: Base is not trained under profile smoke; run it first"):
        rivals.compared(study, "uavid")


def test_flicker_and_lag_are_counted_along_the_flow(study) -> None:
    found = rivals.along_flow(study, "uavid", ["Base", "SSP", "Majority vote 5"])
    assert found["Base"]["flicker"] == 1 and found["SSP"]["flicker"] == 0
    assert found["SSP"]["lag"] == 0 and found["Majority vote 5"]["lag"] > 0
    study.truth_root, study.flows = (lambda dataset: None), (lambda dataset, estimator: None)
    assert rivals.along_flow(study, "uavid", ["SSP"]) == {"SSP": {"flicker": 0, "lag": None}}


def test_a_report_has_a_row_of_each_system_with_its_times(study, monkeypatch) -> None:
    names = ["Base", "SSP"]
    monkeypatch.setattr(rivals, "compared", lambda study, dataset: names)
    scores = dict.fromkeys(rivals.SCORES, 0.5) | {"per_class_iou": {}}
    study.evaluate_all = lambda asked, datasets: [{"system": name, "kind": "image"} | scores for name in asked]
    monkeypatch.setattr(rivals, "frame_times", lambda study, dataset, asked, frames, of: {
        name: {"network (ms)": of([9.0, 1.0, 2.0]), "motion (ms)": 0.504} for name in asked
    })
    report = rivals.measure(study, ["uavid"])
    assert [row["system"] for row in report["rows"]] == names and report["provenance"] == {"commit": "c"}
    assert report["rows"][1] == {
        "system": "SSP", "kind": "image", "dataset": "uavid", "seed": 3, "miou": 0.5, "miou_moving": 0.5, "tc": 0.5,
        "tc_exact_flow": 0.5, "flicker": 0.0, "lag": 0.0, "network_ms": 2.0, "motion_ms": 0.5,
    }
