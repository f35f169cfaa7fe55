"""What notebooks need: a log that reads well below a cell, small tables, the list of chapters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import display

from sspcore.core.errors import SspError
from sspcore.core.files import read_json
from sspcore.core.lock import RUN_LOCKS, WORKERS
from sspcore.core.paths import REPOSITORY, Workspace
from sspcore.core.progress import configure_logging
from sspcore.study.profiles import load_profile
from sspcore.study.stages import Study

__all__ = ["as_table", "chapters", "open_study", "show_table"]

NONE = "–"
DIGITS = {"(%)": 1, "(points)": 1, "(frames)": 1, "(frames/s)": 1, "(ms)": 1, "(px)": 2, "(grey levels)": 1, "(M)": 2, "(G)": 1}


def open_study(
    profile: str, seed: int | None = None, data: str | Path | None = None, force: Iterable[str] = (), **options: Any
) -> Study:
    """`Study.open`, with the log below the cell.

    In a notebook that is opened by hand, stages make what is missing on all cores, with bars; the environment variable
    SSPCORE_WORKERS sets how many processes. In one that a run executes, and with SSPCORE_WORKERS=0, they make it in this
    process.
    """
    configure_logging()
    asked = os.environ.get(WORKERS)
    if asked is not None and not asked.isdecimal():
        raise SspError(f"{WORKERS}={asked}: expected a number of processes, or 0 for none beside this one")
    if RUN_LOCKS in os.environ or asked == "0":
        return Study.open(profile, seed, data, force, **options)
    from sspcore.study.engine.make import make  # seconds of imports that an executed notebook does without

    workers = None if asked is None else int(asked)
    return Study.open(profile, seed, data, force, **options, maker=lambda study, goal: make(study, goal, workers))


def as_table(rows: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Rows (name -> column -> value) as a table of texts, a dash where a row has nothing.

    A column with one of the units of DIGITS in its name has as many digits after the point; other floats have four in all.
    """
    texts = {name: {str(column): _text(value, str(column)) for column, value in row.items()} for name, row in rows.items()}
    return pd.DataFrame.from_dict(texts, orient="index").fillna(NONE)


def show_table(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Display rows as `as_table` makes a table of them, names on the left."""
    if not rows:
        display({"text/plain": "nothing to show"}, raw=True)
        return
    table = as_table(rows)
    with pd.option_context("display.max_colwidth", None):  # else pandas cuts long texts
        lines, text = table.to_html(border=0).splitlines(), table.to_string()
    head, body = "".join(line.strip() for line in lines).split("<tbody>")
    page = head + "<tbody>" + body.replace("<th>", "<th style='text-align:left'>")
    display({"text/html": page, "text/plain": text}, raw=True)


def chapters(profile: str) -> dict[str, dict[str, str]]:
    """The numbered notebooks by file name: their titles, and whether a run of the profile has left an executed copy.

    In a notebook that a run executes there are the titles alone: its other chapters are being made at the same time.
    """
    executed, by_hand = Workspace(load_profile(profile).name).notebooks, RUN_LOCKS not in os.environ
    return {
        path.name: {"chapter": _title(path)} | (
            {f"run here ({profile})": "yes" if (executed / path.name).is_file() else "not yet"} if by_hand else {}
        )
        for path in sorted((REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    }


def _title(notebook: Path) -> str:
    """A notebook's first heading, without its number."""
    first = read_json(notebook)["cells"][0]["source"]
    return "".join(first).splitlines()[0].lstrip("# ").split(" · ")[-1]


def _text(value: Any, column: str) -> str:
    if value is None or value != value:  # not a number: nothing could be scored
        return NONE
    if not isinstance(value, float):
        return str(value)
    digits = next((digits for unit, digits in DIGITS.items() if unit in column), None)
    text = f"{value:.4g}" if digits is None else f"{value:.{digits}f}"
    return f"−{text[1:]}" if text.startswith("-") else text
