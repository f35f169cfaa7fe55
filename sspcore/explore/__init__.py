"""Places to explore: sliders and pictures in the notebooks, and the same pictures without a browser.

    panels.py   a picture with its words and scale; PNG bytes for the browser, one figure for paper
    pair.py     two frames of a clip: flow, warps, masks, homography (notebook 02); knows no widget
    systems.py  two systems over a clip: labels, flicker, alpha, curves (notebook 07); knows no widget
    stage.py, stage.js, live.py   the widgets around them
"""

from __future__ import annotations

from functools import partial

from IPython import get_ipython
from IPython.display import display

from sspcore.explore.pair import PairExplorer
from sspcore.explore.panels import contact_sheet
from sspcore.explore.systems import SystemsExplorer
from sspcore.report.style import class_legend
from sspcore.study import Study

__all__ = ["PairExplorer", "SystemsExplorer", "contact_sheet", "explore_motion", "explore_systems", "somebody_is_there"]


def somebody_is_there() -> bool:
    """Whether this cell was started by a person at a notebook and not by papermill, nbval or a script.

    A front end says with each cell whether somebody could answer a prompt; those that only execute notebooks say no.
    """
    parent = getattr(get_ipython(), "get_parent", dict)()
    return bool(parent.get("content", {}).get("allow_stdin", False))


def explore_motion(study: Study, datasets: list[str]) -> None:
    """Display the explorer of motion: with sliders where somebody is there to move them, else as one picture."""
    explorers = {name: partial(PairExplorer, study, name) for name in datasets}
    if somebody_is_there():
        from sspcore.explore.live import LivePair  # widgets only where a browser is

        display(LivePair(explorers).box)
        return
    explorer = explorers[datasets[0]]()
    panels = explorer.panels(explorer.view(explorer.first()))
    display(contact_sheet(panels, explorer.columns, f"{explorer.origin}; in JupyterLab this picture has sliders"))


def explore_systems(study: Study, datasets: list[str], systems: list[str]) -> None:
    """Display the explorer of two systems: with sliders where somebody is there to move them, else as one picture."""
    explorers = {name: partial(SystemsExplorer, study, name, systems) for name in datasets}
    if somebody_is_there():
        from sspcore.explore.live import LiveSystems

        display(LiveSystems(explorers).box)
        return
    explorer = explorers[datasets[0]]()
    title = f"{explorer.origin}; in JupyterLab this picture has sliders and a play button"
    picture = contact_sheet(explorer.panels(explorer.first()), explorer.columns, title)
    class_legend(picture, explorer.spec)
    display(picture)
