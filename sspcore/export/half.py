"""A system in half precision, for a graph that carries its own types (strongly typed networks, TensorRT 10 and later).

Float16 are the weights and activations of the network. In float32 stay coordinates and warps (`geometry.sample` works so by
itself), normalisations (sums of squares overflow float16), alpha (its steps near 1 would be 5e-4), the scores, their mixing,
and the convolutions up to stride 4: they have few channels, and all that follows carries their rounding on.

No linear layer is kept in float32: TensorRT for RTX has no float32 matrix product for compute capability 7.5.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from sspcore.core.types import Size, VideoSegmenter
from sspcore.models.image import Renormalise
from sspcore.models.interface import FEATURE_STRIDE
from sspcore.models.ssp import SSP, Route

_BATCH_NORM = nn.modules.batchnorm._BatchNorm  # timm derives its own from it
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.instancenorm._InstanceNorm, _BATCH_NORM)


class _Call(NamedTuple):
    """A convolution or batch norm that was called: rows of its output, and the convolution whose output a batch norm read."""

    module: nn.Module
    rows: int
    reads: nn.Conv2d | None


def to_half(model: VideoSegmenter, size: Size) -> None:
    """Change an image system or SSP in eval mode to half precision, for frames of `size`; it takes frames in float32.

    Batch norms are first folded into the convolutions before them, in float32. Each layer casts what it reads to the type of
    its weights.
    """
    calls = _calls(model, size)
    folded = _fold_batch_norms(calls)  # conv -> norm
    kept = {module for module in model.modules() if isinstance(module, Renormalise)} | _fine_convolutions(calls, size)
    if isinstance(model, SSP):
        head = [module for module in model.similarity.modules() if isinstance(module, nn.Conv2d)]
        kept.update(head[-1:])
        if not head:  # cosine: of sums of squares
            model.similarity.register_forward_pre_hook(lambda _, inputs: (*(x.float() for x in inputs[:2]), inputs[2]))
    kept |= {folded[conv] for conv in kept & folded.keys()}
    norms = {module for module in model.modules() if isinstance(module, _NORMS)} - set(folded.values())
    for module in set(model.modules()) - kept - norms:
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.half()
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point():
                setattr(module, name, buffer.half())
    for module in norms:
        module.register_forward_hook(lambda _, inputs, output: output.half())
    for module in model.modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        dtypes = [tensor.dtype for tensor in own if tensor.is_floating_point()] or [torch.float32] * (module in norms)
        if dtypes and not list(module.children()):
            module.register_forward_pre_hook(lambda _, inputs, dtype=dtypes[0]: (inputs[0].to(dtype), *inputs[1:]))


@torch.inference_mode()
def _calls(model: VideoSegmenter, size: Size) -> list[_Call]:
    """Convolutions and batch norms in the order of their calls in a step with a past."""
    calls: list[_Call] = []
    before: list[tuple[nn.Module, Tensor]] = []  # the last call, if it was one of a convolution

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        follows = before and not isinstance(module, nn.Conv2d) and inputs[0] is before[0][1]
        calls.append(_Call(module, output.shape[-2], before[0][0] if follows else None))
        before[:] = [(module, output)] if isinstance(module, nn.Conv2d) else []

    watched = [module for module in model.modules() if isinstance(module, (nn.Conv2d, _BATCH_NORM))]
    handles = [module.register_forward_hook(watch) for module in watched]
    frame = torch.zeros(1, 3, *size)
    if isinstance(model, SSP):
        observation = model.observe(frame)
        model.propagate(observation, model.start(observation), Route(torch.eye(3)[None]))
    else:
        model.step(frame, None)
    for handle in handles:
        handle.remove()
    return calls


def _fold_batch_norms(calls: list[_Call]) -> dict[nn.Module, nn.Module]:
    """Fold each batch norm into the convolution that it reads, and leave it as the identity. Returns norms by convolution."""
    times, folded = Counter(call.module for call in calls), {}
    for norm, _, conv in calls:
        if conv is not None and norm.running_mean is not None and times[conv] == times[norm] == 1:
            fused = fuse_conv_bn_eval(conv, norm)
            conv.weight, conv.bias = fused.weight, fused.bias
            norm.reset_parameters()
            norm.eps = 0.0
            folded[conv] = norm
    return folded


def _fine_convolutions(calls: list[_Call], size: Size) -> set[nn.Module]:
    """The convolutions in front of the first that makes values coarser than the features that SSP reads."""
    fine: set[nn.Module] = set()
    for module, rows, _ in calls:
        if rows * FEATURE_STRIDE < size[0]:
            break
        if isinstance(module, nn.Conv2d):
            fine.add(module)
    return fine
