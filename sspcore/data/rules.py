"""How a raw release becomes clips: the rules that preparation follows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from sspcore.core.settings import Section, positive
from sspcore.core.types import Size


class ClipRules(Section):
    """How a raw release becomes clips (METHOD section 8). Frames are counted in frames taken, not in source frames.

    Attributes:
        frame_step: every n-th source frame is taken.
        clip_length: frames of a clip.
        min_clip_length: shorter clips are dropped.
        drop_first, drop_last: whether the first / last frame taken of a video is left out.
        require_label: whether a clip without a label is dropped.
        store_size: (H, W) of stored frames and labels; None keeps the release's size.
        image_format: "png" (lossless) or "jpg" (quality 95).
    """

    frame_step: int = Field(ge=1)
    clip_length: int = Field(ge=2)
    min_clip_length: int = Field(ge=2)
    drop_first: bool = True
    drop_last: bool = False
    require_label: bool = True
    store_size: Annotated[Size, AfterValidator(positive)] | None = None
    image_format: Literal["png", "jpg"] = "png"

    @model_validator(mode="after")
    def _some_clips_are_kept(self) -> ClipRules:
        if self.min_clip_length > self.clip_length:
            raise ValueError(f"min_clip_length ({self.min_clip_length}) is above clip_length ({self.clip_length})")
        return self
