"""Modes of running a network: the same results by a graph, compiled, and in other layouts; settings are put back."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from sspcore.core.errors import SspError
from sspcore.core.files import write_json
from sspcore.core.machine import MachineSettings
from sspcore.core.types import Motion
from sspcore.models.systems import build
from sspcore.study.benchmark import ranks
from sspcore.study.benchmark.frames import ping_pong, sample_frames, sample_images
from sspcore.study.benchmark.modes import MODES, modes
from sspcore.study.benchmark.part import Setting
from sspcore.study.benchmark.ranks import two_ranks
from sspcore.study.benchmark.streams import CompiledStep, GraphStep, agreement, last_logits, steady_motion, tensors
from sspcore.study.benchmark.training import training_steps
from sspcore.study.profiles import load_profile
from sspcore.study.timing import N_CLASSES, random_window, timed, trainable

CPU, SIZE = torch.device("cpu"), (64, 96)


@pytest.fixture(scope="module")
def smoke():
    return load_profile("smoke")


def network(name: str, profile):
    torch.manual_seed(0)
    return build(name, N_CLASSES, profile, load_weights=False).eval()


class Replayed:
    """Stands in for a CUDA graph: what it replays goes to the memory that was there when it was captured."""

    def __init__(self, step: GraphStep) -> None:
        self.step = step

    def __call__(self, body):
        with torch.inference_mode():
            body()
        kept = self.step._logits.clone()

        def replay() -> None:
            body()
            kept.copy_(self.step._logits)
            self.step._logits = kept

        return replay


def graph_step(model) -> GraphStep:
    step = GraphStep.__new__(GraphStep)
    step.__init__(model, SIZE, CPU, Replayed(step))
    return step


@pytest.mark.parametrize("name", ["Base", "SSP", "SSP-R"])
@pytest.mark.parametrize("make", [graph_step, lambda model: CompiledStep(model, CPU, backend="eager")])
@torch.inference_mode()
def test_a_replayed_or_compiled_step_is_the_step(smoke, name, make):
    model, frames = network(name, smoke), sample_frames(SIZE, 5, CPU)
    step = make(model)
    for turn in range(2):  # the second video begins again
        state = own = None
        for k, frame in enumerate(frames):
            H = torch.eye(3, dtype=torch.float64)[None]
            H[:, 0, 2] = k + turn
            motion = Motion(H) if k else None
            logits, state = step(frame, state, motion)
            expected, own = model.step(frame, own, motion)
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
            for ours, theirs in zip(tensors(state), tensors(own), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_state_of_a_graph_stays_where_it_is(smoke):
    step, frames = graph_step(network("SSP", smoke)), sample_frames(SIZE, 3, CPU)
    with torch.inference_mode():
        places, state = [], None
        for frame in frames:
            _, state = step(frame, state, None if state is None else steady_motion(SIZE, CPU))
            places.append([tensor.data_ptr() for tensor in tensors(state)])
    assert places[0] == places[1] == places[2]


def test_precision_is_put_back():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    for name, expected in (("float32", (False, False)), ("tf32", (True, True)), ("torch-default", (False, True))):
        with MODES[name].applied(CPU):
            assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == expected
    with MODES["bfloat16"].applied(CPU):
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    with pytest.raises(ZeroDivisionError), MODES["float32"].applied(CPU):
        raise ZeroDivisionError
    assert not torch.is_autocast_enabled("cpu")
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_layouts_are_those_of_the_mode():
    convolution = torch.nn.Conv2d(4, 8, 3)
    assert MODES["float32"].with_layout(convolution).weight.is_contiguous(memory_format=torch.channels_last)
    assert MODES["float32-contiguous"].with_layout(convolution).weight.is_contiguous()


def test_what_a_cpu_cannot_run_has_a_reason():
    assert [mode.name for mode in modes(tuple(MODES), CPU)] == [
        "float32", "bfloat16", "float32-contiguous", "bfloat16-contiguous",
    ]
    with pytest.raises(SspError, match="tf32: TF32 is arithmetic of GPUs; float16-graph: runs on a GPU alone"):
        modes(("tf32", "float16-graph"), CPU)


def gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> torch.device:
    """A GPU that is not there, of a generation: from 8.0 on it has TF32 and bfloat16."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or capability >= (8, 0)
    )
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    return torch.device("cuda")


def test_a_gpu_runs_what_its_generation_knows(monkeypatch):
    assert len(modes(tuple(MODES), gpu(monkeypatch, (8, 0)))) == len(MODES)
    old = gpu(monkeypatch, (7, 5))
    able = {mode.name for mode in modes(tuple(MODES), old)}
    assert able == {name for name in MODES if name.startswith(("float", "torch-default"))}
    with pytest.raises(SspError, match="^tf32: this GPU has no TF32, it would be float32; bfloat16: this GPU has no bfloat16"):
        modes(("tf32", "bfloat16"), old)
    assert {MachineSettings(precision=name).effective_precision(old) for name in ("tf32", "bfloat16")} == {"float32"}
    assert MachineSettings(precision="tf32").effective_precision(gpu(monkeypatch, (9, 0))) == "tf32"


def test_the_precision_of_a_training_step_is_that_of_the_mode():
    names = ("float32", "torch-default", "tf32-contiguous", "bfloat16-compiled")
    expected = ["float32", "float32, tf32 convolutions", "tf32", "bfloat16"]
    assert [MODES[name].precision(torch.device("cuda")) for name in names] == expected
    assert {mode.precision(CPU) for mode in MODES.values()} == {"float32"}


def test_agreement_by_hand():
    expected = torch.zeros(1, 2, 1, 4)
    expected[:, 0], expected[:, 1] = 1, -1
    logits = expected.clone()
    logits[0, :, 0, 0] = torch.tensor([-1.0, 1.0])
    assert agreement(logits, expected) == (pytest.approx(2 / float(expected.std()), rel=1e-2), 75.0)
    assert agreement(expected, expected) == (0.0, 100.0)


def test_a_step_that_forgets_its_past_is_seen(smoke):
    model, frames = network("SSP", smoke), sample_frames(SIZE, 4, CPU)
    motion = steady_motion(SIZE, CPU)
    with torch.inference_mode():
        expected = last_logits(model.step, frames, motion)
        forgetful = last_logits(lambda frame, state, motion: model.step(frame, None, None), frames, motion)
    assert agreement(forgetful, expected)[0] > 0.01


def test_frames_go_forward_and_back():
    assert list(ping_pong(["a", "b", "c"], 7)) == ["a", "b", "c", "b", "a", "b", "c"]
    images = sample_images((96, 160), 2)
    assert [image.shape for image in images] == [(96, 160, 3)] * 2


def test_a_timing_ends_early_but_with_one_call():
    calls = []
    assert len(timed(calls.append, times=5, warm_up=2, within=0.0).seconds) == 1 and len(calls) == 2
    assert len(timed(calls.append, times=5, warm_up=2).seconds) == 5


def test_every_mode_of_training_starts_from_the_same_weights(smoke):
    rows = list(training_steps("Base", ("float32", "bfloat16-contiguous"), Setting(smoke, CPU, share=0.25)))
    assert [row["mode"] for row in rows] == ["float32", "bfloat16-contiguous"]
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"], rel=1e-3)


@pytest.mark.slow
def test_two_processes_train_one_batch(smoke):
    """The loss is that of one process that has the windows of both."""
    (row,) = two_ranks("Base", "float32", Setting(smoke, CPU, share=0.25))
    assert (row["backend"], row["processes"], row["batch"]) == ("gloo", 2, 2)
    recipe = smoke.recipe("image", "uavid")
    model, windows = trainable("Base", smoke, recipe, CPU), []
    for process in range(2):
        torch.manual_seed(process)
        windows.append(random_window(model, 1, recipe.crop, CPU))
    logits = model(replace(windows[0], frames=torch.cat([window.frames for window in windows]))).logits
    labels = torch.cat([window.labels for window in windows])
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(0, 1))
    assert row["loss"] == pytest.approx(float(expected), rel=1e-4)


def test_efficiency_of_two_processes(smoke, monkeypatch):
    """3 s alone, 2 s together: three quarters of twice as fast."""
    def launch(module, job, folder, title, processes):
        write_json(folder / ranks.RESULT, {"seconds": 2.0, "loss": 1.5, "backend": "gloo"})

    monkeypatch.setattr(ranks, "time_training", lambda *arguments, **options: SimpleNamespace(seconds=3.0))
    monkeypatch.setattr(ranks, "launch", launch)
    (row,) = two_ranks("Base", "float32", Setting(smoke, CPU, share=0.25))
    assert (row["seconds_alone"], row["seconds"], row["efficiency"], row["loss"]) == (3.0, 2.0, 0.75, 1.5)
