"""SSP against what steadies without learning: python benchmarks/rivals.py [--profile NAME] [--json FILE] [--figures DIR].

On the checkpoints of a finished run; nothing is trained. Base alone, constant alphas, a majority vote of five label maps,
averaging along optical flow, the one-euro filter, and SSP, its gate and SSP-R where they are trained:

  miou, miou_moving, tc, tc_exact_flow   as in results.json (label maps and scores are kept in the run's folder)
  flicker, lag                           along exact flow where the data is rendered
  network_ms, motion_ms                  median of a frame: network and mixing; registration or flow. The systems take turns
                                         on each frame in one process, on one thread of a CPU
  above_curve                            points of mIoU above the constant-alpha curve at equal TC
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

import common  # first: it finds the repository
from sspcore.core.errors import SspError
from sspcore.core.files import write_json
from sspcore.core.progress import configure_logging
from sspcore.report.rivals import discussion, frontier_of_all, rows_of
from sspcore.report.style import save
from sspcore.study import Study
from sspcore.study.rivals import measure
from sspcore.study.text_table import text_table

COLUMNS = {
    "system": ("system", ""), "miou": ("mIoU", ".2%"), "miou_moving": ("moving", ".2%"), "tc": ("TC", ".2%"),
    "tc_exact_flow": ("TC exact", ".2%"), "flicker": ("flicker", ".2%"), "lag": ("lag", ".2f"),
    "above_curve": ("above curve", "+.2f"), "above_curve_end": ("", ""), "network_ms": ("network ms", ".1f"),
    "motion_ms": ("motion ms", ".1f"),
}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; returns the exit status."""
    parser = argparse.ArgumentParser("rivals", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo", help="its run is finished (default: demo)")
    parser.add_argument("--seed", type=int, help="training seed (default: the profile's first)")
    parser.add_argument("--root", type=Path, help="folder of its artefacts (default: the repository's data folder)")
    parser.add_argument("--datasets", metavar="NAME,NAME", help="default: the profile's")
    parser.add_argument("--json", type=Path, default=common.REPOSITORY / "figures" / "rivals.json")
    parser.add_argument("--figures", type=Path, help="draw the frontier of all into this folder")
    options = parser.parse_args(arguments)
    configure_logging()
    torch.set_num_threads(1)
    study = Study.open(options.profile, options.seed, root=options.root)
    datasets = options.datasets.split(",") if options.datasets else study.profile.datasets
    report = measure(study, datasets)
    by_dataset = {dataset: rows_of(report, dataset) for dataset in report["titles"]}
    report["rows"] = [row for rows in by_dataset.values() for row in rows]
    write_json(options.json, report)
    for dataset, rows in by_dataset.items():
        title = f"{report['titles'][dataset]}; {study.data_origin}"
        print(f"{title}\n{text_table(rows, COLUMNS)}\n{discussion(rows)}\n")
        if options.figures is not None:
            save(frontier_of_all(rows, title), options.figures, f"{dataset}_frontier_rivals", report["provenance"])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SspError as error:
        sys.exit(str(error))
