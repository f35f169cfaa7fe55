"""A bad input, what must come of it, and what came of it; and the small good material that bad inputs are made from."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from helpers.media import SIZE, half_and_half, panning_frames, write_rgb, write_video
from sspcore.cli.main import main
from sspcore.core.errors import SspError
from sspcore.data.datasets import UAVID
from sspcore.models.systems import build
from sspcore.study.profiles import load_profile

COMMON = "--profile", "smoke", "--size", "64x96"


class Refused(Exception):
    """A command ended with a status other than 0 and this one line."""


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        name: what it is.
        run: makes it in an empty folder and hands it to the library; asserts what the result must be, where there is one.
        error: pattern of the one-line error that it must end in; None where a correct result is expected.
        kind: type of that error; ValueError where plain arrays are handed to a function.
    """

    name: str
    run: Callable[[Path], object]
    error: str | None = None
    kind: type[Exception] = SspError

    def outcome(self, folder: Path) -> dict[str, object]:
        """Run it; keys name, expected, outcome, as_expected."""
        folder.mkdir(parents=True)
        good = False
        try:
            self.run(folder)
        except AssertionError as error:
            outcome = f"wrong result: {error}"
        except Exception as error:  # whatever else comes is what a user would see as a traceback
            line = str(error)
            good = (
                self.error is not None and isinstance(error, (self.kind, Refused))
                and len(line.splitlines()) == 1 and re.search(self.error, line) is not None
            )
            outcome = f"{type(error).__name__}: {line}".replace(str(folder), "DIR")
        else:
            good = self.error is None
            outcome = "correct result" if good else "accepted silently"
        expected = "correct result" if self.error is None else f"one-line error with {self.error!r}"
        return {"name": self.name, "expected": expected, "outcome": outcome, "as_expected": good}


def command(*arguments: object, main: Callable[[list[str]], int] = main) -> str:
    """What `sspcore ARGUMENTS` prints. Raises Refused with its one error line if it ends with another status than 0."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    if status == 0:
        return out.getvalue()
    lines = [line for line in err.getvalue().splitlines() if "error: " in line]
    assert len(lines) == 1 and status == 2, f"status {status}, {lines}"
    raise Refused(lines[0])


def png(image: np.ndarray, suffix: str = ".png") -> bytes:
    """A grey or RGB image as the bytes of a file."""
    return cv2.imencode(suffix, image if image.ndim == 2 else image[..., ::-1])[1].tobytes()


def huge_png() -> bytes:
    """A whole PNG whose header, with the right checksum, announces 100000 x 100000 pixels."""
    from zlib import crc32

    data = bytearray(png(np.zeros((4, 4), np.uint8)))
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def uavid(root: Path) -> Path:
    """A sound release: seq1 (train) and seq16 (val), 9 frames each, labels at 0, 4, 8, a VDD layer in seq1."""
    for seed, (split, name) in enumerate([("train", "seq1"), ("val", "seq16")]):
        folder = root / f"uavid_{split}" / name
        write_video(folder / "images.mp4", panning_frames(9, seed))
        for k in (0, 4, 8):
            write_rgb(folder / "Labels" / f"{k:06d}.png", half_and_half(UAVID.labels["building"], UAVID.labels["clutter"]))
    for k in (0, 4, 8):
        write_rgb(root / "UAVid7/uavid_train/seq1/VDD_Labels" / f"{k:06d}.png", np.full(SIZE, 5, np.uint8))
    return root


def scored(root: Path, n: int = 3) -> list[str]:
    """Sound folders of n frames and label maps of four classes; the command line that scores them."""
    for k, frame in enumerate(panning_frames(n, 0)):
        labels = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8) % 4
        write_rgb(root / "frames" / f"{k}.png", frame)
        write_rgb(root / "predictions" / f"{k}.png", labels)
        write_rgb(root / "labels" / f"{k}.png", labels)
    folders = [part for name in ("predictions", "frames", "labels") for part in (f"--{name}", str(root / name))]
    return ["evaluate", *folders, "--classes", "4", "--flow-cache", str(root / "cache"), "--flow", "dis-ultrafast"]


@cache
def ssp_state() -> dict[str, torch.Tensor]:
    """Fresh weights of SSP under the smoke profile."""
    torch.manual_seed(0)
    state = build("SSP", UAVID.n_classes, load_profile("smoke"), load_weights=False).state_dict()
    return {name: tensor.contiguous() for name, tensor in state.items()}


def bundle(folder: Path, value: float = 0.0, **changes: object) -> Path:
    """The smallest bundle that runs: every pixel is of class 0, all logits are `value`. `changes` go into its description."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, *SIZE, 3])
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 8, 1, 1]),
        helper.make_tensor_value_info("class_map", TensorProto.UINT8, [1, *SIZE]),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.INT64, [], [0]), helper.make_tensor("three", TensorProto.INT64, [1], [3]),
        helper.make_tensor("none", TensorProto.FLOAT, [1, 8, 1, 1], [value] * 8),
    ]
    nodes = [
        helper.make_node("Gather", ["frame", "zero"], ["channel"], name="a", axis=3),
        helper.make_node("Sub", ["channel", "channel"], ["class_map"], name="b"),
        helper.make_node("Identity", ["none"], ["logits"], name="c"),
    ]
    graph = helper.make_graph(nodes, "step", [frame], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "step.onnx")
    describe(folder, **changes)
    return folder


def describe(folder: Path, **changes: object) -> None:
    """Write the description of a bundle, with the hash of the graph that lies there; a change to None leaves a key out."""
    description = {
        "sha256": {"step.onnx": hashlib.sha256((folder / "step.onnx").read_bytes()).hexdigest()},
        "size": list(SIZE), "dataset": "uavid", "classes": UAVID.classes, "palette": UAVID.palette, "state": {},
        "normalisation": {"mean": [0, 0, 0], "std": [1, 1, 1]},
        "inputs": [{"name": "frame", "shape": [1, *SIZE, 3], "dtype": "uint8"}],
        "outputs": [{"name": "class_map", "shape": [1, *SIZE], "dtype": "uint8"}],
    } | changes
    kept = {key: value for key, value in description.items() if value is not None}
    (folder / "bundle.json").write_text(json.dumps(kept))
