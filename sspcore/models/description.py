"""Image models in words: the study's own, networks of smp and of torchvision, and the user's own code.

Names of networks are looked up among those that the two libraries export: no file can have other code imported.
"""

from __future__ import annotations

import inspect
import re
from typing import Annotated, Any, ClassVar, Literal

import segmentation_models_pytorch as smp
import torchvision
from pydantic import Discriminator, Tag, field_validator, model_validator
from segmentation_models_pytorch.base import SegmentationModel
from torchvision.models import get_model_builder, list_models

from sspcore.core.settings import Section
from sspcore.models.spec import ENCODER_NAME, ImageModelSpec

_DEFAULT_ENCODER = "resnet34"  # of smp
# Arguments that smp passes on to timm.
_READ_BY_TIMM = frozenset({"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"})


class SmpSpec(Section):
    """A network of segmentation_models_pytorch.

    Attributes:
        smp: name of the class ("Unet").
        arguments: of the class, as that library names them ("encoder_name", "decoder_channels", ...). The number of classes is
            filled in, `weights` takes the place of "encoder_weights".
        weights: where the encoder's weights come from (see sspcore.models.pretrained). A profile has to say it; a checkpoint
            of a network that a user made holds them all.
    """

    checkpoint: ClassVar[None] = None  # no whole network to start from
    trained_part: ClassVar[str] = "network.encoder."

    smp: str
    arguments: dict[str, Any] = {}
    weights: Literal["hub", "pypi", "none"] = "none"

    @field_validator("smp")
    @classmethod
    def _known(cls, value: str) -> str:
        known = [name for name in dir(smp) if name != "DPT" and _is_network(getattr(smp, name))]  # DPT: stride 16 at best
        if value not in known:
            raise ValueError(f"segmentation_models_pytorch {smp.__version__} has no {value!r}; choose from {', '.join(known)}")
        return value

    @field_validator("arguments")
    @classmethod
    def _allowed(cls, value: dict[str, Any]) -> dict[str, Any]:
        if value.get("encoder_weights") is not None:
            raise ValueError("encoder_weights is not said here; set weights: hub, pypi or none beside smp")
        if reading := sorted(_READ_BY_TIMM & value.keys()):
            raise ValueError(f"{reading[0]} would have timm read or fetch files; leave it out")
        if not re.match(ENCODER_NAME, str(value.get("encoder_name", _DEFAULT_ENCODER))):
            raise ValueError(f"encoder_name {value['encoder_name']!r}: name an encoder of smp, or `tu-` and one of timm")
        return value

    @property
    def encoder(self) -> str:
        """Name of the encoder; that library's default where the arguments name none."""
        return self.arguments.get("encoder_name", _DEFAULT_ENCODER)

    @property
    def title(self) -> str:
        return f"{self.smp} on {self.encoder.removeprefix('tu-')}"


class TorchvisionSpec(Section):
    """A segmentation network of torchvision.

    Attributes:
        torchvision: name of its builder ("deeplabv3_resnet50").
        arguments: of the builder: aux_loss, where it has an auxiliary head. The number of classes is filled in.
        features: the part whose output, at stride 4, tells how alike two places look; None: that of the backbone.
        interpolate: bring features of another stride to stride 4.
        weights: "hub": those that the library has for the backbone; "none". A profile has to say it.
    """

    checkpoint: ClassVar[None] = None
    trained_part: ClassVar[str] = "network.backbone."

    torchvision: str
    arguments: dict[str, Any] = {}
    features: str | None = None
    interpolate: bool = False
    weights: Literal["hub", "none"] = "none"

    @field_validator("torchvision")
    @classmethod
    def _known(cls, value: str) -> str:
        known = list_models(module=torchvision.models.segmentation)
        if value not in known:
            raise ValueError(f"torchvision {torchvision.__version__} has no {value!r}; choose from {', '.join(known)}")
        return value

    @model_validator(mode="after")
    def _arguments_fit(self) -> TorchvisionSpec:
        # the builder itself takes and ignores any name
        known = {"aux_loss"} & inspect.signature(get_model_builder(self.torchvision)).parameters.keys()
        if unknown := self.arguments.keys() - known:
            raise ValueError(f"arguments: {self.torchvision} takes {', '.join(known) or 'none'} here, not {min(unknown)}")
        return self

    @property
    def title(self) -> str:
        return self.torchvision

    @property
    def features_part(self) -> str:
        """Name of the part that the features come from."""
        return self.features or ("backbone.layer1" if "resnet" in self.torchvision else "backbone.3")


class CustomSpec(Section):
    """An image model of the user's own code, by the name of its class; only the user can build it again."""

    module: str


def _is_network(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, SegmentationModel)


# Tags of the kinds of image models; they stand in the places of errors, where `place` takes them out.
_TAGS = {"smp": "(smp)", "torchvision": "(torchvision)", "module": "(module)"}
_ENCODER = "(encoder)"


def _kind(value: Any) -> str | None:
    entries = value if isinstance(value, dict) else getattr(type(value), "model_fields", None)
    return None if entries is None else next((tag for name, tag in _TAGS.items() if name in entries), _ENCODER)


_Study = Annotated[ImageModelSpec, Tag(_ENCODER)]
_Smp = Annotated[SmpSpec, Tag(_TAGS["smp"])]
_Torchvision = Annotated[TorchvisionSpec, Tag(_TAGS["torchvision"])]

# What can be built from its description alone, and what a checkpoint may be on.
BuildableSpec = Annotated[_Study | _Smp | _Torchvision, Discriminator(
    _kind, "image_model",
    "expected a mapping with encoder, smp, or torchvision; an image model of your own code is wrapped in Python (sspcore.wrap)",
)]
ImageDescription = Annotated[_Study | _Smp | _Torchvision | Annotated[CustomSpec, Tag(_TAGS["module"])], Discriminator(
    _kind, "image_model", "expected a mapping with encoder, smp, torchvision, or module",
)]


def place(location: tuple[int | str, ...]) -> str:
    """The dotted place of an entry that pydantic found wrong."""
    return ".".join(str(part) for part in location if part not in (_ENCODER, *_TAGS.values()))
