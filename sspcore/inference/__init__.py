"""Streaming: frames in, class maps out, one after the other or in time."""

from sspcore.inference.backends import Backend, Prediction, TorchBackend
from sspcore.inference.bundles import BundleBackend, open_bundle
from sspcore.inference.masks import mask_folder
from sspcore.inference.motion import Observed, live_motion, motion_for
from sspcore.inference.outputs import overlay_video
from sspcore.inference.shots import Report, percentiles
from sspcore.inference.sources import Source, open_source
from sspcore.inference.stream import Segmented, segment_frames, stream
from sspcore.inference.video import run, segment_video

__all__ = [
    "Backend", "BundleBackend", "Observed", "Prediction", "Report", "Segmented", "Source", "TorchBackend", "live_motion",
    "mask_folder", "motion_for", "open_bundle", "open_source", "overlay_video", "percentiles", "run",
    "segment_frames", "segment_video", "stream",
]
