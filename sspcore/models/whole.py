"""Whole segmentation networks that training starts from: UPerNet on ConvNeXt, in the layout of the transformers library.

The published ConvNeXt-S + UPerNet starts from `openmmlab/upernet-convnext-small`, trained on ADE20K: encoder, the norms on its
levels, decoder and auxiliary head. Its classifiers name other classes, so ours start fresh (METHOD section 9).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from torch import Tensor, nn

from sspcore.core.checksums import require_checksum
from sspcore.core.errors import WeightsError, reason
from sspcore.core.files import copy_file
from sspcore.core.paths import WEIGHTS_FOLDER
from sspcore.models.description import BuildableSpec, TorchvisionSpec
from sspcore.models.loading import read_state
from sspcore.models.pretrained import HUB_FILE, HubWeights, Weights, encoder_weights, local_file
from sspcore.models.spec import ImageModelSpec
from sspcore.models.torchvision_networks import backbone_weights

log = logging.getLogger(__name__)

_FILES = {HUB_FILE: ".safetensors", "pytorch_model.bin": ".pth"}  # on the hub, the first that is there; ending in data/weights/
_LATERALS = 3  # levels of the pyramid but the coarsest; that library counts them from the finest, smp from the coarsest
_OURS_FRESH = re.compile(r"classifier\.|auxiliary_head\.3\.")
_THEIRS_UNUSED = re.compile(r"(decode|auxiliary)_head\.classifier\.")

# Parts of a network: pattern of their names in that library, and our name as a format of its groups.
_RENAMED = tuple((re.compile(pattern), ours) for pattern, ours in (
    (r"backbone\.embeddings\.patch_embeddings\.(\w+)", "encoder.model.stem_0.{0}"),
    (r"backbone\.embeddings\.layernorm\.(\w+)", "encoder.model.stem_1.{0}"),
    (r"backbone\.encoder\.stages\.(\d)\.downsampling_layer\.(\d)\.(\w+)", "encoder.model.stages_{0}.downsample.{1}.{2}"),
    (r"backbone\.encoder\.stages\.(\d)\.layers\.(\d+)\.layer_scale_parameter", "encoder.model.stages_{0}.blocks.{1}.gamma"),
    (r"backbone\.encoder\.stages\.(\d)\.layers\.(\d+)\.dwconv\.(\w+)", "encoder.model.stages_{0}.blocks.{1}.conv_dw.{2}"),
    (r"backbone\.encoder\.stages\.(\d)\.layers\.(\d+)\.layernorm\.(\w+)", "encoder.model.stages_{0}.blocks.{1}.norm.{2}"),
    (r"backbone\.encoder\.stages\.(\d)\.layers\.(\d+)\.pwconv(\d)\.(\w+)", "encoder.model.stages_{0}.blocks.{1}.mlp.fc{2}.{3}"),
    (r"backbone\.hidden_states_norms\.stage(\d)\.(\w+)", "decoder.feature_norms.{stage}.{1}"),
    (r"decode_head\.psp_modules\.(\d)\.1\.(conv|batch_norm)\.(\w+)", "decoder.psp.blocks.{0}.1.{layer}.{2}"),
    (r"decode_head\.bottleneck\.(conv|batch_norm)\.(\w+)", "decoder.psp.out_conv.{layer}.{1}"),
    (
        r"decode_head\.lateral_convs\.(\d)\.(conv|batch_norm)\.(\w+)",
        "decoder.fpn_lateral_blocks.{lateral}.conv_norm_relu.{layer}.{2}",
    ),
    (r"decode_head\.fpn_convs\.(\d)\.(conv|batch_norm)\.(\w+)", "decoder.fpn_conv_blocks.{lateral}.{layer}.{2}"),
    (r"decode_head\.fpn_bottleneck\.(conv|batch_norm)\.(\w+)", "decoder.fusion_block.{layer}.{1}"),
    (r"auxiliary_head\.convs\.0\.(conv|batch_norm)\.(\w+)", "auxiliary_head.{layer}.{1}"),
))


@dataclass(frozen=True)
class NetworkWeights(HubWeights):
    """A whole network's weights on the hub; `name` is the repository's, without its owner."""

    def found(self) -> list[Path]:
        if local := local_file(self.name):
            return [local]
        cached = (try_to_load_from_cache(self.repository, name) for name in _FILES)
        return [Path(path) for path in cached if isinstance(path, str)][:1]

    def fetch(self) -> None:
        path = self.download()
        require_checksum(path)
        copy_file(path, WEIGHTS_FOLDER / f"{self.name}{_FILES[path.name]}")

    def download(self) -> Path:
        """The file in the hub's cache. Raises: WeightsError."""
        try:
            try:
                return Path(hf_hub_download(self.repository, HUB_FILE))
            except EntryNotFoundError:  # older repositories hold the other format only
                return Path(hf_hub_download(self.repository, "pytorch_model.bin"))
        except Exception as error:  # the client lets through what its HTTP library raises, of many kinds
            raise WeightsError(
                f"{self.name}: cannot be fetched ({type(error).__name__}: {reason(error)}); connect to a network, or put "
                f"{HUB_FILE} of {self.source} at {WEIGHTS_FOLDER / self.name}.safetensors"
            ) from error


def start_weights(role: str, spec: BuildableSpec) -> Weights:
    """Where the weights come from that an image model starts from: a whole network's, or its encoder's.

    Raises: WeightsError if there are none.
    """
    if isinstance(spec, TorchvisionSpec):
        return backbone_weights(role, spec)
    if spec.checkpoint is None:
        return encoder_weights(role, spec)
    return NetworkWeights(role, spec.checkpoint.rpartition("/")[2], spec.checkpoint)


def starts_trained(parameter: str, spec: BuildableSpec) -> bool:
    """Whether the pretrained weights of a spec hold that parameter of its image model."""
    if spec.checkpoint is not None:
        return not _OURS_FRESH.match(parameter)
    return spec.weights != "none" and parameter.startswith(spec.trained_part)


def load_network(model: nn.Module, spec: ImageModelSpec) -> None:
    """Load the whole network that `spec.checkpoint` names into an `ImageSegmenter`; its classifiers stay as they are.

    Raises: WeightsError if the file cannot be had or its entries do not fit.
    """
    weights = start_weights("network", spec)
    path = next(iter(weights.found()), None) or weights.download()
    require_checksum(path)
    state = renamed(read_state(path), str(path))
    if spec.auxiliary_channels == 0:
        state = {name: value for name, value in state.items() if not name.startswith("auxiliary_head.")}
    expected = {name: value for name, value in model.state_dict().items() if not _OURS_FRESH.match(name)}
    # transformers may leave out batch counters, which torch only counts with
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    wrong = missing + [name for name, value in state.items() if name not in expected or expected[name].shape != value.shape]
    if wrong:
        problem = f"does not fit {spec.encoder} at {wrong[0]} ({len(wrong)} in all)"
        raise WeightsError(f"{path}: {problem}; fetch {weights.source} again")
    model.load_state_dict(state, strict=False)
    log.info("%s: whole network loaded (%s)", spec.encoder, spec.checkpoint)


def renamed(state: Mapping[str, Tensor], source: str = "weights") -> dict[str, Tensor]:
    """Entries of transformers' UPerNet on ConvNeXt under the names that `ImageSegmenter` has for them, without classifiers.

    Raises: WeightsError for an entry that is no part of such a network.
    """
    return {_our_name(name, source): value for name, value in state.items() if not _THEIRS_UNUSED.match(name)}


def _our_name(name: str, source: str) -> str:
    for pattern, ours in _RENAMED:
        if match := pattern.fullmatch(name):
            groups = match.groups()
            layer = next((str(int(group == "batch_norm")) for group in groups if group in ("conv", "batch_norm")), "")
            number = int(groups[0]) if groups[0].isdigit() else 0
            return ours.format(*groups, layer=layer, stage=number - 1, lateral=_LATERALS - 1 - number)
    raise WeightsError(f"{source}: {name} is no part of UPerNet on ConvNeXt as transformers names it; take another file")
