"""Whether the model fits: residuals at both levels, the ends of the scale, unequal variances."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.fit import MixedFit
from pwp_lib.measures import Measure, get_measure
from pwp_lib.models import two_level
from pwp_lib.schema import as_numbers, need_columns

__all__ = [
    "ModelChecks",
    "check_model",
    "floor_table",
    "normality",
    "patient_residuals",
    "spread_by_therapist",
]


def _column(design: DesignMoments, position: int, rows: pd.DataFrame) -> NDArray[np.float64]:
    """Evaluate a model column on rows, from its polynomial in the variables of the data."""
    total = np.zeros(len(rows))
    for key, weight in design.polynomials[position].items():
        factors = [rows[name].to_numpy(dtype=float) for name in key]
        total += weight * prod(factors, start=np.ones(len(rows)))
    return total


def _complete_rows(fit: MixedFit, patients: pd.DataFrame) -> pd.DataFrame:
    design, further = fit.design, fit.spread.means if fit.spread else ()
    variables = sorted({*further, *(v for p in design.polynomials for key in p for v in key)})
    need_columns(patients, *variables, design.group_name)
    rows = as_numbers(patients, variables).assign(
        **{design.group_name: patients[design.group_name]}
    )
    rows = rows.dropna()
    if len(rows) != design.n_total:
        raise InputError(
            "the table is not the one to which the model was fitted: it has other complete rows",
            hint="give the same patients",
        )
    return rows


def patient_residuals(fit: MixedFit, patients: pd.DataFrame) -> pd.DataFrame:
    """Fitted values and residuals of patients.

    Parameters
    ----------
    fit : MixedFit
        Fitted to numeric columns and their products, as the paper's models are.
    patients : DataFrame
        The patients to whom the model was fitted.

    Returns
    -------
    DataFrame
        Indexed as `patients`, complete rows only: ``therapist_id``, ``expected`` (fixed part),
        ``fitted`` (with the therapist's residuals), ``residual``, ``sd`` (the residual SD, with a
        `spread` each patient's own) and ``standardised`` (the one over the other).

    Raises
    ------
    InputError
        If the table is not the one to which the model was fitted, or that is not one of two levels.
    """
    design = two_level(fit).design
    rows = _complete_rows(fit, patients)
    columns = [_column(design, i, rows) for i in range(len(design.names))]
    expected = sum(b * columns[i] for b, i in zip(fit.coefficients, design.fixed, strict=True))
    fitted = np.asarray(expected, dtype=float).copy()
    for name, position in zip(design.random_names, design.random, strict=True):
        effect = rows[design.group_name].map(fit.residuals(name)["residual"])
        fitted += effect.to_numpy(dtype=float) * columns[position]
    residual = columns[design.response] - fitted
    sd = np.full(len(rows), fit.residual_variance**0.5)
    if fit.spread:
        sd *= rows[[*fit.spread.means]].apply(fit.spread.factor, axis=1).to_numpy() ** 0.5
    return pd.DataFrame(
        {
            "therapist_id": rows[design.group_name],
            "expected": expected,
            "fitted": fitted,
            "residual": residual,
            "sd": sd,
            "standardised": residual / sd,
        },
        index=rows.index,
    )


def normality(values: ArrayLike) -> dict[str, float]:
    """How normal values look.

    Returns
    -------
    dict
        ``n``, ``skewness``, ``excess_kurtosis`` (0 for a normal distribution), ``shapiro_w`` and
        ``shapiro_p`` (missing for fewer than 3 values or when none differ).

    Examples
    --------
    >>> result = normality([-2, -1, 0, 1, 2])
    >>> result["skewness"], round(result["shapiro_w"], 3)
    (0.0, 0.987)
    """
    from scipy.stats import kurtosis, shapiro, skew

    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    if len(x) < 3 or np.ptp(x) == 0:
        keys = ("skewness", "excess_kurtosis", "shapiro_w", "shapiro_p")
        return {"n": float(len(x)), **dict.fromkeys(keys, np.nan)}
    # Above 5,000 values SciPy warns that the p-value is unsure; an even sample of them will do.
    some = np.sort(x)[np.linspace(0, len(x) - 1, min(len(x), 5_000)).round().astype(int)]
    test = shapiro(some)
    return {
        "n": float(len(x)),
        "skewness": float(skew(x)),
        "excess_kurtosis": float(kurtosis(x)),
        "shapiro_w": float(test.statistic),
        "shapiro_p": float(test.pvalue),
    }


def floor_table(patients: pd.DataFrame, measure: str | Measure) -> pd.DataFrame:
    """Share of patients at the ends of the scale, before and after.

    A normal model knows no floor: with many patients at it, the spread around a therapist's line
    depends on where the line is.

    Returns
    -------
    DataFrame
        Indexed by ``pre`` and ``post``: ``n``, ``at_minimum`` and ``at_maximum`` (shares).

    Examples
    --------
    >>> patients = pd.DataFrame({"phq9_pre": [12, 27], "phq9_post": [0, 5]})
    >>> floor_table(patients, "phq9")["at_minimum"].to_dict()
    {'pre': 0.0, 'post': 0.5}
    """
    m = get_measure(measure)
    rows = {}
    for when, column in (("pre", m.pre), ("post", m.post)):
        scores = patients[column].dropna().to_numpy(dtype=float)
        rows[when] = {
            "n": len(scores),
            "at_minimum": float(np.mean(scores == m.minimum)),
            "at_maximum": float(np.mean(scores == m.maximum)),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("when")


@dataclass(frozen=True)
class SpreadByTherapist:
    """Whether patients spread equally around their therapists' lines.

    Attributes
    ----------
    by_therapist : DataFrame
        ``n`` and ``sd`` of the standardised residuals.
    statistic, p_value : float
        Levene's test about the medians (Brown and Forsythe), therapists with three patients or
        more; it bears residuals that are not normal, as Bartlett's does not.
    df : tuple of int
    """

    by_therapist: pd.DataFrame
    statistic: float
    p_value: float
    df: tuple[int, int]

    def table(self) -> pd.DataFrame:
        """Return the test in one row."""
        row = {"F": self.statistic, "df1": self.df[0], "df2": self.df[1], "p_value": self.p_value}
        return pd.DataFrame([row])


def spread_by_therapist(residuals: pd.DataFrame) -> SpreadByTherapist:
    """SD of the residuals of each therapist's patients, and a test that they are equal.

    Parameters
    ----------
    residuals : DataFrame
        The table of `patient_residuals`.
    """
    from scipy.stats import levene

    groups = residuals["standardised"].groupby(residuals["therapist_id"])
    table = pd.DataFrame({"n": groups.count(), "sd": groups.std()})
    enough = [g.to_numpy() for _, g in groups if len(g) >= 3]
    df = (len(enough) - 1, sum(map(len, enough)) - len(enough))
    if len(enough) < 2:
        return SpreadByTherapist(table, np.nan, np.nan, df)
    test = levene(*enough, center="median")
    return SpreadByTherapist(table, float(test.statistic), float(test.pvalue), df)


@dataclass(frozen=True)
class ModelChecks:
    """What there is to look at before a model is believed.

    Attributes
    ----------
    patients : DataFrame
        Level 1: `patient_residuals`.
    therapists : DataFrame
        Level 2: by therapist, the residual of each random term over its diagnostic standard error.
    normality : DataFrame
        `normality` of both levels' standardised residuals, one row each.
    floor : DataFrame
        `floor_table`.
    spread : SpreadByTherapist
        Level 1 residuals between therapists.
    spread_with_fitted : float
        Spearman's correlation of fitted values with the standardised residuals' size: about 0
        when the model has the spread right; positive where a floor squeezes the low scores, and
        the model has one residual SD for all.
    """

    patients: pd.DataFrame
    therapists: pd.DataFrame
    normality: pd.DataFrame
    floor: pd.DataFrame
    spread: SpreadByTherapist
    spread_with_fitted: float

    def table(self) -> pd.DataFrame:
        """Return the checks as figures, one row each."""
        rows = {
            "patients at the minimum, after": self.floor.loc["post", "at_minimum"],
            "patients at the maximum, after": self.floor.loc["post", "at_maximum"],
            "spread and fitted value, correlation": self.spread_with_fitted,
            "equal spread by therapist, p": self.spread.p_value,
        }
        for level, row in self.normality.iterrows():
            rows[f"{level}: skewness"] = row["skewness"]
            rows[f"{level}: excess kurtosis"] = row["excess_kurtosis"]
            rows[f"{level}: Shapiro-Wilk p"] = row["shapiro_p"]
        return pd.DataFrame({"value": rows}).rename_axis("check")


def check_model(fit: MixedFit, patients: pd.DataFrame, measure: str | Measure) -> ModelChecks:
    """Check a model's residuals at both levels, the floor, and unequal variances.

    Parameters
    ----------
    fit : MixedFit
    patients : DataFrame
        The patients to whom it was fitted.
    measure : str or Measure
        The measure that it explains.
    """
    from scipy.stats import spearmanr

    rows = patient_residuals(fit, patients)
    upper = {}
    for name in fit.design.random_names:
        table = fit.residuals(name, se="diagnostic")
        upper[name] = table["residual"] / table["se"].where(table["se"] > 0)
    therapists = pd.DataFrame(upper)
    levels = {"patients": normality(rows["standardised"])}
    levels |= {f"therapists, {name}": normality(column) for name, column in therapists.items()}
    size = spearmanr(rows["fitted"], rows["standardised"].abs()).statistic
    return ModelChecks(
        patients=rows,
        therapists=therapists,
        normality=pd.DataFrame.from_dict(levels, orient="index").rename_axis("level"),
        floor=floor_table(patients, measure),
        spread=spread_by_therapist(rows),
        spread_with_fitted=float(size),
    )
