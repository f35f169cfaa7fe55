"""Run under torchrun by test_distributed: prints how far two processes are from one after some steps, in double precision.

In float32 rounding alone, magnified by AdamW, would hide a slip in the arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from sspcore.core.machine import MachineSettings
from sspcore.core.types import Outputs, Window
from sspcore.models.systems import build
from sspcore.study.profiles import load_profile
from sspcore.training.distributed import World, joined, synchronise_batchnorm, with_counts
from sspcore.training.loop import backward, build_losses, build_optimiser
from sspcore.training.losses import supervised
from sspcore.training.recipe import Recipe

CPU = torch.device("cpu")
BATCH, STEPS, N_CLASSES, SIDE = 4, 4, 5, 64
RECIPE = Recipe(epochs=1, schedule_epochs=1, warmup_epochs=0, batch_size=BATCH, lr=1e-3, crop=(SIDE, SIDE))


class Network(nn.Module):
    """Both kinds of BatchNorm, and a parameter that no output depends on."""

    def __init__(self) -> None:
        super().__init__()
        norms = (BatchNormAct2d(8), nn.BatchNorm2d(8))
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), norms[0], nn.Conv2d(8, 8, 3, padding=1, bias=False), norms[1],
            nn.ReLU(), nn.Conv2d(8, N_CLASSES, 1),
        )
        self.unused = nn.Linear(2, 2)

    def forward(self, window: Window) -> Outputs:
        return Outputs(self.net(window.frames.flatten(0, 1)).unflatten(0, tuple(window.frames.shape[:2])))


def windows(step: int) -> list[Window]:
    """The step's windows one by one; one has no label, another few."""
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(0, N_CLASSES, (BATCH, 2, SIDE, SIDE), generator=generator)
    labels[step % BATCH], labels[(step + 1) % BATCH, :, 5:] = 255, 255
    frames, flow = (torch.randn(BATCH, *shape, SIDE, SIDE, generator=generator).double() for shape in ((2, 3), (1, 2)))
    H = torch.eye(3).double()[None, None]
    return [
        Window(frames[k, None], H_prev_to_cur=H, flow_to_prev=flow[k, None], labels=labels[k, None]) for k in range(BATCH)
    ]


def joint(parts: list[Window]) -> Window:
    """Windows as one batch."""
    names = ("frames", "H_prev_to_cur", "flow_to_prev", "labels")
    return Window(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def without_statistics() -> Network:
    """BatchNorm as in evaluation, so that parts of a batch do not differ."""
    network = Network()
    for norm in (network.net[1], network.net[3]):
        norm.eval()
    return network


def smoke_ssp() -> nn.Module:
    """The smoke profile's SSP; its logits are in float32 whatever the weights are in."""
    return build("SSP", N_CLASSES, load_profile("smoke")).train()


def run(world: World, accumulate: int, make: Callable[[], nn.Module]) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of every step and the final weights."""
    torch.manual_seed(0)
    model = make().double()
    if world.size > 1:
        synchronise_batchnorm(model, CPU)
    losses_of = build_losses(model, supervised(0.5, 0.4), CPU, MachineSettings(), world)
    optimiser, losses = build_optimiser(model, RECIPE, frozenset()), []
    size, first = BATCH // (world.size * accumulate), world.rank * accumulate
    for step in range(STEPS):
        parts = windows(step)
        own = [joint(parts[k * size: (k + 1) * size]) for k in range(first, first + accumulate)]
        optimiser.zero_grad()
        values = backward(losses_of, with_counts(own, world), "test")
        optimiser.step()
        losses.append(float(world.sum(torch.tensor(values["total"], dtype=torch.float64))) / world.size)
    return losses, model.state_dict()


if __name__ == "__main__":
    with joined("cpu") as (this, _):
        for accumulate, make in ((1, Network), (2, without_statistics), (1, smoke_ssp)):
            losses, weights = run(this, accumulate, make)
            if this.is_main:
                expected, expected_weights = run(World(), 1, make)
                gap = max(abs(a - b) for a, b in zip(losses, expected, strict=True))
                apart = max(float((weights[k] - value).abs().max()) for k, value in expected_weights.items())
                print("RESULT " + json.dumps({"losses": gap, "weights": apart}), flush=True)
