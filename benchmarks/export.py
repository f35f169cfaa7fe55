"""Figures of an export: compiled by NVIDIA's compiler, run on a camera, run by the runtimes of this machine.

    python benchmarks/export.py --part providers --json figures/export.json

A part is the module export_PART.py beside this file: `measure(options)` returns its figures, `add_options(parser)`, where
it has one, adds options of its own. Each is written under its name as soon as it is measured, with the commit that measured
it; what else the file holds stays.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from pathlib import Path
from typing import Any

import common
from sspcore.core.files import read_json, write_json
from sspcore.core.provenance import provenance
from sspcore.core.store import stable_hash

PARTS = ("compile", "camera", "providers")


def add_part(path: Path, part: str, entry: dict[str, Any]) -> None:
    """Put one part into the report and keep its others."""
    kept = read_json(path) if path.is_file() else {}
    write_json(path, kept | {part: entry})


def origin(options: argparse.Namespace) -> dict[str, Any]:
    """Provenance of a part: commit, versions, options, threads, and what else the machine had to do."""
    settings = {name: value for name, value in vars(options).items() if name != "json"}
    load = round(os.getloadavg()[0], 2)
    return provenance(options.part, 0, stable_hash(settings)) | {"threads": options.threads, "load_average": load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], add_help=False)
    parser.add_argument("--part", choices=PARTS, required=True)
    import torch  # after the package, which says how its threads wait

    measured = importlib.import_module(f"export_{parser.parse_known_args()[0].part}")
    parser.add_argument("-h", "--help", action="help")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of every runtime (default: all cores)")
    common.add_json(parser, "export")
    if hasattr(measured, "add_options"):
        measured.add_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    entry = {"provenance": origin(options), "figures": measured.measure(options)}
    print(json.dumps(entry, indent=1))
    if options.json is not None:
        add_part(options.json, options.part, entry)


if __name__ == "__main__":
    main()
