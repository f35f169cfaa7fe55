"""Every bad input ends in the one-line error or the correct result that is expected of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bad_inputs import CASES
from bad_inputs.cases import Case, Refused, command, scored
from sspcore.core.errors import SspError


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_bad_input_has_the_expected_outcome(case: Case, tmp_path: Path) -> None:
    outcome = case.outcome(tmp_path / "case")
    assert outcome["as_expected"], f"{outcome['outcome']}; expected: {outcome['expected']}"


def test_there_are_enough_of_them_and_no_two_have_one_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


def _raise(error: Exception):
    def run(folder: Path) -> None:
        raise error

    return run


@pytest.mark.parametrize("case, wrong", [
    (Case("accepted", lambda folder: None, "file"), "accepted silently"),
    (Case("another error", _raise(SspError("other")), "file"), "SspError: other"),
    (Case("two lines", _raise(ValueError("file\nline")), "file", ValueError), "ValueError: file"),
    (Case("traceback", _raise(KeyError("file")), "file"), "KeyError"),
    (Case("refused what is right", _raise(SspError("file"))), "SspError: file"),
    (Case("wrong number", _raise(AssertionError("0.3"))), "wrong result: 0.3"),
])
def test_a_wrong_outcome_is_told(case: Case, wrong: str, tmp_path: Path) -> None:
    outcome = case.outcome(tmp_path / "case")
    assert not outcome["as_expected"] and wrong in outcome["outcome"]


def test_a_command_that_says_nothing_or_too_much_is_no_refusal() -> None:
    def silent(arguments: list[str]) -> int:
        return 2

    def talkative(arguments: list[str]) -> int:
        sys.stderr.write("error: a\nerror: b\n")
        return 2

    for main in (silent, talkative):
        with pytest.raises(AssertionError):
            command(main=main)
    with pytest.raises(Refused):
        command(main=lambda arguments: sys.stderr.write("error: a\n") and 2)


def test_a_process_of_its_own_ends_with_one_line_and_status_2(tmp_path: Path) -> None:
    options = scored(tmp_path)
    (tmp_path / "predictions" / "1.png").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "sspcore", *options], capture_output=True, text=True, timeout=600,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(lines) == 1 and "predictions/1.png" in lines[0]
    assert "Traceback" not in done.stderr and done.stdout == ""
