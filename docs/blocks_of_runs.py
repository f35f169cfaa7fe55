"""Tables of docs/claims.md: whether the same run gives the same numbers again."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from blocks_of_benchmarks import TITLES, read
from blocks_of_claims import link

from sspcore.models.systems import SYSTEMS
from sspcore.report.scores import SCORES
from sspcore.report.tables import percent


def repeated() -> pd.DataFrame:
    """Runs that were made again on another machine or under bad conditions: how much was the same in every digit."""
    again, killed, engine = read("reproduced.json"), read("robustness.json"), read("engine.json")["identical"]
    differing = [*engine["workers"].values(), engine["killed_workers"]["differing"]]
    kinds = len(engine["killed_workers"]["in"])
    lines = [
        (again["run"], f"the run of {again['committed']['commit']} from nothing in a new clone, on {again['run']['machine']}",
         f"{again['identical']} of {len(again['rows']) + again['missing']} rows", "reproduced.json"),
        (killed["provenance"], f"a run killed (SIGKILL) and started again, {killed['kills']} times",
         f"tables after {killed['identical']} of {killed['kills']} kills", "robustness.json"),
        (engine["provenance"], f"{', '.join(engine['workers'])} workers, a worker killed at each of {kinds} kinds of work",
         f"tables of {differing.count([])} of {len(differing)} runs", "engine.json"),
    ]
    return pd.DataFrame([
        {
            "Profile": about["profile"], "What was run again": what, "The same in every digit": same,
            "Commit": f"`{about['commit']}`", "File": link(file),
        } for about, what, same, file in lines
    ])


def other_machine() -> pd.DataFrame:
    """Systems of the committed run beside the same on another machine; controls are left out. The run there is of one seed."""
    found = {(row["system"], row["dataset"]): row for row in read("reproduced.json")["rows"]}
    names = dict.fromkeys(name for name, _ in found if name in SYSTEMS)
    return pd.DataFrame([
        {"System": name} | {
            f"{TITLES[dataset]}: {SCORES[score]}": _committed_and_there(found[name, dataset][score])
            for dataset in TITLES for score in ("miou", "tc", "miou_moving")
        } for name in names
    ])


def _committed_and_there(score: Mapping[str, float | None]) -> str:
    """A committed score, the other machine's, and the standard deviation over the committed seeds, in percent."""
    committed, there, std = (percent(score[key]) for key in ("committed", "run", "std"))
    return f"{committed} → {there} (± {std})"


BLOCKS = {"repeated": repeated, "other-machine": other_machine}
