"""What a run will take: counting, scaling, the table, and the one-line errors of the commands about the machine."""

from __future__ import annotations

import pytest
import torch

from sspcore.cli.main import main
from sspcore.core.errors import SspError
from sspcore.data.datasets import UAVID
from sspcore.data.prepare import ClipRules
from sspcore.data.releases import find_sequences
from sspcore.study import plan, timing
from sspcore.study.profiles import load_profile

CPU = torch.device("cpu")


@pytest.fixture
def smoke():
    """The smoke profile on the hand-made release."""
    rules = ClipRules(frame_step=1, clip_length=8, min_clip_length=4)
    profile = load_profile("smoke", {"models.base.weights": "none"})
    return profile.model_copy(update={"rendering": None, "clips": {"uavid": rules}})


def test_a_release_is_counted_by_the_clip_rules(smoke, uavid_release):
    counts = plan.count(smoke, "uavid", find_sequences(uavid_release, UAVID))
    assert (counts.train_frames, counts.train_clips, counts.val_frames, counts.val_clips) == (16, 2, 8, 1)
    assert (counts.labels, counts.labelled, counts.strided) == (4, 4, 8) and counts.example.video.name == "images.mp4"


def test_a_labelled_first_frame_is_a_sample_of_image_systems_alone(smoke, uavid_release):
    rules = smoke.clips["uavid"].model_copy(update={"drop_first": False})
    counts = plan.count(smoke.model_copy(update={"clips": {"uavid": rules}}), "uavid", find_sequences(uavid_release, UAVID))
    assert counts.labels == counts.labelled + 2  # of the two training sequences
    timer = plan.Timer(smoke, CPU)
    timer.training = lambda *_: timing.StepCost("", (64, 96), 2, 1, "float32", 1.0, None, [])
    for name, windows in (("Base", counts.labels), ("SSP", counts.labelled)):
        model = plan.build(name, plan.N_CLASSES, smoke, load_weights=False)
        row = plan._training_row(timer, name, "uavid", counts, model, 0.0, None)
        recipe = smoke.recipe(plan.system(name).recipe, "uavid")
        assert row.note.startswith(f"{recipe.epochs * recipe.steps(windows)} steps of")


def test_a_release_yet_to_be_rendered_is_counted_by_its_settings():
    counts = plan.count(load_profile("demo"), "ruralscapes", None)
    # 50 prepared frames without the first and the last: 24 + 24, labels at 0, 12, 24, 36, 48 of the prepared
    assert (counts.train_frames, counts.train_clips, counts.example) == (12 * 48, 12 * 2, None)
    assert counts.labelled == 12 * 4 and counts.strided == 12 * 24


def test_what_others_start_from_or_learn_from_is_trained_first():
    assert plan.trainings(["KD-SSP", "SSP"], True) == ["Base (start)", "Teacher", "KD Base", "KD-SSP", "SSP"]
    assert plan.trainings(["Constant alpha 0.5"], True) == ["Base (start)", "Base"]
    assert plan.trainings(["KD-SSP", "SSP"], False) == ["Teacher", "KD Base", "KD-SSP", "Base", "SSP"]


def test_smaller_frames_say_by_how_much():
    size, factor = plan.smaller((736, 1280))
    assert size[0] % 32 == size[1] % 32 == 0 and factor == pytest.approx(736 * 1280 / (size[0] * size[1]))
    assert plan.smaller((64, 96)) == ((64, 96), 1.0)


def test_stages_of_a_small_run(smoke, uavid_release, monkeypatch):
    monkeypatch.setattr(plan.Timer, "frame", lambda self, name, size: 0.5)
    rows = {row.stage: row for row in plan.plan(smoke, ["uavid"], ["Base", "SSP"], uavid_release.parent, CPU)}
    assert list(rows) == [
        "UAVid: clips", "UAVid: registration", "UAVid: flow (dis-fast)", "UAVid: training Base (start)",
        "UAVid: training Base", "UAVid: training SSP", "UAVid: prediction of Base", "UAVid: prediction of SSP",
    ]
    flows = 4 + 2 * 7
    assert rows["UAVid: flow (dis-fast)"].disk_gb == pytest.approx(flows * 2 * 96 * 160 * 2 / 1e9)
    assert "4 steps of" in rows["UAVid: training SSP"].note and rows["UAVid: training SSP"].hours > 0
    assert rows["UAVid: prediction of Base"].hours >= 8 * 0.5 / 3600
    text = plan.table(rows.values()).splitlines()
    assert len(text) == len(rows) + 2 and text[-1].startswith("all")
    assert float(text[-1].split()[1]) == pytest.approx(sum(row.hours for row in rows.values()), rel=0.01)


def test_the_memory_of_flow_is_that_of_rafts_correlations_at_the_largest_size():
    sizes = {"input_size": (736, 1280), "teacher_size": (1440, 2560)}
    paper = load_profile("paper")
    cells = {"input_size": 92 * 160, "teacher_size": 180 * 320}
    for name, size in sizes.items():
        assert plan._flow_gib(paper, [(96, 160), size]) == pytest.approx(2 * 4 * cells[name] ** 2 / 2**30)
    assert plan._flow_gib(load_profile("demo"), sizes.values()) is None


def test_real_data_must_be_named(capsys):
    assert main(["reproduce", "--plan", "--profile", "paper"]) == 2
    assert "pass --data DIR" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--seeds", "0,1"], ["--force"], ["--only", "03"], ["--ablations"], ["--publish"]])
def test_what_a_plan_does_not_look_at_is_refused(option, capsys):
    assert main(["reproduce", "--plan", *option]) == 2
    assert "--plan: takes --profile, --systems, --datasets, --data and --dataset alone" in capsys.readouterr().err


def test_training_steps_are_those_of_the_recipe_and_learn(smoke):
    recipe = smoke.recipe("video", "uavid").model_copy(update={"lr": 1e-2})
    cost = timing.time_training("SSP", smoke, recipe, CPU, steps=3, warm_up=1)
    assert (cost.crop, cost.batch, cost.parts, cost.precision, cost.memory_gib) == ((64, 96), 2, 1, "float32", None)
    assert len(cost.losses) == 4 and cost.losses[-1] < cost.losses[0] and cost.seconds > 0


def test_a_batch_that_does_not_fit_is_cut_into_parts(smoke, monkeypatch):
    real = timing.backward

    def fits_one_window(losses_of, windows, name):
        if windows[0].frames.shape[0] > 1:
            raise torch.cuda.OutOfMemoryError
        return real(losses_of, windows, name)

    monkeypatch.setattr(timing, "backward", fits_one_window)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    recipe = smoke.recipe("video", "uavid").model_copy(update={"batch_size": 4})
    cost = timing.time_training("SSP", smoke, recipe, CPU, steps=1, warm_up=0)
    assert cost.batch == cost.parts == 4
    for name in ("Base", "DFF"):  # of DFF's pair one frame alone has an output
        with pytest.raises(SspError, match=f"{name}: not even 2 parts"):
            timing.time_training(name, smoke, recipe, CPU, steps=1, warm_up=0)
