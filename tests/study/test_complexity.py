"""Parameters and multiply-adds of the paper profile beside the published figures."""

from __future__ import annotations

import json

import pytest
import torch

from sspcore.cli.main import main
from sspcore.core.paths import REPOSITORY
from sspcore.models.systems import PAPER_SYSTEMS
from sspcore.study import cost as complexity
from sspcore.study.cost import Cost, Macs
from sspcore.study.profiles import Profile, load_profile
from sspcore.study.timing import measure_fps

EXPLAINED = [name for name in PAPER_SYSTEMS if name not in ("Teacher", "DFF", "NetWarp")]


@pytest.fixture(scope="module")
def paper() -> Profile:
    return load_profile("paper")


@pytest.fixture(scope="module")
def costs(paper: Profile) -> dict[str, Cost]:
    flow = complexity.flow_cost(paper)
    return {name: complexity.system_cost(name, paper, flow) for name in (*PAPER_SYSTEMS, "SSP-R")}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER_SYSTEMS)
def test_parameters_equal_the_published(costs: dict[str, Cost], name: str) -> None:
    assert costs[name].params_m == pytest.approx(costs[name].published_params_m, abs=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPLAINED)
def test_multiply_adds_equal_the_published(costs: dict[str, Cost], name: str) -> None:
    assert costs[name].gmacs == pytest.approx(costs[name].published_gflops, rel=0.005)


@pytest.mark.slow
def test_attention_is_counted_apart(costs: dict[str, Cost]) -> None:
    assert costs["Base"].gmacs_with_attention == pytest.approx(347.8, rel=0.002)
    assert costs["SegFormer-b2"].gmacs_with_attention == pytest.approx(255, rel=0.005)
    assert costs["ConvNeXt-S + UPerNet"].gmacs_with_attention == costs["ConvNeXt-S + UPerNet"].gmacs


@pytest.mark.slow
def test_ssp_costs_hardly_anything(costs: dict[str, Cost]) -> None:
    base = costs["Base"]
    for name, millions, billions in (("SSP", 0.21, 12.25), ("SSP-R", 0.25, 13.0)):
        assert 0 < costs[name].own_params_m - base.own_params_m <= millions
        assert 12 < costs[name].own_gmacs - base.own_gmacs <= billions


@pytest.mark.slow
def test_the_committed_figures_are_those_of_the_code(costs: dict[str, Cost]) -> None:
    committed = {entry["system"]: entry for entry in json.loads((REPOSITORY / "figures" / "complexity.json").read_text())}
    for name, cost in costs.items():
        for column in ("params_m", "gmacs", "own_params_m", "own_gmacs"):
            assert committed[name][column] == pytest.approx(getattr(cost, column), rel=1e-6), (name, column)


@pytest.mark.slow
def test_own_accounting_leaves_out_what_does_not_run(costs: dict[str, Cost]) -> None:
    assert costs["TCB_ppm"].own_params_m == pytest.approx(59.30, abs=0.006)
    assert costs["TCB_ocr"].own_params_m == pytest.approx(58.23, abs=0.012)
    assert costs["ConvNeXt-S + UPerNet"].own_params_m == pytest.approx(80.88, abs=0.006)
    # Each frame is encoded and decoded once in a stream.
    assert costs["TCB_ppm"].own_gmacs - costs["Base"].own_gmacs == pytest.approx(13.4, abs=0.1)


def test_a_convolution_and_a_product_counted_by_hand() -> None:
    convolution = torch.nn.Conv2d(3, 8, 3, padding=1, device="meta")
    frame = torch.empty(1, 3, 100, 200, device="meta")
    assert complexity.count_macs(lambda: convolution(frame)).linear == pytest.approx(3 * 8 * 9 * 100 * 200 / 1e9)
    a, b = torch.empty(2, 30, 40, device="meta"), torch.empty(2, 40, 50, device="meta")
    assert complexity.count_macs(lambda: a @ b) == Macs(0.0, pytest.approx(2 * 30 * 40 * 50 / 1e9))


@pytest.mark.slow
def test_dff_is_the_mean_of_its_key_interval(paper: Profile, costs: dict[str, Cost]) -> None:
    flow = complexity.flow_cost(paper).macs.total
    classifier = 256 * 8 * (736 // 4) * (1280 // 4) / 1e9
    expected = (costs["Base"].gmacs + 7 * (flow + classifier)) / 8
    assert costs["DFF"].gmacs == pytest.approx(expected)


@pytest.mark.slow
def test_json_has_the_agreed_fields(costs: dict[str, Cost], monkeypatch, capsys) -> None:
    monkeypatch.setattr(complexity, "system_cost", lambda name, profile, flow, fps: costs["Base"])
    monkeypatch.setattr(complexity, "flow_cost", lambda profile: None)
    assert main(["complexity", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 14
    assert {
        "system", "params_m", "gmacs", "gmacs_with_attention", "published_params_m", "published_gflops", "fps"
    } <= set(rows[0])  # fmt: skip
    assert rows[0]["published_gflops"] == 310.6 and rows[0]["fps"] is None


@pytest.mark.slow
def test_table_prints_a_row_a_system(costs: dict[str, Cost]) -> None:
    lines = complexity.table(list(costs.values())).splitlines()
    assert len(lines) == 1 + len(costs)
    assert "310.6" in next(line for line in lines if line.startswith("Base"))


def test_stand_ins_are_not_set_beside_published_figures() -> None:
    demo = load_profile("smoke")
    cost = complexity.system_cost("SSP", demo, complexity.flow_cost(demo))
    assert cost.published_params_m is None and cost.published_gflops is None


@pytest.mark.parametrize("name", ["DFF", "SSP"])
def test_frame_rate_is_measured(name: str) -> None:
    fps = measure_fps(name, load_profile("smoke"), torch.device("cpu"), frames=2, warm_up=1)
    assert fps > 0


def test_unknown_profile_and_device_are_one_line_errors(capsys) -> None:
    assert main(["complexity", "--profile", "papr"]) == 2
    if not torch.cuda.is_available():
        assert main(["complexity", "--fps", "--device", "cuda"]) == 2
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.strip().splitlines())
