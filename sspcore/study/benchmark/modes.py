"""Ways to run the same network: precision, layout in memory, CUDA graphs, torch.compile.

Only the weights' and the arithmetic's representation differ, so every mode is compared with float32 on the same frames: a
fast mode that is wrong shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from sspcore.core.errors import SspError
from sspcore.core.machine import has_bfloat16, has_tf32, tf32

# How the step runs: as Python, replayed as one CUDA graph, compiled, compiled and replayed as CUDA graphs by torch.
EAGER, GRAPH, COMPILED, COMPILED_GRAPH = "eager", "graph", "compiled", "reduce-overhead"


@dataclass(frozen=True)
class Mode:
    """One way to run a network.

    Attributes:
        name: in tables.
        convolutions, products: whether those of float32, of matrices the latter, may round to TF32 (on a GPU that has it).
        autocast: precision of autocast; None: float32.
        channels_last: layout of weights; the package's own is channels last.
        how: EAGER, GRAPH, COMPILED or COMPILED_GRAPH.
    """

    name: str
    convolutions: bool = True
    products: bool = True
    autocast: torch.dtype | None = None
    channels_last: bool = True
    how: str = EAGER

    def why_not(self, device: torch.device) -> str | None:
        """Why a device cannot run this mode; None if it can."""
        if device.type == "cuda":
            if self.autocast is None and self.products and not has_tf32(device):
                return "this GPU has no TF32, it would be float32"
            if self.autocast is torch.bfloat16 and not has_bfloat16(device):
                return "this GPU has no bfloat16, torch would imitate it"
            return None
        if self.how != EAGER:
            return "runs on a GPU alone"
        if self.convolutions and self.autocast is None:
            return "TF32 is arithmetic of GPUs"
        return "float16 is slower than float32 on a CPU" if self.autocast is torch.float16 else None

    @contextmanager
    def applied(self, device: torch.device) -> Iterator[None]:
        """Precision of this block. Process-wide settings are put back at its end."""
        # A graph keeps pointers: casts that are cached outside of it would be gone when it is replayed.
        cached = self.how not in (GRAPH, COMPILED_GRAPH)
        autocast = torch.autocast(device.type, self.autocast, enabled=self.autocast is not None, cache_enabled=cached)
        with tf32(self.convolutions, self.products), autocast:
            yield

    def precision(self, device: torch.device) -> str:
        """Of a training step in this mode, in a word; on a CPU all are float32."""
        if device.type != "cuda":
            return "float32"
        if self.autocast is not None:
            return str(self.autocast).removeprefix("torch.")
        return "tf32" if self.products else "float32, tf32 convolutions" if self.convolutions else "float32"

    def with_layout(self, model: nn.Module) -> nn.Module:
        """The model with its weights in this mode's layout."""
        return model.to(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)


MODES = {
    mode.name: mode for mode in (
        Mode("float32", convolutions=False, products=False),
        Mode("torch-default", products=False),  # torch's own setting of float32, that of the published runs
        Mode("tf32"),
        Mode("bfloat16", autocast=torch.bfloat16),
        Mode("float16", autocast=torch.float16),
        Mode("float32-contiguous", convolutions=False, products=False, channels_last=False),
        Mode("tf32-contiguous", channels_last=False),
        Mode("bfloat16-contiguous", autocast=torch.bfloat16, channels_last=False),
        Mode("float16-contiguous", autocast=torch.float16, channels_last=False),
        Mode("tf32-graph", how=GRAPH),
        Mode("float16-graph", autocast=torch.float16, how=GRAPH),
        Mode("tf32-compiled", how=COMPILED),
        Mode("bfloat16-compiled", autocast=torch.bfloat16, how=COMPILED),
        Mode("float16-compiled", autocast=torch.float16, how=COMPILED),
        Mode("float16-reduce-overhead", autocast=torch.float16, how=COMPILED_GRAPH),
    )
}


def modes(names: tuple[str, ...], device: torch.device) -> list[Mode]:
    """The modes of these names that a device can run. Raises: SspError with the reason if it can run none."""
    found = {name: MODES[name].why_not(device) for name in names}
    able = [MODES[name] for name, reason in found.items() if reason is None]
    if not able:
        raise SspError("; ".join(f"{name}: {reason}" for name, reason in found.items()))
    return able
