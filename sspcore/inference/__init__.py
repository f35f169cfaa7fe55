"""The video runtime: frames in, class maps out, in time. Command line: python -m sspcore.inference."""

from sspcore.inference.backends import Backend, BundleBackend, TorchBackend, open_bundle
from sspcore.inference.outputs import mask_folder, overlay_video
from sspcore.inference.pipeline import Report, percentiles, run
from sspcore.inference.sources import Source, open_source

__all__ = [
    "Backend",
    "BundleBackend",
    "Report",
    "Source",
    "TorchBackend",
    "mask_folder",
    "open_bundle",
    "open_source",
    "overlay_video",
    "percentiles",
    "run",
]
