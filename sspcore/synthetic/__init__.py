"""Rendered aerial video: raw releases in the layouts of UAVid and RuralScapes with exact truth beside them.

world (layouts: solids on a ground) --render, shading--> view --sensor--> frame --release--> files
"""

from sspcore.synthetic.release import ReleaseSettings, release_key, render_release

__all__ = ["ReleaseSettings", "release_key", "render_release"]
