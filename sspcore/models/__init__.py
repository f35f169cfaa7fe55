"""Image models, the video methods around them, the table that names them (SYSTEMS), and checkpoints."""

from sspcore.core.types import Motion, Outputs, VideoSegmenter, VideoState, Window
from sspcore.models.checkpoint import CheckpointConfig, create_model, load_checkpoint, save_checkpoint
from sspcore.models.dff import DFF
from sspcore.models.image import ImageSegmenter
from sspcore.models.interface import ImageModel, StagedImageModel
from sspcore.models.netwarp import NetWarp
from sspcore.models.spec import ImageModelSpec, SSPOptions
from sspcore.models.ssp import SSP
from sspcore.models.systems import (
    PAPER_SYSTEMS,
    SYSTEMS,
    SystemSpec,
    build,
    control,
    encoder_start,
    image_spec,
    stand_in,
    start_from,
    system,
)
from sspcore.models.tcb import TCB
from sspcore.models.testing import check_image_model
from sspcore.models.wrap import wrap

__all__ = [
    "DFF", "PAPER_SYSTEMS", "SSP", "SYSTEMS", "TCB", "CheckpointConfig", "ImageModel", "ImageModelSpec", "ImageSegmenter",
    "Motion", "NetWarp", "Outputs", "SSPOptions", "StagedImageModel", "SystemSpec", "VideoSegmenter", "VideoState", "Window",
    "build", "check_image_model", "control", "create_model", "encoder_start", "image_spec", "load_checkpoint",
    "save_checkpoint", "stand_in", "start_from", "system", "wrap",
]
