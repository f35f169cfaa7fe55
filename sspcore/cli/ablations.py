"""`sspcore ablations`: SSP with one thing changed at a time."""

from __future__ import annotations

import argparse
import sys

from sspcore.core.errors import SspError
from sspcore.core.lock import exclusive
from sspcore.report.ablations import write
from sspcore.study import Study
from sspcore.study.ablations import run
from sspcore.study.notebook import configure_logging


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line of `python -m sspcore.study.ablations`."""
    parser = argparse.ArgumentParser("sspcore.study.ablations", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo", help="smoke, demo, paper or a YAML file (default: demo)")
    parser.add_argument("--seed", type=int, help="training seed (default: the profile's)")
    parser.add_argument("--datasets", type=_names, help="comma-separated: uavid,ruralscapes (default: the profile's)")
    parser.add_argument("--data", help="folder of the real releases, for --profile paper")
    parser.add_argument("--only", type=_names, help="comma-separated variants; the tables then hold these alone")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run ablations and write their tables; returns the exit status: 0 done, 1 a variant failed, 2 wrong usage."""
    options = parse_arguments(arguments)
    configure_logging()
    try:
        study = Study.open(options.profile, data=options.data)
        with exclusive(study.workspace.base):
            results = run(options.profile, options.seed, options.data, options.datasets, options.only)
            for path in write(results, study.figures):
                print(path)
    except SspError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for failure in results["failed"]:
        print(f"failed: {failure['dataset']}, {failure['variant']}: {failure['error']}", file=sys.stderr)
    return 1 if results["failed"] else 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    sys.exit(main())
