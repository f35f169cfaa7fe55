"""The command `sspcore`: its help, what it imports, and errors of every kind as one line with their status."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sspcore import __version__
from sspcore.cli import main as module
from sspcore.cli.common import FrameSize, Names, Numbers
from sspcore.cli.main import COMMANDS, app, main
from sspcore.core.errors import SspError

ROOT = Path(__file__).resolve().parents[2]
NAMES = [command.__name__.replace("_", "-") for commands in COMMANDS.values() for command in commands]


def test_help_is_a_page_with_a_line_for_each_command(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = CliRunner().invoke(app, ["--help"], prog_name="sspcore").output
    lines = text.splitlines()
    assert len(lines) < 50 and max(len(line.rstrip()) for line in lines) <= 80
    for panel in COMMANDS:
        assert panel in text
    for name in NAMES:
        (line,) = (line for line in lines if line.startswith(f"\u2502 {name} "))
        assert line.rstrip(" \u2502").endswith((".", "?")), f"{name}: its line is cut"


def test_without_arguments_the_help_is_shown(capsys):
    assert main([]) == 0
    assert "Use on your video" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_each_command_has_help_and_describes_its_options(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(app, [name, "-h"], prog_name="sspcore")
    assert done.exit_code == 0
    options = [line for line in done.output.splitlines() if " --" in line]
    assert options and all(len(line.strip("\u2502 ").split("  ")) > 1 for line in options)


def test_help_imports_nothing_heavy_and_comes_at_once():
    script = (
        "import sys; from sspcore.cli.main import main; main(['--help'])\n"
        "print(*({'torch', 'cv2', 'numpy', 'pandas', 'papermill', 'IPython'} & sys.modules.keys()), file=sys.stderr)"
    )
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
        best = min(best, time.perf_counter() - began)
        assert done.stderr.strip() == ""
    assert best < 2, "half a second on a quiet machine"


def test_module_and_version(capsys):
    done = subprocess.run([sys.executable, "-m", "sspcore", "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, __version__)


@pytest.mark.parametrize("arguments, parts", [
    (["strem"], ("No such command 'strem'", "stream", "sspcore --help")),
    (["stream"], ("source", "sspcore stream --help")),
    (["plan", "--profil", "demo"], ("--profil", "sspcore plan --help")),
    (["stream", "video.mp4", "--drop", "some"], ("--drop", "'some'")),
    (["stream", "video.mp4", "--size", "64"], ("--size", "HEIGHTxWIDTH")),
    (["seeds", "--seeds", "a"], ("--seeds", "whole numbers")),
    (["complexity", "--frames", "0", "--fps"], ("--frames",)),
])
def test_wrong_usage_is_one_line(arguments, parts, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert all(part in error for part in parts), error


@pytest.mark.parametrize("problem, status, line", [
    (SspError("a file\nof two lines"), 2, "error: a file of two lines\n"),
    (OSError(28, "No space left on device"), 1, "error: OSError: [Errno 28] No space left on device; check disk space and "
     "permissions, then run again\n"),
    (KeyboardInterrupt(), 130, "stopped; run the same command again to go on\n"),
])
def test_errors_are_turned_into_a_line_and_a_status(problem, status, line, monkeypatch, capsys):
    def failing(*arguments):
        raise problem

    monkeypatch.setattr("sspcore.study.plan.describe_run", failing)
    assert main(["plan"]) == status
    assert capsys.readouterr().err == line


def test_a_fault_of_our_own_is_not_hidden(monkeypatch):
    def failing(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr("sspcore.study.plan.describe_run", failing)
    with pytest.raises(ZeroDivisionError):
        main(["plan"])


def test_where_there_is_no_checkout_it_is_said(monkeypatch, capsys):
    monkeypatch.setattr("sspcore.core.paths.IN_CHECKOUT", False)
    for command in module.NEED_CHECKOUT:
        required = ["--seeds", "0"] if command.__name__ == "seeds" else []
        assert main([command.__name__, *required]) == 2
        assert f"sspcore {command.__name__} needs a checkout" in capsys.readouterr().err


def test_lists_in_one_option():
    assert Names(" Base, SSP ,,") == ("Base", "SSP") and Names(",") == ()
    assert Numbers("2, 0,2") == (2, 0)
    assert FrameSize("736x1280") == (736, 1280)
