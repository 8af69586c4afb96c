"""What a reader of the released tables sees; their files keep the library's names."""

from __future__ import annotations

import pandas as pd
import pytest

from pwp_report.released import ReleasedTable
from pwp_report.table_words import entries, for_page, headings


def test_a_name_means_what_it_means_in_its_table() -> None:
    frame = pd.DataFrame({"n": [21], "n_upper": [5]})
    assert headings(ReleasedTable("outcomes", "Outcomes", frame))["n"] == "patients"
    assert headings(ReleasedTable("sample", "Sample", frame))["n"] == "number"
    assert headings(ReleasedTable("others", "Clusters", frame))["n_upper"] == "patients, upper"


@pytest.mark.parametrize(
    ("column", "name", "word"),
    [
        ("predictor", "years_experience", "years experience"),
        ("predictor", "something else", "something else"),
    ],
)
def test_entries_are_words(column: str, name: str, word: str) -> None:
    assert entries(pd.DataFrame({column: [name]}))[column].tolist() == [word]


def test_a_probability_that_rounds_to_nothing_says_so() -> None:
    checks = pd.DataFrame(
        {"check": ["Shapiro-Wilk p", "skewness", "equal spread by therapist, p"],
         "value": [0.0, 0.0, 0.03]}
    )  # fmt: skip
    assert entries(checks)["value"].tolist() == ["< .001", 0.0, 0.03]
    withheld = checks.assign(value=["*", 0.1, 0.2])
    assert entries(withheld)["value"].tolist() == ["*", 0.1, 0.2]


def test_of_a_very_long_table_a_page_shows_both_ends() -> None:
    table = ReleasedTable("ranks", "Ranks", pd.DataFrame({"rank": range(5_000)}), "A note.")
    frame, note = for_page(table, "ranks.csv")
    assert frame["rank"].tolist() == [*range(100), *range(4_900, 5_000)]
    assert note == "A note. The first and the last 100 of 5,000 rows; ranks.csv holds all."
    short = ReleasedTable("ranks", "Ranks", pd.DataFrame({"rank": range(400)}), "A note.")
    assert (len(for_page(short, "ranks.csv")[0]), for_page(short, "")[1]) == (400, "A note.")


@pytest.mark.parametrize("measure", ["phq9", "core_om", "a_b_c"])
def test_headings_hold_for_measures_with_an_underscore_in_their_name(measure: str) -> None:
    frame = pd.DataFrame({"therapist": ["T"], "n": [20], "se": [0.5], "residual": [1.0]})
    table = ReleasedTable(f"residuals_{measure}", "Residuals", frame)
    assert headings(table)["se"] == ""
    assert "se" not in for_page(table, "file")[0]
