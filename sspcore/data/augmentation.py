"""Settings of augmentation: named steps, one after the other, each one of its operations with a probability.

The default is the published augmentation (METHOD section 5). The library whose operations it names was read and compared
in its version 2.0.4, the oldest that the reference asks for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field

from sspcore.core.settings import Section
from sspcore.core.types import Size
from sspcore.data.geometric import Crop, Flip, Geometric, Perspective, ShiftScaleRotate
from sspcore.data.photometric import (
    CLAHE,
    BrightnessContrast,
    Compression,
    Gamma,
    GaussianNoise,
    HSVJitter,
    HueSaturationValue,
    ISONoise,
    Photometric,
    Sharpen,
)
from sspcore.data.samples import Sample

Operation = Annotated[Geometric | Photometric, Field(discriminator="kind")]


class Step(Section):
    """One of several operations, all equally likely, with a probability.

    Attributes:
        probability: of the step.
        one_of: its operations.
        without_teacher: leave it out where there are teacher logits (for a change that draws in what no teacher has seen).
    """

    probability: float = Field(1.0, ge=0, le=1)
    one_of: tuple[Operation, ...] = Field(min_length=1)
    without_teacher: bool = False

    def __call__(self, sample: Sample, crop: Size) -> Sample:
        """The sample, changed or not."""
        if self.without_teacher and sample.teacher is not None:
            return sample
        if self.probability < 1 and torch.rand(()) >= self.probability:
            return sample
        chosen = 0 if len(self.one_of) == 1 else int(torch.multinomial(torch.ones(len(self.one_of)), 1))
        operation = self.one_of[chosen]
        if isinstance(operation, Geometric):
            return operation(sample, crop)
        return replace(sample, frames=operation(sample.frames))


Steps = dict[str, Step]  # by a name of the user's choice, in the order in which they are done

_FLIP = Step(probability=0.5, one_of=(Flip(),))


def published_windows() -> Steps:
    """The published augmentation of pairs and longer windows."""
    return {
        "flip": _FLIP,
        "crop": Step(one_of=(Crop(zoom=(1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4)),)),
        "jitter": Step(probability=0.3, one_of=(HSVJitter(),)),
    }


def published_images() -> Steps:
    """The published augmentation of single images."""
    return {
        "flip": _FLIP,
        "view": Step(probability=0.2, one_of=(Perspective(), ShiftScaleRotate())),
        "tone": Step(probability=0.8, one_of=(BrightnessContrast(), HueSaturationValue(), Gamma(), CLAHE())),
        "degrade": Step(probability=0.6, one_of=(ISONoise(), GaussianNoise(), Compression(), Sharpen())),
        "crop": Step(one_of=(Crop(),)),
    }


class Augmentation(Section):
    """What happens to training samples, in the order in which the steps are written.

    A step is changed by its name: `load_profile("paper", {"augmentation.windows.jitter.probability": 1.0})`.

    Attributes:
        windows: of systems that train on two frames and more; all frames of a window are changed alike.
        images: of systems that train on single images.
    """

    windows: Steps = Field(default_factory=published_windows)
    images: Steps = Field(default_factory=published_images)

    def steps(self, window: int) -> Steps:
        """The steps for windows of so many frames."""
        return self.images if window == 1 else self.windows

    def key(self, window: int) -> list[Any]:
        """The steps for windows of so many frames as JSON values, in their order: for the keys of artefacts."""
        return [step.model_dump(mode="json") for step in self.steps(window).values()]


class Augmenter:
    """Steps with the crop that they lead to; a dataset calls it under each sample's own seed."""

    def __init__(self, steps: Steps, crop: Size) -> None:
        self._steps, self._crop = tuple(steps.values()), crop

    def __call__(self, sample: Sample) -> Sample:
        """A randomly changed copy of the sample, of the crop's size: cut at the end if no step did."""
        for step in self._steps:
            sample = step(sample, self._crop)
        return sample if tuple(sample.frames.shape[-2:]) == self._crop else Crop()(sample, self._crop)
