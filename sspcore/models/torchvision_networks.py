"""Segmentation networks of torchvision: building them from their description, telling which one a module is, weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import nn
from torchvision.models import get_model_builder, get_model_weights, list_models
from torchvision.models.segmentation import FCN, LRASPP, DeepLabV3

from sspcore.core.checksums import require_checksum
from sspcore.core.errors import WeightsError, reason
from sspcore.core.files import copy_file
from sspcore.core.paths import WEIGHTS_FOLDER
from sspcore.models.description import TorchvisionSpec
from sspcore.models.loading import read_state
from sspcore.models.pretrained import Weights
from sspcore.motion.weights import torch_cache


@dataclass(frozen=True)
class BackboneWeights(Weights):
    """ImageNet weights of a backbone, from torchvision's server; `name` is the backbone's in torchvision ("resnet50")."""

    @property
    def source(self) -> str:
        return get_model_weights(self.name).IMAGENET1K_V1.url

    @property
    def file(self) -> str:
        """The file's name in data/weights/ and in torch's cache; it carries the checksum."""
        return self.source.rpartition("/")[2]

    def found(self) -> list[Path]:
        paths = (folder / self.file for folder in (WEIGHTS_FOLDER, torch_cache()))
        return [path for path in paths if path.is_file()][:1]

    def fetch(self) -> None:
        target, found = WEIGHTS_FOLDER / self.file, self.found()
        if found and found[0] != target:
            copy_file(found[0], target)
        elif not found:
            self.download(target)

    def download(self, target: Path) -> Path:
        """Fetch the file. Raises: WeightsError."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Writes to a temporary file, checks the hash in the file's name, then renames.
            checksum = self.file.rpartition("-")[2].removesuffix(".pth")
            torch.hub.download_url_to_file(self.source, str(target), hash_prefix=checksum, progress=False)
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsError(
                f"{self.name}: weights cannot be fetched ({reason(error)}); connect to a network, put {self.source} at "
                f"{target}, or set weights: none"
            ) from error
        return target


def backbone_weights(role: str, spec: TorchvisionSpec) -> BackboneWeights:
    """Where the weights of a network's backbone come from."""
    backbone = spec.torchvision.partition("_")[2]
    return BackboneWeights(role, backbone)


def load_backbone(network: nn.Module, spec: TorchvisionSpec) -> None:
    """Load the library's ImageNet weights into the backbone of a network; "none" leaves it as initialised.

    Raises: WeightsError if they cannot be had or do not fit.
    """
    if spec.weights == "none":
        return
    weights = backbone_weights("backbone", spec)
    path = next(iter(weights.found()), None) or weights.download(WEIGHTS_FOLDER / weights.file)
    require_checksum(path)
    expected = network.backbone.state_dict()
    state = {name.removeprefix("features."): value for name, value in read_state(path).items()}  # MobileNetV3's part
    try:
        network.backbone.load_state_dict({name: value for name, value in state.items() if name in expected})
    except RuntimeError as error:
        problem = f"does not fit {spec.torchvision} ({reason(error)})"
        raise WeightsError(f"{path}: {problem}; fetch {weights.source} again") from error


def network(spec: TorchvisionSpec, n_classes: int) -> nn.Module:
    """The network of a description, its weights as initialised."""
    return get_model_builder(spec.torchvision)(weights=None, weights_backbone=None, num_classes=n_classes, **spec.arguments)


def recognised(module: nn.Module, n_classes: int, features: str, interpolate: bool) -> TorchvisionSpec | None:
    """The description of a network that torchvision's builders make; None for any other module.

    Args: see `sspcore.wrap`.
    """
    if type(module) not in (DeepLabV3, FCN, LRASPP):
        return None
    arguments = {"aux_loss": True} if getattr(module, "aux_classifier", None) is not None else {}
    for name in list_models(module=torchvision.models.segmentation):
        if arguments and name.startswith("lraspp"):
            continue
        spec = TorchvisionSpec(torchvision=name, arguments=arguments, features=features, interpolate=interpolate)
        with torch.device("meta"):
            if repr(network(spec, n_classes)) == repr(module):  # all parts, with their channels, strides and dilations
                return spec
    return None
