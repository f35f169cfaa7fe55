"""What the explorers show of the packaged sample: its clip, and its network with and without the past. No run is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sspcore.explore.pair import MotionClip, PairExplorer
from sspcore.explore.systems import SegmentedClip, SystemsExplorer
from sspcore.inference.stream import Segmented
from sspcore.models.ssp import SSPState
from sspcore.report.sample import Sample


def sample_motion(sample: Sample) -> PairExplorer:
    """The explorer of motion on the sample's clip; flow is estimated as it is looked at."""
    used = sample.config.flow
    clip = MotionClip.of_frames(
        sample.clip.name, sample.frames(), tuple(dict.fromkeys(("dis-fast", used))), sample.config.registration
    )
    return PairExplorer([replace(clip, why_unknown="not part of the sample: see chapter 02")], _origin(sample), used)


def sample_systems(sample: Sample, results: Mapping[str, Sequence[Segmented]]) -> SystemsExplorer:
    """The explorer of systems on the sample's clip.

    Args:
        results: system -> what `Sample.segment` made of the frames; the first is shown beside the last.
    """
    labels = {name: [result.labels for result in of_frames] for name, of_frames in results.items()}
    states = {name: [result.state for result in of_frames] for name, of_frames in results.items()}
    alphas = {
        name: [state.alpha[0, 0].numpy() for state in of_frames]
        for name, of_frames in states.items() if isinstance(of_frames[0], SSPState)
    }
    truth = [sample.clip.label(k, sample.size) for k in range(len(sample.clip))]
    clip = SegmentedClip.of_arrays(sample.clip.name, sample.frames(), labels, alphas, truth, sample.config.flow)
    return SystemsExplorer([replace(clip, truth_is="exact")], sample.spec, list(labels), _origin(sample))


def _origin(sample: Sample) -> str:
    return f"{sample.spec.title}, {sample.config.data}"
