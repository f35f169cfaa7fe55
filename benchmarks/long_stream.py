"""Systems of a finished run along a stream of 2,000 frames: python benchmarks/long_stream.py --json figures/long_stream.json.

Question: does mIoU, TC, alpha, flicker or lag drift along a stream, and what do scene cuts, lost registrations, dropped frames
and a third of the frame rate do? Footage: a flight through UAVid's rendered world with exact labels, rendered once, and with
--video videos of your own without labels, whose mIoU and lag are unknown. Nothing is trained.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import common
from sspcore.core.errors import SspError
from sspcore.core.files import write_json
from sspcore.core.paths import HOME
from sspcore.core.progress import configure_logging
from sspcore.core.provenance import provenance
from sspcore.core.store import stable_hash
from sspcore.evaluation.frames import open_frames
from sspcore.models.systems import control
from sspcore.report.long_stream import condition_table, findings, picture, system_table
from sspcore.report.style import save
from sspcore.study import Study, places
from sspcore.study.long_footage import Footage, Unlabelled
from sspcore.study.long_stream import long_streams
from sspcore.study.notebook import as_table
from sspcore.synthetic.long_flight import LongFlightSettings, render_long_flight

DATASET = "uavid"  # whose world is rendered
SYSTEMS = ("Base", "SSP", "SSP-R")
ALPHAS = (0.5, 0.7, 0.9)
RENDERED = "rendered flight"


def chosen(study: Study, asked: str | None) -> list[str]:
    """The systems asked for, by default those of SYSTEMS that are trained, Base in any case; and constant alphas."""
    trained = [name for name in SYSTEMS if places.training(study, name, DATASET).is_made()]
    return [*dict.fromkeys(["Base", *(asked.split(",") if asked else trained), *(control(alpha).name for alpha in ALPHAS)])]


def streams(study: Study, names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Title -> scores, of the rendered flight and of each video."""
    rendering = study.profile.rendering
    videos = {path.stem: Unlabelled(open_frames(path, "")) for path in options.video}
    if len({RENDERED, *videos}) <= len(options.video):
        raise SspError(f"--video {' '.join(map(str, options.video))}: two of one name; rename one, names are titles and files")
    settings = LongFlightSettings(
        size=rendering.releases[DATASET].size, frames=options.frames, part=options.jump, seed=rendering.seed
    )
    folder = options.flight or study.workspace.base / "long_flight"
    footage: dict[str, Footage] = {RENDERED: render_long_flight(folder, settings, options.workers), **videos}
    return {
        title: {
            "data": study.data_origin if title == RENDERED else f"own video, no labels; systems trained on {study.data_origin}",
            **long_streams(study, DATASET, names, one, options.window, options.jump, options.workers, options.frames),
        }
        for title, one in footage.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--root", type=Path, default=HOME, help="folder that holds the finished run (default: data)")
    parser.add_argument("--flight", type=Path, help="folder for the rendered flight (default: beside the run)")
    parser.add_argument("--systems", help="trained systems, with commas (default: Base, SSP, SSP-R, those that are there)")
    parser.add_argument("--video", type=Path, action="append", default=[], help="a video or folder of images; may be repeated")
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--window", type=int, default=100, help="frames that are scored together")
    parser.add_argument("--jump", type=int, default=250, help="frames from one scene cut to the next")
    parser.add_argument("--workers", type=int, default=1, help="processes; streams take two at most")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures, for example figures")
    common.add_json(parser, "long_stream")
    options = parser.parse_args()
    configure_logging()
    study = Study.open(options.profile, options.seed, root=options.root, read_only=True)
    found = streams(study, chosen(study, options.systems), options)
    origin = provenance(study.profile.name, study.seed, stable_hash([study.clips_key(DATASET), options.frames])) | {
        "data": study.data_origin, "metric_flow": study.profile.metric_flow,
    }
    if options.json is not None:
        write_json(options.json, {"provenance": origin, "streams": found})
    for title, stream in found.items():
        tables = (as_table(rows).to_string() for rows in (system_table(stream), condition_table(stream)))
        print(title, *tables, *findings(stream), sep="\n\n")
        if options.pictures is not None:
            name = "long_stream" if title == RENDERED else f"long_stream_{title}"
            shown = origin | {"data": stream["data"]}
            save(picture(stream, title.capitalize(), shown), options.pictures, name, shown)


if __name__ == "__main__":
    try:
        main()
    except SspError as error:
        sys.exit(str(error))
