"""The video runtime: frames in, class maps out, in time. Command line: python -m sspcore.runtime."""

from sspcore.runtime.backends import Backend, BundleBackend, TorchBackend, open_bundle
from sspcore.runtime.outputs import mask_folder, overlay_video
from sspcore.runtime.pipeline import Report, percentiles, run
from sspcore.runtime.sources import Source, open_source

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
