"""What a gate chooses, judged by exact labels: a car that drives over still ground, seen through motions known exactly."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers.media import panning_frames
from sspcore.core.classes import IGNORE
from sspcore.data.datasets import UAVID
from sspcore.models.spec import Gate
from sspcore.motion.fitting import Registration
from sspcore.study import gates
from sspcore.study.gates import Pasts, wrong_pasts
from sspcore.study.profiles import load_profile

SIZE, GRID, CELL = (32, 48), 4, (8, 12)
CAR, SPEED = UAVID.moving_ids[0], 4


class Clip:
    sequence, labelled = "seq1", (0, 2)

    def __len__(self):
        return 3


def labels_at(position: int) -> np.ndarray:
    """A car of 8 x 12 pixels that drives to the right on ground of another class; one column is not labelled."""
    labels = np.zeros(SIZE, np.uint8)
    labels[8:16, 12 + SPEED * (position - 2): 24 + SPEED * (position - 2)] = CAR
    labels[:, -1] = IGNORE
    return labels


@pytest.fixture
def study(monkeypatch):
    """The homography says that nothing moved, which is right for the ground; the flow follows the car, all over the frame."""
    flow = torch.zeros(2, *SIZE)
    flow[0] = -SPEED
    # one match in the middle of each cell, an outlier in the cells of the car's second position
    points = [(12 * c + 6, 8 * r + 4, float((r, c) != (1, 1))) for r in range(GRID) for c in range(GRID)]
    stores = SimpleNamespace(
        clip=lambda clip: SimpleNamespace(at=lambda k: torch.eye(3, dtype=torch.float64)),
        correspondences=lambda clip: SimpleNamespace(at=lambda k: torch.tensor(points, dtype=torch.float32)),
        between=lambda clip, source, target: flow,
    )
    monkeypatch.setattr(gates, "exact_labels", lambda truth, clip, position, size: labels_at(position))
    return SimpleNamespace(
        profile=SimpleNamespace(input_size=SIZE), truth_root=lambda dataset: "truth", spec=lambda dataset: UAVID,
        clips=lambda dataset, split: {"train": [Clip()], "val": []}[split],
        homographies=lambda dataset: stores, flows=lambda dataset: stores,
    )


def test_a_gate_takes_the_cars_past_from_the_flow_and_the_grounds_from_the_homography(study):
    gate = Gate(grid=GRID, threshold=0.5)
    found = wrong_pasts(study, "uavid", {"homography": "homography", "flow": "flow", "gate": gate})
    ground = SIZE[0] * (SIZE[1] - 1)
    # by the homography the car is where it was: SPEED columns too far left, on both of its sides
    assert found["homography"]["wrong (%)"] == pytest.approx(100 * 2 * SPEED * 8 / ground)
    assert found["homography"]["wrong, moving (%)"] == pytest.approx(100 * SPEED / 12)
    # the flow brings the car, and nothing from outside: SPEED columns of the ground have no source
    assert found["flow"] == {"wrong (%)": 0.0, "wrong, moving (%)": 0.0, "by flow (%)": 100.0}
    # the car's cell by the flow; what the homography drags behind the car lies in the cell to its left
    assert found["gate"]["wrong, moving (%)"] == 0 and found["gate"]["by flow (%)"] == pytest.approx(100 / GRID**2)
    assert found["gate"]["wrong (%)"] == pytest.approx(100 * SPEED * 8 / ground)


def test_real_data_has_no_exact_labels_and_other_sequences_count_nowhere(study):
    assert wrong_pasts(study, "uavid", {"flow": "flow"}, sequences=frozenset({"seq2"})) == {}
    study.truth_root = lambda dataset: None
    assert wrong_pasts(study, "uavid", {"flow": "flow"}) == {}


def test_the_table_of_gates_names_a_data_set_by_its_title(study):
    rows = gates.compared_gates(study, ["uavid"])
    assert list(rows)[:3] == ["homography, UAVid", "flow, UAVid", f"{gates.PUBLISHED}, UAVid"] and len(rows) == 4
    assert rows["flow, UAVid"] == wrong_pasts(study, "uavid", {"flow": "flow"})["flow"]


def test_one_motion_everywhere():
    nothing = np.zeros(SIZE, np.uint8)
    pasts = Pasts(nothing, nothing + 1, nothing + 2, None)
    assert (pasts.chosen("homography")[0] == 1).all() and not pasts.chosen("homography")[1].any()
    assert (pasts.chosen("flow")[0] == 2).all() and pasts.chosen("flow")[1].all()


class Panning:
    def __len__(self):
        return 4

    def frame(self, position, size):
        return panning_frames(4, 0)[position]


def test_a_gated_frame_costs_a_flow_and_systems_take_turns(monkeypatch):
    """By a clock on which a registration takes 50 ms, a flow 200 and the network 30."""
    flows, clock, to_tensor = [], [0.0], gates.to_tensor

    def flow(current, previous):
        clock[0] += 0.2
        flows.append("flow")
        return torch.zeros(1, 2, *current.shape[-2:])

    def registrator(previous, current):
        clock[0] += 0.05
        flows.append("registration")
        return Registration(np.eye(3), ok=True)

    def shown(image):  # to the network
        clock[0] += 0.03
        return to_tensor(image)

    monkeypatch.setattr(gates, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(gates, "to_tensor", shown)
    profile = load_profile("smoke").model_copy(update={"input_size": (64, 96)})
    study = SimpleNamespace(
        profile=profile, device=torch.device("cpu"), spec=lambda dataset: UAVID, clips=lambda dataset, split: [Panning()],
        registrator=registrator, flow_estimator=lambda: flow,
    )
    rows = gates.frame_times(study, "uavid", frames=3)
    assert sorted(flows) == ["flow"] * 2 + ["registration"] * 4 and list(rows) == ["SSP", "SSP (gate)"]
    expected = {"motion (ms)": 50, "network (ms)": 30, "all (ms)": 80, "ratio": 1}
    gated = {"motion (ms)": 250, "network (ms)": 30, "all (ms)": 280, "ratio": 3.5}
    assert rows["SSP"] == pytest.approx(expected) and rows["SSP (gate)"] == pytest.approx(gated)
