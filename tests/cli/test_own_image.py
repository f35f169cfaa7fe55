"""--image: a checkpoint on an image model of the user's own code, which the user names on the command line."""

from __future__ import annotations

import importlib.util
import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from helpers.media import panning_frames, write_rgb
from sspcore.cli.main import main
from sspcore.core.images import read_image
from sspcore.data.datasets import open_dataset
from sspcore.inference.providers import installed_providers
from sspcore.models import SSP, wrap

SIZE = (64, 96)
CODE = """
import sspcore
from torch import nn

def build():
    return sspcore.wrap(nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.Conv2d(6, 2, 1)), "0", 2)

def broken():
    raise RuntimeError("no\\nfile")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a network of one's own, a checkpoint on it, and frames; the process works in it."""
    torch.manual_seed(0)
    network = wrap(nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.Conv2d(6, 2, 1)), "0", 2)
    SSP(network).save_pretrained(tmp_path / "saved", input_size=SIZE)
    (tmp_path / "mynetwork.py").write_text(CODE)
    for k, frame in enumerate(panning_frames(2, 0)):
        write_rgb(tmp_path / "frames" / f"{k}.png", frame)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mynetwork", raising=False)
    return tmp_path


def test_the_user_names_the_function_that_makes_the_image_model(folder):
    stream = ["stream", "frames", "--checkpoint", "saved", "--masks", "masks"]
    assert main([*stream, "--image", "mynetwork:build"]) == 0
    assert len(list((folder / "masks").glob("*.png"))) == 2


def test_own_classes_and_an_own_network_become_a_bundle_that_compiles_and_streams(folder, capsys):
    """From dataset.yaml and code of one's own to class maps, by every provider that is here as by torch."""
    (folder / "dataset.yaml").write_text(
        "title: My farm\nclasses: {field: [0, 200, 0], cow: [90, 60, 0]}\nmoving: [cow]\n"
        "files: {video: '{sequence}.mp4', labels: '{sequence}/{frame}.png'}\n"
    )
    network = wrap(nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.Conv2d(6, 2, 1)), "0", 2)
    SSP(network).save_pretrained("own", input_size=SIZE, classes=open_dataset(folder / "dataset.yaml"))
    own = ["--checkpoint", "own", "--image", "mynetwork:build"]
    compiled = ["--compile", "sm86"] * (importlib.util.find_spec("tensorrt_rtx_libs") is not None)
    assert main(["export", *own, "--out", "bundle", *compiled]) == 0, capsys.readouterr().err
    sidecar = json.loads((folder / "bundle" / "bundle.json").read_text())
    assert (sidecar["title"], sidecar["classes"], sidecar["moving"]) == ("My farm", ["field", "cow"], ["cow"])
    assert sidecar["palette"] == [[0, 200, 0], [90, 60, 0]]
    assert (folder / "bundle" / "engines" / "step-sm86.engine").is_file() == bool(compiled)
    runs = {"torch": own} | {
        name: ["--bundle", "bundle", "--provider", name] for name in ("cpu", "openvino") if name in installed_providers()
    }
    ran = []
    for name, options in runs.items():
        capsys.readouterr()
        assert main(["stream", "frames", *options, "--masks", f"masks/{name}"]) == 0
        ran.append(json.loads(capsys.readouterr().out)["runtime"])
    assert ran == ["torch, cpu", "onnxruntime", "openvino"][:len(runs)]
    for path in (folder / "masks" / "torch").glob("*.png"):
        reference = read_image(path)
        assert all(np.array_equal(read_image(folder / "masks" / name / path.name), reference) for name in runs)


STREAM = ["stream", "frames", "--checkpoint", "saved", "--masks", "masks"]


@pytest.mark.parametrize(("arguments", "problem"), [
    (STREAM, "which sspcore cannot build; build it and pass it as image= (sspcore's commands: --image MODULE:FUNCTION)"),
    ([*STREAM, "--image", "mynetwork"], "--image mynetwork: write MODULE:FUNCTION"),
    ([*STREAM, "--image", "nowhere:build"], "--image nowhere:build: cannot be imported (ModuleNotFoundError: No module named"),
    ([*STREAM, "--image", "mynetwork:make"], "cannot be imported (AttributeError: module 'mynetwork' has no attribute 'make')"),
    ([*STREAM, "--image", "mynetwork:broken"], "broken() fails (RuntimeError: no file)"),
    ([*STREAM, "--image", "builtins:dict"], "dict is no image model"),
    (["stream", "frames", "--image", "mynetwork:build", "--masks", "masks"], "--image: goes with the --checkpoint"),
    (["stream", "frames", "--bundle", "b", "--image", "a:b", "--masks", "masks"], "--image: a bundle has its image model"),
    (["export", "--out", "out", "--untrained", "SSP", "--image", "a:b"], "--image and --untrained: give one of them"),
])
def test_what_does_not_fit_is_one_line(arguments, problem, folder, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert problem in error and error.startswith("error: ") and error.count("\n") == 1
