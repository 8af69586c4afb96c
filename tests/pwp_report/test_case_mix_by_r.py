"""Services, outcomes and coefficients with the case mix, as released: lme4's and nlme's figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from case_mix import make

from pwp_report.analysis import analyse
from pwp_report.case_mix import CaseMix
from pwp_report.check import check_study_data
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.release import release_results
from pwp_report.study import Study

REFERENCE = pd.read_csv(Path(__file__).parents[1] / "reference" / "case_mix.csv")
NAMES = ("area", "gender", "income")
OUTCOMES = {
    "improvement": "Reliable improvement",
    "rcsi": "Recovery of cases (RCSI)",
    "deterioration": "Reliable deterioration",
}
LEVELS = {"service": "services", "therapist": "therapists of a service"}
FOR = {"before": "first scores", "after": "first scores and case mix"}


@pytest.fixture(
    scope="module", params=["category", pytest.param("drop", marks=pytest.mark.nightly)]
)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pd.Series, dict[str, pd.DataFrame]]:
    """What R found, and the tables released, with missing entries as a category or left out."""
    place = tmp_path_factory.mktemp("case_mix") / "own.csv"
    make().to_csv(place, index=False)
    found = check_study_data(place, Study(adjust=NAMES))
    assert found.cohort is not None
    asked = CaseMix(NAMES, missing=request.param)
    analysis = analyse(found.cohort, engines=("ml",), sensitivity=False, case_mix=asked)
    released = release_results(analysis, DisclosurePolicy(active=False))
    r = REFERENCE[REFERENCE["missing"] == request.param].set_index("what")["value"]
    return r, {name: table.frame for name, table in released.tables.items()}


@pytest.mark.parametrize("level", [*LEVELS])
def test_shares_of_services_and_therapists_without_and_with_the_case_mix(both, level: str) -> None:
    r, tables = both
    table = tables["services"].set_index(["adjusted_for", "level"])
    before, after = (table.loc[(FOR[end], LEVELS[level])] for end in FOR)
    assert before["vpc"] == pytest.approx(r[f"{level}_before"], abs=0.051)
    assert after["vpc"] == pytest.approx(r[f"{level}_after"], abs=0.051)
    assert after["change"] == pytest.approx(r[f"{level}_after"] - r[f"{level}_before"], abs=0.051)
    assert np.isnan(before["change"])
    assert after["vpc_lower"] <= after["vpc"] <= after["vpc_upper"]


@pytest.mark.parametrize("when", [*FOR])
@pytest.mark.parametrize("rate", [*OUTCOMES])
def test_outcomes_without_and_with_the_case_mix(both, rate: str, when: str) -> None:
    r, tables = both
    table = tables["rates"].set_index(["outcome", "adjusted_for"])
    if (rate, when) == ("deterioration", "after"):  # too few for so many terms
        assert (OUTCOMES[rate], FOR[when]) not in table.index
        return
    row = table.loc[(OUTCOMES[rate], FOR[when])]
    theirs = {k: r[f"{rate}_{when}_{k}"] for k in ("latent", "mor", "low", "high")}
    assert row["latent"] == pytest.approx(theirs["latent"], abs=0.051)
    assert row["median_odds_ratio"] == pytest.approx(theirs["mor"], abs=0.0051)
    assert row["per_hundred_low"] == pytest.approx(theirs["low"], abs=0.051)
    assert row["per_hundred_high"] == pytest.approx(theirs["high"], abs=0.051)
    for end in ("lower", "upper"):
        if f"{rate}_{when}_mor_{end}" in r:
            bound = r[f"{rate}_{when}_mor_{end}"]
            assert row[f"median_odds_ratio_{end}"] == pytest.approx(bound, abs=0.0071)
    if when == "after":
        apart = r[f"{rate}_after_latent"] - r[f"{rate}_before_latent"]
        assert row["change"] == pytest.approx(apart, abs=0.11)


def test_coefficients_are_those_of_three_levels(both) -> None:
    r, tables = both
    table = tables["case_mix"].set_index(["covariate", "compared"])
    # An area's score and an income are told per 1 and per 1,000: their SDs are 8 and 9,000.
    names = {
        "area": ("area", "each 1 more"),
        "gm": ("gender", "m, against f"),
        "gnb": ("gender", "nb, against f"),
        "money": ("income", "each 1,000 more"),
        "unknown": ("income", "missing, against recorded"),
    }
    assert len(table) == r.index.str.startswith("estimate_").sum()
    for theirs, mine in names.items():
        if f"estimate_{theirs}" not in r:
            continue
        row, (estimate, se) = table.loc[mine], (r[f"estimate_{theirs}"], r[f"se_{theirs}"])
        assert row["estimate"] == pytest.approx(estimate, abs=0.0051)
        times = 2.0738731 if theirs == "area" else 1.961  # of 22 degrees of freedom, or of many
        assert row["estimate_lower"] == pytest.approx(estimate - times * se, abs=0.0061)
        assert row["estimate_upper"] == pytest.approx(estimate + times * se, abs=0.0061)
    assert table.loc[names["area"], "df"] == r["df_area"]
    assert (table.drop(index=names["area"])["df"] > 1_000).all()
