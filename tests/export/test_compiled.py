"""NVIDIA's own compiler on exported steps: it reads what was meant, builds engines, and its refusals name the node."""

from __future__ import annotations

from importlib.util import find_spec

import onnx
import pytest

from helpers.steps import good_graph, set_attribute
from sspcore.cli.main import main
from sspcore.core.errors import SspError
from sspcore.export import rtx
from sspcore.export.check import GraphError
from sspcore.export.rtx import compile_step

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
