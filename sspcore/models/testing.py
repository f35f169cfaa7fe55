"""The test that an image model of your own should pass before SSP is built on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sspcore.core.types import Window
from sspcore.models.interface import require_agreement
from sspcore.models.spec import SSPOptions
from sspcore.models.ssp import SSP
from sspcore.models.wrap import as_image_model, evaluating


def check_image_model(image: nn.Module, size: tuple[int, int] = (64, 96)) -> None:
    """Check that SSP and SSP-R work on an image model: the shapes of the protocol, frames that do not touch each other, one
    answer for one frame, streaming that equals training, gradients. The model's weights and modes stay as they are.

        def test_my_network():
            sspcore.check_image_model(MyNetwork())

    Args:
        image: follows `sspcore.models.interface.ImageModel`, or is a network of segmentation_models_pytorch.
        size: (H, W) of the frames to try, whatever suits the network.
    Raises: AssertionError or ProfileError that says what is wrong.
    """
    model = as_image_model(image)
    some = next(image.parameters(), torch.zeros(()))
    frames = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).to(some.device, some.dtype)
    with torch.random.fork_rng(devices=[]), evaluating(image):
        torch.manual_seed(0)
        try:
            _check_frames(model, frames)
            _check_videos(image, frames)
            if any(parameter.requires_grad for parameter in image.parameters()):
                with torch.enable_grad():
                    outputs = model.logits_and_features(frames)
                reached = all(output.requires_grad for output in outputs)
                _require(reached, "no gradient reaches the model; do not detach what it returns")
        finally:
            image.zero_grad()


@torch.no_grad()
def _check_frames(model: nn.Module, frames: Tensor) -> None:
    logits, features = model.logits_and_features(frames)
    require_agreement(model, frames, logits, features)
    first = model.logits_and_features(frames[:1])
    for what, batch, alone in zip(("logits", "features"), (logits, features), first, strict=True):
        _require(bool(torch.isfinite(batch).all()), f"{what} hold values that are no finite numbers")
        _require(_close(alone, batch[:1]), f"{what} of a frame change with the other frames of its batch, in eval mode")
    _require(_close(model.logits_and_features(frames)[0], logits), "two runs on one frame differ in eval mode")


@torch.no_grad()
def _check_videos(image: nn.Module, frames: Tensor) -> None:
    """SSP and SSP-R: `forward` over a window equals `step` over its frames."""
    motion = torch.eye(3, device=frames.device)[None, None].clone()
    motion[..., 0, 2] = 2.0
    window = Window(frames[None], H_prev_to_cur=motion)
    for options in (SSPOptions(), SSPOptions(evidence=True, classes=True)):
        ssp = SSP(image, options).to(frames.device, frames.dtype).eval()
        trained = ssp(window).logits
        _require(trained.shape[-2:] == frames.shape[-2:], f"SSP gives {tuple(trained.shape)}")
        _require(_close(trained, ssp.rollout(window)), "frames of a window and frames of a stream give different logits")


def _require(good: bool, problem: str) -> None:
    if not good:
        raise AssertionError(f"image model: {problem}")


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()) + 1e-6)
