"""Checkpoints that describe themselves: a folder with weights, what they are, and a model card.

    model.safetensors   the weights
    config.json         CheckpointConfig: system, image model, classes, input, origin; read first, written last
    README.md           the model card
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from huggingface_hub import snapshot_download
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sspcore import __version__
from sspcore.core.classes import ClassSpec
from sspcore.core.errors import ArtefactError, SspError
from sspcore.core.files import atomic_file, atomic_folder
from sspcore.core.images import IMAGENET_MEAN, IMAGENET_STD
from sspcore.core.settings import InputSize
from sspcore.core.types import VideoSegmenter
from sspcore.models.image import ImageSegmenter
from sspcore.models.model_card import model_card
from sspcore.models.spec import CustomSpec, ImageModelSpec, SmpSpec, SSPOptions
from sspcore.models.systems import assemble, system
from sspcore.models.wrap import build_smp

FORMAT = 1
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_KINDS = {"smp": "smp", "module": "custom"}  # the key that only this kind of description has

Triple = tuple[float, float, float]


def _kind(value: Any) -> str:
    names = value if isinstance(value, dict) else type(value).model_fields
    return next((kind for key, kind in _KINDS.items() if key in names), "spec")


ImageDescription = Annotated[
    Annotated[ImageModelSpec, Tag("spec")] | Annotated[SmpSpec, Tag("smp")] | Annotated[CustomSpec, Tag("custom")],
    Discriminator(_kind),
]


class CheckpointConfig(BaseModel):
    """What a checkpoint says of itself.

    Attributes:
        format: of this file; another one is refused.
        written_by: version of sspcore.
        system: name in the table of systems, or the user's own.
        method: what is built around the image model, one of `sspcore.models.systems.METHODS`.
        image_model: how the image model is built.
        options: of SSP; None for the other methods.
        window: frames in a training window.
        classes: names, colours, and which move.
        input_size: (H, W) of the frames that the model sees.
        mean, std: of the normalisation, per channel of RGB in 0..1.
        registration, flow: what motion was estimated with (`build_registrator`, `build_flow`).
        data: what it was trained on, in words.
        licence: of the weights; None: not stated.
        scores: by name, for the model card.
        provenance: where it is from (`sspcore.core.provenance`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    format: Literal[1] = FORMAT
    written_by: str = __version__
    system: str
    method: Literal["image", "ssp", "dff", "netwarp", "tcb_ppm", "tcb_ocr"]
    image_model: ImageDescription
    options: SSPOptions | None = None
    window: int = Field(default=1, ge=1)
    classes: ClassSpec
    input_size: InputSize
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
        return ClassSpec(**{field.name: getattr(value, field.name) for field in fields(ClassSpec)})

    @model_validator(mode="after")
    def _parts_agree(self) -> CheckpointConfig:
        spec = self.classes
        if not spec.classes or len(set(spec.classes)) != spec.n_classes:
            raise ValueError("classes: names must be there, each once")
        if len(spec.palette) != spec.n_classes:
            raise ValueError(f"classes: {len(spec.palette)} colours for {spec.n_classes} classes")
        if any(not 0 <= value <= 255 for colour in spec.palette for value in colour):
            raise ValueError("classes: colours are three numbers in 0..255")
        if lost := set(spec.moving) - set(spec.classes):
            raise ValueError(f"classes: moving {sorted(lost)[0]!r} is no class")
        if (self.options is None) == (self.method == "ssp"):
            raise ValueError(f"options: method {self.method} {'needs' if self.method == 'ssp' else 'has none of'} them")
        return self


def system_config(
    name: str, image_model: ImageModelSpec, classes: ClassSpec, input_size: tuple[int, int], recurrent_window: int = 2,
    **more: Any,
) -> CheckpointConfig:
    """The config of a system of the table.

    Args:
        name: see `sspcore.models.systems.system`.
        image_model: as `image_spec(name, profile)` gives it.
        classes: a data set's description will do.
        input_size: (H, W) of the frames that the model sees.
        recurrent_window: frames of a training window of SSP-R.
        more: other fields of CheckpointConfig.
    """
    spec = system(name)
    window = {"image": 1, "tcb_ppm": 4, "tcb_ocr": 4}.get(spec.method, recurrent_window if spec.recurrent else 2)
    return CheckpointConfig(
        system=name, method=spec.method, image_model=image_model, options=spec.options, window=window, classes=classes,
        input_size=tuple(input_size), **more,
    )


def save_checkpoint(
    folder: Path | str, model: nn.Module, config: CheckpointConfig, *, overwrite: bool = False, half: bool = False
) -> Path:
    """Write a checkpoint folder, whole or not at all.

    Args:
        folder: new or empty, unless `overwrite`.
        model: its state is written.
        config: what it is.
        overwrite: replace the checkpoint's three files in a folder that holds files; others there stay.
        half: matrices and kernels in half precision (vectors keep theirs: little space, wide range).
    Raises: ArtefactError if the folder holds files, cannot be written, or the weights are no finite numbers.
    """
    folder = Path(folder)
    state = {name: _stored(value, half) for name, value in model.state_dict().items()}
    _require_finite(state, f"{folder}: not written")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            if not overwrite:
                raise ArtefactError(f"{folder}: holds files already; choose another folder, or pass overwrite=True")
            (folder / CONFIG).unlink(missing_ok=True)  # a folder without it is no checkpoint, should this be cut off
            _write(folder, state, config)
        elif folder.exists() and not folder.is_dir():
            raise ArtefactError(f"{folder}: is a file; a checkpoint is a folder: choose another name")
        else:
            with atomic_folder(folder, CONFIG) as temporary:
                _write(temporary, state, config)
    except OSError as error:
        raise ArtefactError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from error
    return folder


def _write(folder: Path, state: dict[str, Tensor], config: CheckpointConfig) -> None:
    texts = {CARD: model_card(config), CONFIG: config.model_dump_json(indent=1) + "\n"}
    with atomic_file(folder / WEIGHTS) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    for name, text in texts.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def load_checkpoint(
    source: Path | str, image: nn.Module | None = None, **hub: Any
) -> tuple[VideoSegmenter, CheckpointConfig]:
    """A model in eval mode on the CPU, and what it is.

    Args:
        source: folder, or id on the Hugging Face hub ("owner/name").
        image: the image model, where the checkpoint is on one of the user's own code (see `sspcore.wrap`).
        hub: `revision`, `token`, `cache_dir`, `local_files_only` for the hub.
    Raises: ArtefactError if it is missing, of another format, damaged, or config and weights disagree.
    """
    folder = checkpoint_folder(source, **hub)
    config = read_config(folder)
    state = read_weights(folder / WEIGHTS)
    try:
        model = build_model(config, image)
    except SspError as error:
        raise ArtefactError(f"{folder / CONFIG}: {error}") from error
    _require_fit(model, state, folder)
    model.load_state_dict(state)
    model.config = config
    return model.eval(), config


def build_model(config: CheckpointConfig, image: nn.Module | None = None) -> VideoSegmenter:
    """The model that a config describes, its weights as initialised.

    Raises: ArtefactError if its image model is the user's own and is not given.
    """
    if image is None:
        if isinstance(config.image_model, CustomSpec):
            raise ArtefactError(
                f"{config.system}: its image model is {config.image_model.module}, which sspcore cannot build; build it and "
                "pass it as image="
            )
        image = (
            build_smp(config.image_model) if isinstance(config.image_model, SmpSpec)
            else ImageSegmenter(config.image_model, config.classes.n_classes, load_weights=False)
        )
    return assemble(config.method, image, config.options, config.window)


def checkpoint_folder(source: Path | str, **hub: Any) -> Path:
    """The folder of a checkpoint on disk or on the hub. Raises ArtefactError."""
    path = Path(source)
    if path.is_dir():
        return path
    if path.exists():
        raise ArtefactError(f"{path}: is a file; give the checkpoint's folder, with {WEIGHTS} and {CONFIG}")
    if isinstance(source, Path) or not _HUB_ID.fullmatch(source):
        raise ArtefactError(f"{source}: folder is missing; give a checkpoint's folder or a hub id (owner/name)")
    try:
        return Path(snapshot_download(source, allow_patterns=[WEIGHTS, CONFIG, CARD], **hub))
    except Exception as error:  # the client lets through what its HTTP library raises, of many kinds
        reason = " ".join(str(error).split())[:120]
        raise ArtefactError(
            f"{source}: no such folder, and it cannot be fetched from the hub ({type(error).__name__}: {reason}); check the "
            "name and the network, or give a folder"
        ) from error


def read_config(folder: Path) -> CheckpointConfig:
    """The config of a checkpoint folder. Raises ArtefactError if it is missing, damaged or of another format."""
    path = folder / CONFIG
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: file is missing; is {folder} a checkpoint that sspcore wrote?") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: not readable as JSON; fetch the checkpoint again") from error
    if not isinstance(values, dict) or "format" not in values:
        raise ArtefactError(f"{path}: has no entry format; it is not a checkpoint that sspcore wrote")
    if values["format"] != FORMAT:
        raise ArtefactError(
            f"{path}: written by sspcore {values.get('written_by', '(unknown version)')} in format {values['format']}; "
            f"this is {__version__}, which reads format {FORMAT}: install that version, or save the model again with this one"
        )
    try:
        return CheckpointConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "config"
        raise ArtefactError(
            f"{path}: {place}: {first['msg'].removeprefix('Value error, ')} ({error.error_count()} in all), written by sspcore "
            f"{values.get('written_by')}, this is {__version__}; mend the entry or save the model again"
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, half precision brought back to float32. Raises ArtefactError."""
    try:
        state = load_file(path)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: file is missing; fetch the checkpoint again, or train again") from error
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path}: not readable as safetensors ({error}); fetch it or train again") from error
    _require_finite(state, str(path))
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def _require_fit(model: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    """Raise ArtefactError, naming the first entry, unless the weights are those of the model."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    differing = [name for name in expected | found if expected.get(name) != found.get(name)]
    if differing:
        first = differing[0]
        raise ArtefactError(
            f"{folder}: {CONFIG} and {WEIGHTS} disagree at {first}: expected {expected.get(first, 'no such entry')}, found "
            f"{found.get(first, 'none')} ({len(differing)} entries differ); they are of two models: fetch the checkpoint again"
        )


def _require_finite(state: dict[str, Tensor], source: str) -> None:
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise ArtefactError(f"{source}: {name} holds values that are no finite numbers; train again")


def _stored(value: Tensor, half: bool) -> Tensor:
    value = value.detach().to("cpu", copy=True).contiguous()
    return value.half() if half and value.is_floating_point() and value.ndim > 1 else value
