"""All bad inputs, for the tests and for the driver that counts them."""

from __future__ import annotations

from pathlib import Path

from bad_inputs import commands, files, values
from bad_inputs.cases import Case

CASES: tuple[Case, ...] = (*files.CASES, *values.CASES, *commands.CASES)


def run_all(tmp: Path) -> list[dict[str, object]]:
    """Run every bad input in a folder of its own below `tmp`.

    Returns: one entry each: name, expected, outcome (what came of it, in words), as_expected.
    """
    return [case.outcome(tmp / f"{k:03d}") for k, case in enumerate(CASES)]
