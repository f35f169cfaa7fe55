"""Export of a system for embedded inference: step, graph, static check, parity, bundle."""

from sspcore.export.bundle import export_bundle, verify_bundle
from sspcore.export.check import GraphError, check_model, find_problems
from sspcore.export.graph import export_graph
from sspcore.export.rollout import Rollout, drift, summary, synthetic_rollout, video_rollout
from sspcore.export.step import StepModule, StepOptions, TorchRunner

__all__ = [
    "GraphError",
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
