"""The command `sspcore`: its subcommands, its log, and the one place where errors become a line and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from sspcore.cli.common import fail
from sspcore.cli.cost import benchmark, complexity
from sspcore.cli.dataset import init_dataset
from sspcore.cli.doctor import doctor
from sspcore.cli.evaluate import evaluate
from sspcore.cli.export import export
from sspcore.cli.run import ablations, compare, docs, plan, report, reproduce, sample, seeds
from sspcore.cli.sources import check, prepare, weights
from sspcore.cli.stream import stream
from sspcore.core.errors import SspError
from sspcore.core.paths import HOME, HOME_VARIABLE, require_checkout, unusual_home
from sspcore.core.progress import configure_logging

COMMANDS = {
    "Reproduce the paper": (reproduce, check, prepare, weights, plan, ablations, seeds, compare, report, sample),
    "Use on your video": (stream, evaluate, export, init_dataset),
    "Look inside": (complexity, benchmark, doctor, docs),
}
NEED_CHECKOUT = (reproduce, ablations, seeds, compare, report, docs, sample, benchmark)  # notebooks, figures, results of runs
WRITE_HOME = (
    "reproduce", "check", "prepare", "weights", "plan", "ablations", "seeds", "report", "docs", "evaluate", "benchmark",
)
DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
EXAMPLES = """
[bold]Examples[/bold]

  sspcore stream flight.mp4 --out overlay.mp4

  sspcore evaluate --predictions maps/ --frames frames/ --classes 8

  sspcore reproduce --systems Base,SSP

  sspcore COMMAND --help
"""
UsageError = typer.BadParameter.__base__  # base of all errors of usage; newer Typer brings its own copy of click

app = typer.Typer(
    name="sspcore", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def in_checkout(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """The command, refused where sspcore is installed as a package."""
    @wraps(command)
    def checked(**options: Any) -> int | None:
        require_checkout(f"sspcore {command.__name__}")
        return command(**options)

    return checked


def resumable(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """The command; where Ctrl-C stops it, it says how to go on. Typer would end it without a word."""
    @wraps(command)
    def stopped(**options: Any) -> int | None:
        try:
            return command(**options)
        except KeyboardInterrupt:
            print("stopped; run the same command again to go on", file=sys.stderr)
            return INTERRUPTED

    return stopped


for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(resumable(in_checkout(command) if command in NEED_CHECKOUT else command))


def show_version(asked: bool) -> None:
    """Print the version and stop, if asked to."""
    if asked:
        from sspcore import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def configure(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Steady segmentation of drone video: Semantic Similarity Propagation (SSP), and the study behind it."""
    configure_logging(stream=sys.stderr)
    if context.invoked_subcommand in WRITE_HOME and (note := unusual_home()):
        print(note, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: this process's); returns the exit status.

    0 done, 1 something failed on the way (a disk is full, a part of the work failed), 2 an input or a setting is wrong,
    130 stopped by Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return app(given or ["--help"], prog_name="sspcore", standalone_mode=False) or DONE
    except UsageError as error:
        where = error.ctx.command_path if error.ctx else "sspcore"
        message = " ".join(error.format_message().split())
        return fail(f"{message.rstrip('.')}; see {where} --help", WRONG_INPUT)
    except SspError as error:
        return fail(str(error), WRONG_INPUT)
    except OSError as error:
        ours = isinstance(error.filename, str) and Path(error.filename).is_relative_to(HOME)
        remedy = f"check disk space and permissions{f', or let {HOME_VARIABLE} name another folder' if ours else ''}"
        return fail(f"{type(error).__name__}: {error}; {remedy}, then run again", FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
