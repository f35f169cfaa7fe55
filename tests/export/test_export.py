"""Export: the graph is what torch computes, over rollouts too, and the bundle holds what a device needs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from sspcore.cli.main import main
from sspcore.core.classes import ClassSpec
from sspcore.core.errors import ProfileError, SspError
from sspcore.core.images import to_tensor
from sspcore.core.types import Motion
from sspcore.data.datasets import UAVID
from sspcore.export.bundle import class_spec, export_bundle, verify_bundle, with_nearest_sampling
from sspcore.export.check import find_problems
from sspcore.export.device import step_runner
from sspcore.export.device.compare_engine import compare
from sspcore.export.graph import export_graph, grid_path, opset_of
from sspcore.export.rollout import breakdown, drift, summary, synthetic_rollout
from sspcore.export.step import FixedAveragePool, StepModule, StepOptions, TorchRunner
from sspcore.inference.bundles import open_bundle
from sspcore.models.build import build_image
from sspcore.models.checkpoint import CheckpointConfig, system_config
from sspcore.models.description import TorchvisionSpec
from sspcore.models.dff import DFF
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec
from sspcore.models.ssp import SSP, SSPOptions
from sspcore.models.systems import SYSTEMS
from sspcore.models.wrap import wrap
from sspcore.motion.geometry import sampling_homography
from sspcore.motion.registration import build_registrator

SIZE = (64, 96)
TINY = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=8, weights="none")
CONFIG = system_config("SSP", TINY, UAVID, SIZE)


def tiny_ssp(alpha_bias: float = 0.0, **options: bool) -> SSP:
    """SSP with random weights, larger logits than fresh ones have, and alpha pushed up by a bias."""
    torch.manual_seed(0)
    model = SSP(ImageSegmenter(TINY, UAVID.n_classes), SSPOptions(**options)).eval()
    with torch.no_grad():
        model.image.classifier.weight.mul_(20)
        model.similarity.head[-1].bias.add_(alpha_bias)
    return model


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A bundle of a model whose alpha is near 1, where errors of the warp add up instead of dying out."""
    folder = tmp_path_factory.mktemp("export") / "bundle"
    golden = synthetic_rollout(SIZE, 24, rotate=True, reset_at=18)
    export_bundle(tiny_ssp(5.0), CONFIG, StepOptions(SIZE), "trt-10.3", golden, folder, untrained=True)
    return folder


@pytest.mark.parametrize("n_in, n_out", [(23, 1), (23, 2), (40, 3), (23, 6), (4, 6)])
def test_fixed_pool_is_adaptive_pooling(n_in, n_out):
    x = torch.randn(1, 3, n_in, n_in + 2)
    pool = FixedAveragePool((n_in, n_in + 2), (n_out, n_out))
    torch.testing.assert_close(pool(x), nn.AdaptiveAvgPool2d(n_out)(x), atol=1e-6, rtol=0)
    assert pool.rows.sum(1).allclose(torch.ones(n_out))


def test_pools_of_an_own_network_are_fixed_at_every_size_and_under_every_name():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.fine, self.coarse, self.head = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 2, 2), nn.Conv2d(4, 2, 1)
            self.pool, self.rows = nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d((None, 1))
            self.same_pool = self.pool

        def forward(self, x):
            fine = self.fine(x)
            coarse = self.coarse(fine)
            pooled = self.pool(fine) + self.same_pool(coarse)
            return self.head(fine * self.rows(fine) + nn.functional.interpolate(pooled, size=fine.shape[-2:]))

    model = SSP(wrap(Gated(), "fine", 2)).eval()
    fixed = StepModule(model, StepOptions(SIZE)).model
    assert not any(isinstance(module, nn.AdaptiveAvgPool2d) for module in fixed.modules())
    frame = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(fixed.step(frame, None)[0], model.step(frame, None)[0])


def test_step_module_equals_the_step_and_leaves_the_model_alone():
    model = tiny_ssp()
    rollout = synthetic_rollout(SIZE, 3)
    module = StepModule(model, StepOptions(SIZE))
    assert not any(isinstance(m, nn.AdaptiveAvgPool2d) for m in module.modules())
    assert any(isinstance(m, nn.AdaptiveAvgPool2d) for m in model.modules())
    runner, state = TorchRunner(model, SIZE), None
    for k, frame in enumerate(rollout.frames):
        class_map = runner.step(frame, rollout.motion(k))
        H = torch.linalg.inv(torch.from_numpy(rollout.H_cur_to_prev[k]).double())[None]

        with torch.inference_mode():
            logits, state = model.step(to_tensor(frame)[None], state, Motion(H))
        assert np.abs(runner.outputs["logits"] - logits.numpy()).max() < 1e-3
        assert (class_map == logits[0].argmax(0).numpy()).mean() > 0.999


def test_host_homography_is_the_library_s():
    H = np.array([[1.01, 0.02, 3.0], [-0.01, 0.99, -2.0], [1e-5, -2e-5, 1.0]])
    np.testing.assert_allclose(step_runner.sampling_homography(H), sampling_homography(torch.from_numpy(H)).float().numpy())
    turned = np.diag([-1.0, -1.0, 1.0])
    assert step_runner.sampling_homography(-turned)[2, 2] == -1.0  # the sign tells the sides of the horizon apart


def test_onnxruntime_follows_torch_over_the_rollout(bundle):
    figures = verify_bundle(bundle)["parity_onnxruntime"]
    assert figures["frames"] == 24
    assert figures["logits_max_difference"] < 1e-3 and figures["identical_mean"] >= 0.9999


@pytest.mark.parametrize("rotate", [False, True])
def test_parity_on_another_rollout(bundle, rotate):
    rows = drift(
        step_runner.OnnxRunner(bundle, threads=1), TorchRunner(tiny_ssp(5.0), SIZE), synthetic_rollout(SIZE, 20, rotate, seed=1)
    )
    assert summary(rows)["identical_mean"] >= 0.9999 and summary(rows)["logits_max_difference"] < 1e-3


def test_openvino_follows_onnxruntime_over_the_rollout(bundle):
    """In float32, which it does not take by itself on a CPU with bfloat16."""
    pytest.importorskip("openvino")
    rollout = synthetic_rollout(SIZE, 20, rotate=True, seed=1)
    runners = step_runner.OpenVinoRunner(bundle, threads=1), step_runner.OnnxRunner(bundle, threads=1)
    figures = summary(drift(*runners, rollout))
    assert figures["logits_max_difference"] < 1e-3 and figures["identical_mean"] > 0.9999


def test_the_rollout_would_show_a_wrong_warp(bundle, tmp_path):
    """What TensorRT does to a misread mode: nearest. The golden rollout must see it."""
    broken = with_nearest_sampling(bundle, tmp_path / "broken")
    rows = compare(step_runner.OnnxRunner(broken, threads=1), golden_of(bundle))
    assert min(row["identical"] for row in rows) < 0.98
    assert compare(step_runner.OnnxRunner(bundle, threads=1), golden_of(bundle))[-1]["identical"] > 0.9999


def golden_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "golden.npz") as golden:
        return {name: golden[name] for name in golden.files}


def test_a_reset_forgets_even_a_state_of_nan(bundle):
    frame = synthetic_rollout(SIZE, 1).frames[0]
    runner = step_runner.OnnxRunner(bundle, threads=1)
    clean = runner.step(frame)
    image = {"frame": frame[None], "H_cur_to_prev": np.eye(3, dtype=np.float32)[None], "past_valid": np.zeros(1, np.float32)}
    runner.state = {name: np.full_like(value, np.nan) for name, value in runner.state.items()}
    assert np.array_equal(runner._run(image), clean)


def test_graph_is_static_named_and_of_opset_18(bundle):
    model = onnx.load(bundle / "step.onnx")
    assert opset_of(model) == 18 and model.ir_version == 8  # the oldest format that has this opset
    assert not find_problems(model, "trt-10.3") and not find_problems(model, "trt-10.16")
    assert all(node.name.startswith(("geo", "mask")) for node in grid_path(model.graph))
    named = {node.op_type for node in model.graph.node if node.name.startswith("geo")}
    assert "GridSample" in named and not named & {"Conv", "Resize", "LayerNormalization"}
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)  # no paths of this machine


def test_sidecar_and_files(bundle):
    sidecar = verify_bundle(bundle)
    assert [value["name"] for value in sidecar["inputs"]] == [
        "frame", "H_cur_to_prev", "previous_logits", "previous_features", "past_valid"
    ]
    assert sidecar["inputs"][0] | {"meaning": ""} == {"name": "frame", "shape": [1, *SIZE, 3], "dtype": "uint8", "meaning": ""}
    assert sidecar["outputs"][-1]["dtype"] == "uint8" and sidecar["state"]["logits"] == "previous_logits"
    assert sidecar["weights"] == "untrained"
    named = ("name", "title", "classes", "palette", "moving")
    assert all(getattr(class_spec(sidecar), key) == getattr(UAVID, key) for key in named)
    described = {"step.onnx", "golden.npz", "step_runner.py", "compare_engine.py", "motion/lucas_kanade.py"}
    assert described < set(sidecar["sha256"]) and "README.md" not in sidecar["sha256"]
    readme = (bundle / "README.md").read_text()
    assert readme.startswith("# SSP, UAVid, 64x96, fp32") and "--precisionConstraints=obey" in readme
    assert "| past_valid | 1 | float32 |" in readme and "`logits` -> `previous_logits`, `features`" in readme
    for script in bundle.rglob("*.py"):
        assert "sspcore" not in script.read_text(), script


def test_the_device_s_script_runs_without_sspcore(bundle):
    """As on the device: the bundle's own Python files, nothing on the path but NumPy and onnxruntime."""
    def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(bundle / f"{name}_engine.py"), *arguments, "--runtime", "onnxruntime"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return subprocess.run(command, capture_output=True, text=True, cwd=bundle, env=environment, timeout=300)

    compared = run("compare")
    assert compared.returncode == 0 and '"frames": 24' in compared.stdout, compared.stderr
    refused = run("compare", "--least-identical", "1.1")
    assert refused.returncode == 1 and "are asked for" in refused.stderr
    timed = json.loads(run("bench", "--seconds", "0.2").stdout)
    assert timed["with_copies"]["p50_ms"] > 0 and timed["bundle"] == "SSP"


def test_a_changed_graph_is_found_out(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "step.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(SspError, match="export it again"):
        verify_bundle(tmp_path)
    with pytest.raises(SspError, match="no bundle"):
        verify_bundle(tmp_path / "nothing")


def test_an_older_bundle_still_names_its_classes(bundle, tmp_path):
    """Format 1 had neither a title nor moving classes."""
    shutil.copytree(bundle, tmp_path, dirs_exist_ok=True)
    sidecar = json.loads((bundle / "bundle.json").read_text())
    old = {key: value for key, value in sidecar.items() if key not in ("title", "moving")} | {"format": 1}
    (tmp_path / "bundle.json").write_text(json.dumps(old))
    spec = class_spec(verify_bundle(tmp_path))
    assert spec.classes == UAVID.classes and spec.moving == () and spec.title == "uavid"
    (tmp_path / "bundle.json").write_text(json.dumps(old | {"palette": old["palette"][1:]}))
    with pytest.raises(SspError, match="8 classes, 7 colours"):
        verify_bundle(tmp_path)


@pytest.mark.slow
def test_ssp_r_is_exported(tmp_path):
    golden, options = synthetic_rollout(SIZE, 8, rotate=True, reset_at=6), SYSTEMS["SSP-R"].options
    model = tiny_ssp(2.0, **options.model_dump())
    sidecar = export_bundle(model, CONFIG, StepOptions(SIZE), "trt-10.3", golden, tmp_path / "bundle")
    assert set(sidecar["state"]) == {"logits", "features", "frame_small"}
    assert sidecar["parity_onnxruntime"]["identical_mean"] > 0.9999


def test_recurrent_system_carries_its_frame_and_variance(tmp_path):
    golden = synthetic_rollout(SIZE, 8, rotate=True, reset_at=6)
    model = tiny_ssp(2.0, evidence=True, variance=True, classes=True)
    sidecar = export_bundle(model, CONFIG, StepOptions(SIZE), "trt-10.3", golden, tmp_path / "bundle")
    assert sidecar["state"] == {
        "logits": "previous_logits", "features": "previous_features", "frame_small": "previous_frame",
        "variance": "previous_variance",
    }
    graph = onnx.load(tmp_path / "bundle" / "step.onnx")
    assert all(not find_problems(graph, target) for target in ("trt-10.3", "trt-10.16"))
    runner = step_runner.OnnxRunner(tmp_path / "bundle")
    rows = drift(runner, TorchRunner(model, SIZE), synthetic_rollout(SIZE, 12, reset_at=9))
    assert summary(rows)["logits_max_difference"] < 1e-3
    assert runner.outputs["variance"].max() < 0.9, "it was never averaged"


def test_without_registration_the_host_s_homography_is_not_looked_at(tmp_path):
    model = tiny_ssp(3.0, registration="identity")
    rollout = synthetic_rollout(SIZE, 4)
    export_bundle(model, CONFIG, StepOptions(SIZE), "trt-10.3", rollout, tmp_path / "bundle")
    runner, state = step_runner.OnnxRunner(tmp_path / "bundle", threads=1), None
    for k, frame in enumerate(rollout.frames):
        class_map = runner.step(frame, rollout.motion(k))
        with torch.inference_mode():
            logits, state = model.step(to_tensor(frame)[None], state)
        assert np.abs(runner.outputs["logits"] - logits.numpy()).max() < 1e-3
        assert (class_map == logits[0].argmax(0).numpy()).mean() > 0.999


def test_image_system_has_no_state(tmp_path):
    model = ImageSegmenter(TINY, UAVID.n_classes).eval()
    options = StepOptions(SIZE, frame="float32")
    sidecar = export_bundle(model, CONFIG, options, "trt-8.6", synthetic_rollout(SIZE, 3), tmp_path / "base")
    assert sidecar["state"] == {} and sidecar["opset"] == 17
    assert [value["shape"] for value in sidecar["inputs"]] == [[1, 3, *SIZE]]


def test_what_cannot_be_exported_is_said():
    image = ImageSegmenter(TINY, 8)
    with pytest.raises(ProfileError, match="DFF cannot be exported"):
        StepModule(DFF(image), StepOptions(SIZE))
    with pytest.raises(ProfileError, match="multiples of 32"):
        StepModule(image, StepOptions((60, 96)))


def test_a_network_and_classes_of_one_s_own_are_exported_and_streamed(tmp_path):
    mine = ClassSpec("mine", "My classes", ("field", "cow"), ((0, 200, 0), (90, 60, 0)), ("cow",))
    torch.manual_seed(0)
    model = SSP(smp.Unet("resnet18", encoder_weights=None, classes=2)).eval()
    config = CheckpointConfig(
        system="cows", method="ssp", image_model=model.image.spec, options=model.options, classes=mine, input_size=SIZE
    )
    rollout = synthetic_rollout(SIZE, 3)
    export_bundle(model, config, StepOptions(SIZE), "trt-10.3", rollout, tmp_path / "bundle")
    backend, classes = open_bundle(tmp_path / "bundle", "cpu")
    assert classes == mine and "# cows, My classes" in (tmp_path / "bundle" / "README.md").read_text()
    assert backend.step(rollout.frames[0], lambda: None).labels.max() <= 1


@pytest.mark.slow
def test_a_network_of_torchvision_is_exported_with_its_global_pooling(tmp_path):
    torch.manual_seed(0)
    model = SSP(build_image(TorchvisionSpec(torchvision="deeplabv3_mobilenet_v3_large"), 2)).eval()
    config = system_config("SSP", model.image.spec, ClassSpec("mine", "Mine", ("a", "b"), ((1, 2, 3), (4, 5, 6)), ()), SIZE)
    sidecar = export_bundle(model, config, StepOptions(SIZE), "trt-10.3", synthetic_rollout(SIZE, 2), tmp_path / "bundle")
    assert sidecar["parity_onnxruntime"]["logits_max_difference"] < 1e-3


def test_an_operator_that_cannot_be_exported_is_named():
    class Sorting(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + torch.linalg.svdvals(x).sum()

    model = tiny_ssp()
    model.image.classifier = Sorting(*model.image.classifier.weight.shape[1::-1], 1)
    with pytest.raises(SspError, match=r"linalg.svd.*replace that part") as caught:
        export_graph(StepModule(model, StepOptions(SIZE)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"evidence": True, "variance": True, "classes": True}])
def test_parts_of_a_step_are_timed_inside_it(options):
    model = tiny_ssp(**options)
    parts = breakdown(model, synthetic_rollout(SIZE, 6), build_registrator("lk"))
    assert list(parts) == ["registration", "encoder", "decoder", "warps", "similarity", "mixing"]
    assert min(parts.values()) > 0
    assert "register" not in vars(model) and "encode" not in vars(model.image), "the model was left changed"


@pytest.mark.parametrize("arguments, message", [
    (["--untrained", "SSP"], "--out DIR is needed"),
    (["--out", "x", "--untrained", "SSP", "--size", "736"], "HEIGHTxWIDTH"),
    (["--out", "x", "--untrained", "SSP", "--profile", "smoke", "--golden-frames", "5"], "at least 20"),
    (["--out", "x", "--checkpoint", "nothing"], "folder is missing"),
    (["--check", "nothing.onnx"], "not readable"),
])
def test_command_line_errors_are_one_line(arguments, message, capsys):
    assert main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_command_line_checks_a_file(bundle, capsys):
    assert main(["export", "--check", str(bundle / "step.onnx"), "--target", "trt-10.16"]) == 0
    assert "trt-10.16" in capsys.readouterr().out
    assert json.loads((bundle / "bundle.json").read_text())["format"] == 2
