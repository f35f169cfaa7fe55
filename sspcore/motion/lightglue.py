"""DISK keypoints and the LightGlue matcher, both of kornia, with weights that are looked for on this machine first.

Source: paper, the registration step; METHOD section 2. kornia's own loaders go to the network and are not used.
"""

from __future__ import annotations

import io
import re
import warnings
from contextlib import redirect_stdout
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from sspcore.core.errors import SspError, WeightsError, reason
from sspcore.motion.fitting import Points
from sspcore.motion.weights import lightglue_files, load_lightglue_weights

DESCRIPTOR = 128  # length of DISK's
MIN_SIDE = 17  # DISK pads to multiples of 16 and halves four times: of 16 x 16 one pixel would be left, too few to normalise


def is_installed() -> bool:
    """Whether kornia and both files of weights are on this machine."""
    return find_spec("kornia") is not None and bool(lightglue_files())


def load_networks(device: torch.device) -> tuple[nn.Module, nn.Module]:
    """DISK and LightGlue in eval mode on a device. Raises: SspError without kornia, WeightsError without their weights."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # kornia compiles at import in a way that torch will drop
            from kornia.feature import DISK, LightGlue
    except ImportError as error:
        remedy = "run ./reproduce.sh setup --extra lightglue, or pip install kornia; or take 'lk'"
        raise SspError(f"registrator 'lightglue' needs kornia, which is not installed: {remedy}") from error
    disk_state, matcher_state = load_lightglue_weights()
    with redirect_stdout(io.StringIO()):  # LightGlue prints that it was made
        disk, matcher = DISK(desc_dim=DESCRIPTOR), LightGlue(features=None, input_dim=DESCRIPTOR)
    # The file has the layers' names of the first release, and a number a layer that no release reads.
    state = {
        re.sub(r"^(self_attn|cross_attn)\.(\d+)", r"transformers.\2.\1", name): value
        for name, value in matcher_state.items() if not re.fullmatch(r"log_assignment\.\d+\.r", name)
    }
    try:
        disk.load_state_dict(disk_state["extractor"])
        matcher.load_state_dict(state | {"confidence_thresholds": matcher.confidence_thresholds})
    except (RuntimeError, KeyError) as error:
        raise WeightsError(f"weights of DISK and LightGlue do not fit kornia's networks ({reason(error)})") from error
    return disk.to(device).eval(), matcher.to(device).eval()


@torch.no_grad()
def detect_and_match(disk: nn.Module, matcher: nn.Module, frames: Tensor, max_features: int) -> tuple[Points, Points]:
    """Matched points of two frames.

    Args:
        frames: (2, 3, H, W) float in 0..1, of any size; previous, current.
        max_features: keypoints of a frame, the strongest.
    Returns: points (N, 2) (x, y) in pixels, of the previous frame and of the current one; none in frames too small for DISK.
    """
    height, width = frames.shape[-2:]
    if max(height, width) < MIN_SIDE:
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
    features = disk(frames, max_features, pad_if_not_divisible=True)
    if min(len(each.keypoints) for each in features) < 2:
        return np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
    extent = torch.tensor([[width, height]], device=frames.device)
    found = matcher({
        f"image{number}": {
            "keypoints": each.keypoints[None].float(), "descriptors": each.descriptors[None], "image_size": extent,
        }
        for number, each in enumerate(features)
    })
    partners = found["matches0"][0]
    matched = partners >= 0
    return features[0].keypoints[matched].cpu().numpy(), features[1].keypoints[partners[matched]].cpu().numpy()
