"""Image models, the video methods around them, the table that names them (SYSTEMS), and checkpoints."""

from sspcore.core.types import Motion, Window
from sspcore.models.checkpoint import CheckpointConfig, create_model, load_checkpoint, save_checkpoint
from sspcore.models.dff import DFF
from sspcore.models.image import ImageSegmenter
from sspcore.models.netwarp import NetWarp
from sspcore.models.spec import Gate, ImageModelSpec, SSPOptions
from sspcore.models.ssp import SSP
from sspcore.models.tcb import TCB
from sspcore.models.testing import check_image_model
from sspcore.models.wrap import wrap

__all__ = [
    "DFF", "SSP", "TCB", "CheckpointConfig", "Gate", "ImageModelSpec", "ImageSegmenter", "Motion", "NetWarp", "SSPOptions",
    "Window", "check_image_model", "create_model", "load_checkpoint", "save_checkpoint", "wrap",
]
