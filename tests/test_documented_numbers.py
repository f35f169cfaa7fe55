"""Numbers that README.md and docs/*.md print: each equals its file's, and none is printed that no file has."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from documented_numbers import CLAIMS, README, ROOT, STATED, STRUCTURAL, Claim

DOCUMENTS = [README, *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))]
PUBLISHED_SHA256 = "b4bc13b3d51b98d32ebfd8db20f85f3ec31e7954d066d7248f889d2ae7c699c6"

NUMBER = r"(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?"
_UNIT = r"(?:%|percent|points?|px|pixels?|ms|s|seconds?|min|minutes?|hours?|days?|[MG]|[KMG]i?B|fps|Hz|times)(?!\w)"
_WORD = r"(?:a|one|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|half an?|a quarter of an?)"
# a decimal number; or a number, or several ("11 to 16"), before a unit; or one in words before a unit
MEASURED = re.compile(
    rf"(?<![\w./-])[+-]?(?:\d*\.\d+(?:e[-+]?\d+)?|\d+e-?\d+)(?!\w|\.\d)"
    rf"|(?<![\w.-]){NUMBER}(?:\s*(?:to|and|or|/|-|–)\s*{NUMBER})*\s*{_UNIT}"
    rf"|\b(?:{_WORD}) (?:percent|points?|milliseconds?|seconds?|minutes?|hours?)\b"
)


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blanked(text: str) -> str:
    """The text with code and link targets as blanks, as long as before."""
    for pattern in (r"^```.*?^```", r"`[^`\n]*`", r"\]\([^)\n]*\)", r"<[^>\n]*>"):
        text = re.sub(pattern, lambda match: re.sub(r"\S", " ", match[0]), text, flags=re.DOTALL | re.MULTILINE)
    return text


def found(text: str, template: str) -> list[re.Match[str]]:
    """Where a template stands in a text; its groups are the numbers."""
    parts = (r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in template.split("{}"))
    return list(re.finditer(f"([+-]?{NUMBER})".join(parts), text))


def half_a_digit(printed: str) -> float:
    """Half of the last printed digit: "2.5e-5" -> 0.05e-5."""
    mantissa, _, exponent = printed.partition("e")
    return 0.5 * 10 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def undeclared(text: str, templates: list[str]) -> list[str]:
    """Numbers that look measured and lie in no template, with their lines."""
    spans = [match.span() for template in templates for match in found(text, template)]
    spans += [match.span() for pattern in STRUCTURAL for match in re.finditer(pattern, text)]
    return [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}" for match in MEASURED.finditer(blanked(text))
        if not any(start <= match.start() and match.end() <= end for start, end in spans)
    ]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{Path(claim.document).stem}: {claim.text[:50]}")
def test_each_printed_number_is_that_of_its_file(claim: Claim) -> None:
    assert len(claim.values) == claim.text.count("{}")
    places = found(read(claim.document), claim.text)
    assert places, f"{claim.document} no longer prints {claim.text!r}: change tests/documented_numbers.py with it"
    values = [value() for value in claim.values]
    for place in places:
        for printed, value in zip(place.groups(), values, strict=True):
            within = half_a_digit(printed) * 1.0001 if claim.within is None else claim.within
            near = abs(float(printed.replace(",", "")) - value) <= within
            assert near, f"{claim.document}: {place[0]!r} prints {printed}, the file has {value:.6g}"
    assert claim.holds is None or claim.holds(), f"{claim.document} prints {claim.text!r}: the files say otherwise"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_number_is_printed_that_no_file_has(document: str) -> None:
    templates = [claim.text for claim in CLAIMS if claim.document == document]
    missing = undeclared(read(document), templates + [text for name, text in STATED if name == document])
    assert not missing, f"{document}: {'; '.join(missing)}: declare where it is read from in tests/documented_numbers.py"


@pytest.mark.parametrize("document, text", STATED)
def test_stated_facts_are_still_printed_and_not_in_readme(document: str, text: str) -> None:
    assert document != README and found(read(document), text)


@pytest.mark.parametrize("sentence, numbers", [
    ("KD-SSP reaches 79.02 on UAVid.", ["79.02"]),
    ("11 to 16 points more, in about 70 minutes", ["11 to 16 points", "70 minutes"]),
    ("half a point of mIoU", ["half a point"]), ("lr 2.5e-5 and 1e-4", ["2.5e-5", "1e-4"]),
    ("it needs 7 GB, 3 % of 1,024 MiB", ["7 GB", "3 %", "1,024 MiB"]), (".41 precision", [".41"]),
    ("12 classes, two commands, notebook 04, 736x1280, k-1, P_0 = S_0", []),
    ("`--seed 0.5` and [text](figures/a-1.5.png)", []), ("Python 3.10 or newer, arXiv 2503.15676, Apache-2.0", []),
])
def test_the_finder_sees_measured_numbers_and_no_others(sentence: str, numbers: list[str]) -> None:
    assert [entry.split(": ", 1)[1].strip("'") for entry in undeclared(sentence, [])] == numbers
    assert undeclared(sentence, [sentence]) == []


def test_a_wrong_digit_is_seen() -> None:
    claim = Claim(README, "{} to {} points", ())
    (place,) = found("gains 11 to\n16 points", claim.text)
    assert place.groups() == ("11", "16")
    assert half_a_digit("11") == 0.5 and half_a_digit("79.02") == pytest.approx(0.005)
    assert half_a_digit("2.5e-5") == pytest.approx(0.05e-5)


def test_the_published_table_is_as_it_was_transcribed() -> None:
    """Read against the paper digit by digit when it was written; no later change is right."""
    text = (ROOT / "sspcore/study/published.csv").read_bytes().replace(b"\r\n", b"\n")
    assert hashlib.sha256(text).hexdigest() == PUBLISHED_SHA256
