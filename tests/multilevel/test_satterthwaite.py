"""The fixed part against lmerTest on the packaged cohort and simulated sets.

`tests/reference/satterthwaite.R` made the figures; the sets by seed are those of
`references_data.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

import pwp_lib as pwp
from multilevel import fit_mixed

REFERENCE = Path(__file__).parents[1] / "reference"
FIGURES = pd.read_csv(REFERENCE / "satterthwaite.csv", comment="#")
CASES = [
    key for key, rows in FIGURES.groupby(["model", "method"]) if rows["data"].iat[0] != "sleep"
]


@pytest.fixture(scope="module")
def sets() -> Iterator[ModuleType]:
    """Give the module that makes the simulated sets."""
    sys.path.insert(0, str(REFERENCE))
    import references_data

    yield references_data
    sys.path.remove(str(REFERENCE))


def cohort() -> pd.DataFrame:
    """Return the packaged cohort with the columns that the reference's models have."""
    packaged = pwp.load_cohort()
    traits = packaged.therapists[["therapist_id", "resilience"]]
    rows = packaged.patients.merge(traits, on="therapist_id", validate="many_to_one")
    return rows.assign(
        g=rows["therapist_id"],
        x=rows["phq9_pre"] - rows["phq9_pre"].mean(),
        w=rows["gad7_pre"] - rows["gad7_pre"].mean(),
        r=(rows["resilience"] - 70) / 10,
    )


@pytest.mark.parametrize(("model", "method"), CASES)
def test_estimates_and_their_standard_errors(sets: ModuleType, model: str, method: str) -> None:
    rows = FIGURES[(FIGURES["model"] == model) & (FIGURES["method"] == method)].set_index("term")
    name = rows["data"].iat[0]
    data = cohort() if name == "cohort" else sets.uneven_groups(name)
    fixed = fit_mixed(rows["formula"].iat[0], data, method=method).fixed.loc[rows.index]
    # lme4's optimum, made tight, holds five digits.
    np.testing.assert_allclose(fixed["estimate"], rows["estimate"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fixed["se"], rows["se"], rtol=1e-4)
    np.testing.assert_allclose(fixed["estimate"] / fixed["se"], rows["t"], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "method"), CASES)
def test_degrees_of_freedom_and_p_values(sets: ModuleType, model: str, method: str) -> None:
    rows = FIGURES[(FIGURES["model"] == model) & (FIGURES["method"] == method)].set_index("term")
    name = rows["data"].iat[0]
    data = cohort() if name == "cohort" else sets.uneven_groups(name)
    fit = fit_mixed(rows["formula"].iat[0], data, method=method)
    assert fit.singular == rows["singular"].iat[0]
    found = fit.satterthwaite().loc[rows.index]
    np.testing.assert_allclose(found["df"], rows["df"], rtol=1e-5)
    np.testing.assert_allclose(found["t"], rows["t"], rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(found["p_value"], rows["p"], rtol=2e-3, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_balanced_groups_have_the_degrees_of_freedom_of_the_analysis_of_variance(seed: int) -> None:
    """A term between equal groups: groups less two by REML, exactly; within groups: the rest."""
    rng = np.random.default_rng(seed)
    groups, size = int(rng.integers(4, 30)), int(rng.integers(3, 12))
    g = np.repeat(np.arange(groups), size)
    w, x = rng.normal(size=groups)[g], np.tile(rng.permutation(size) - (size - 1) / 2, groups)
    y = w + x + 2 * rng.normal(size=groups)[g] + rng.normal(size=len(g))
    rows = pd.DataFrame({"y": y, "w": w, "x": x, "g": g})
    fit = fit_mixed("y ~ w + x + (1 | g)", rows, method="REML")
    found = fit.satterthwaite()["df"]
    assert not fit.singular
    assert found["w"] == pytest.approx(groups - 2, rel=1e-6)
    assert found["x"] == pytest.approx(groups * (size - 1) - 1, rel=1e-6)


def test_a_single_level_model_has_its_residual_degrees_of_freedom() -> None:
    rows = cohort()
    for method, df in (("ML", len(rows)), ("REML", len(rows) - 2)):
        found = fit_mixed("phq9_post ~ x", rows, method=method).satterthwaite()
        np.testing.assert_allclose(found["df"], df)
