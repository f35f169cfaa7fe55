"""Text tables: by hand."""

from __future__ import annotations

from sspcore.study.text_table import text_table


def test_words_on_the_left_and_numbers_on_the_right():
    rows = [{"name": "SSP", "fps": 12.25}, {"name": "a longer one", "fps": None, "note": 3}]
    assert text_table(rows).splitlines() == [
        "name            fps  note",
        "SSP           12.25     -",
        "a longer one      -     3",
    ]
    assert text_table(rows, {"fps": ("frames", ".1f"), "name": ("system", "")}).splitlines() == [
        "frames  system",
        "  12.2  SSP",
        "     -  a longer one",
    ]
