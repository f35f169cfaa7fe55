"""The systems of the results table: image models, video models, and the one table that names them (SYSTEMS)."""

from sspcore.core.types import Motion, Outputs, VideoSegmenter, VideoState, Window
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec
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

__all__ = [
    "PAPER_SYSTEMS",
    "SYSTEMS",
    "ImageModelSpec",
    "ImageSegmenter",
    "Motion",
    "Outputs",
    "SystemSpec",
    "VideoSegmenter",
    "VideoState",
    "Window",
    "build",
    "control",
    "encoder_start",
    "image_spec",
    "stand_in",
    "start_from",
    "system",
]
