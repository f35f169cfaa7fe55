"""Small systems of every kind, and a window of noise with known motion for them."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from sspcore.core.conventions import CORRECTED
from sspcore.core.types import VideoSegmenter, Window
from sspcore.models import ImageModelSpec, ImageSegmenter

CLASSES, HEIGHT, WIDTH = 5, 64, 96
LITE = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=16, weights="none")
PROFILE = SimpleNamespace(
    models={
        "teacher": LITE,
        "segformer_b2": ImageModelSpec(arch="segformer", encoder="mit_b0", decoder_channels=16, weights="none"),
        "segformer_b3": ImageModelSpec(arch="segformer", encoder="mit_b0", decoder_channels=16, weights="none"),
        "convnext_s": LITE.model_copy(update={"auxiliary_channels": 8}),
        "base": LITE,
    },
    recurrent_window=3,
    conventions=CORRECTED,
    train_flow=False,
)
FLOW_TRAINED = SimpleNamespace(**vars(PROFILE) | {"train_flow": True})


def lite_image(n_classes: int, seed: int = 0) -> ImageSegmenter:
    """A small image model in eval mode, its random weights of this seed."""
    torch.manual_seed(seed)
    return ImageSegmenter(LITE, n_classes).eval()


def window_of(n_frames: int, batch: int = 1, seed: int = 0) -> Window:
    """Noise with a small shift to the right and up between frames, for the homography and the flow alike.

    Of the matches those in the left half are inliers.
    """
    generator = torch.Generator().manual_seed(seed)
    H = torch.eye(3).repeat(batch, n_frames - 1, 1, 1)
    H[..., 0, 2], H[..., 1, 2] = 5.0, -3.0
    flow = torch.tensor([-5.0, 3.0]).view(1, 1, 2, 1, 1).expand(batch, n_frames - 1, 2, HEIGHT, WIDTH).clone()
    frames = torch.randn(batch, n_frames, 3, HEIGHT, WIDTH, generator=generator)
    points = torch.rand(batch, n_frames - 1, 50, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    matches = torch.cat([points, (points[..., :1] < WIDTH / 2).float()], dim=-1)
    return Window(frames, H_prev_to_cur=H, flow_to_prev=flow, correspondences=matches)


def wake(model: VideoSegmenter) -> VideoSegmenter:
    """Give parameters that start at zero a value, so that nothing agrees only because it is switched off."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.count_nonzero() == 0:
                parameter.normal_(std=0.1)
    return model
