"""`python -m sspcore.report`: the static page of a run (what `./reproduce.sh report` calls)."""

from __future__ import annotations

import argparse
import sys

from sspcore.core.errors import SspError
from sspcore.core.paths import REPOSITORY, Workspace
from sspcore.report.page import find_run, shown, write_page
from sspcore.study.profiles import available_profiles, load_profile


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("sspcore.report", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="demo", help=f"one of {', '.join(available_profiles())} (default: demo)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Write the page; returns the exit status: 0 done, 1 not written, 2 wrong usage or no run there."""
    options = parse_arguments(arguments)
    try:
        profile = load_profile(options.profile)
        workspace = Workspace(profile.name)
        page = write_page(find_run(profile, workspace, REPOSITORY / profile.figures), workspace.base / "report")
    except SspError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {type(error).__name__}: {error}; check disk space, then run again", file=sys.stderr)
        return 1
    print(f"report: {shown(page)} (open it in a browser)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
