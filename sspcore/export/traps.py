"""What goes wrong in silence, made on purpose: to show that a rollout sees it."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx

from sspcore.core.files import atomic_folder
from sspcore.export.device.step_runner import ONNX, SIDECAR


def with_nearest_sampling(bundle: Path, out: Path) -> Path:
    """A copy of a bundle whose warps read the nearest pixel, as a parser does that does not know GridSample's mode.

    Such a bundle is refused by `verify_bundle`; it is for `OnnxRunner` alone.
    """
    model = onnx.load(bundle / ONNX)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "GridSample" and attribute.name == "mode":
                attribute.s = b"nearest"
    with atomic_folder(out, SIDECAR) as folder:
        for path in bundle.iterdir():
            if path.name != ONNX:
                shutil.copyfile(path, folder / path.name)
        onnx.save(model, folder / ONNX)
    return out
