"""Draws from the posterior as a result: intervals, Monte Carlo errors, tables, InferenceData."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel.design import DesignMoments
from multilevel.diagnostics import decimals, effective_sample_size, quantile_error, r_hat
from multilevel.errors import InputError
from multilevel.partition import random_row
from multilevel.priors import PriorValues

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GibbsDraws", "PosteriorInterval", "variance_partition"]

Array = NDArray[np.float64]


def variance_partition(covariance: ArrayLike, residual: ArrayLike, point: Array) -> Array:
    """Share of the variance that lies between therapists, at values of the random terms.

    Examples
    --------
    >>> float(variance_partition([[1.0]], 9.0, np.array([1.0])))
    0.1
    """
    between: Array = np.einsum("i,...ij,j->...", point, np.asarray(covariance, float), point)
    share: Array = between / (between + np.asarray(residual, float))
    return share


@dataclass(frozen=True)
class PosteriorInterval:
    """Median and percentile interval of one quantity, with what the sampling leaves open.

    Attributes
    ----------
    median, lower, upper : float
    level : float
    mcse, mcse_lower, mcse_upper : float
        Monte Carlo standard errors of the median and of the bounds.
    ess, r_hat : float
        Bulk effective sample size; rank-normalised split R-hat.
    """

    median: float
    lower: float
    upper: float
    level: float
    mcse: float
    mcse_lower: float
    mcse_upper: float
    ess: float
    r_hat: float

    @property
    def decimals(self) -> int:
        """Decimals that the largest of the three Monte Carlo errors allows."""
        return decimals(max(self.mcse, self.mcse_lower, self.mcse_upper))

    def __str__(self) -> str:
        d = self.decimals
        return f"{self.median:.{d}f} ({self.lower:.{d}f} to {self.upper:.{d}f})"

    def as_row(self) -> dict[str, float | int]:
        """Return the interval as one row of a table."""
        row = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "level"}
        return row | {"decimals": self.decimals}

    def table(self) -> pd.DataFrame:
        """Return the interval as a table of one row."""
        import pandas as pd

        return pd.DataFrame([self.as_row()], index=pd.Index(["vpc"]))

    @classmethod
    def of(cls, draws: ArrayLike, level: float = 0.95) -> PosteriorInterval:
        """Interval of draws of shape (chains, draws).

        Examples
        --------
        >>> draws = np.random.default_rng(1).normal(10, 2, size=(4, 5_000))
        >>> print(PosteriorInterval.of(draws))
        10.0 (6.1 to 13.9)
        """
        if not 0 < level < 1:
            raise InputError("the level of an interval lies between 0 and 1", hint="use 0.95")
        x = np.asarray(draws, dtype=float)
        tail = (1 - level) / 2
        lower, median, upper = np.quantile(x, [tail, 0.5, 1 - tail])
        errors = [quantile_error(x, p) for p in (0.5, tail, 1 - tail)]
        return cls(
            median=float(median),
            lower=float(lower),
            upper=float(upper),
            level=level,
            mcse=errors[0],
            mcse_lower=errors[1],
            mcse_upper=errors[2],
            ess=effective_sample_size(x),
            r_hat=r_hat(x),
        )


@dataclass(frozen=True)
class GibbsDraws:
    """Draws from the posterior of a multilevel model.

    Attributes
    ----------
    beta : ndarray of shape (chains, draws, p)
        Fixed effects.
    random_covariance : ndarray of shape (chains, draws, q, q)
        Covariance matrix of the random terms.
    residual_variance : ndarray of shape (chains, draws)
    u : ndarray of shape (chains, draws, J, q)
        Random effects; no draws (second axis of length 0) where they were not kept.
    effects_mean, effects_sd : ndarray of shape (J, q)
        Posterior mean and SD of the random effects, kept or not.
    vpc : ndarray of shape (chains, draws)
        Therapist effect with every variable at its pooled mean.
    design : DesignMoments
    prior : PriorValues
    seed, burn_in : int
    software : mapping of str to str
        Versions of what ran; ``numba`` only where it did.
    acceptance : ndarray of shape (chains,)
        Share of covariance matrices accepted; 1 under inverse-Wishart and inverse-gamma priors.
    notes : tuple of str
        What the reader must be told.
    """

    beta: Array
    random_covariance: Array
    residual_variance: Array
    u: Array
    effects_mean: Array
    effects_sd: Array
    vpc: Array
    design: DesignMoments
    prior: PriorValues
    seed: int
    burn_in: int
    acceptance: Array
    software: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def vpc_interval(self, level: float = 0.95) -> PosteriorInterval:
        """Median and percentile interval of the therapist effect, everything at its mean."""
        return PosteriorInterval.of(self.vpc, level)

    def vpc_at(self, at: Mapping[str, float]) -> Array:
        """Draws of the therapist effect at given values of the variables, original units.

        Returns
        -------
        ndarray of shape (chains, draws)
        """
        point = random_row(self.design, at)
        return variance_partition(self.random_covariance, self.residual_variance, point)

    def quantities(self) -> dict[str, Array]:
        """Every scalar of the model by name, each of shape (chains, draws)."""
        names, q = self.design.random_names, len(self.design.random)
        out = {n: self.beta[..., i] for i, n in enumerate(self.design.fixed_names)}
        for i in range(q):
            out[f"var({names[i]})"] = self.random_covariance[..., i, i]
        for i in range(q):
            for j in range(i):
                out[f"cov({names[j]}, {names[i]})"] = self.random_covariance[..., i, j]
        return out | {"residual variance": self.residual_variance, "vpc": self.vpc}

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """One row a quantity: median, bounds, Monte Carlo errors, ESS and R-hat."""
        import pandas as pd

        rows = {n: PosteriorInterval.of(x, level).as_row() for n, x in self.quantities().items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("quantity")

    def attributes(self) -> dict[str, str | int]:
        """Return what repeats the sampling: prior, seed, burn-in, software, notes."""
        return {
            "model": self.design.formula,
            "prior": self.prior.name,
            "seed": self.seed,
            "burn_in": self.burn_in,
            "software": "; ".join(f"{k} {v}" for k, v in self.software.items()),
            "notes": " ".join(self.notes),
        }

    def to_inference_data(self) -> Any:
        """ArviZ InferenceData with variables beta, random_covariance, residual_variance, u, vpc."""
        import arviz as az

        draws = {
            "beta": self.beta,
            "random_covariance": self.random_covariance,
            "residual_variance": self.residual_variance,
            "vpc": self.vpc,
        }
        if self.u.shape[1]:
            draws["u"] = self.u
        coords, dims = inference_dims(self.design)
        data = az.from_dict(draws, coords=coords, dims=dims)
        data.attrs.update(self.attributes())
        data.posterior.attrs.update(self.attributes())
        return data


def inference_dims(design: DesignMoments) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Coordinates and dimensions of the posterior's variables, the same for every sampler."""
    random = list(design.random_names)
    group = design.group_name or "group"
    coords = {
        "term": list(design.fixed_names),
        "random_term": random,
        "random_term_other": random,
        group: [str(g) for g in design.groups],
    }
    dims = {
        "beta": ["term"],
        "random_covariance": ["random_term", "random_term_other"],
        "u": [group, "random_term"],
    }
    return coords, dims
