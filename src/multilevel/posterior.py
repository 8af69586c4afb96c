"""The posterior of a multilevel model: sampled, summed up and handed on."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from multilevel.arguments import Checked
from multilevel.design import Array, DesignMoments
from multilevel.draws import PosteriorInterval, tail_of
from multilevel.errors import InputError
from multilevel.fit import fit_design
from multilevel.gibbs import check_proper, run_chains, standardise
from multilevel.information import elements
from multilevel.partition import random_row
from multilevel.priors import Prior, PriorValues, as_prior, off_the_boundary
from multilevel.residuals import term_position
from multilevel.sources import design_moments


@dataclass(frozen=True, repr=False)
class Posterior(Checked):
    """Draws from the posterior of a multilevel model.

    Attributes
    ----------
    beta : ndarray of shape (chains, draws, p)
        Fixed effects.
    random_covariance : ndarray of shape (chains, draws, q, q)
        Covariance matrix of the random terms.
    residual_variance : ndarray of shape (chains, draws)
    u : ndarray of shape (chains, kept, J, q)
        Random effects: of every draw, or of evenly spaced ones where all would take more than
        256 MiB.
    vpc : ndarray of shape (chains, draws)
        Share of the variance that lies between groups, at the means of the predictors.
    design : DesignMoments
    prior : PriorValues
        Its name is for print; its notes say what the reader must be told.
    seed, burn_in : int
    """

    beta: Array
    random_covariance: Array
    residual_variance: Array
    u: Array
    vpc: Array
    design: DesignMoments
    prior: PriorValues
    seed: int
    burn_in: int

    def __repr__(self) -> str:
        chains, draws = self.vpc.shape
        return f"<Posterior: {chains} x {draws:,} draws, seed {self.seed}>"

    def interval(self, level: float = 0.95) -> PosteriorInterval:
        """Median and percentile interval of the share of variance between groups."""
        return PosteriorInterval.of(self.vpc, level)

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """One row a quantity, ``vpc`` last: median, bounds, Monte Carlo errors, ESS and R-hat."""
        components = elements(self.random_covariance)
        drawn = [*np.moveaxis(self.beta, -1, 0), *np.moveaxis(components, -1, 0)]
        rows = [PosteriorInterval.of(x, level) for x in (*drawn, self.residual_variance, self.vpc)]
        names = [*self.design.fixed_names, *self.design.component_names, "residual variance", "vpc"]
        return pd.DataFrame(rows, index=pd.Index(names, name="quantity")).drop(columns="level")

    def residuals(
        self, term: str | None = None, level: float = 0.95, lower_is_better: bool = True
    ) -> pd.DataFrame:
        """Effect of each group with its interval, and its rank with its own.

        Unlike the standard errors of `MixedFit.residuals` the intervals carry the uncertainty of
        the variances and of the fixed part. With 21 groups and 2, 8.7 and 20% of the variance
        between them 95% intervals hold .93, .94 and .95 of the effects (flat SDs: .94, .95, .95),
        those of conditional standard errors .82, .90 and .87 (`benchmarks/coverage.py`).

        Parameters
        ----------
        term : str, optional
            A random term; the intercept (the first) unless given.
        level : float
            Probability that each interval holds.
        lower_is_better : bool
            Whether rank 1 is the lowest effect, or the highest.

        Returns
        -------
        DataFrame
            By group: n, residual (the posterior mean), lower, upper, rank (the posterior mean of
            the rank), rank_lower, rank_upper.

        Raises
        ------
        InputError
            If there is no such term.
        """
        tail, k = tail_of(level), term_position(self.design.random_names, term)
        drawn = self.u[..., k].reshape(-1, len(self.design.groups))
        lower, upper = np.quantile(drawn, [tail, 1 - tail], axis=0)
        rank = (drawn if lower_is_better else -drawn).argsort(axis=1).argsort(axis=1) + 1
        rank_lower, rank_upper = np.quantile(rank, [tail, 1 - tail], axis=0, method="inverted_cdf")
        columns = {
            "n": self.design.n,
            "residual": drawn.mean(axis=0),
            "lower": lower,
            "upper": upper,
            "rank": rank.mean(axis=0),
            "rank_lower": rank_lower,
            "rank_upper": rank_upper,
        }
        index = pd.Index(self.design.groups, name=self.design.group_name or None)
        return pd.DataFrame(columns, index=index)

    def to_arviz(self) -> Any:
        """ArviZ InferenceData with variables beta, random_covariance, residual_variance, u, vpc.

        The attributes say what repeats the sampling: prior, seed, burn-in, versions, notes.
        Thinned random effects are left out: InferenceData has all variables at the same draws.
        """
        import arviz as az

        names = ["beta", "random_covariance", "residual_variance", "vpc"]
        names += ["u"] * (self.u.shape[1] == self.vpc.shape[1])
        random, group = list(self.design.random_names), self.design.group_name or "group"
        about = {
            "model": self.design.formula,
            "prior": self.prior.name,
            "seed": self.seed,
            "burn_in": self.burn_in,
            "software": "; ".join(f"{n} {version(n)}" for n in ("pwp-lib", "numpy", "numba")),
            "notes": " ".join(self.prior.notes),
        }
        return az.from_dict(
            {name: getattr(self, name) for name in names},
            coords={
                "term": list(self.design.fixed_names),
                **dict.fromkeys(("random_term", "random_term_other"), random),
                group: [str(g) for g in self.design.groups],
            },
            dims={
                "beta": ["term"],
                "random_covariance": ["random_term", "random_term_other"],
                "u": [group, "random_term"],
            },
            attrs=about,
            posterior_attrs=about,
        )


def sample_posterior(
    formula: str | DesignMoments,
    data: Any = None,
    *,
    prior: str | Prior = "mlwin",
    draws: int = 25_000,
    burn_in: int = 500,
    chains: int = 1,
    seed: int = 1,
) -> Posterior:
    """Sample the posterior of a model with random terms, by Gibbs sampling.

    Parameters
    ----------
    formula : str or DesignMoments
        As in lme4; ``(1 + x | g)`` is a correlated intercept and slope. Or a design ready made,
        without `data`.
    data : frame, Moments or DesignMoments
        Rows, or moments of them.
    prior : str or Prior
        ``"mlwin"``, ``"flat-sd"``, ``"half-normal"`` or a `Prior`.
    draws, burn_in, chains : int
        Iterations kept of each chain, discarded before them, and chains. The first chain starts
        at the maximum-likelihood estimate, as MLwiN does, the others around it.
    seed : int
        Zero or more. The same seed gives the same draws.

    Returns
    -------
    Posterior

    Raises
    ------
    InputError
        If there is no random term, there are fewer than two groups more than random terms, or
        the prior leaves no proper posterior.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> g = np.repeat(np.arange(20), 30)
    >>> y = rng.normal(size=20)[g] + rng.normal(scale=3, size=600)
    >>> d = DesignMoments.from_arrays(y, {"Intercept": np.ones(600)}, ["Intercept"], g)
    >>> sample_posterior(d, draws=1_000).vpc.shape
    (1, 1000)
    """
    design = formula if isinstance(formula, DesignMoments) else design_moments(formula, data)
    q, n_groups = len(design.random), len(design.groups)
    if q == 0:
        why = "the model has no random term, so there is nothing between groups to sample"
        raise InputError(why, hint="add one, as (1 | g)")
    if n_groups < q + 2:
        why = f"{n_groups} groups are too few to sample {q} random term(s)"
        raise InputError(why, hint=f"{q + 2} or more are needed")
    if draws < 1:
        raise InputError("no draw is asked for", hint="give 1 or more")
    point = random_row(design, None)
    sums = standardise(design)
    fit = fit_design(design, "ML")
    ml = fit.random_covariance.to_numpy(dtype=float), fit.residual_variance
    values = as_prior(prior).resolve(design, *ml)
    check_proper(sums, values, design.n_total)
    start = off_the_boundary(design, *ml), fit.residual_variance
    run = {"n_rows": design.n_total, "draws": draws, "burn_in": burn_in, "chains": chains}
    out = run_chains(sums, values, start, seed=seed, **run)
    drawn = out._replace(beta=sums.least_squares + out.beta @ sums.back.T)._asdict()
    between = np.einsum("i,...ij,j->...", point, out.random_covariance, point)
    share = between / (between + out.residual_variance)
    return Posterior(**drawn, vpc=share, design=design, prior=values, seed=seed, burn_in=burn_in)
