"""The benchmark of a machine: minutes, failures, the figures' file and its tables, tried on a CPU."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

import pytest
import torch

from helpers.parts import act
from sspcore.cli.main import main
from sspcore.models.systems import OURS, PAPER_SYSTEMS, SYSTEMS
from sspcore.study.benchmark import tables
from sspcore.study.benchmark.live import LiveRate
from sspcore.study.benchmark.part import Part, Setting
from sspcore.study.benchmark.parts import all_parts
from sspcore.study.benchmark.run import measure
from sspcore.study.benchmark.session import DONE, FAILED, LEAST_SHARE, LEFT_OUT, Session
from sspcore.study.benchmark.streams import Rate
from sspcore.study.benchmark.training import TrainingStep
from sspcore.study.benchmark.worker import PartFailed, WorkerProcess
from sspcore.study.profiles import load_profile

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class FakeWorker:
    """Takes `slower` times the seconds of a part on a clock of its own; parts named in `bad` fail after a row, those in
    `hanging` never end.
    """

    def __init__(
        self, clock: list[float], slower: float = 1.0, bad: tuple[str, ...] = (), hanging: tuple[str, ...] = (),
    ) -> None:
        self.clock, self.slower, self.bad, self.hanging, self.usable = clock, slower, bad, hanging, True
        self.asked: list[tuple[str, float, float]] = []

    def rows(self, part: Part, share: float, within: float, limit: float) -> Iterator[dict[str, Any]]:
        self.asked.append((part.title, share, limit))
        needed = math.inf if part.title in self.hanging else self.slower * part.seconds * (0.5 + 0.5 * share)
        yield {"title": part.title}
        if needed > limit:
            self.clock[0] += limit
            self.usable = False
            raise PartFailed(f"gave no answer for {limit:.0f} s and was stopped")
        self.clock[0] += needed
        if part.title in self.bad:
            raise PartFailed("it breaks")
        yield {"title": part.title}

    def close(self) -> None:
        self.usable = False


def parts(*seconds: float, **changes: Any) -> list[Part]:
    return [Part(f"part {k}", "streams", each, partial(act, "nothing"), **changes) for k, each in enumerate(seconds)]


def session(seconds: float, clock: list[float], **worker: Any) -> tuple[Session, list[FakeWorker]]:
    workers: list[FakeWorker] = []

    def make(left: float) -> FakeWorker:
        workers.append(FakeWorker(clock, **worker))
        return workers[-1]

    return Session(seconds, make, lambda figures: None, lambda: clock[0]), workers


def outcomes(figures: dict[str, Any]) -> list[str]:
    return [part["outcome"] for part in figures["parts"]]


def test_with_time_for_all_nothing_is_shortened():
    clock = [0.0]
    run, (*workers,) = session(100, clock)
    figures = run.run(parts(10, 20, 30))
    assert outcomes(figures) == [DONE] * 3 and clock[0] == 60 and len(figures["streams"]) == 6


@pytest.mark.parametrize("slower", [0.3, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("seconds", [10.0, 60.0, 480.0])
def test_the_minutes_are_kept_whatever_the_machine(seconds, slower):
    clock = [0.0]
    run, _ = session(seconds, clock, slower=slower)
    figures = run.run(parts(*[15.0] * 20))
    assert clock[0] <= seconds and len(figures["parts"]) == 20
    ends = [outcome != LEFT_OUT for outcome in outcomes(figures)]
    assert ends == sorted(ends, reverse=True), "the first parts are the important ones"
    assert clock[0] > 0.5 * seconds or all(ends)
    assert outcomes(figures).count(FAILED) <= 2  # before it is known how slow the machine is
    assert all("s were left, it takes about" in part["reason"] for part in figures["parts"] if part["outcome"] == LEFT_OUT)


def test_short_minutes_take_repetitions_from_all_parts_alike_before_one_is_left_out():
    clock = [0.0]
    run, workers = session(48, clock)
    figures = run.run([*parts(*[15.0] * 4), *(replace(part, title=f"spare {part.title}") for part in parts(30, spare=True))])
    shares = [share for _, share, _ in workers[0].asked]
    assert outcomes(figures) == [DONE] * 4 + [LEFT_OUT]  # the others are not shortened for a spare one
    assert shares == pytest.approx([0.6] * 4) and min(shares) > LEAST_SHARE


def test_what_fails_is_listed_with_its_rows_and_the_others_are_measured():
    run, _ = session(100, [0.0], bad=("part 1",))
    figures = run.run(parts(10, 10, 10))
    assert outcomes(figures) == [DONE, FAILED, DONE]
    assert figures["parts"][1]["reason"] == "it breaks" and figures["parts"][1]["rows"] == 1
    assert [row["title"] for row in figures["streams"]].count("part 1") == 1


def test_a_hanging_part_is_stopped_and_another_worker_goes_on():
    clock = [0.0]
    run, workers = session(400, clock, hanging=("part 1",))
    figures = run.run(parts(10, 10, 10))
    assert outcomes(figures) == [DONE, FAILED, DONE] and len(workers) == 2 and clock[0] == 80


def test_a_worker_that_does_not_start_is_the_reason_of_each_part():
    def refuse(left: float) -> FakeWorker:
        raise PartFailed("its process ended with status 1")

    figures = Session(100, refuse, lambda figures: None, lambda: 0.0).run(parts(10, 10))
    assert outcomes(figures) == [FAILED] * 2 and figures["parts"][1]["reason"] == "its process ended with status 1"


def test_what_a_machine_cannot_measure_starts_nothing():
    run, workers = session(100, [0.0])
    figures = run.run(parts(10, why_not="2 GPUs are needed, 1 is there"))
    assert outcomes(figures) == [LEFT_OUT] and figures["parts"][0]["reason"] == "2 GPUs are needed, 1 is there" and not workers


@pytest.fixture(scope="module")
def setting():
    return Setting(load_profile("smoke"), CPU)


def test_errors_of_parts_do_not_reach_the_session(setting):
    worker, found = WorkerProcess(setting), {}
    try:
        for deed in ("nothing", "refuse", "memory", "break", "cuda"):
            rows = []
            try:
                rows += worker.rows(Part(deed, "streams", 1, partial(act, deed)), 0.5, 7.0, 60)
            except PartFailed as failure:
                found[deed] = str(failure), worker.usable
            assert deed == "nothing" or deed in found
            assert deed != "nothing" or rows[0]["share"] == 0.5 and rows[0]["within"] == 7.0
    finally:
        worker.close()
    assert found["refuse"] == ("it refuses", True)
    assert found["memory"] == ("out of memory: CUDA out of memory. Tried to allocate 9 GiB", True)
    assert found["break"] == ("ValueError: it breaks", True)
    assert found["cuda"] == ("RuntimeError: CUDA error: an illegal memory access was encountered", False)


@pytest.mark.parametrize(("deed", "problem"), [
    ("die", "its process ended with status -11"), ("hang", "gave no answer for 1 s and was stopped"),
])
def test_a_worker_that_dies_or_hangs_ends_with_its_part(setting, deed, problem):
    worker = WorkerProcess(setting)
    rows = worker.rows(Part(deed, "streams", 1, partial(act, deed)), 1.0, 7.0, 1.0)
    process = next(rows)["process"]
    with pytest.raises(PartFailed, match=problem):
        next(rows)
    assert not worker.usable
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_parts_begin_with_the_method_and_measure_every_system_once():
    on_gpu = [part for part in all_parts(CUDA) if part.section in ("streams", "training")]
    assert [part.title for part in on_gpu[:6]] == [
        "frame rate of SSP, KD-SSP", "frame rate of Base, KD Base", "frame rate of SSP, KD-SSP, CUDA graphs",
        "frame rate of Base, KD Base, CUDA graphs", "training of SSP", "training of Base",
    ]
    for name in (*PAPER_SYSTEMS, *OURS):
        assert sum(f"training of {name}" == part.title for part in on_gpu) == 1
        rates = [part.title.removeprefix("frame rate of ").split(", ") for part in on_gpu if part.title.startswith("frame")]
        assert sum(name in names for names in rates if names[-1] in SYSTEMS) == 1
    assert len({part.title for part in on_gpu}) == len(on_gpu)
    assert all("compiled" in part.title for part in on_gpu[-2:]), "torch.compile takes the longest and comes last"
    assert sum(part.seconds for part in all_parts(CUDA) if not part.spare) < 480


def test_parts_follow_the_systems_asked_for():
    titles = [part.title for part in all_parts(CUDA, ["DFF"])]
    assert titles[:2] == ["training of DFF", "frame rate of DFF"] and not any("SSP" in title for title in titles)


def test_flow_at_the_teachers_size_is_a_part_of_its_own_on_a_gpu():
    (here, there) = (
        next(part for part in all_parts(device) if part.title == "optical flow at the teacher's size") for device in (CPU, CUDA)
    )
    assert there.why_not is None and "measured on a GPU alone" in here.why_not
    (row,) = here.measure(Setting(load_profile("smoke"), CPU))
    assert (row["what"], row["where"]) == ("flow, raft-20, float32, 128 x 224", "cpu") and row["ms"] > 0
    assert row["detail"] == f"{2 * 4 * (16 * 28) ** 2 / 2**30:.2f} GiB of correlations"


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """A trial on the CPU: a frame rate, the live loop and training steps at the smoke profile's sizes."""
    out = tmp_path_factory.mktemp("benchmark") / "cpu.json"
    wanted = [
        part for part in all_parts(CPU, ["Base", "SSP", "DFF"])
        if part.title.startswith(("frame rate", "SSP over", "training of SSP", "training of DFF", "frames to"))
        and "in 2 processes" not in part.title
    ]
    returned = measure(load_profile("smoke"), CPU, wanted, 240, out)
    written = json.loads(out.read_text())
    assert written == json.loads(json.dumps(returned))
    return written


@pytest.mark.slow
def test_a_trial_on_a_cpu_measures_all_that_needs_no_gpu(figures):
    failed = {part["part"]: part["reason"] for part in figures["parts"] if part["outcome"] == FAILED}
    assert not failed
    left_out = {part["reason"] for part in figures["parts"] if part["outcome"] == LEFT_OUT}
    assert left_out == {"CUDA graphs and compiled networks are measured on a GPU alone"}
    assert {row["system"] for row in figures["streams"]} == {"Base", "SSP", "DFF"}
    modes = {row["mode"] for row in figures["streams"] if row["system"] == "SSP"}
    assert modes == {"float32", "bfloat16", "float32-contiguous"}
    assert {row["system"] for row in figures["training"]} == {"SSP", "DFF"}
    parts = {(row["system"], row["mode"]): row["parts"] for row in figures["training"]}
    assert parts["SSP", "bfloat16-contiguous, smallest parts"] == 2
    assert ("DFF", "bfloat16, smallest parts") not in parts  # BatchNorm wants the two frames of the batch


@pytest.mark.slow
def test_rows_have_their_fields_and_the_file_its_origin(figures):
    for section, kind in (("streams", Rate), ("training", TrainingStep), ("live", LiveRate)):
        assert figures[section]
        for row in figures[section]:
            assert list(row) == [field.name for field in fields(kind)]
    origin = figures["provenance"]
    assert origin["profile"] == "smoke" and origin["device"] == "cpu" and origin["torch"] == torch.__version__
    assert origin["commit"] and len(origin["code"]) == 12 and origin["clocks"].keys() == {"before", "after"}


@pytest.mark.slow
def test_modes_of_a_cpu_agree(figures):
    for row in figures["streams"]:
        assert row["fps"] > 0 and row["slowest_ms"] > 0
        if row["mode"].startswith("float32"):
            assert row["max_difference"] < 1e-3 and row["same_class_percent"] > 99.9
        else:
            assert 0 < row["max_difference"] < 1 and row["same_class_percent"] > 90
    losses = {(row["system"], row["mode"]): row["loss"] for row in figures["training"]}
    assert losses["SSP", "bfloat16"] == losses["SSP", "float32"]  # both train in float32 on a CPU
    assert {row["precision"] for row in figures["training"]} == {"float32"}


@pytest.mark.slow
def test_the_loop_registers_for_ssp_alone(figures):
    for row in figures["live"]:
        assert row["fps"] > 0 and row["unregistered"] == 0
        registers = row["system"] == "SSP"
        assert row["registration"] == ("lk" if registers else None) and (row["registration_ms"] > 0.1) == registers
    assert {(row["system"], row["overlapped"]) for row in figures["live"]} == {
        (name, overlapped) for name in ("SSP", "Base") for overlapped in (True, False)
    }


@pytest.mark.slow
def test_tables_show_all_that_was_measured(figures):
    text = tables.text(figures)
    for title in ("Training steps", "Frames per second", "Modes against float32", "SSP over Base", "Left out or failed"):
        assert title in text
    (ratio,) = [row for row in tables.live(figures) if row["registration"] == "lk, overlapped"]
    rates = {row["system"]: row["fps"] for row in figures["live"] if row["overlapped"]}
    assert ratio["SSP / Base"] == pytest.approx(rates["SSP"] / rates["Base"], abs=1e-3)
    assert tables.live(figures)[-1]["SSP / Base"] == pytest.approx(95 / 104, abs=1e-3)
    assert {row["system"]: row["paper, A100"] for row in tables.streams(figures)}["SSP"] == 95


def test_the_command_says_what_it_left_out(tmp_path, capsys):
    out = tmp_path / "cpu.json"
    options = ["--device", "cpu", "--profile", "smoke", "--minutes", "1", "--only", "registration", "--systems", "Base"]
    command = ["benchmark", *options, "--out", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "registration, lk" in printed and printed.rstrip().endswith(f"written: {out}")
    assert main(command) == 2
    assert "the file exists already" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "problem"), [
    ([], "no accelerator: torch sees no CUDA device here"),
    (["--device", "cpu", "--only", "stram"], "--only stram: no part is named so"),
    (["--device", "cpu", "--systems", "SPP"], "--systems SPP: unknown"),
    (["--device", "gpu"], "--device gpu: unknown"),
])
def test_wrong_options_are_one_line(monkeypatch, capsys, options, problem):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["benchmark", "--profile", "smoke", *options]) == 2
    assert capsys.readouterr().err.startswith(f"error: {problem}")
