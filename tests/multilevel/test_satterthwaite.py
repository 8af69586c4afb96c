"""The fixed part against lmerTest on the packaged cohort, sleepstudy and simulated sets.

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
