"""What the measuring scripts share: where the tests' helpers lie, and one way to write a report with its provenance.

Import it before anything of the package: a script that is started by its path finds the repository and tests/ through it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from sspcore.core.files import write_json
from sspcore.core.provenance import provenance
from sspcore.core.store import stable_hash


def add_json(parser: argparse.ArgumentParser, name: str) -> None:
    """The option --json."""
    parser.add_argument("--json", type=Path, help=f"write the report with its provenance, for example figures/{name}.json")


def write(report: dict[str, Any], options: argparse.Namespace, profile: str, seed: int = 0, data: str = "") -> None:
    """Print a report; with --json write it too, with commit, versions and a key of the options.

    Args:
        report: JSON values.
        options: of the script, with `json` as `add_json` adds it.
        profile, seed: named in the provenance.
        data: key of the data that was measured on, if it was.
    """
    print(json.dumps(report, indent=2))
    if options.json is not None:
        settings = {name: value for name, value in vars(options).items() if name != "json"}
        origin = provenance(profile, seed, stable_hash([data, settings]))
        write_json(options.json, {"provenance": origin, **report})
