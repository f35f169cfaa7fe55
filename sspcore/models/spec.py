"""An image model in words, and the files that its encoder's pretrained weights lie in."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ImageModelSpec(BaseModel):
    """An image model, as profiles describe it.

    Attributes:
        arch: decoder, "upernet" or "segformer".
        encoder: name in smp; "tu-" is timm's, with the weights' tag where there are several
            ("tu-sam2_hiera_base_plus.fb_r896_2pt1").
        decoder_channels: width of the decoder.
        weights: where the encoder's weights come from (see sspcore.models.pretrained).
        auxiliary_channels: width of an FCN auxiliary head on the stride-16 features, used in training only; 0 = none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: Literal["upernet", "segformer"] = "upernet"
    encoder: str
    decoder_channels: int = Field(gt=0)
    weights: Literal["hub", "pypi", "none"]
    auxiliary_channels: int = Field(default=0, ge=0)
