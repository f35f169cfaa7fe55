"""1x1 convolutions on one CPU thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_AS_DILATED = (2, 2)


@contextmanager
def fast_pointwise(model: nn.Module) -> Iterator[None]:
    """In this block all 1x1 convolutions of a network on the CPU run through oneDNN; the network is left as it was.

    With one thread and fewer than 16 images torch takes a slower way for them, at half the speed; with several threads, or
    for a kernel that is dilated, it takes oneDNN. Dilation means nothing for a kernel of one pixel, so results are the same
    up to the order of sums. On another device it would only lead to other, perhaps slower kernels: nothing is changed there.
    """
    changed = [
        part for part in model.modules()
        if isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and part.dilation == (1, 1)
        and part.weight.device.type == "cpu"
    ]
    for part in changed:
        part.dilation = _AS_DILATED
    try:
        yield
    finally:
        for part in changed:
            part.dilation = (1, 1)
