"""Rendered aerial video: raw releases in the layouts of UAVid and RuralScapes with exact truth beside them.

world (layouts: solids on a ground) --render, shading--> view --sensor--> frame --release--> files
                                                                                --flight--> a video as a person has it
"""

from sspcore.synthetic.flight import FlightSettings, render_flight
from sspcore.synthetic.release import missing_sequences, release_key, render_release, render_sequence, sequence_names
from sspcore.synthetic.sequence import ReleaseSettings

__all__ = [
    "FlightSettings", "ReleaseSettings", "missing_sequences", "release_key", "render_flight", "render_release",
    "render_sequence", "sequence_names",
]
