"""Running statistics of batch norms in short trainings."""

from __future__ import annotations

from torch import nn

SETTLED = 5.0  # momentum times steps at which running statistics have forgotten their start: exp(-5) is below 1 %


def let_statistics_settle(model: nn.Module, steps: int) -> None:
    """Raise the momentum of batch norms whose running statistics would still be those of their start after `steps`.

    Some libraries' networks (MobileNetV3 of torchvision: 0.01) are made for many thousand steps. After a few hundred they
    predict one class in eval mode, whatever the loss. A momentum of `SETTLED / steps` forgets all but 1 % of the start;
    PyTorch's own 0.1 is the most, so that others, and long trainings, stay as they are.
    """
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.momentum is not None:
            part.momentum = max(part.momentum, min(0.1, SETTLED / max(1, steps)))
