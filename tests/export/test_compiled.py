"""NVIDIA's own compiler on exported steps: it reads what was meant, builds engines, and its refusals name the node."""

from __future__ import annotations

from importlib.util import find_spec

import onnx
import pytest
import torch
from torch import nn

from helpers.steps import good_graph, set_attribute
from sspcore.cli.main import main
from sspcore.core.errors import SspError
from sspcore.core.paths import SAMPLE
from sspcore.data.datasets import UAVID
from sspcore.export import rtx
from sspcore.export.bundle import export_bundle
from sspcore.export.check import GraphError, find_problems
from sspcore.export.half import to_half
from sspcore.export.rollout import synthetic_rollout
from sspcore.export.rtx import compile_step
from sspcore.export.step import StepOptions
from sspcore.inference.sources import open_source
from sspcore.models.checkpoint import load_checkpoint
from sspcore.models.systems import build
from sspcore.models.wrap import wrap
from sspcore.study.profiles import load_profile

DEMO = (192, 320)
needs_compiler = pytest.mark.skipif(
    find_spec("tensorrt_rtx_bindings") is None, reason="the extra tensorrt-rtx is not installed"
)


def written(folder, model=None):
    path = folder / "step.onnx"
    onnx.save(good_graph(18) if model is None else model, path)
    return path


@needs_compiler
def test_a_graph_is_read_as_it_says_and_built(tmp_path):
    model = good_graph(18)
    set_attribute(model, "net_resize", mode="cubic", cubic_coeff_a=-0.5)
    report = compile_step(written(tmp_path, model), ["sm80", "sm86"], tmp_path / "engines")
    assert report["read_back"] == {
        "GridSample": [{"mode": "linear", "align_corners": False, "padding": "clamp", "count": 1}],
        "Resize": [{
            "mode": "cubic", "coordinates": "half_pixel", "cubic_coefficient": -0.5, "exclude_outside": False, "count": 1
        }],
    }
    assert report["types"]["warps"] == {"float32": 1} and report["types"]["geometry"] == {"float32": 2}
    for name, engine in report["engines"].items():
        assert (tmp_path / engine["file"]).stat().st_size == engine["bytes"] > 1000, name
    assert sorted(path.name for path in (tmp_path / "engines").iterdir()) == ["step-sm80.engine", "step-sm86.engine"]


@needs_compiler
@pytest.mark.parametrize("name, attribute, value", [
    ("geo_sample", "mode", "nearest"), ("geo_sample", "align_corners", 1), ("geo_sample", "padding_mode", "zeros"),
    ("net_resize", "mode", "nearest"), ("net_resize", "coordinate_transformation_mode", "asymmetric"),
])
def test_what_the_parser_reads_otherwise_is_an_error_that_names_the_node(tmp_path, monkeypatch, name, attribute, value):
    """A stand-in for a parser that misreads: it is given another graph than the one that is held against it."""
    meant, misread = good_graph(18), good_graph(18)
    set_attribute(misread, name, **{attribute: value})
    path = written(tmp_path, misread)
    monkeypatch.setattr(rtx.onnx, "load", lambda path: meant)
    with pytest.raises(GraphError, match=f"^{name}: NVIDIA's parser reads .* the graph says"):
        compile_step(path, ["sm86"])


@needs_compiler
def test_another_type_than_the_graph_s_is_an_error(tmp_path, monkeypatch):
    meant = good_graph(18)
    path = written(tmp_path)
    meant.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    monkeypatch.setattr(rtx.onnx, "load", lambda path: meant)
    with pytest.raises(GraphError, match=r"inputs: NVIDIA's parser reads H as .*float32.*, the graph says .*float16"):
        compile_step(path, ["sm86"])


@needs_compiler
def test_a_refusal_is_nvidia_s_own_message_with_the_node(tmp_path, capsys):
    model = good_graph(18)
    set_attribute(model, "net_resize", antialias=1)
    with pytest.raises(GraphError, match="^step.onnx: NVIDIA's parser refuses net_resize: .*antialias") as caught:
        compile_step(written(tmp_path, model), ["sm86"])
    assert "\n" not in str(caught.value)
    path = str(written(tmp_path))
    assert main(["export", "--check", path, "--compile", "sm86,sm87"]) == 2
    assert capsys.readouterr().err.startswith("error: --compile sm87: unknown; choose from sm75, sm80, sm86")
    assert main(["export", "--check", path, "--compile", "sm86"]) == 0
    assert "layers, read as the graph says; engines: sm86" in capsys.readouterr().out


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(rtx, "import_module", missing)
    with pytest.raises(SspError, match="--extra tensorrt-rtx"):
        compile_step(written(tmp_path), ["sm86"])
    assert main(["export", "--out", str(tmp_path / "out"), "--untrained", "SSP", "--compile", "sm86"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "No module named 'tensorrt_rtx_libs'" in error


def exported(tmp_path_factory, system, precision, capabilities, frames=2):
    """A bundle at the demo's size, compiled where the compiler is installed; "SSP" is the packaged one, trained."""
    if find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip("the extra tensorrt-rtx is not installed")
    model, config = load_checkpoint(SAMPLE)
    if system != "SSP":
        torch.manual_seed(0)
        model = build(system, UAVID.n_classes, load_profile("demo"), load_weights=False)
    with open_source(str(next((SAMPLE / "clips").rglob("frames")))) as source:
        picture = next(image for image in source if image is not None)
    folder, golden = tmp_path_factory.mktemp("compiled") / system, synthetic_rollout(DEMO, frames, picture=picture)
    options = StepOptions(DEMO, precision=precision)
    return folder, export_bundle(model.eval(), config, options, "trt-10.16", golden, folder, compile_for=capabilities)


def assert_float32_where_it_must_be(types):
    for part in ("geometry", "warps", "mixing"):
        assert types[part]["float32"] > 0 and "float16" not in types[part], part
    assert "float16" not in types.get("normalisation", {})


def test_float16_keeps_trained_class_maps_and_compiles_for_turing(tmp_path_factory):
    folder, sidecar = exported(tmp_path_factory, "SSP", "fp16", ("sm75", "sm86"), frames=20)
    types = sidecar["compiled"]["types"]
    assert_float32_where_it_must_be(types)
    assert "float32" not in types["matrix products"], "Turing has no such product"
    assert types["convolutions"]["float16"] > 40 and types["convolutions"]["float32"] > 5
    assert sidecar["parity_onnxruntime"]["identical_mean"] >= 0.999
    assert {"engines/step-sm75.engine", "engines/step-sm86.engine"} <= sidecar["sha256"].keys()
    readme = (folder / "README.md").read_text()
    assert "--stronglyTyped" in readme and "engines/step-sm86.engine" in readme


@pytest.mark.slow
def test_ssp_r_compiles_in_float16(tmp_path_factory):
    folder, sidecar = exported(tmp_path_factory, "SSP-R", "fp16", ("sm75",))
    assert_float32_where_it_must_be(sidecar["compiled"]["types"])
    assert {v["name"]: v["dtype"] for v in sidecar["inputs"]}["previous_frame"] == "float16"
    assert not find_problems(onnx.load(folder / "step.onnx"), "trt-10.3")


@pytest.mark.slow
def test_kd_ssp_compiles_in_float32_but_not_for_turing(tmp_path_factory):
    folder, sidecar = exported(tmp_path_factory, "KD-SSP", "fp32", ("sm86",))
    assert sidecar["compiled"]["read_back"]["GridSample"] == [
        {"mode": "linear", "align_corners": False, "padding": "clamp", "count": 2}
    ]
    assert {row["mode"]: row["count"] for row in sidecar["compiled"]["read_back"]["Resize"]} == {"linear": 12, "cubic": 1}
    assert set(sidecar["compiled"]["types"]["convolutions"]) == {"float32"}
    with pytest.raises(GraphError, match=r"refuses net_\d+_MatMul: .*FP32 GEMM is not supported.*--precision fp16"):
        compile_step(folder / "step.onnx", ["sm75"])


def test_half_precision_by_hand():
    """A batch norm is folded before anything is rounded; fine convolutions and norms stay, each layer casts what it reads."""
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.fine, self.norm = nn.Conv2d(3, 4, 3, 4, 1, bias=False), nn.BatchNorm2d(4)
            self.coarse, self.coarse_norm = nn.Conv2d(4, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
            self.layer_norm, self.head = nn.GroupNorm(1, 4), nn.Conv2d(4, 2, 1)

        def forward(self, x):
            fine = self.norm(self.fine(x)).relu()
            return self.head(self.layer_norm(self.coarse_norm(self.coarse(fine)).relu()))

    torch.manual_seed(0)
    network = Network().eval()
    for conv, norm in ((network.fine, network.norm), (network.coarse, network.coarse_norm)):
        norm.running_var.fill_(1e-9)  # 0 in float16
        norm.eps = 1e-12
        conv.weight.data.mul_(3e-5)
    fine = network.fine.weight / (1e-9 + 1e-12) ** 0.5
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network(x)
        to_half(wrap(network, "fine", 2), (64, 64))
        found = network(x)
    assert found.dtype == torch.float16 and (found - expected).abs().max() < 5e-3 * expected.abs().max()
    dtypes = {name: value.dtype for name, value in network.named_parameters()}
    assert dtypes["fine.weight"] == dtypes["layer_norm.weight"] == torch.float32
    torch.testing.assert_close(network.fine.weight, fine, rtol=1e-6, atol=0)  # never rounded to float16 on the way
    assert dtypes["coarse.weight"] == dtypes["head.weight"] == torch.float16
