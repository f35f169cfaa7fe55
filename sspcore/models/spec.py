"""Models in words: what profiles and checkpoints say of an image model and of SSP."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from sspcore.core.conventions import Conventions
from sspcore.core.settings import Section

EVIDENCE_CHANNELS = 5
CLASS_CHANNELS = 8
ENCODER_NAME = r"^[\w.-]+$"  # timm would fetch a model's configuration for "hf-hub:..." and read a folder for "local-dir:..."


class ImageModelSpec(Section):
    """An image model of the study, as profiles describe it.

    Attributes:
        arch: decoder, "upernet" or "segformer".
        encoder: name in smp; "tu-" is timm's, with the weights' tag where there are several
            ("tu-sam2_hiera_base_plus.fb_r896").
        decoder_channels: width of the decoder.
        weights: where the encoder's weights come from (see sspcore.models.pretrained).
        checkpoint: whole network on the hub, in the layout of the transformers library, that encoder, decoder and auxiliary
            head start from, all but their classifiers ("openmmlab/upernet-convnext-small"); None: only the encoder has
            weights.
        auxiliary_channels: width of an FCN auxiliary head on the stride-16 features, used in training only; 0 = none.
        feature_norm: of UPerNet: a LayerNorm on each level of the encoder, as segmentation_models_pytorch builds it. The
            published Hiera models have none, the published ConvNeXt has it.
        dropout: probability that a decoder feature in front of the classifier is dropped in training (published: 0.1 in
            SegFormer, 0 in UPerNet).
        upsampling: how the logits of an image system are brought to full size (published: "bilinear" in ConvNeXt + UPerNet,
            "bicubic" in all others). Video systems always take "bicubic".
        decoder_init: how decoder and heads start: "smp", as that library does; "torch", as torch's layers do (published
            UPerNet on Hiera); "normal", weights of standard deviation 0.02 (published SegFormer and ConvNeXt).
    """

    trained_part: ClassVar[str] = "encoder."  # how names of the parameters begin that `weights` are for

    arch: Literal["upernet", "segformer"] = "upernet"
    encoder: str = Field(pattern=ENCODER_NAME)
    decoder_channels: int = Field(gt=0)
    weights: Literal["hub", "pypi", "none"]
    checkpoint: str | None = Field(default=None, pattern=r"^[\w-][\w.-]*/[\w-][\w.-]*$")
    auxiliary_channels: int = Field(default=0, ge=0)
    feature_norm: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)
    upsampling: Literal["bicubic", "bilinear"] = "bicubic"
    decoder_init: Literal["smp", "torch", "normal"] = "smp"

    @model_validator(mode="after")
    def _checkpoint_fits(self) -> ImageModelSpec:
        if self.checkpoint is not None and (self.arch, self.feature_norm, self.weights) != ("upernet", True, "hub"):
            problem = "checkpoint: is a UPerNet with norms, on the hub"
            raise ValueError(f"{problem}; set arch: upernet, feature_norm: true and weights: hub")
        return self

    @property
    def title(self) -> str:
        """The network's name in tables."""
        return self.encoder.removeprefix("tu-")


class Gate(Section):
    """Where the past comes by optical flow in place of the homography, by the share of inliers in each cell of a grid.

    After arXiv 2606.09162, whose code is not public: a gate without parameters on a grid of 16 x 16 cells that compares a
    cell's share of RANSAC inliers with a median. What its text leaves open is decided here:

    * A cell without a match has the share of the whole frame. With a threshold below that, a good registration is trusted
      there and a failed one is not; with the median, which is 1 for most frames, empty cells go by flow.
      A frame without any match takes the flow everywhere.
    * A share of 0 is never enough, whatever the threshold.
    * Nothing is smoothed; the border between two cells is hard, at full size and at stride 4 alike.

    The defaults are the published grid and median; notebook 12 compares other thresholds and reaches.

    Attributes:
        grid: cells a side.
        threshold: least share of inliers with which the homography is taken; "median": the median of the shares of this
            frame's cells that hold a match, so about half of them go by flow unless their shares are equal.
        reach: a cell's share counts the matches of so many cells around it too.
    """

    grid: int = Field(default=16, ge=1)
    threshold: Literal["median"] | Annotated[float, Field(ge=0, le=1)] = "median"
    reach: int = Field(default=0, ge=0)


# Names of the conventions -> the option of SSP that is the same fact, and its value under each reading.
_OPTION_OF: dict[str, tuple[str, dict[str, Any]]] = {
    "half_pixel": ("half_pixel", {"kept": True, "dropped": False}),
    "past_outside": ("mask_alpha", {"masked": True, "zeros": False}),
    "past_border": ("border", {"repeated": "repeat", "zero-padded": "zeros"}),
}


class SSPOptions(Section):
    """What SSP is made of; the defaults are the paper's method with a masked alpha.

    Attributes:
        similarity: where alpha comes from: "learned" (the paper), "cosine" of the features, or "constant".
        alpha: the constant, for similarity "constant".
        mask_alpha: True: alpha is 0 where the warp has no source. False: the reference's way, a past of zeros there.
        registration: "homography", "flow" (dense optical flow in its place), or "identity" (no registration).
        half_pixel: keep the half pixel where a homography is brought to stride 4; the reference drops it.
        border: what registered samples beyond the centre of the outermost pixel are: "repeat" it, or the reference's "zeros".
        gate: let the past come by flow where the homography has few inliers; None: never (the paper).
        evidence: feed the similarity head the evidence channels of SSP-R too.
        variance: carry the variance of the averaged past in the state and feed it to the head as one more channel.
        classes: feed the head the class probabilities of past and present too, brought to CLASS_CHANNELS by a learned 1x1
            convolution: a car that leaves a road and a roof whose label flickers disagree alike and differ by name.
    """

    similarity: Literal["learned", "cosine", "constant"] = "learned"
    alpha: float = Field(default=0.5, ge=0, le=1)
    mask_alpha: bool = True
    registration: Literal["homography", "flow", "identity"] = "homography"
    half_pixel: bool = True
    border: Literal["repeat", "zeros"] = "repeat"
    gate: Gate | None = None
    evidence: bool = False
    variance: bool = False
    classes: bool = False

    @model_validator(mode="after")
    def _parts_agree(self) -> SSPOptions:
        if self.evidence and self.similarity != "learned":
            raise ValueError("evidence: only the learned similarity reads it; set similarity: learned")
        if self.gate is not None and self.registration != "homography":
            raise ValueError("gate: chooses between homography and flow; set registration: homography")
        for name in ("variance", "classes"):
            if getattr(self, name) and not self.evidence:
                raise ValueError(f"{name}: is one of the evidence channels; set evidence: true")
        return self

    def key(self) -> dict[str, Any]:
        """The options as JSON values for the keys of artefacts; what came later is in them only where it is used."""
        later = ("variance", "classes", "half_pixel", "border", "gate")
        unused = {name for name in later if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="json", exclude=unused)

    def under(self, conventions: Conventions) -> SSPOptions:
        """These options with the reference's readings where the conventions take them."""
        slips = {name: reading for name, reading in conventions.slips().items() if name in _OPTION_OF}
        return self.model_copy(update={_OPTION_OF[name][0]: _OPTION_OF[name][1][reading] for name, reading in slips.items()})

    def readings(self) -> dict[str, str]:
        """What these options are in the words of the conventions: name -> reading."""
        return {
            name: next(reading for reading, value in values.items() if value == getattr(self, option))
            for name, (option, values) in _OPTION_OF.items()
        }

    @property
    def evidence_channels(self) -> int:
        """How many channels the similarity head sees besides the features."""
        return EVIDENCE_CHANNELS * self.evidence + CLASS_CHANNELS * self.classes + self.variance


class FilterOptions(Section):
    """What the options of filters (`sspcore.models.filter`) have in common with those of SSP."""

    registration: ClassVar[str] = "homography"
    gate: ClassVar[None] = None

    def key(self) -> dict[str, Any]:
        """The options as JSON values for the keys of artefacts."""
        return self.model_dump(mode="json")

    def under(self, conventions: Conventions) -> FilterOptions:
        """These options: no convention is about filters."""
        return self


class VoteOptions(FilterOptions):
    """Of the majority vote. `frames`: how many label maps vote, the present one included."""

    frames: int = Field(default=5, ge=2)


class OneEuroOptions(FilterOptions):
    """Of the one-euro filter, in frames and logits.

    By hand, not by any score: with the defaults a sudden change of ten logits, from one class to another, is taken up by
    about 70 % in its first frame, one of one logit by about 25 %.

    Attributes:
        at_rest: weight of the past where the logits do not change.
        beta: how much the cutoff rises with the speed, in cycles a logit.
        speed_cutoff: of the filter on the speed, in cycles a frame (published: 1 Hz; here at 10 frames a second).
    """

    at_rest: float = Field(default=0.9, gt=0, lt=1)
    beta: float = Field(default=0.1, ge=0)
    speed_cutoff: float = Field(default=0.1, gt=0)

    @property
    def cutoff(self) -> float:
        """Of the filter where nothing changes, in cycles a frame."""
        return (1 - self.at_rest) / (2 * math.pi * self.at_rest)
