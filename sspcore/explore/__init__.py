"""Places to explore: sliders and pictures in the notebooks, and the same pictures without a browser.

    panels.py      a picture with its words and scale; what an explorer is
    pair.py        two frames of a clip: flow, warps, masks, homography (notebook 02)
    systems.py     two systems over a clip: labels, flicker, alpha, curves (notebook 07)
    from_study.py  what both show of a study
    from_sample.py what both show of the packaged sample; everything else takes arrays
    live.py, stage.js   the widgets around them

Your own frames and labels (arrays, or any sequences of them):

    explore({"mine": lambda: PairExplorer([MotionClip.of_frames("clip", frames)], "my video")})
    clip = SegmentedClip.of_arrays("clip", frames, {"A": labels_a, "B": labels_b})
    explore({"mine": lambda: SystemsExplorer([clip], classes, ["A", "B"], "my video")})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from IPython.display import display

from sspcore.explore.from_sample import sample_motion, sample_systems
from sspcore.explore.from_study import pair_explorer, systems_explorer
from sspcore.explore.pair import MotionClip, PairExplorer
from sspcore.explore.panels import Explorer
from sspcore.explore.systems import SegmentedClip, SystemsExplorer
from sspcore.study import Study

__all__ = [
    "MotionClip", "PairExplorer", "SegmentedClip", "SystemsExplorer", "explore", "explore_motion", "explore_systems",
    "pair_explorer", "sample_motion", "sample_systems", "systems_explorer",
]

_SLIDERS = "; in JupyterLab this picture has sliders"


def is_interactive() -> bool:
    """Whether this cell was started by a person at a notebook and not by papermill, nbval or a script.

    A front end says with each cell whether a prompt could be answered; those that only execute notebooks say no.
    """
    parent = getattr(get_ipython(), "get_parent", dict)()
    return bool(parent.get("content", {}).get("allow_stdin", False))


def explore(explorers: Mapping[str, Callable[[], Explorer]]) -> None:
    """Display explorers of one kind, by name: with sliders where a person can move them, else the first as one picture.

    The picture goes with the sliders too: a saved notebook that is read without a kernel shows it.
    """
    if is_interactive():
        from sspcore.explore.live import Live  # widgets only where a browser is

        live = Live(explorers)
        picture = print_figure(live.explorer.figure(_SLIDERS), "png", base64=True)
        display(live.box._repr_mimebundle_() | {"image/png": picture}, raw=True)
    else:
        display(next(iter(explorers.values()))().figure(_SLIDERS))


def explore_motion(study: Study, datasets: list[str]) -> None:
    """Display the explorer of motion."""
    explore({name: partial(pair_explorer, study, name) for name in datasets})


def explore_systems(study: Study, datasets: list[str], systems: list[str]) -> None:
    """Display the explorer of two systems."""
    explore({name: partial(systems_explorer, study, name, systems) for name in datasets})
