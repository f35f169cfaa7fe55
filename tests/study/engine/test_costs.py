"""What tasks are expected to take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.graphs import task
from sspcore.models.systems import SYSTEMS
from sspcore.study.engine.costs import BEGIN, Costs

RATES = {"render": 0.5, "train Base": 2.0, "train SSP": 3.0, "train DFF": 9.0}


def seconds(costs: Costs, rate: str, units: float = 100.0) -> float:
    return costs.seconds(task("t", rate=rate, units=units))


def test_a_moment_and_a_rate_times_the_units():
    assert seconds(Costs(RATES), "train SSP", 20) == 60 + BEGIN
    assert seconds(Costs(RATES), "train SSP", 0) == BEGIN


def test_an_unknown_rate_is_like_the_middle_of_its_kind():
    assert seconds(Costs(RATES), "train my own model", 2) == 6 + BEGIN
    assert seconds(Costs(RATES), "something else", 2) == 5 + BEGIN


def test_what_was_measured_corrects_its_rate_most_then_its_kind_then_all():
    costs = Costs(RATES)
    costs.observe(task("a", rate="train Base", units=100), 600)  # 200 expected
    corrected = [seconds(costs, rate) / seconds(Costs(RATES), rate) for rate in ("train Base", "train SSP", "render")]
    assert corrected == sorted(corrected, reverse=True)
    assert corrected[0] == pytest.approx(3, abs=0.01)
    assert corrected[2] == pytest.approx(3, abs=0.05)
    costs.observe(task("b", rate="render", units=200), 100)  # as expected
    assert seconds(costs, "train Base") == pytest.approx(600, rel=0.02)
    assert seconds(costs, "render") == pytest.approx(50, rel=0.1)


def test_a_task_without_a_rate_says_nothing_of_the_machine():
    """A notebook that trains for a quarter of an hour once made all else of the next run look fifty times slower."""
    costs = Costs.load([("notebook 99", 1.0, 850.0)])
    for rate in ("train Base", "notebook 01", "notebook 98"):
        assert seconds(costs, rate) == seconds(Costs.load(), rate)
    assert seconds(costs, "notebook 99", 1) > 400


def test_a_short_task_that_took_long_changes_little():
    costs = Costs(RATES)
    costs.observe(task("a", rate="render", units=0.1), 1)  # twenty times what was expected
    assert seconds(costs, "train SSP", 100) < 1.5 * 2 * 300


def test_an_earlier_run_counts_from_the_start():
    costs = Costs.load([("train Base", 100, 1e5), ("no such rate", 1, 1)])
    assert seconds(costs, "train Base", 100) == pytest.approx(1e5, rel=0.1)


@given(st.lists(st.tuples(st.sampled_from([*RATES, "train other", "flow"]), st.floats(0, 1e4)), max_size=20))
def test_exact_rates_stay_exact(observed):
    costs = Costs(RATES)
    before = {rate: seconds(costs, rate) for rate in RATES}
    for rate, units in observed:
        costs.observe(task("a", rate=rate, units=units), costs._expected(rate, units))
    assert {rate: seconds(costs, rate) for rate in RATES} == pytest.approx(before)


def test_all_systems_have_rates():
    known = Costs.load().rates
    assert all(value > 0 for value in known.values())
    trained = {f"train {name}" for name, spec in SYSTEMS.items() if spec.recipe}
    assert trained | {f"predict {name}" for name in SYSTEMS} <= known.keys()
