"""The score board: every figure of the paper, computed from a cohort."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from pwp_lib.cohort import Cohort
from pwp_lib.comparison import compare_rates
from pwp_lib.models import fit_models
from pwp_lib.outcomes import summarise_outcomes
from pwp_lib.published import published_figures
from pwp_lib.ranking import composite_ranks
from pwp_lib.scoreboard import scoreboard
from pwp_lib.simulate import simulate_cohort


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return simulate_cohort(seed=5)


@pytest.fixture(scope="module")
def board(cohort: Cohort) -> pd.DataFrame:
    return scoreboard(cohort, draws=500).set_index("id")


def test_every_figure_is_there_and_every_testable_one_computed(board: pd.DataFrame) -> None:
    assert board.index.tolist() == [f.id for f in published_figures()]
    testable = [f.id for f in published_figures() if f.testable]
    assert (board.loc[testable, "state"] != "not testable").all()
    assert board.loc[testable, "computed"].notna().all()
    rest = board.drop(index=testable)
    assert (rest["state"] == "not testable").all()
    assert rest["match"].isna().all()
    assert rest["note"].ne("").all()


def test_state_follows_from_value_and_rounding(board: pd.DataFrame) -> None:
    numbers = board[(board["relation"] == "=") & (board["state"] != "not testable")]
    allowed = numbers["rounding"] + 2 * numbers["monte_carlo_error"] + 1e-9
    close = (numbers["computed"] - numbers["published"]).abs() <= allowed
    assert (close == (numbers["state"] == "match")).all()
    assert (numbers["match"] == (numbers["state"] == "match")).all()


def test_figures_are_those_of_the_ordinary_functions(cohort: Cohort, board: pd.DataFrame) -> None:
    patients, computed = cohort.patients, board["computed"]
    assert computed["people.patients"] == len(patients)
    gad7 = summarise_outcomes(patients, "gad7").iloc[0]
    assert computed["outcomes.gad7.rcsi"] == pytest.approx(100 * gad7["rcsi"])
    models = {m: fit_models(patients, m, cohort.measures) for m in ("phq9", "gad7")}
    phq9 = models["phq9"].slope
    assert computed["models.phq9.vpc"] == pytest.approx(100 * phq9.vpc())
    assert computed["models.phq9.slope_variance"] == pytest.approx(
        phq9.random_covariance.to_numpy()[1, 1]
    )
    ranks = composite_ranks({m: fitted.slope for m, fitted in models.items()})
    rates = compare_rates(patients, "phq9", ranks)
    assert computed["clusters.phq9.rcsi_chi2"] == pytest.approx(rates.loc["rcsi", "chi2"])
    assert computed["ranks.therapist_17.composite"] == ranks.loc["T17", "composite"]


def test_only_simulated_figures_have_a_monte_carlo_error(board: pd.DataFrame) -> None:
    sampled = board["topic"] == "mcmc"
    assert (board.loc[sampled, "monte_carlo_error"] > 0).all()
    assert (board.loc[~sampled, "monte_carlo_error"] == 0).all()


def test_same_seed_same_board(cohort: Cohort, board: pd.DataFrame) -> None:
    again = scoreboard(cohort, draws=500).set_index("id")
    pd.testing.assert_frame_equal(board, again)


def test_a_cohort_without_therapists_tables_says_what_cannot_be_tested(cohort: Cohort) -> None:
    bare = replace(cohort, therapists=None, segments=None)
    board = scoreboard(bare, draws=500).set_index("id")
    assert board.loc["scales.resilience.u", "state"] == "not testable"
    assert "no table of therapists" in board.loc["scales.resilience.u", "note"]
    assert board.loc["interviews.agreement", "state"] == "not testable"
    assert board.loc["models.phq9.vpc", "state"] != "not testable"


def test_a_cohort_of_one_measure_has_patients_all_the_same(cohort: Cohort) -> None:
    patients = cohort.patients.groupby("therapist_id").head(20)
    one = replace(cohort, patients=patients, measures=cohort.measures[:1])
    board = scoreboard(one, draws=500).set_index("id")
    assert board.loc["people.patients", "computed"] == len(patients)
    assert board.loc["models.phq9.vpc", "state"] == "not testable"


def test_columns_promised(board: pd.DataFrame) -> None:
    first = ["quantity", "source", "published", "computed", "rounding", "state", "match"]
    assert board.columns[:7].tolist() == first
    assert set(board["state"]) == {"match", "no match", "not testable"}
    assert board.loc["outcomes.phq9.rcsi", "source"] == "p. 17"
