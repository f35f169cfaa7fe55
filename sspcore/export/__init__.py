"""Export of a system for embedded inference: step, graph, static check, parity, bundle."""

from sspcore.export.bundle import export_bundle
from sspcore.export.check import check_model, find_problems
from sspcore.export.rollout import Rollout, drift, summary, synthetic_rollout, video_rollout
from sspcore.export.rtx import compile_step
from sspcore.export.step import StepOptions, TorchRunner

__all__ = [
    "Rollout", "StepOptions", "TorchRunner", "check_model", "compile_step", "drift", "export_bundle", "find_problems",
    "summary", "synthetic_rollout", "video_rollout",
]
