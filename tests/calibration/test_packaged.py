"""The packaged cohort against the paper, and against R."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest

import pwp_lib as pwp
from pwp_lib.cohort import load_cohort
from pwp_lib.scoreboard import scoreboard

REFERENCE = Path(__file__).parents[1] / "reference" / "cohort_check.json"


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    return scoreboard(load_cohort()).set_index("id")


@pytest.fixture(scope="module")
def reference() -> dict[str, object]:
    return json.loads(REFERENCE.read_text())


def test_reference_is_of_the_packaged_file(reference: dict[str, object]) -> None:
    data = (files("pwp_lib") / "packaged" / "patients.csv").read_bytes()
    assert hashlib.sha256(data).hexdigest() == reference["patients_sha256"]


def test_r_agrees_with_the_scoreboard(board: pd.DataFrame, reference: dict[str, object]) -> None:
    theirs = pd.Series(reference["figures"], dtype=float)
    ours = board.loc[theirs.index, "computed"].astype(float)
    # lme4's polished optimum of the deviance is good to about 1e-8, its parameters to 1e-5.
    wrong = theirs[(ours - theirs).abs() > 2e-5 * (1 + theirs.abs())]
    assert len(theirs) > 100
    assert wrong.empty, wrong


def test_only_what_is_argued_does_not_match(board: pd.DataFrame) -> None:
    contradicted = {
        "people.caseload_mean_p10",
        "people.caseload_mean_p11",
        "interviews.coded_twice_percent",
    }
    bounds = {f"mcmc.{m}.vpc_{end}" for m in ("phq9", "gad7") for end in ("lower", "upper")}
    missed = set(board.index[board["state"] == "no match"])
    assert missed == contradicted | bounds


@pytest.mark.nightly
@pytest.mark.parametrize("measure", ["phq9", "gad7"])
def test_posterior_medians_match_from_every_seed(measure: str) -> None:
    """Within the rounding and two Monte Carlo standard errors, the mean of the 20 and each."""
    formula = pwp.model_formula(measure, ["phq9", "gad7"])
    design = pwp.design_moments(formula, load_cohort().patients)
    published = pwp.published_figure(f"mcmc.{measure}.vpc_median")
    found = [pwp.sample_posterior(design, seed=s).interval() for s in range(1, 21)]
    medians = [100 * f.median for f in found]
    assert all(published.matches(m, 100 * f.mcse) for m, f in zip(medians, found, strict=True))
    assert published.matches(sum(medians) / 20, pd.Series(medians).sem())
