"""Bars: they report where a process works for another one, and are drawn elsewhere."""

from __future__ import annotations

import pytest

from sspcore.core import progress
from sspcore.core.progress import reporting, tqdm


@pytest.fixture
def told(monkeypatch):
    """What bars report, without sparing any."""
    monkeypatch.setattr(progress, "REPORT_EVERY", 0.0)
    told: list[tuple] = []
    with reporting(lambda *state: told.append(state)):
        yield told


def test_a_bar_reports_what_it_counts_and_draws_nothing(told, capsys):
    assert list(tqdm(["a", "b"], desc="letters")) == ["a", "b"]
    assert told == [("letters", 1, 2), ("letters", 2, 2)]
    told.clear()
    with tqdm(total=10, initial=4, desc="frames", unit="frame") as bar:
        bar.update(3)
        bar.update(0)
    for _ in tqdm(iter("xy")):
        pass
    assert told == [("frames", 7, 10), ("frames", 7, 10), ("", 1, None), ("", 2, None)]
    assert capsys.readouterr() == ("", "")


def test_reports_are_spared_where_a_bar_is_quick():
    told: list[tuple] = []
    with reporting(lambda *state: told.append(state)):
        for _ in tqdm(range(1000)):
            pass
    assert told[0] == ("", 1, 1000) and len(told) < 100


def test_bars_are_drawn_again_after_the_block(capsys):
    with reporting(lambda *state: None), reporting(lambda *state: None):
        pass
    assert list(tqdm(range(2), desc="drawn")) == [0, 1]
    assert "drawn" in capsys.readouterr().err
