"""Export of a system for embedded inference: graph, static check, parity, bundle."""

from sspcore.export.bundle import Origin, export_bundle, verify_bundle
from sspcore.export.check import GraphError, check_model, find_problems
from sspcore.export.graph import StepModule, StepOptions, export_graph
from sspcore.export.rollout import Rollout, TorchRunner, drift, summary, synthetic_rollout, video_rollout

__all__ = [
    "GraphError",
    "Origin",
    "Rollout",
    "StepModule",
    "StepOptions",
    "TorchRunner",
    "check_model",
    "drift",
    "export_bundle",
    "export_graph",
    "find_problems",
    "summary",
    "synthetic_rollout",
    "verify_bundle",
    "video_rollout",
]
