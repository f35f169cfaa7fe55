"""Names of the estimators of motion, in settings, caches and results: `build_flow` and `build_registrator` know them all.

A name may end with what the estimator does as the reference does it; see `sspcore.core.conventions`.
"""

from __future__ import annotations

IMAGENET = "-imagenet"  # of a network that sees ImageNet-normalised frames, though it was trained on others
RANSAC = "-ransac"  # of a registrator that takes RANSAC's homography unchecked

LIGHTGLUE, IDENTITY = "lightglue", "identity"
_MATCHERS = ("lk", "sift", "akaze", "orb", LIGHTGLUE, LIGHTGLUE + IMAGENET)


def raft_name(updates: int, imagenet: bool = False) -> str:
    """RAFT with so many updates; `imagenet`: see IMAGENET."""
    return f"raft-{updates}{IMAGENET if imagenet else ''}"


_RAFTS = [raft_name(updates, imagenet) for imagenet in (False, True) for updates in (20, 15, 8)]
FLOW_NAMES = ("dis-medium", "dis-fast", "dis-ultrafast", *_RAFTS, "zero")
REGISTRATOR_NAMES = (*_MATCHERS, IDENTITY, *(name + RANSAC for name in _MATCHERS))


def uses_raft(flow: str) -> bool:
    """Whether an estimator of flow is RAFT: it has weights, and runs on a GPU where there is one."""
    return flow.partition("-")[0] == "raft"


def uses_lightglue(registration: str) -> bool:
    """Whether a registrator is DISK with LightGlue: it has weights, and runs on a GPU where there is one."""
    return registration.partition("-")[0] == LIGHTGLUE
