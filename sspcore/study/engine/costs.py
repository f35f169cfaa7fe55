"""How many seconds a task takes, before it has run: a moment to begin, and a rate of the reference machine times its units.

What a run has measured corrects what it still has to do. A rate that was measured often is trusted by itself; one that was not
yet follows the tasks of its kind, and these follow all tasks: a machine that renders at half the speed will train slowly too.
Rates are in `costs.yaml`, which `benchmarks/engine.py costs` writes from a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import yaml

from sspcore.study.engine.task import Task

TRUST = 3.0  # expected seconds of measured tasks at which they count as much as what is known without them
BEGIN = 0.2  # seconds of any task before its work begins: models and clips are opened


@dataclass
class Costs:
    """Seconds of tasks.

    Attributes:
        rates: name -> seconds a unit of one thread on the reference machine. A name's first word is its kind: "train SSP".
        measured: name of a rate, of a kind, or "" for all -> seconds that were expected and that were measured.
    """

    rates: Mapping[str, float]
    measured: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def load(cls, known: Iterable[tuple[str, float, float]] = ()) -> Costs:
        """The package's rates, corrected by tasks that an earlier run measured: (rate, units, seconds) each."""
        table = yaml.safe_load(Path(__file__).with_name("costs.yaml").read_text(encoding="utf-8"))
        costs = cls(table["rates"])
        for rate, units, seconds in known:
            costs._note(rate, units, seconds)
        return costs

    def seconds(self, task: Task) -> float:
        """Expected seconds of a task, above 0."""
        return self._expected(task.rate, task.units) * self._correction(task.rate)

    def observe(self, task: Task, seconds: float) -> None:
        """Take in what a task took."""
        self._note(task.rate, task.units, seconds)

    def _note(self, rate: str, units: float, seconds: float) -> None:
        # where the rate is a guess, what it took says nothing of the machine
        for name in {"", kind_of(rate), rate} if rate in self.rates else {rate}:
            expected, measured = self.measured.get(name, (0.0, 0.0))
            self.measured[name] = expected + self._expected(rate, units), measured + seconds

    def _expected(self, rate: str, units: float) -> float:
        return BEGIN + self._rate(rate) * units

    def _rate(self, rate: str) -> float:
        """The rate of a name; one that is unknown is like the middle of its kind, or of all."""
        if rate in self.rates:
            return self.rates[rate]
        return median([value for name, value in self.rates.items() if kind_of(name) == kind_of(rate)] or self.rates.values())

    def _correction(self, rate: str) -> float:
        """Measured by expected seconds: of the rate, drawn to that of its kind, which is drawn to that of all tasks."""
        ratio = 1.0
        for name in dict.fromkeys(("", kind_of(rate), rate)):
            expected, measured = self.measured.get(name, (0.0, 0.0))
            ratio = (measured + TRUST * ratio) / (expected + TRUST)
        return ratio


def kind_of(rate: str) -> str:
    """The first word of a rate's name."""
    return rate.partition(" ")[0]
