"""How alike a place looks now and before: the weight of the past in SSP, and what SSP-R works it out from.

Each similarity maps registered previous and current features (B, C, h, w), and evidence (B, E, h, w) or None, to alpha
(B, 1, h, w) in 0..1, the weight of the past.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sspcore.models.spec import SSPOptions


class LearnedSimilarity(nn.Module):
    """sigmoid(conv1x1(C/2 -> 1) of conv3x3(C -> C/2) of conv3x3(2C [+ E] -> C)), batch norm and ReLU between."""

    def __init__(self, channels: int, evidence_channels: int = 0) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Conv2d(2 * channels + evidence_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 2, 1, 1),
        )

    def forward(self, past: Tensor, present: Tensor, evidence: Tensor | None) -> Tensor:
        inputs = (past, present) if evidence is None else (past, present, evidence.to(present.dtype))
        return torch.sigmoid(self.head(torch.cat(inputs, dim=1)))


class CosineSimilarity(nn.Module):
    """The paper's ablation as its code has it: c^4 of the cosine c between the feature vectors, at most 0.95; 0 for c < 0."""

    POWER, LIMIT = 4, 0.95

    def forward(self, past: Tensor, present: Tensor, evidence: Tensor | None) -> Tensor:
        cosine = F.cosine_similarity(past, present, dim=1).unsqueeze(1)
        return cosine.clamp(0, 1).pow(self.POWER).clamp(max=self.LIMIT)


class ConstantSimilarity(nn.Module):
    """The same alpha everywhere: plain temporal averaging along the registration, the control of every table."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, past: Tensor, present: Tensor, evidence: Tensor | None) -> Tensor:
        return torch.full_like(present[:, :1], self.alpha)


def carried_variance(alpha: Tensor, past_variance: Tensor) -> Tensor:
    """Variance of alpha * past + (1 - alpha) * present, (B, 1, h, w), in units of that of one prediction.

    v_k = alpha^2 v_{k-1} + (1 - alpha)^2, v_0 = 1: errors of different frames taken as independent and equally large. It is
    to the head what the covariance is to a Kalman filter's gain: on what has not changed the best weight of the past is
    1 / (1 + v_{k-1}), one half after a single frame and more the longer a place was seen.
    """
    return alpha.square() * past_variance + (1 - alpha).square()


def evidence_channels(past_frame: Tensor, frame: Tensor, past_probs: Tensor, probs: Tensor, valid: Tensor) -> Tensor:
    """What tells a place that stayed the same from one that changed, at stride 4, each in 0..1 or nearly so.

    Channels: photometric residual of the registration (mean |I_k - warped I_{k-1}| over normalised colours), total
    variation distance of the two predictions, confidence (largest probability) of the past, of the present, validity.
    All but the present's confidence are 0 where the past lies outside the view.

    Args:
        past_frame, frame: (B, 3, h, w), registered and current.
        past_probs, probs: (B, C, h, w) float32, registered and current.
        valid: (B, 1, h, w) bool.
    Returns: (B, EVIDENCE_CHANNELS, h, w).
    """
    channels = (
        (frame - past_frame).float().abs().mean(1, keepdim=True) * valid,
        0.5 * (probs - past_probs).abs().sum(1, keepdim=True) * valid,
        past_probs.amax(1, keepdim=True) * valid,
        probs.amax(1, keepdim=True),
        valid.float(),
    )
    return torch.cat(channels, dim=1)


def build_similarity(options: SSPOptions, channels: int) -> nn.Module:
    """What the options ask for, for features of `channels` channels."""
    if options.similarity == "learned":
        return LearnedSimilarity(channels, options.evidence_channels)
    return CosineSimilarity() if options.similarity == "cosine" else ConstantSimilarity(options.alpha)
