"""What is released of models with the case mix: lme4's and nlme's figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from case_mix import make

from pwp_lib.measures import PHQ9
from pwp_lib.show import figures
from pwp_report.analysis import Analysis, analyse
from pwp_report.case_mix import CaseMix, adjusted_effects, case_mix_rows
from pwp_report.check import check_study_data
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.missing import missing_bounds
from pwp_report.release import release_results
from pwp_report.report_figures import draw_all
from pwp_report.study import Study

ADJUSTED = pd.read_csv(Path(__file__).parents[1] / "reference" / "adjusted.csv", index_col="what")[
    "value"
]
REFERENCE = pd.read_csv(Path(__file__).parents[1] / "reference" / "case_mix.csv")
NAMES = ("area", "gender", "income")
OUTCOMES = {
    "improvement": "Reliable improvement",
    "rcsi": "Reliable and clinically significant improvement (RCSI)",
    "deterioration": "Reliable deterioration",
}
LEVELS = {"service": "services", "therapist": "therapists of a service"}
FOR = {"before": "first scores", "after": "first scores and case mix"}


@pytest.fixture(
    scope="module", params=["category", pytest.param("drop", marks=pytest.mark.nightly)]
)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pd.Series, dict[str, pd.DataFrame], Analysis]:
    """What R found, the tables released, the analysis: missing entries a category or left out."""
    place = tmp_path_factory.mktemp("case_mix") / "own.csv"
    make().to_csv(place, index=False)
    found = check_study_data(place, Study(adjust=NAMES))
    assert found.cohort is not None
    asked = CaseMix(NAMES, missing=request.param)
    every = request.param == "category"
    analysis = analyse(found.cohort, engines=("ml",), sensitivity=every, case_mix=asked)
    released = release_results(analysis, DisclosurePolicy(active=False))
    r = REFERENCE[REFERENCE["missing"] == request.param].set_index("what")["value"]
    return r, {name: table.frame for name, table in released.tables.items()}, analysis


@pytest.mark.parametrize("level", [*LEVELS])
def test_shares_of_services_and_therapists_without_and_with_the_case_mix(both, level: str) -> None:
    r, tables, _ = both
    table = tables["services"].set_index(["adjusted_for", "level"])
    before, after = (table.loc[(FOR[end], LEVELS[level])] for end in FOR)
    assert before["vpc"] == pytest.approx(r[f"{level}_before"], abs=0.051)
    assert after["vpc"] == pytest.approx(r[f"{level}_after"], abs=0.051)
    # A reader subtracts what is shown.
    assert after["change"] == pytest.approx(after["vpc"] - before["vpc"], abs=1e-9)
    assert np.isnan(before["change"])
    assert after["vpc_lower"] <= after["vpc"] <= after["vpc_upper"]


@pytest.mark.parametrize("when", [*FOR])
@pytest.mark.parametrize("rate", [*OUTCOMES])
def test_outcomes_without_and_with_the_case_mix(both, rate: str, when: str) -> None:
    r, tables, _ = both
    table = tables["rates"].set_index(["outcome", "adjusted_for"])
    given = FOR[when].replace("first scores", "its own first score")
    if (rate, when) == ("deterioration", "after"):  # too few for so many terms
        assert (OUTCOMES[rate], given) not in table.index
        return
    row = table.loc[(OUTCOMES[rate], given)]
    theirs = {k: r[f"{rate}_{when}_{k}"] for k in ("latent", "mor", "low", "high")}
    assert row["latent"] == pytest.approx(theirs["latent"], abs=0.051)
    assert row["median_odds_ratio"] == pytest.approx(theirs["mor"], abs=0.0051)
    assert row["per_hundred_low"] == pytest.approx(theirs["low"], abs=0.051)
    assert row["per_hundred_high"] == pytest.approx(theirs["high"], abs=0.051)
    for end in ("lower", "upper"):
        if f"{rate}_{when}_mor_{end}" in r:
            bound = r[f"{rate}_{when}_mor_{end}"]
            assert row[f"median_odds_ratio_{end}"] == pytest.approx(bound, abs=0.0071)


def test_coefficients_are_those_of_three_levels(both) -> None:
    r, tables, _ = both
    table = tables["case_mix"].set_index(["covariate", "compared"])
    # An area's score and an income are told per 1 and per 1,000: their SDs are 8 and 9,000.
    names = {
        "area": ("area", "each 1 more"),
        "gm": ("gender", "male, against female"),
        "gnb": ("gender", "other, against female"),
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
        for end, sign in (("lower", -1), ("upper", 1)):
            bound = estimate + sign * times * se
            if abs(bound) < 0.004:  # would be written as 0, and its side of 0 would be lost
                assert row[f"estimate_{end}"] == np.copysign(0.01, bound)
            else:
                assert row[f"estimate_{end}"] == pytest.approx(bound, abs=0.0061)
    assert table.loc[names["area"], "df"] == r["df_area"]
    assert (table.drop(index=names["area"])["df"] > 1_000).all()


def test_other_analyses_have_the_case_mix_too(both) -> None:
    tables = both[1]
    if "sensitivity_phq9" not in tables:
        return
    panel = tables["sensitivity_phq9"].set_index("analysis")["vpc"]
    less = tables["one_less_phq9"].set_index("therapist")["vpc"]
    less.index = "Without " + less.index
    mine = pd.concat([panel, less])
    compared = [what for what in ADJUSTED.index if what in mine]
    assert len(compared) == 8
    assert mine[compared].tolist() == pytest.approx(ADJUSTED[compared].tolist(), abs=0.06)


def test_bounds_of_missing_scores_have_the_case_mix_too() -> None:
    whole = make().rename(columns={"area": "mix_0", "gender": "mix_1", "income": "mix_2"})
    lacks = whole["patient_id"] % 7 == 3
    holes = whole.assign(phq9_post=whole["phq9_post"].mask(lacks).astype(float))
    mix = case_mix_rows(holes[~lacks], CaseMix(NAMES))
    _, fit = adjusted_effects(mix, PHQ9, [PHQ9], CaseMix(NAMES))
    terms = {name: term.of for name, term in mix.terms.items()}
    found = missing_bounds(holes, fit, PHQ9, [PHQ9], terms)
    assert found["missing_scores"].iloc[0] == "left out, as in the model with " + FOR["after"]
    theirs = ADJUSTED[["left out", *(f"filled_{i}" for i in range(1, 5))]]
    assert (100 * found["vpc"]).tolist() == pytest.approx(theirs.tolist(), abs=1e-3)


@pytest.mark.nightly
def test_the_funnel_of_means_has_the_case_mix_too(both, monkeypatch: pytest.MonkeyPatch) -> None:
    analysis = both[2]
    if analysis.measures["phq9"].with_mix is None:
        return
    seen, plot = [], figures.funnel_plot

    def funnel(*args: object, sd: float | None = None) -> object:
        seen.append(sd)
        return plot(*args, sd=sd)

    monkeypatch.setattr(figures, "funnel_plot", funnel)
    draw_all(analysis, release_results(analysis, DisclosurePolicy(active=False)))
    assert seen == [None, pytest.approx(ADJUSTED["sigma"], abs=1e-4)]
