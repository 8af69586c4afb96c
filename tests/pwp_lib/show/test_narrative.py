"""Every sentence holds for whatever data it is given."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace as Box

import numpy as np
import pandas as pd

from multilevel.design import DesignMoments
from multilevel.fit import MixedFit, fit_design
from multilevel.posterior import PosteriorInterval
from pwp_lib.measures import PHQ9
from pwp_lib.show import narrative


def fitted(between: float, *, slope: bool = False, therapists: int = 12, seed: int = 1) -> MixedFit:
    """Fit patients whose therapists differ by so much."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(therapists), 20)
    x = rng.normal(size=len(g)) * 5
    u = rng.normal(size=therapists) * between
    noise = rng.normal(size=len(g)) * 4
    if not between:
        # Not a trace of a difference: every therapist's patients have the same mean.
        noise -= pd.Series(noise).groupby(g).transform("mean").to_numpy()
        x -= pd.Series(x).groupby(g).transform("mean").to_numpy()
    y = 9 + 0.5 * x + u[g] * (1 + 0.1 * x if slope else 1) + noise
    columns = {"Intercept": np.ones(len(g)), "x": x}
    return fit_design(
        DesignMoments.from_arrays(y, columns, ["Intercept", "x"] if slope else ["Intercept"], g)
    )


# -- the cohort ------------------------------------------------------------------------------------


def test_provenance_does_not_call_own_data_synthetic() -> None:
    assert "synthetic" in narrative.provenance_sentence(Box(synthetic=True, source=""))
    told = narrative.provenance_sentence(Box(synthetic=False, source="a trust."))
    assert told == "These data come from a trust."


def test_completeness() -> None:
    table = pd.DataFrame({"total": [10, 10], "complete": [10, 10]}, index=["a", "b"])
    assert narrative.completeness(table) == "All 20 patients have every score."
    told = narrative.completeness(table.assign(complete=[5, 10]))
    assert told == (
        "15 (75.0%) of 20 patients have every score; by therapist the share goes from 50.0% (a) "
        "to 100.0%."
    )


# -- models ----------------------------------------------------------------------------------------


def test_posterior_shows_no_more_decimals_than_are_certain() -> None:
    few = np.exp(np.random.default_rng(1).normal(np.log(0.1), 0.3, (1, 400)))
    many = np.exp(np.random.default_rng(1).normal(np.log(0.1), 0.3, (1, 400_000)))
    rough = narrative.posterior_sentence(PosteriorInterval.of(few), "phq9")
    fine = narrative.posterior_sentence(PosteriorInterval.of(many))
    assert "." not in rough.removesuffix(".")
    low, mid, high = (f"{100 * v:.1f}%" for v in np.quantile(many, [0.025, 0.5, 0.975]))
    assert f"is {mid}, with a 95% interval from {low} to {high}" in fine


def test_chain_that_has_not_mixed_is_said() -> None:
    good = Box(ess=5_000, r_hat=1.001, mcse=0.0004)
    assert narrative.chain_sentence(good).startswith("The chain has mixed well")
    bad = Box(ess=90, r_hat=1.2, mcse=0.01)
    assert "not mixed well enough" in narrative.chain_sentence(bad)


def test_who_differs() -> None:
    frame = pd.DataFrame({"lower": [-3.0, 0.5, -1], "upper": [-0.5, 2, 1]}, index=list("abc"))
    assert narrative.differs_sentence(frame, "phq9") == (
        "Of 3 therapists on PHQ-9, 1 is better than the average (a) and 1 is worse than the "
        "average (b); the other one cannot be told from it."
    )
    higher_is_better = replace(PHQ9, higher_is_worse=False)
    turned = narrative.differs_sentence(frame, higher_is_better)
    assert "1 is better than the average (b)" in turned
    nobody = frame.assign(lower=-1.0, upper=1.0)
    assert narrative.differs_sentence(nobody).startswith("None of the 3 therapists differs")


def test_rank_uncertainty_with_few_therapists() -> None:
    table = pd.DataFrame({"lower": [1, 1], "upper": [2, 2], "p_upper": np.nan, "p_lower": np.nan})
    assert "cluster" not in narrative.rank_uncertainty_sentence(table)
    known = table.assign(p_upper=[0.99, 0.2], p_lower=[0.0, 0.5])
    told = narrative.rank_uncertainty_sentence(known, "phq9")
    assert "1 therapist belongs to the upper cluster and no therapist belongs to the lower" in told


def test_cluster_members() -> None:
    ranks = pd.DataFrame({"cluster": ["upper", "middle", "lower"]}, index=list("abc"))
    assert narrative.cluster_members(ranks) == (
        "The upper cluster is a; the lower cluster is c; 1 therapist lies between them."
    )


# -- comparisons -----------------------------------------------------------------------------------


def compared(p: float, difference: float = -2.0) -> Box:
    return Box(measure="phq9", clusters=("upper", "lower"), difference=difference, se=0.4,
               statistic=25.0, df=(1, 823), p_value=p)  # fmt: skip


def scale(p: float, higher: str, reported: str = "not reported") -> pd.Series:
    return pd.Series({"label": "Resilience", "rater": "self", "n_upper": 5, "n_lower": 4, "U": 2.0,
                      "p_value": p, "higher_in": higher, "reported": reported})  # fmt: skip
