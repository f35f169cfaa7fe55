"""What a checkpoint says of itself: config.json."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from sspcore import __version__
from sspcore.core.classes import IGNORE, ClassSpec
from sspcore.core.conventions import CORRECTED, Conventions
from sspcore.core.images import IMAGENET_MEAN, IMAGENET_STD, Interpolation
from sspcore.core.settings import InputSize, Section
from sspcore.models.description import BuildableSpec, ImageDescription, place
from sspcore.models.spec import SSPOptions
from sspcore.models.systems import FLOW_METHODS, system

FORMAT = 1
Triple = tuple[float, float, float]


def _conventions_of_options(entries: dict[str, Any]) -> Conventions:
    options = entries.get("options")
    return CORRECTED if options is None else CORRECTED.model_copy(update=options.readings())


class CheckpointConfig(Section, strict=True):
    """What a checkpoint says of itself.

    Attributes:
        format: of this file; another one is refused.
        written_by: version of sspcore.
        system: name in the table of systems, or the user's own.
        method: what is built around the image model, one of `sspcore.models.systems.METHODS`.
        image_model: how the image model is built.
        options: of SSP; None for the other methods.
        window: frames in a training window.
        conventions: readings that it was built and trained under. Those of SSP are its options in other words; where a file
            has the options alone, they say them.
        train_flow: whether DFF or NetWarp holds a RAFT of its own, whose weights are among the checkpoint's.
        key_interval: of DFF: every so many frames are key frames; None for the other methods and for its default.
        classes: names, colours, and which move.
        input_size: (H, W) of the frames that the model sees.
        interpolation: how frames of another size are brought to it (`sspcore.core.images.resize_frame`), as in training;
            checkpoints that do not say resize by area.
        channels: their order in a frame.
        mean, std: of the normalisation, per channel in 0..1: ImageNet's, written down for other readers.
        registration, flow: what motion was estimated with (`build_registrator`, `build_flow`).
        data: what it was trained on, in words.
        licence: of the weights; None: not stated.
        scores: by name, for the model card.
        provenance: where it is from (`sspcore.core.provenance`).
    """

    format: Literal[1] = FORMAT
    written_by: str = __version__
    system: str
    method: Literal["image", "ssp", "dff", "netwarp", "tcb_ppm", "tcb_ocr"]
    image_model: ImageDescription
    options: SSPOptions | None = None
    window: int = Field(default=1, ge=1)
    conventions: Conventions = Field(default_factory=_conventions_of_options)
    train_flow: bool = False
    key_interval: int | None = Field(default=None, ge=1)
    classes: ClassSpec
    input_size: InputSize
    interpolation: Interpolation = "area"
    channels: Literal["RGB"] = "RGB"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    registration: str = "lk"
    flow: str = "dis-medium"
    data: str = ""
    licence: str | None = None
    scores: dict[str, Any] = {}
    provenance: dict[str, Any] = {}

    @field_validator("classes")
    @classmethod
    def _plain(cls, value: ClassSpec) -> ClassSpec:
        """Of a data set's description only what every ClassSpec has."""
        return value.alone

    @model_validator(mode="after")
    def _parts_agree(self) -> CheckpointConfig:
        spec = self.classes
        if not 0 < len(set(spec.classes)) == spec.n_classes < IGNORE:
            raise ValueError(f"classes: 1 to {IGNORE - 1} names, each once")
        if len(spec.palette) != spec.n_classes:
            raise ValueError(f"classes: {len(spec.palette)} colours for {spec.n_classes} classes")
        if any(not 0 <= value <= 255 for colour in spec.palette for value in colour):
            raise ValueError("classes: colours are three numbers in 0..255")
        if lost := set(spec.moving) - set(spec.classes):
            raise ValueError(f"classes: moving {sorted(lost)[0]!r} is no class")
        if (self.mean, self.std) != (IMAGENET_MEAN, IMAGENET_STD):
            raise ValueError(f"mean, std: frames are normalised by {IMAGENET_MEAN}, {IMAGENET_STD}; let the network do others")
        if (self.options is None) == (self.method == "ssp"):
            raise ValueError(f"options: method {self.method} {'needs' if self.method == 'ssp' else 'has none of'} them")
        readings = {} if self.options is None else self.options.readings()
        for name, reading in readings.items():
            if getattr(self.conventions, name) != reading:
                said = f"conventions: {name} is {getattr(self.conventions, name)!r}"
                raise ValueError(f"{said}, the options say {reading!r}; leave the conventions out, or let both agree")
        if self.train_flow and self.method not in FLOW_METHODS:
            raise ValueError(f"train_flow: method {self.method} uses no flow; leave it out")
        return self


def system_config(
    name: str, image_model: BuildableSpec, classes: ClassSpec, input_size: tuple[int, int], recurrent_window: int = 2,
    **more: Any,
) -> CheckpointConfig:
    """The config of a system of the table.

    Args:
        name: see `sspcore.models.systems.system`.
        classes: a data set's description will do.
        recurrent_window: frames of a training window of SSP-R.
        more: other fields of CheckpointConfig. Of its `conventions` those that options of the system itself decide are changed.
    """
    conventions = more.pop("conventions", CORRECTED)
    spec = system(name).under(conventions)
    if spec.options is not None:
        conventions = conventions.model_copy(update=spec.options.readings())
    window = {"image": 1, "tcb_ppm": 4, "tcb_ocr": 4}.get(spec.method, recurrent_window if spec.recurrent else 2)
    return CheckpointConfig(
        system=name, method=spec.method, image_model=image_model, options=spec.options, window=window, classes=classes,
        input_size=tuple(input_size), conventions=conventions, **more,
    )


def first_problem(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, in one line: entry and problem."""
    first = error.errors()[0]
    return f"{place(first['loc']) or 'config'}: {first['msg'].removeprefix('Value error, ')}"
