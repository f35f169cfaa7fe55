"""Rendered aerial video: raw releases in the layouts of UAVid and RuralScapes with exact truth beside them.

world (layout_urban, layout_rural: solids on a ground) --render, shading--> view --sensor--> frame --release--> files
"""

from sspcore.data.synthetic.release import ReleaseSettings, render_release

__all__ = ["ReleaseSettings", "render_release"]
