"""Execution providers: what is named runs under the right name, or one line says why not. None but the CPU's are here."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sspcore.cli.main import main
from sspcore.core.errors import ProfileError, SspError
from sspcore.inference import providers
from sspcore.inference.providers import CPU, CUDA, RTX, TENSORRT, installed_providers, open_runner

SIZE = (2, 3)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A step of one state, made by hand: the class is the largest channel of the sum of all frames so far."""
    frame, kept = [1, *SIZE, 3], [1, 3, *SIZE]
    nodes = [
        helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["image"], perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["past_valid", "ones"], ["weight"]),
        helper.make_node("Mul", ["previous_logits", "weight"], ["past"]),
        helper.make_node("MatMul", ["H_cur_to_prev", "H_cur_to_prev"], ["unused"]),
        helper.make_node("Add", ["image", "past"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["index"], axis=1, keepdims=0),
        helper.make_node("Cast", ["index"], ["class_map"], to=TensorProto.UINT8),
    ]
    inputs = {"frame": (TensorProto.UINT8, frame), "H_cur_to_prev": (TensorProto.FLOAT, [1, 3, 3]),
              "previous_logits": (TensorProto.FLOAT, kept), "past_valid": (TensorProto.FLOAT, [1])}
    outputs = {"logits": (TensorProto.FLOAT, kept), "class_map": (TensorProto.UINT8, [1, *SIZE])}
    given, made = ([helper.make_tensor_value_info(n, *kind) for n, kind in values.items()] for values in (inputs, outputs))
    ones = helper.make_tensor("ones", TensorProto.INT64, [4], [1, 1, 1, 1])
    graph = helper.make_graph(nodes, "step", given, made, [ones])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "step.onnx")
    types = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32"}
    described = [[{"name": n, "shape": shape, "dtype": types[kind]} for n, (kind, shape) in values.items()]
                 for values in (inputs, outputs)]
    (tmp_path / "bundle.json").write_text(json.dumps({
        "size": SIZE, "inputs": described[0], "outputs": described[1], "state": {"logits": "previous_logits"},
        "sha256": {"step.onnx": "0123456789abcdef0123"},
    }))
    return tmp_path


class Session:
    """Stands in for onnxruntime's: keeps what it was given, and says that those providers run."""

    given: dict[str, Any]
    fallen_back = False

    def __init__(self, path: str, options: Any, **given: Any) -> None:
        Session.given = given

    def get_providers(self) -> list[str]:
        asked = [p if isinstance(p, str) else p[0] for p in self.given.get("providers", [RTX])]
        return [CPU] if self.fallen_back else [*asked, CPU]

    def get_outputs(self) -> list[Any]:
        return []


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """onnxruntime as its GPU build is, on a machine where everything starts."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(Session, "fallen_back", False)
    monkeypatch.setattr(providers, "HOME", tmp_path / "home")
    monkeypatch.setattr(providers, "find_spec", lambda name: None)


@pytest.mark.parametrize(("name", "lower", "passed"), [
    ("auto", False, [CPU]),
    ("cuda", False, [(CUDA, {"use_tf32": "0"})]),
    ("cuda", True, [(CUDA, {})]),
])
def test_onnxruntime_is_given_its_own_names_and_float32_stays_float32(gpu, bundle, name, lower, passed):
    runner = open_runner(bundle, name, lower_precision=lower)
    assert runner.name == ("onnxruntime" if name == "auto" else f"onnxruntime, {CUDA}")
    assert Session.given == {"providers": passed, "enable_fallback": 0}


def test_tensorrt_keeps_its_engines_apart_for_each_graph(gpu, bundle):
    open_runner(bundle, "tensorrt")
    (name, settings), (rest, _) = Session.given["providers"]
    assert (name, rest) == (TENSORRT, CUDA)
    cache = Path(settings["trt_engine_cache_path"])
    assert cache.name == "0123456789abcdef" and cache.is_dir()


def test_an_engine_that_was_built_is_taken_and_a_missing_one_is_said(gpu, bundle, monkeypatch):
    monkeypatch.setattr(providers, "find_spec", lambda name: name == "tensorrt" or None)
    with monkeypatch.context() as without:
        without.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
        without.setitem(sys.modules, "tensorrt", SimpleNamespace())
        with pytest.raises(SspError, match=r"no engine yet: build it on this device with build_engine.py"):
            open_runner(bundle, "tensorrt")
    monkeypatch.setattr(providers, "EngineRunner", lambda folder, runtime: f"engine of {runtime}")
    open_runner(bundle, "tensorrt")
    assert Session.given["providers"][0][0] == TENSORRT, "onnxruntime builds one of its own"
    (bundle / "step.plan").touch()
    assert open_runner(bundle, "auto") == open_runner(bundle, "tensorrt") == "engine of tensorrt"
    monkeypatch.setattr(providers, "find_spec", lambda name: name == "tensorrt_rtx_bindings" or None)
    assert open_runner(bundle, "tensorrt-rtx") == "engine of tensorrt-rtx"


def test_a_provider_that_onnxruntime_drops_is_an_error(gpu, bundle, monkeypatch):
    monkeypatch.setattr(Session, "fallen_back", True)
    with pytest.raises(SspError, match=r"provider cuda cannot start here .*CUDAExecutionProvider.*; take cpu") as caught:
        open_runner(bundle, "cuda")
    assert "\n" not in str(caught.value)
    with pytest.raises(SspError, match="tensorrt cannot start here"):
        open_runner(bundle, "tensorrt")


def test_tensorrt_for_rtx_comes_as_a_plug_in(gpu, bundle, monkeypatch):
    devices, registered = [], []
    plugin = SimpleNamespace(get_ep_name=lambda: RTX, get_library_path=lambda: "library")
    monkeypatch.setitem(sys.modules, providers.RTX_PLUGIN, plugin)
    monkeypatch.setattr(providers, "find_spec", lambda name: name == providers.RTX_PLUGIN or None)
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: devices)
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", lambda *what: registered.append(what))
    options = SimpleNamespace(add_provider_for_devices=lambda *what: registered.append(what))
    monkeypatch.setattr(onnxruntime, "SessionOptions", lambda: options)
    with pytest.raises(SspError, match=f"tensorrt-rtx cannot start here .*has no {RTX}, or no device"):
        open_runner(bundle, "tensorrt-rtx")
    devices.append(SimpleNamespace(ep_name=RTX))
    open_runner(bundle, "tensorrt-rtx")
    assert registered == [(RTX, "library"), (devices, {})], "the library is registered once"
    assert "providers" not in Session.given  # onnxruntime refuses names beside devices


@pytest.mark.parametrize(("name", "remedy"), [
    ("cuda", "install onnxruntime-gpu"), ("tensorrt", "python3 build_engine.py"),
    ("tensorrt-rtx", "onnxruntime-ep-nv-tensorrt-rtx"), ("openvino", "openvino"),
])
def test_what_is_not_installed_is_said_with_how_to_install_it(bundle, monkeypatch, name, remedy):
    monkeypatch.setattr(providers, "find_spec", lambda name: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(SspError, match=f"provider {name}: is not installed: .*{remedy}.*; or take cpu"):
        open_runner(bundle, name)
    assert list(installed_providers()) == ["cpu"]


def test_what_makes_no_sense_is_refused(bundle, capsys):
    with pytest.raises(ProfileError, match="provider gpu: unknown; choose auto or one of cpu, cuda"):
        open_runner(bundle, "gpu")
    with pytest.raises(ProfileError, match="has no lower precision to choose"):
        open_runner(bundle, "cpu", lower_precision=True)
    for given, message in (
        (["--provider", "cpu"], "--provider cpu: is for a bundle"),
        (["--lower-precision"], "--lower-precision: is for a bundle"),
        (["--bundle", str(bundle), "--size", "64x96"], "--size 64x96: a bundle has its own"),
    ):
        assert main(["stream", "video.mp4", *given]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["cpu", pytest.param("openvino", marks=pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="the extra openvino is not installed"))])
def test_those_of_the_cpu_carry_the_state_of_a_video(bundle, name):
    runner, rng = open_runner(bundle, name, threads=1), np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, *SIZE, 3), np.uint8)
    for k, start in enumerate((0, 0, 0, 3)):  # the last frame starts again
        labels = runner.step(frames[k], None if k == start else np.eye(3))
        assert np.array_equal(labels, frames[start:k + 1].astype(int).sum(0).argmax(-1))
    assert name in installed_providers()
