"""What a reader of the released tables sees; their files keep the library's names."""

from __future__ import annotations

import pandas as pd
import pytest

from pwp_lib.numbers import decimals
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.released import ReleasedTable
from pwp_report.report import _for_page
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


def test_p_values_among_other_figures_are_written_as_everywhere() -> None:
    checks = pd.DataFrame(
        {"check": ["Shapiro-Wilk p", "skewness", "equal spread by therapist, p"],
         "value": [0.0, 0.0, 0.03]}
    )  # fmt: skip
    assert entries(checks)["value"].tolist() == ["< .001", 0.0, ".030"]
    withheld = checks.assign(value=["*", 0.1, 0.2])
    assert entries(withheld)["value"].tolist() == ["*", 0.1, ".200"]


def test_of_a_very_long_table_a_page_shows_both_ends() -> None:
    table = ReleasedTable("ranks", "Ranks", pd.DataFrame({"rank": range(5_000)}), "A note.")
    frame, note = for_page(table, "ranks.csv")
    assert frame["rank"].tolist() == [*range(10), *range(4_990, 5_000)]
    assert note == "A note. The first and the last 10 of 5,000 rows; ranks.csv holds all."
    short = ReleasedTable("ranks", "Ranks", pd.DataFrame({"rank": range(60)}), "A note.")
    assert (len(for_page(short, "ranks.csv")[0]), for_page(short, "")[1]) == (60, "A note.")


@pytest.mark.parametrize("measure", ["phq9", "core_om", "a_b_c"])
def test_headings_hold_for_measures_with_an_underscore_in_their_name(measure: str) -> None:
    frame = pd.DataFrame({"therapist": ["T"], "n": [20], "se": [0.5], "residual": [1.0]})
    table = ReleasedTable(f"residuals_{measure}", "Residuals", frame)
    assert headings(table)["se"] == ""
    assert "se" not in for_page(table, "file")[0]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([2.5, 2.45], 2),
        ([3.0, 4.0], 0),
        ([0.1234], 3),
        ([1.0, float("nan"), "*", 0.5], 1),
        ([-0.0004], 0),
        ([], 0),
    ],
)
def test_numbers_of_a_column_have_as_many_decimals(values: list[object], places: int) -> None:
    assert decimals(values) == places


def test_a_column_and_an_interval_keep_their_trailing_zeros_and_p_values_one_form() -> None:
    frame = pd.DataFrame(
        {
            "measure": ["PHQ-9", "GAD-7", "WSAS"],
            "vpc": [8.0, 9.25, float("nan")],
            "vpc_lower": [4.5, 5.0, float("nan")],
            "vpc_upper": [12.0, 14.0, float("nan")],
            "mean": [2.5, -2.45, 3.0],
            "n": [20, 1100, "*"],
            "p_value": [0.04, 1.0, 1e-9],
        }
    )
    shown = _for_page(ReleasedTable("effects", "Effects", frame), DisclosurePolicy())
    assert shown["rows"] == [
        ["PHQ-9", "8.0 (4.5 to 12.0)", "2.50", "20", ".040"],
        ["GAD-7", "9.2 (5.0 to 14.0)", "\N{MINUS SIGN}2.45", "1,100", "1.000"],
        ["WSAS", "", "3.00", "*", "< .001"],
    ]


def test_a_long_table_of_several_measures_is_cut_within_each_by_size() -> None:
    frame = pd.DataFrame(
        {
            "measure": ["PHQ-9"] * 40 + ["GAD-7"] * 40,
            "therapist": [f"T{i}" for i in range(40)] * 2,
            "n": ["*", *range(20, 59), *range(60, 20, -1)],
        }
    )
    shown, note = for_page(ReleasedTable("outcomes_by_therapist", "Outcomes", frame), "o.csv")
    assert shown["measure"].tolist() == ["PHQ-9"] * 10 + ["GAD-7"] * 10
    assert shown["n"].tolist() == [*range(58, 48, -1), *range(60, 50, -1)]
    said = "Of each measure the 10 with the most patients, of 80 rows in all; o.csv holds all."
    assert note == said


def test_means_and_sds_of_a_table_have_as_many_decimals_each() -> None:
    one = pd.DataFrame({"measure": ["OQ-45"], "mean_pre": [19.0], "sd_pre": [5.97], "n": [385]})
    shown = _for_page(ReleasedTable("outcomes", "Outcomes", one), DisclosurePolicy())
    assert shown["rows"] == [["OQ-45", "19.00", "5.97", "385"]]
    # A mean of many patients beside those of few, which are released to one decimal.
    some = pd.DataFrame({"therapist": ["A", "B", "C"], "mean_pre": [13.7, 15.53, "*"]})
    shown = _for_page(ReleasedTable("outcomes", "Outcomes", some), DisclosurePolicy())
    assert [row[1] for row in shown["rows"]] == ["13.7", "15.5", "*"]


def test_a_wide_table_of_few_rows_stands_upright() -> None:
    wide = pd.DataFrame({"measure": ["A", "B", "C"], **{f"c{i}": [i, i, i] for i in range(11)}})
    shown = _for_page(ReleasedTable("outcomes", "Outcomes", wide), DisclosurePolicy())
    assert [head["name"] for head in shown["head"]] == ["measure", "A", "B", "C"]
    assert shown["rows"][0] == ["c0", "0", "0", "0"]


def test_of_who_dropped_out_the_page_says_why_no_number_is_given() -> None:
    rates = pd.DataFrame({"outcome": ["Dropped out, of closed cases"], "n": ["*"]})
    note = _for_page(ReleasedTable("rates", "Rates", rates), DisclosurePolicy())["note"]
    assert "* not given, whatever the number" in note
    assert "fewer than" not in note
