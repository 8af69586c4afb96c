"""Would another analysis say the same?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from multilevel.errors import InputError
from multilevel.fit import fit_mixed
from pwp_lib.models import model_formula
from pwp_lib.outcomes import completeness_by_therapist
from pwp_lib.sensitivity import sensitivity_panel


def patients_of(seed: int = 1, therapists: int = 8, each: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(therapists), each)
    pre = rng.integers(8, 26, size=len(group))
    effect = rng.normal(scale=2, size=therapists)[group]
    post = 2 + effect + 0.5 * pre + rng.normal(scale=4, size=len(group))
    return pd.DataFrame(
        {
            "therapist_id": [f"T{i}" for i in group],
            "service_id": np.where(group < therapists / 2, "S1", "S2"),
            "phq9_pre": pre,
            "phq9_post": np.clip(post.round(), 0, 27),
            "status": np.where(np.arange(len(group)) % 4 == 0, "in_treatment", "closed"),
        }
    )


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return sensitivity_panel(patients_of(), "phq9", draws=1_000).rows.set_index("analysis")


def test_main_analysis_is_the_papers_model(rows: pd.DataFrame) -> None:
    fit = fit_mixed(model_formula("phq9"), patients_of())
    main = rows.loc["Random slope, ML, all patients"]
    assert main["vpc"] == pytest.approx(fit.vpc())
    assert main["lower"] < main["vpc"] < main["upper"]
    assert main["rank_correlation"] == 1
    assert (main["upper_shared"], main["lower_shared"]) == (2, 2)


def test_every_analysis_has_a_figure_or_a_reason(rows: pd.DataFrame) -> None:
    without = rows["vpc"].isna() & rows["rank_correlation"].isna()
    assert (rows.loc[without, "note"] != "").all()
    assert rows.loc[~without, "note"].eq("").all()
    assert set(rows["family"]) == {
        "main",
        "model",
        "patients",
        "prior",
        "recovery",
        "leave one out",
    }


def test_variants_are_what_they_say(rows: pd.DataFrame) -> None:
    patients = patients_of()
    closed = fit_mixed(model_formula("phq9"), patients[patients["status"] == "closed"])
    assert rows.loc["Closed cases only", "vpc"] == pytest.approx(closed.vpc())
    assert rows.loc["Closed cases only", "n_patients"] == 180
    without = fit_mixed(model_formula("phq9"), patients[patients["therapist_id"] != "T3"])
    assert rows.loc["Without T3", "vpc"] == pytest.approx(without.vpc())
    assert rows.loc["Without T3", "n_therapists"] == 7
    reml = fit_mixed(model_formula("phq9"), patients, method="REML")
    assert rows.loc["Random slope, REML", "vpc"] == pytest.approx(reml.vpc())
    assert rows.loc["Random slope, REML", "vpc"] > rows.loc["Random slope, ML, all patients", "vpc"]
    formula = model_formula("phq9", extra=["C(service_id)"])
    service = fit_mixed(formula, patients, method="REML")
    assert rows.loc["Service as a fixed effect, REML", "vpc"] == pytest.approx(service.vpc())


def test_priors_have_intervals_about_their_medians(rows: pd.DataFrame) -> None:
    priors = rows[rows["family"] == "prior"]
    assert len(priors) == 3
    assert (priors["lower"] < priors["vpc"]).all()
    assert (priors["vpc"] < priors["upper"]).all()


def test_what_cannot_be_done_leaves_its_reason() -> None:
    bare = patients_of().drop(columns=["service_id", "status"])
    panel = sensitivity_panel(bare, "phq9", draws=0)
    notes = panel.rows.set_index("analysis")["note"]
    assert "service_id" in notes["Service as a fixed effect, REML"]
    assert notes["Closed cases only"] == "column status: whether a case is closed is not recorded."
    assert "prior" not in set(panel.rows["family"])


def test_a_measure_without_thresholds_says_so() -> None:
    patients = patients_of().rename(columns={"phq9_pre": "wsas_pre", "phq9_post": "wsas_post"})
    panel = sensitivity_panel(patients, "wsas", draws=0)
    notes = panel.rows.set_index("analysis")["note"]
    assert notes["Reliable improvement (linear probability)"] == "WSAS has no threshold for it."
    assert notes["Mean change, unadjusted"] == ""


def test_completeness_counts_and_limits_therapists() -> None:
    patients = patients_of()
    patients.loc[patients.index[:15], "phq9_post"] = np.nan
    table = completeness_by_therapist(patients, ["phq9"])
    assert table.loc["T0"].tolist() == [30, 15, 0.5]
    panel = sensitivity_panel(patients, "phq9", draws=0)
    row = panel.rows.set_index("analysis").loc["Therapists with 80% or more complete"]
    assert (row["n_therapists"], row["n_patients"]) == (7, 210)
    # The same, where those who lack a score were left out before.
    left = patients.dropna(subset=["phq9_post"])
    again = sensitivity_panel(left, "phq9", draws=0, completeness=table)
    row = again.rows.set_index("analysis").loc["Therapists with 80% or more complete"]
    assert (row["n_therapists"], row["n_patients"]) == (7, 210)
    notes = again.rows.set_index("analysis")["note"]
    assert notes["Therapists with 80% or more complete"] == ""


def test_of_very_many_therapists_the_furthest_from_the_average_are_left_out() -> None:
    patients = patients_of(therapists=103, each=4)
    panel = sensitivity_panel(patients, "phq9", draws=0)
    row = panel.rows[panel.rows["family"] == "leave one out"].set_index("analysis")
    assert len(row) == 100
    residuals = fit_mixed(model_formula("phq9"), patients).residuals(se="diagnostic")
    far = (residuals["residual"] / residuals["se"]).abs().sort_values()
    assert not {f"Without {t}" for t in far.index[:3]} & set(row.index)
    # From sums less one therapist's: the same as from the patients of all the others.
    label = str(far.index[-1])
    refit = fit_mixed(model_formula("phq9"), patients[patients["therapist_id"] != label])
    assert row.loc[f"Without {label}", "vpc"] == pytest.approx(refit.vpc(), rel=1e-9)
    assert row.loc[f"Without {label}", "n_patients"] == refit.n


def test_without_a_main_analysis_there_is_no_panel() -> None:
    with pytest.raises(InputError):
        sensitivity_panel(patients_of(therapists=1), "phq9", draws=0)


def test_where_no_therapist_differs_no_ends_are_shared() -> None:
    patients = patients_of()
    # Every therapist's patients change alike: the random intercept's variance is zero.
    patients["phq9_post"] = patients.groupby("therapist_id").cumcount() % 20
    rows = sensitivity_panel(patients, "phq9", draws=1_000).rows.set_index("analysis")
    row = rows.loc["No pre scores"]
    assert row["vpc"] == 0
    assert row[["rank_correlation", "upper_shared", "lower_shared"]].isna().all()
