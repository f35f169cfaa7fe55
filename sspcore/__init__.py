"""sspcore: Semantic Similarity Propagation for temporally consistent segmentation of aerial video.

    model = sspcore.SSP.from_pretrained("data/sample")
    for frame in sspcore.segment_video(model, "flight.mp4"):
        frame.labels      # (H, W) class ids

The public names are below; they are loaded when they are first used, so importing sspcore is quick.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# torch's OpenMP threads spin at every barrier: beside one other busy process a training step takes twenty times as long.
# Read when torch loads; results do not change. KMP_ is LLVM's runtime (macOS), GOMP_ is GNU's (Linux).
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ.update({"KMP_BLOCKTIME": "1"} if sys.platform == "darwin" else {"GOMP_SPINCOUNT": "1000"})

if TYPE_CHECKING:
    from sspcore import metrics
    from sspcore.core.classes import ClassSpec
    from sspcore.data.clips import load_dataset
    from sspcore.inference import segment_video
    from sspcore.models import (
        DFF,
        SSP,
        TCB,
        CheckpointConfig,
        ImageModelSpec,
        ImageSegmenter,
        Motion,
        NetWarp,
        SSPOptions,
        Window,
        check_image_model,
        create_model,
        load_checkpoint,
        save_checkpoint,
        wrap,
    )
    from sspcore.study import Study

__all__ = [
    "DFF", "SSP", "TCB", "CheckpointConfig", "ClassSpec", "ImageModelSpec", "ImageSegmenter", "Motion", "NetWarp", "SSPOptions",
    "Study", "Window", "check_image_model", "create_model", "load_checkpoint", "load_dataset", "metrics", "save_checkpoint",
    "segment_video", "wrap",
]
_ELSEWHERE = {"ClassSpec": "core.classes", "Study": "study", "load_dataset": "data.clips", "segment_video": "inference"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'sspcore' has no attribute {name!r}; it offers {', '.join(__all__)}")
    if name == "metrics":
        return importlib.import_module("sspcore.metrics")
    value = globals()[name] = getattr(importlib.import_module(f"sspcore.{_ELSEWHERE.get(name, 'models')}"), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
