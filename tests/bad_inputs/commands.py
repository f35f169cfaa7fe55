"""Bad arguments and inputs of the commands: evaluate, stream (the runtime) and export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from bad_inputs.cases import COMMON, SIZE, Case, bundle, command, describe, huge_png, panning_frames, png, scored, ssp_state
from helpers.media import write_rgb, write_video
from sspcore.core.images import read_grey
from sspcore.data.datasets import UAVID
from sspcore.models.checkpoint import WEIGHTS, save_checkpoint, system_config
from sspcore.models.systems import build, image_spec
from sspcore.study.profiles import load_profile

GREY = np.zeros(SIZE, np.uint8)


def _scored(spoil: Callable[[Path], object], *extra: object):
    def run(folder: Path) -> None:
        options = scored(folder)
        spoil(folder)
        command(*options, *extra)

    return run


def _map(data: bytes, where: str = "predictions"):
    return _scored(lambda folder: (folder / where / "1.png").write_bytes(data))


def _figures(spoil: Callable[[Path], object], expected: dict[str, float | None], n: int = 3):
    """What is odd but sound has a score: `expected`, by metric."""
    def run(folder: Path) -> None:
        options = scored(folder, n)
        spoil(folder)
        command(*options, "--json", folder / "scores.json")
        metrics = json.loads((folder / "scores.json").read_text())["metrics"]
        found = {name: metrics[name] for name in expected}
        assert found == expected, found

    return run


def _fill(where: str, value: int):
    return lambda folder: [write_rgb(path, np.full(SIZE, value, np.uint8)) for path in (folder / where).iterdir()]


def _nothing(folder: Path) -> None:
    """Leave everything as it is."""


EVALUATE = (
    Case("scored map of zero bytes", _map(b""), r"predictions/1\.png: not a readable PNG \(0 bytes\)"),
    Case("scored map cut in half", _map(png(GREY)[:60]), r"predictions/1\.png: not a readable PNG"),
    Case("scored map that announces 100000x100000 pixels", _map(huge_png()), r"predictions/1\.png: not a readable PNG"),
    Case("scored map of 33000 columns", _map(png(np.zeros((1, 33_000), np.uint8))), r"predictions/1\.png: is 1x33000"),
    Case("scored map of 16 bits", _map(png(np.full(SIZE, 300, np.uint16))), r"predictions/1\.png: expected class ids from 0"),
    Case("scored map in colours", _map(png(np.full((*SIZE, 3), (9, 8, 7), np.uint8))), r"predictions/1\.png: .*colour"),
    Case("scored map with an unknown class", _map(png(GREY + 4)), r"predictions/1\.png: holds the value 4"),
    Case("scored map of another size", _map(png(GREY[:8])), r"predictions/1\.png: label map is 8x96"),
    Case("true map with an unknown class", _map(png(GREY + 200), "labels"), r"labels/1\.png: holds the value 200"),
    Case("true map of another size", _map(png(GREY[:, :8]), "labels"), r"labels/1\.png: label map is 64x8"),
    Case("scored frame of zero bytes", _map(b"", "frames"), r"frames/1\.png: not a readable image"),
    Case("scored frame of another size", _map(png(GREY[:8]), "frames"), r"frames: 1\.png is 8x96, the frames before it 64x96"),
    Case("scored map without a frame", _scored(lambda folder: (folder / "frames" / "1.png").unlink()), "its frame is missing"),
    Case("folder of maps that is missing", _scored(lambda folder: shutil.rmtree(folder / "predictions")), "no such folder"),
    Case(
        "folder of maps that is a file",
        _scored(lambda folder: (shutil.rmtree(folder / "predictions"), (folder / "predictions").write_text(""))),
        "--predictions .*: no such folder",
    ),
    Case(
        "folder of maps that is empty", _scored(lambda folder: [path.unlink() for path in (folder / "predictions").iterdir()]),
        "predictions: no PNG label maps here",
    ),
    Case(
        "true maps under other names", _scored(lambda folder: (folder / "labels").rename(folder / "x")), "--labels .*: no such",
    ),
    Case("no class at all", _scored(_nothing, "--classes", 0), "--classes 0: take 1..254"),
    Case("more classes than a map can hold", _scored(_nothing, "--classes", 255), "--classes 255: take 1..254"),
    Case("number of classes that is none", _scored(_nothing, "--classes", "four"), "'--classes': .* integer"),
    Case("moving class that does not exist", _scored(_nothing, "--moving", "2,9"), "--moving 2,9: expected class ids"),
    Case("flow estimator that does not exist", _scored(_nothing, "--flow", "dis"), "flow 'dis' is unknown"),
    Case(
        "figures over a true map", lambda folder: command(*scored(folder), "--json", folder / "labels/1.png"),
        "lies in an input",
    ),
    Case(
        "flow kept among the frames", lambda folder: command(*scored(folder), "--flow-cache", folder / "frames"),
        "frames: is an input",
    ),
    Case("predictions that abstain everywhere", _figures(_fill("predictions", 255), {"miou": 0.0, "tc": None})),
    Case("true maps that are ignored everywhere", _figures(_fill("labels", 255), {"miou": None})),
    Case("clip of a single frame", _figures(_nothing, {"miou": 1.0, "tc": None, "flicker": None}, n=1)),
)


def _video(path: Path) -> Path:
    write_video(path, panning_frames(3, 0))
    return path


def _streamed(spoil: Callable[[Path], object], *extra: object, source: str = "video.mp4"):
    """Stream a sound video through a sound bundle, but for what `spoil` does to either."""
    def run(folder: Path) -> None:
        _video(folder / "video.mp4")
        bundle(folder / "bundle")
        spoil(folder)
        command("stream", folder / source, "--bundle", folder / "bundle", *extra)

    return run


def _checkpoint(folder: Path) -> Path:
    """The weights' file of a sound checkpoint, the folder `ssp`."""
    profile = load_profile("smoke")
    config = system_config("SSP", image_spec("SSP", profile), UAVID, SIZE)
    save_checkpoint(folder / "ssp", build("SSP", UAVID.n_classes, profile, load_weights=False), config)
    return folder / "ssp" / WEIGHTS


def _torch(*extra: object, spoil: Callable[[Path], object] = _nothing):
    """Stream a sound video through a checkpoint of which `spoil` does something to the weights."""
    def run(folder: Path) -> None:
        spoil(_checkpoint(folder))
        command("stream", _video(folder / "video.mp4"), "--checkpoint", folder / "ssp", *extra)

    return run


def _images(*contents: bytes):
    """A folder of frames as the source."""
    def spoil(folder: Path) -> None:
        (folder / "images").mkdir()
        for k, data in enumerate(contents):
            (folder / "images" / f"{k}.png").write_bytes(data)

    return spoil


def _counted(folder: Path) -> None:
    """Two frames of four can be read; both are segmented, their masks named and sized as they are."""
    bundle(folder / "bundle")
    good = png(np.full((50, 70, 3), 9, np.uint8))
    _images(good, b"", good[:-30], good)(folder)
    printed = command("stream", folder / "images", "--bundle", folder / "bundle", "--masks", folder / "masks")
    report = json.loads(printed)
    assert (report["frames"], report["broken"]) == (2, 2), report
    masks = sorted((folder / "masks").glob("*.png"))
    assert [path.name for path in masks] == ["0.png", "3.png"] and all(read_grey(path).shape == (50, 70) for path in masks)


def _kept(*extra: str, source: str = "video.mp4"):
    """Stream with outputs that are refused: every file is as it was. FOLDER stands for the case's folder."""
    def run(folder: Path) -> None:
        bundle(folder / "bundle")
        _images(png(np.full((50, 70, 3), 9, np.uint8)))(folder)
        _video(folder / "video.mp4")
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        try:
            arguments = [argument.replace("FOLDER", str(folder)) for argument in extra]
            command("stream", folder / source, "--bundle", folder / "bundle", *arguments)
        finally:
            assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    return run


def _described(**changes: object):
    return _streamed(lambda folder: describe(folder / "bundle", **changes))


def _sidecar(text: str):
    return _streamed(lambda folder: (folder / "bundle" / "bundle.json").write_text(text))


def _garbled_graph(folder: Path) -> None:
    (folder / "bundle" / "step.onnx").write_bytes(b"no graph")
    describe(folder / "bundle")


STREAM = (
    Case("streamed video that is missing", _streamed(_nothing, source="no.mp4"), r"no\.mp4: no such video"),
    Case("streamed video of zero bytes", _streamed(lambda f: (f / "video.mp4").write_bytes(b"")), r"video\.mp4: cannot be"),
    Case(
        "streamed video cut in half",
        _streamed(lambda f: (f / "video.mp4").write_bytes((f / "video.mp4").read_bytes()[:999])), r"video\.mp4: cannot be",
    ),
    Case("streamed folder without an image", _streamed(_images(), source="images"), "images: no image in this folder"),
    Case("streamed folder of broken images", _streamed(_images(b"", b"x"), source="images"), r"no readable frame \(2 broken"),
    Case("streamed folder with broken images among good ones", _counted),
    Case(
        "camera whose number is a superscript",
        lambda folder: command("stream", "²", "--bundle", bundle(folder / "bundle")), "²: no such video",
    ),
    Case("bundle that is missing", _streamed(lambda f: shutil.rmtree(f / "bundle")), "bundle: no bundle"),
    Case("bundle described by zero bytes", _sidecar(""), r"bundle\.json: not a bundle's description"),
    Case("bundle described by a list", _sidecar("[1, 2]"), r"bundle\.json: not a bundle's description"),
    Case("bundle described without a size", _described(size=None), r"bundle\.json: .*'size'"),
    Case("bundle described with a size in words", _described(size=["a", "b"]), r"bundle\.json: not a bundle's description"),
    Case("bundle described without inputs", _described(inputs=None), r"bundle\.json: .*'inputs'"),
    Case("bundle described without classes", _described(classes=None), r"bundle\.json: .*'classes'"),
    Case(
        "bundle whose graph was changed", _streamed(lambda f: (f / "bundle" / "step.onnx").write_bytes(b"other")),
        r"step\.onnx: missing, or not the file",
    ),
    Case("bundle whose graph is no graph", _streamed(_garbled_graph), "bundle: provider cpu cannot start here"),
    Case(
        "bundle whose logits are NaN", _streamed(lambda f: bundle(f / "bundle", float("nan"))), "logits are no finite numbers",
    ),
    Case("overlay over the streamed video", _kept("--out", "FOLDER/video.mp4", "--overwrite"), r"video\.mp4: is an input"),
    Case(
        "masks into the streamed folder",
        _kept("--masks", "FOLDER/images", "--overwrite", source="images"), "images: is an input",
    ),
    Case("report over the bundle", _kept("--report", "FOLDER/bundle/bundle.json", "--overwrite"), "lies in an input"),
    Case("masks into the folder of the video", _kept("--masks", "FOLDER", "--overwrite"), "contains an input"),
    Case("masks among files of the user", _kept("--masks", "FOLDER/images"), "images: the folder holds files already"),
    Case("overlay over a file of the user", _kept("--out", "FOLDER/images/0.png"), "the file exists already"),
    Case("two outputs of one name", _kept("--out", "FOLDER/new", "--report", "FOLDER/new"), "two of them name the same"),
    Case("rate that is no number", _streamed(_nothing, "--rate", "nan"), "--rate nan: "),
    Case("rate of zero", _streamed(_nothing, "--rate", "0"), "--rate 0: "),
    Case("no frame asked for", _streamed(_nothing, "--max-frames", "0"), "--max-frames 0: take 1 or more"),
    Case("size of zero", _torch("--size", "0x0"), "'0x0': write HEIGHTxWIDTH"),
    Case("size in superscripts", _torch("--size", "²x³"), "'²x³': write HEIGHTxWIDTH"),
    Case("size beyond all memory", _torch("--size", "99968x99968"), "'99968x99968': write"),
    Case("device that does not exist", _torch("--device", "tpu9"), "device tpu9: cannot be used here"),
    Case("registration that does not exist", _torch("--registration", "surf"), "registrator 'surf' is unknown"),
    Case("checkpoint that is missing", _torch(spoil=lambda path: shutil.rmtree(path.parent)), "ssp: folder is missing"),
    Case("checkpoint without weights", _torch(spoil=Path.unlink), r"model\.safetensors: file is missing"),
    Case("checkpoint that is a file", _torch("--checkpoint", __file__), "is a file; give the checkpoint's folder"),
    Case(
        "checkpoint that lacks its last bytes",
        _torch(spoil=lambda path: path.write_bytes(path.read_bytes()[:-9])), r"model\.safetensors: not readable as safetensors",
    ),
    Case(
        "checkpoint that holds an infinity",
        _torch(spoil=lambda path: save_file({k: v / 0 for k, v in ssp_state().items()}, path)), "no finite numbers",
    ),
)


def _exported(*arguments: object, before: Callable[[Path], object] = _nothing):
    """Export; FOLDER in an argument stands for the case's folder, whose files must still be there."""
    def run(folder: Path) -> None:
        (folder / "mine.txt").write_text("precious")
        before(folder)
        try:
            command("export", *(str(a).replace("FOLDER", str(folder)) for a in arguments))
        finally:
            assert (folder / "mine.txt").read_text() == "precious"

    return run


def _file(name: str, data: bytes):
    return lambda folder: (folder / name).write_bytes(data)


FRESH = "--untrained", "SSP", *COMMON
EXPORT = (
    Case(
        "export over a folder of the user's with --overwrite", _exported(*FRESH, "--out", "FOLDER", "--overwrite"),
        "exists and was not written by",
    ),
    Case("export to nowhere", _exported(*FRESH), "--out DIR is needed"),
    Case("export of two systems", _exported(*FRESH, "--checkpoint", "FOLDER/c", "--out", "FOLDER/b"), "give one of them"),
    Case("export over a folder of the user's", _exported(*FRESH, "--out", "FOLDER"), "exists and was not written by"),
    Case("export over a file of the user's", _exported(*FRESH, "--out", "FOLDER/mine.txt"), "exists and was not written by"),
    Case("export at a size that cannot be", _exported(*FRESH, "--size", "64", "--out", "FOLDER/b"), "'64': write HEIGHTxWIDTH"),
    Case("export at a size that the network cannot take", _exported(*FRESH, "--size", "60x100", "--out", "FOLDER/b"), "60x100"),
    Case("export for a target that does not exist", _exported(*FRESH, "--target", "trt-1", "--out", "FOLDER/b"), "trt-1: "),
    Case("export of a system that does not exist", _exported("--untrained", "SPP", "--out", "FOLDER/b"), "SPP"),
    Case("golden rollout that hides drift", _exported(*FRESH, "--golden-frames", "3", "--out", "FOLDER/b"), "frames 3: "),
    Case(
        "golden video that is too short",
        _exported(*FRESH, "--video", "FOLDER/v.mp4", "--out", "FOLDER/b", before=lambda f: _video(f / "v.mp4")),
        r"--video .*v\.mp4: only 3 readable frames, 20 are needed",
    ),
    Case(
        "golden video without a readable frame",
        _exported(*FRESH, "--video", "FOLDER/images", "--out", "FOLDER/b", before=_images(b"x")),
        "--video .*images: only 0 readable frames",
    ),
    Case(
        "checkpoint of zero bytes to export",
        _exported("--checkpoint", "FOLDER/ssp", "--out", "FOLDER/b", before=lambda f: _checkpoint(f).write_bytes(b"")),
        r"model\.safetensors: not readable as safetensors",
    ),
    Case(
        "checkpoint with the weights of another model to export",
        _exported(
            "--checkpoint", "FOLDER/ssp", "--out", "FOLDER/b",
            before=lambda f: save_file({"a": torch.zeros(1)}, _checkpoint(f)),
        ),
        "config.json and model.safetensors disagree",
    ),
    Case("graph of zero bytes to check", _exported("--check", "FOLDER/g", before=_file("g", b"")), r"g: holds no graph"),
    Case("graph that is text to check", _exported("--check", "FOLDER/g", before=_file("g", b"graph")), "g: not readable as"),
    Case("graph that is missing to check", _exported("--check", "FOLDER/g"), "g: not readable as ONNX"),
)

CASES = (*EVALUATE, *STREAM, *EXPORT)
