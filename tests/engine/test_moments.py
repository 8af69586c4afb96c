"""The contract of moments: what is stored, what can be derived, what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pwp_lib.engine.moments import design_moments

PAPER = "phq9_post ~ center(phq9_pre) * center(gad7_pre) + (1 + center(phq9_pre) | therapist_id)"


def make_patients(n: int = 400, therapists: int = 9, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "phq9_pre": rng.integers(0, 28, n),
            "phq9_post": rng.integers(0, 28, n),
            "gad7_pre": rng.integers(0, 22, n),
            "age": rng.normal(42.0, 13.0, n),
            "year": rng.normal(2013.5, 1.0, n),
            "service_id": rng.choice(["S1", "S2", "S3"], n),
            "therapist_id": [f"T{i:02d}" for i in rng.integers(1, therapists + 1, n)],
        }
    )
    skill = dict(zip(sorted(frame["therapist_id"].unique()), rng.normal(size=therapists)))
    frame["resilience"] = frame["therapist_id"].map(skill)
    return frame


def explicit_cross(formula: str, frame: pd.DataFrame, group: str) -> dict[str, np.ndarray]:
    """Cross-products of the fixed part and the response by formulae's own design matrices."""
    from formulae import design_matrices

    made = design_matrices(formula, frame, extra_namespace={"log": np.log})
    table = made.common.as_dataframe()
    w = np.column_stack([table.to_numpy(float), np.asarray(made.response.design_matrix, float)])
    return {g: w[rows].T @ w[rows] for g, rows in frame.groupby(group).indices.items()} | {
        "names": np.array(list(table.columns))
    }


FIXED = [
    "phq9_post ~ center(phq9_pre) * center(gad7_pre)",
    "phq9_post ~ 0 + phq9_pre + scale(age)",
    "phq9_post ~ {phq9_pre - 10} + I(gad7_pre ** 2) + phq9_pre:age",
    "phq9_post ~ scale(year) * scale(phq9_pre) + {age / 10}",
    "{phq9_post - phq9_pre} ~ center({phq9_pre * gad7_pre}) + resilience",
    "phq9_post ~ center(phq9_pre) + service_id",
    "phq9_post ~ center(phq9_pre) * service_id",
    "phq9_post ~ 0 + service_id + service_id:age",
    "phq9_post ~ service_id:phq9_pre",
    "phq9_post ~ log(age ** 2 + 1) * center(phq9_pre)",
    "phq9_post ~ bs(age, df=4) + gad7_pre",
    "phq9_post ~ C(gad7_pre)",
]


@pytest.mark.parametrize("formula", FIXED)
def test_design_equals_the_explicit_one(formula: str) -> None:
    frame = make_patients()
    made = design_moments(f"{formula} + (1 | therapist_id)", frame)
    expected = explicit_cross(formula, frame, "therapist_id")
    used = [*made.fixed, made.response]
    assert made.fixed_names == tuple(expected["names"])
    scale = np.sqrt(np.diag(made.total))[used]
    for j, group in enumerate(made.groups):
        got = made.cross[j][np.ix_(used, used)]
        np.testing.assert_allclose(
            got / np.outer(scale, scale), expected[group] / np.outer(scale, scale), atol=1e-12
        )
