"""What a reader of the released tables sees; their files keep the library's names."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from pwp_lib.measures import PHQ9
from pwp_lib.numbers import decimals
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.patient_counts import Group, Whose
from pwp_report.release_parts import as_written, in_percent, outcome_row, service_rows
from pwp_report.released import ReleasedTable
from pwp_report.report import _for_page
from pwp_report.table_words import entries, for_page, headings
from pwp_report.wording import render


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


def test_each_measure_has_the_decimals_of_its_scale() -> None:
    group = Group(Whose.ALL)
    row = {"n": 400, "mean_pre": 1.9249, "sd_pre": 0.6051}
    rows = []
    scale: dict[str, Any] = {"maximum": 4, "cutoff": 1, "reliable_change": 1, "integer": False}
    for measure in (replace(PHQ9, name="items", **scale), PHQ9):
        found = outcome_row(row, group, measure, lambda _, __: 400.0, DisclosurePolicy())
        rows.append({"measure": measure.name, **found})
    assert [rows[0][c] for c in ("mean_pre", "sd_pre")] == [1.92, 0.61]
    assert [rows[1][c] for c in ("mean_pre", "sd_pre")] == [1.9, 0.6]
    table = ReleasedTable("outcomes", "Outcomes", pd.DataFrame(rows)[["measure", "mean_pre"]])
    shown = _for_page(table, DisclosurePolicy())["rows"]
    assert shown == [["items", "1.92"], ["phq9", "1.9"]]


@pytest.mark.parametrize("n", [20, 999, 1_000, 40_000])
def test_means_of_few_and_of_many_patients_are_released_alike(n: int) -> None:
    """Beside those of few a second decimal of those of many would be rounded away on the page."""
    row = {"n": n, "mean_pre": 14.9649, "sd_pre": 5.2451, "effect_size": 1.0351}
    group = Group(Whose.THERAPIST, "A")
    found = outcome_row(row, group, PHQ9, lambda _, __: float(n), DisclosurePolicy())
    assert [found[c] for c in ("mean_pre", "sd_pre", "effect_size")] == [15.0, 5.2, 1.04]
    openly = DisclosurePolicy(active=False)
    assert outcome_row(row, group, PHQ9, lambda _, __: n, openly)["mean_pre"] == 14.96


SHARES = [0.0, 0.0009, 0.002, 0.0482, 0.04996, 0.05, 0.0501, 0.5449, 0.5501, 2.449, 2.4501, 9.9499]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("column", ["vpc", "latent", "probability", "median"])
def test_a_share_is_rounded_once_from_the_fit_to_the_page(column: str, share: float) -> None:
    """What its file holds is the page's figure, or the first digit of what is under 0.1."""
    once = f"{share:.1f}"
    if once == "0.0" and share > 0.001 and column != "vpc":  # of which it is none
        once = "under 0.1"
    released = in_percent(pd.DataFrame({column: [share / 100, 0.2]}), [column])
    table = "therapist_effect" if column == "median" else "rates"
    for ends in ({}, {f"{column}_lower": [0.0, 1.0], f"{column}_upper": [11.0, 33.04]}):
        frame = released.assign(**ends, outcome=["a", "b"])
        shown = _for_page(ReleasedTable(table, "", frame), DisclosurePolicy())
        intervals = [" (0.0 to 11.0)", " (1.0 to 33.0)"] if ends else ["", ""]
        assert [row[0] for row in shown["rows"]] == [once + intervals[0], "20.0" + intervals[1]]


@pytest.mark.parametrize(("share", "shown"), [(4.9e-4, [0.0, 0.0, 2.0]), (6e-4, [0.1, 0.02, 2.0])])
def test_of_a_share_that_is_none_no_bound_tells_it_from_none(
    share: float, shown: list[float]
) -> None:
    for ends in (["vpc_lower", "vpc_upper"], ["profile_lower", "profile_upper"]):
        frame = pd.DataFrame([[share, 2e-4, 0.02]], columns=["vpc", *ends])
        assert in_percent(frame).iloc[0].tolist() == shown
        assert in_percent(frame.assign(**{ends[0]: float("nan")})).iloc[0].isna().tolist()[1]


def test_columns_have_the_decimals_of_what_is_released_however_few_rows_are_shown() -> None:
    ends = pd.DataFrame({"therapist": ["A", "B"], "p_upper": [1.0, 0.99], "p_lower": [0.0, 0.0]})
    shown = _for_page(ReleasedTable("residuals_phq9", "", ends), DisclosurePolicy())
    assert shown["rows"] == [["A", "1.00", "0.00"], ["B", "0.99", "0.00"]]
    mix = {"estimate": [-0.31, 1.9], "estimate_lower": [-0.4, 0.6], "estimate_upper": [-0.22, 3.2]}
    frame = pd.DataFrame({"compared": ["each 10 more", "Not stated"], **mix})
    shown = _for_page(ReleasedTable("case_mix", "", frame), DisclosurePolicy())
    minus = "\N{MINUS SIGN}"
    assert [row[1] for row in shown["rows"]] == [
        f"{minus}0.31 ({minus}0.40 to {minus}0.22)",
        "1.9 (0.6 to 3.2)",
    ]


@pytest.mark.parametrize("active", [True, False])
def test_a_service_and_its_interval_have_as_many_decimals(active: bool) -> None:
    found = pd.DataFrame({"residual": [0.5449], "lower": [-0.2449], "upper": [1.3349]}, index=["S"])
    fit: Any = SimpleNamespace(residuals=lambda *_, **__: found)
    shown = pd.DataFrame({"therapists": [4], "n": [100]}, index=["S"])
    row = service_rows(fit, shown, DisclosurePolicy(active=active), PHQ9).iloc[0]
    right = [0.5, -0.2, 1.3] if active else [0.54, -0.24, 1.33]
    assert [row[c] for c in ("residual", "lower", "upper")] == right


@pytest.mark.parametrize("value", [-0.0, -0.04])
def test_no_zero_has_a_sign(value: float) -> None:
    frame = pd.DataFrame({"change": [round(value, 1), -0.5], "of": [None, round(value, 1)]})
    frame["mixed"] = pd.Series(["*", round(value, 1)], dtype=object)
    assert "-0.0" not in as_written(frame).to_csv().replace("-0.5", "")


@pytest.mark.parametrize(
    ("rows", "columns", "upright"), [(3, 11, True), (6, 11, True), (7, 11, False), (3, 10, False)]
)
def test_a_wide_table_of_few_rows_stands_upright_without_a_second_copy(
    rows: int, columns: int, upright: bool
) -> None:
    """By the style sheet alone: on a telephone its rows are cards with its headings."""
    cells = {f"c{i}": [f"{i}-{row}" for row in range(rows)] for i in range(columns)}
    table = _for_page(ReleasedTable("rates", "Rates", pd.DataFrame(cells)), DisclosurePolicy())
    section = {"id": "missing", "title": "Missing", "text": [], "tables": [table]}
    page = render(
        "report.html.j2", title="T", synthetic=False, policy=DisclosurePolicy(), encode=None,
        first_page=[], sections=[section], software={}, seed=1,
    )  # fmt: skip
    assert ('class="stack upright"' in page) == upright
    for i, row in product(range(columns), range(rows)):
        assert re.findall(rf"<td data-head=\"([^\"]*)\"[^>]*>{i}-{row}</td>", page) == [f"c{i}"]


def test_of_who_dropped_out_the_page_says_why_no_number_is_given() -> None:
    rates = pd.DataFrame({"outcome": ["Dropped out, of closed cases"], "n": ["*"]})
    note = _for_page(ReleasedTable("rates", "Rates", rates), DisclosurePolicy())["note"]
    assert "* not given, whatever the number" in note
    assert "fewer than" not in note
