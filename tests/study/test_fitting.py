"""What a training is given: which parts start trained, and a GPU that is free of what was done before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sspcore.study import Study, fitting, stages
from sspcore.study.engine import work
from sspcore.study.engine.task import StudySpec

UNTRAINED = "SSP (untrained image model)"


@pytest.mark.parametrize("weights", ["pypi", "none"])
def test_an_encoder_with_weights_is_no_new_part_also_within_a_video_system(weights, tmp_path, monkeypatch):
    study = Study.open("smoke", root=tmp_path, overrides={"models.base.weights": weights})
    monkeypatch.setattr(fitting, "_windows", lambda *_: None)
    fresh = {name: fitting.training(study, name, "uavid", tmp_path).fresh for name in ("Base (start)", UNTRAINED)}
    encoders = {name: {each for each in names if "encoder." in each} for name, names in fresh.items()}
    assert all(bool(names) == (weights == "none") for names in encoders.values())
    # the image model within is as new as the image model alone
    within = {name.removeprefix("image.") for name in fresh[UNTRAINED] if name.startswith("image.")}
    assert within == fresh["Base (start)"] and any(name.startswith("decoder.") for name in within)
    assert {name for name in fresh[UNTRAINED] if not name.startswith("image.")}


def test_processes_that_train_together_find_the_gpus_memory_free(tmp_path, monkeypatch):
    study, done = Study.open("smoke", root=tmp_path, overrides={"machine.processes": 2}), []
    job = SimpleNamespace(
        recipe=study.profile.recipe("video", "uavid"), workers=0, dataset=SimpleNamespace(warm=lambda _: done.append("warm")),
    )
    monkeypatch.setattr(Study, "training", lambda *_: job)
    monkeypatch.setattr(stages, "give_back_gpu_memory", lambda: done.append("give back"))
    monkeypatch.setattr(stages, "launch", lambda *_: done.append("launch"))
    study._train("SSP", "uavid", tmp_path)
    assert done == ["warm", "give back", "launch"]


def test_a_worker_lets_go_of_kept_models_before_it_trains(monkeypatch):
    spec = StudySpec("{}", 0, None, "")
    kept = []
    monkeypatch.setattr(work, "opened", lambda *_: SimpleNamespace(
        model=lambda *_: object(), train=lambda *_: kept.append(work.trained.cache_info().currsize),
    ))
    work.trained.cache_clear()
    work.trained(spec, "Teacher", "uavid")
    assert work.trained.cache_info().currsize == 1
    work.METHODS["train"](spec, "SSP", "uavid")
    assert kept == [0]
