"""Patients, formulas and comparisons that the tests of moments share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from multilevel.design import DesignMoments
from multilevel.moments import Moments

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
    labels = sorted(frame["therapist_id"].unique())
    skill = dict(zip(labels, rng.normal(size=len(labels)), strict=True))
    frame["resilience"] = frame["therapist_id"].map(skill)
    return frame


def explicit_cross(formula: str, frame: pd.DataFrame, group: str) -> dict[Any, np.ndarray]:
    """Cross-products of the fixed part and the response by formulae's own design matrices.

    But for `scale`, whose standard deviation is R's, by one row less.
    """
    from formulae import design_matrices

    names = {"log": np.log, "as_in_r": lambda v: (v - v.mean()) / v.std(ddof=1)}
    made = design_matrices(formula.replace("scale(", "as_in_r("), frame, extra_namespace=names)
    table = made.common.as_dataframe().rename(columns=lambda n: n.replace("as_in_r(", "scale("))
    w = np.column_stack([table.to_numpy(float), np.asarray(made.response.design_matrix, float)])
    crosses = {g: w[rows].T @ w[rows] for g, rows in frame.groupby(group).indices.items()}
    return crosses | {"names": np.array(list(table.columns))}


def assert_same_design(one: DesignMoments, other: DesignMoments, tolerance: float) -> None:
    """Equal to a tolerance relative to the columns' own lengths."""
    assert one.names == other.names
    assert one.groups.tolist() == other.groups.tolist()
    np.testing.assert_array_equal(one.n, other.n)
    scale = np.sqrt(np.maximum(np.diag(other.total), 1e-300))
    np.testing.assert_allclose(
        one.cross / np.outer(scale, scale), other.cross / np.outer(scale, scale), atol=tolerance
    )


def columns_only(response: str, *columns: str) -> Moments:
    """Moments of these columns and products alone."""
    formula = " + ".join([f"{response} ~ 1", *columns, "(1 | therapist_id)"])
    return Moments.for_formula(formula, make_patients())


def deviance_at(fit, g: np.ndarray) -> float:
    """Deviance of a fit's design at a relative covariance in standardised terms."""
    from multilevel.likelihood import deviances, lower_factor

    return float(deviances(fit.stack.arrays, lower_factor(g)[None, None])[0][0, 0])
