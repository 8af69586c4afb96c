"""Random-intercept logistic models for yes-or-no outcomes, by adaptive quadrature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import betaln, expit

from multilevel.arguments import Checked
from multilevel.design import Array, DesignMoments
from multilevel.errors import InputError
from multilevel.intervals import Interval, profile_bounds
from multilevel.nested_search import Proof, prove
from multilevel.partition import random_row
from multilevel.quadrature import EDGE, FEW_NODES, MOST_NODES, Cells, Point, measure, minimise
from multilevel.ratio_test import LikelihoodRatioTest, boundary_test
from multilevel.residuals import ranked
from multilevel.rows import ModelRows, model_rows
from multilevel.solution import coefficient_table

#: Variance of the standard logistic distribution: that of rows on the latent scale.
_LOGISTIC = np.pi**2 / 3.0
#: Of this many standard deviations the median odds ratio is the exponential: the normal's third
#: quartile, times the root of two.
_MEDIAN = 0.9538725524089398
#: Standard deviations from which the search starts, until one does not end at zero: from there no
#: derivative leads away, and a large step may lead there.
_STARTS = (0.6, 0.15, 0.04)
#: Beyond this standard deviation on the log-odds scale there is no estimate.
_LARGEST = 10.0
#: Weights of the predictors below this share of a row say that they separate the outcomes.
_SEPARATED = 1e-8
#: Groups lie far apart on a predictor that varies so many times as much between as within them.
_APART = 4.0
#: A predictor of which earlier ones leave less than this share is one of them.
_DEPENDENT = 1e-9
#: Of a constant rounding leaves less than this share of the mean square within groups.
_ROUNDING = 1e-24
#: Optima whose deviances differ by less are one optimum.
_SAME = 1e-9
#: Numbers of nodes where none is stated, each taken if the next gives the same deviance.
_NODES = (15, 25, 50, 100, 200, MOST_NODES)
#: And further ones where a variance is held far above its estimate.
_FURTHER = (1_000, 3_000, 10_000, 30_000)
#: Deviances by two numbers of nodes are the same if they differ by no more.
_ENOUGH = 2e-7
#: So they are where a variance is held: it makes less than a thousandth of a bound.
_HELD_ENOUGH = 1e-4
#: Variances of an interval at which a share is looked at.
_PATH = 9
#: Steps of the model without groups before its optimum is looked for in earnest.
_PLAIN_STEPS = 5


@dataclass(frozen=True, repr=False)
class BinaryFit(Checked):
    """A fitted random-intercept logistic model; `fit_binary` makes it.

    Attributes
    ----------
    design : DesignMoments
        Names and means of the columns, and the groups.
    nodes : int
        Nodes of the quadrature: those stated, or as many as were needed.
    """

    design: DesignMoments
    nodes: int
    _cells: Cells
    _root: Array
    _numbers: Sequence[int]
    _constant: float
    _boundary: Point
    _point: Point

    def __repr__(self) -> str:
        y, s = self.design.names[self.design.response], "s" * (self.nodes > 1)
        return (
            f"<BinaryFit of {y} with {self.nodes} node{s}: {self.n:,} outcomes, "
            f"{self.n_groups:,} groups, deviance {self.deviance:.3f}>"
        )

    @property
    def deviance(self) -> float:
        """Minus twice the log marginal likelihood, binomial constants counted as in `glmer`."""
        return self._point.deviance + self._constant

    @property
    def n(self) -> int:
        """Rows; trials where the rows are counts."""
        return int(self._cells.trials.sum())

    @property
    def n_groups(self) -> int:
        """Groups."""
        return len(self.design.groups)

    @property
    def variance(self) -> float:
        """Variance of the groups' intercepts on the log-odds scale."""
        return float(self._point.theta[-1] ** 2)

    @property
    def variance_se(self) -> float:
        """Standard error of the variance by observed information; NaN where it is zero."""
        se = float(np.sqrt(2.0 * np.linalg.inv(self._bend)[-1, -1]))
        return float("nan") if self.singular else 2.0 * self.variance**0.5 * se

    @property
    def singular(self) -> bool:
        """Whether the variance is zero."""
        return self.variance == 0.0

    @property
    def converged(self) -> bool:
        """Whether the optimum is certified: flat, a minimum, and no higher than the boundary."""
        return self.certificate.holds(1e-5 * max(1.0, self.n**0.5))

    @cached_property
    def certificate(self) -> Proof:
        """Why the optimum is believed to be one, predictors standardised."""
        # Half the second derivative by a standard deviation of zero is that by the variance.
        inward = float(self._boundary.bend[-1, -1]) / 2.0 if self.singular else np.nan
        faces = {self.design.group_name: self._boundary.deviance + self._constant}
        return prove(self._point.slope[: len(self._bend)], self._bend, inward, faces)

    def by_nodes(self, nodes: ArrayLike = (1, 5, 15, 30)) -> pd.DataFrame:
        """Fit again with other numbers of nodes, to see whether they matter.

        Returns
        -------
        DataFrame
            By nodes: deviance, variance, and matters, whether the variance is off by more than a
            twentieth of what the most nodes give.
        """
        numbers = _numbers_of_nodes(nodes)
        found = [_search(self._cells, self._root, self._boundary, k) for k in numbers]
        variance = np.array([point.theta[-1] ** 2 for point in found])
        best = variance[np.argmax(numbers)]
        columns = {
            "deviance": [point.deviance + self._constant for point in found],
            "variance": variance,
            "matters": np.abs(variance - best) > 0.05 * best,
        }
        return pd.DataFrame(columns, index=pd.Index(numbers, name="nodes"))

    @cached_property
    def fixed(self) -> pd.DataFrame:
        """Fixed coefficients by term: estimate, se, z and two-sided p_value (normal)."""
        sampling = 2.0 * np.linalg.inv(self._bend)[: len(self._root), : len(self._root)]
        se = np.sqrt(np.diagonal(self._root @ sampling @ self._root.T))
        return coefficient_table(self.design.fixed_names, self._root @ self._point.theta[:-1], se)

    def likelihood_ratio(self) -> LikelihoodRatioTest:
        """Test whether the groups differ: against the model without a random intercept."""
        return boundary_test(self._boundary.deviance - self._point.deviance, 1, 1)

    def residuals(self, multiplier: float = 1.96, lower_is_better: bool = False) -> pd.DataFrame:
        """Mode of each group's random intercept on the log-odds scale, and its rank.

        Parameters
        ----------
        multiplier : float
            Half-width of the interval in standard errors.
        lower_is_better : bool
            Rank 1, the best group, is the lowest; unless given the highest, as for recovery.

        Returns
        -------
        DataFrame
            By group: n, successes, expected (in an average over groups, given the predictors),
            residual, se (conditional, as lme4's), lower, upper, rank.
        """
        (*beta, sd), cells, sums = self._point.theta, self._cells, self._cells.sums
        residual, se = sd * self._point.modes, abs(sd) / np.sqrt(self._point.precision)
        columns = {
            "n": sums(cells.trials).astype(int),
            "successes": sums(cells.successes).astype(int),
            "expected": sums(cells.trials * rate_average(cells.x @ beta, sd)[0]),
            **ranked(residual, se, multiplier, lower_is_better),
        }
        return pd.DataFrame(columns, pd.Index(self.design.groups, name=self.design.group_name))

    def profile_interval(self, level: float = 0.95) -> Interval:
        """Profile-likelihood interval of the variance."""
        found = self._point.deviance
        bounds = profile_bounds(lambda v: self._held(v).deviance, self.variance, found, level)
        return Interval(self.variance, *bounds, level)

    def median_odds_ratio(self, level: float = 0.95) -> Interval:
        """Median odds ratio between two groups drawn at random, the higher over the lower.

        Larsen & Merlo (2005), American Journal of Epidemiology 161, 81-88.
        """
        return self.profile_interval(level).of(lambda v: float(np.exp(_MEDIAN * v**0.5)))

    def vpc(
        self,
        scale: Literal["latent", "probability"] = "latent",
        at: Mapping[str, float] | None = None,
        level: float = 0.95,
    ) -> Interval:
        """Variance partition coefficient on one of two scales, which are not comparable.

        Parameters
        ----------
        scale : {"latent", "probability"}
            Variance over variance plus pi squared / 3; or, of the outcome itself, the variance
            of the groups' probabilities over the whole variance of the yes-or-no outcome.
        at : mapping of str to float, optional
            Predictors in original units, for the probability scale; their means unless given.
        level : float
            Of the profile interval. On the probability scale from the least to the greatest share
            with a variance in its interval, each with the fixed part that goes with it: what else
            is uncertain in the fixed part is left out, and far from the rows that is most of it.
        """
        if at and scale == "latent":
            why = "on the latent scale the share is the same whatever the predictors"
            raise InputError(why, hint='leave at= out, or take the scale "probability"')
        row = self._row(at or {}) if scale == "probability" else None

        def share(variance: float) -> float:
            if row is None or np.isinf(variance):
                return 1.0 / (1.0 + _LOGISTIC / variance) if variance else 0.0
            point = self._point if variance == self.variance else self._held(variance)
            return outcome_share(float(row @ point.theta[:-1]), variance**0.5)

        found = self.profile_interval(level)
        if row is None or np.isinf(found.upper):
            return found.of(share)
        # Far from the rows the fixed part may take the share down where the variance grows.
        path = np.linspace(found.lower**0.5, found.upper**0.5, _PATH) ** 2
        shares = [share(v) for v in (found.estimate, *path)]
        return Interval(shares[0], min(shares), max(shares), level)

    def rates(
        self,
        percentiles: ArrayLike = (0.05, 0.25, 0.5, 0.75, 0.95),
        at: Mapping[str, float] | None = None,
        variance: float | None = None,
    ) -> pd.DataFrame:
        """Rate that is expected with groups at these percentiles.

        Parameters
        ----------
        percentiles : array_like
        at : mapping of str to float, optional
            Predictors in original units; averaged over all rows unless given.
        variance : float, optional
            Of the groups, in place of the estimate: a bound of it, for instance.

        Returns
        -------
        DataFrame
            By percentile: residual (log odds) and rate.
        """
        from scipy.stats import norm

        index = pd.Index(np.ravel(np.asarray(percentiles, dtype=float)), name="percentile")
        variance = self.variance if variance is None else variance
        if not (((index > 0.0) & (index < 1.0)).all() and 0.0 <= variance < np.inf):
            raise InputError("percentiles lie between 0 and 1, a variance is 0 or more")
        residual = variance**0.5 * norm.ppf(index)
        weights = self._cells.trials if at is None else None
        eta = (self._cells.x if at is None else self._row(at)[None]) @ self._point.theta[:-1]
        rate = [float(np.average(expit(eta + r), weights=weights)) for r in residual]
        return pd.DataFrame({"residual": residual, "rate": rate}, index=index)

    @property
    def _bend(self) -> Array:
        """Second derivatives by the parameters that are not held on the boundary."""
        free = slice(len(self._point.theta) - self.singular)
        return self._point.bend[free, free]

    def _held(self, variance: float) -> Point:
        """Find the optimum with the variance held, with as many nodes as it takes there."""
        theta = np.append(self._point.theta[:-1], variance**0.5)
        point = minimise(self._cells, theta, self.nodes, self._point.modes, True)
        return _settle(self._cells, point, [k for k in self._numbers if k >= self.nodes], True)[1]

    def _row(self, at: Mapping[str, float]) -> Array:
        """Standardised fixed terms at a point; at the predictors' means where none is given."""
        row = random_row(replace(self.design, random=self.design.fixed), at)
        if not np.isfinite(row).all():
            raise InputError("the mean of a predictor is not known", hint="give its value in at=")
        return np.asarray(row @ self._root)


def rate_average(eta: Any, sd: float) -> tuple[Array, Array]:
    """Mean and variance of the rate over groups whose log odds are normal about `eta`."""
    # Evenly spaced nodes are exact to rounding if closer than the logistic's poles, and as far out
    # as the rarer outcome comes from. Where groups do not differ, rounding is no variance.
    step = 0.6 / max(abs(sd), 1.2)
    reach = 9.0 + min(2.0 * abs(sd), float(np.abs(eta).max()) / max(abs(sd), 1e-9))
    z = step * np.arange(-(reach // step), reach // step + 1.0) if sd else np.zeros(1)
    weights = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    p = expit(np.add.outer(eta, sd * z))
    mean = p @ weights
    return mean, (p - np.expand_dims(mean, -1)) ** 2 @ weights


def outcome_share(eta: float, sd: float) -> float:
    """Share of a yes-or-no outcome's variance between groups whose log odds are normal."""
    # The same for either outcome: of the likelier one rounding would leave nothing.
    (mean, between), missed = rate_average(-abs(eta), sd), rate_average(abs(eta), sd)[0]
    if not mean * missed:
        why = "at this place the outcome is certain, and there is no variance to divide"
        raise InputError(why, hint="give values nearer to those of the rows")
    return float(between / (mean * missed))


def fit_binary(
    formula: str, data: Any, *, nodes: int | None = None, trials: str | None = None
) -> BinaryFit:
    """Fit a random-intercept logistic model by maximum likelihood.

    Parameters
    ----------
    formula : str
        ``"recovered ~ center(x) + (1 | g)"``: the response 0 or 1, or a count of successes.
    data : frame
        In memory.
    nodes : int, optional
        Of adaptive Gauss-Hermite quadrature; one is Laplace's approximation. Unless stated 15, and
        25, 50, 100, 200 or 300 where fewer give another deviance (see `BinaryFit.nodes`).
    trials : str, optional
        Column that holds how many trials each row's successes are of.

    Returns
    -------
    BinaryFit

    Raises
    ------
    InputError
        If the formula or the data cannot be used, or the data leave an estimate without limit.

    Examples
    --------
    >>> rows = {"y": [3, 5, 1, 8, 4], "size": [10, 9, 12, 11, 10], "g": list("abcde")}
    >>> fit = fit_binary("y ~ 1 + (1 | g)", pd.DataFrame(rows), trials="size")
    >>> fit.converged, round(fit.variance, 2)
    (True, 0.69)
    """
    numbers = _NODES if nodes is None else _numbers_of_nodes([nodes])
    rows = model_rows(formula, data, (trials,) if trials else (), "a yes-or-no outcome")
    design = rows.design
    if design.random_names != ("Intercept",) or not design.fixed:
        why = "a yes-or-no outcome needs a fixed term, a random intercept and no other random term"
        raise InputError(why, hint=f"write 1 + (1 | {design.group_name or 'g'})")
    success, size = _counts(rows, trials)
    _refuse_without_variation(rows, success, size)
    cells, root = _cells(rows, success, size)
    without = _without(design, cells, root)
    stated, point = nodes, _search(cells, root, without, numbers[0])
    nodes, point = _settle(cells, point, numbers, False)
    if abs(point.theta[-1]) > _LARGEST:
        raise InputError(
            "within groups the fixed terms tell successes from failures without error, or nearly "
            "so, or groups lie far apart on a predictor, and the variance has no estimate",
            hint="leave a term out, or take each group's mean off it",
            column=design.group_name,
        )
    numbers, constant = numbers if stated else [*numbers, *_FURTHER], _constant(success, size)
    return BinaryFit(design, nodes, cells, root, numbers, constant, without, point)


def _numbers_of_nodes(nodes: Any) -> list[int]:
    """Refuse what are no numbers of nodes, or none at all."""
    found = np.asarray(nodes)
    whole = found.ndim == 1 and found.size > 0 and found.dtype.kind in "iu"
    if not whole or found.min() < 1 or found.max() > MOST_NODES:
        raise InputError(f"numbers of nodes are whole numbers from 1 to {MOST_NODES}")
    return list(found.tolist())


def _counts(rows: ModelRows, trials: str | None) -> tuple[Array, Array]:
    """Successes and trials of each row; refuse what is no count."""
    success = rows.columns[:, rows.design.response]
    size = rows.further[trials].astype(float) if trials else np.ones(len(success))
    if not (np.isfinite(size) & (size >= 1.0) & (size == np.rint(size))).all():
        why = "trials are whole numbers from 1"
        raise InputError(why, hint="leave rows without a trial out", column=trials)
    if not ((success >= 0.0) & (success <= size) & (success == np.rint(success))).all():
        raise InputError(
            "a yes-or-no outcome is 0 or 1 in every row, or counts successes from 0 to the trials",
            column=rows.design.names[rows.design.response],
            hint="make such a column, or name the column of trials with trials=",
        )
    return success, size


def _constant(success: Array, size: Array) -> float:
    """Minus twice the log of the numbers of orders in which the successes could have come."""
    return float(2.0 * (np.log1p(size) + betaln(success + 1.0, size - success + 1.0)).sum())


def _refuse_without_variation(rows: ModelRows, success: Array, size: Array) -> None:
    """Refuse outcomes that say nothing of how groups differ."""
    hits, trials = np.bincount(rows.codes, success), np.bincount(rows.codes, size)
    problem = ""
    if not hits.any() or (hits == trials).all():
        problem = "every row has the same outcome, so that nothing varies"
    elif len(trials) < 2:
        problem = "one group says nothing about how groups differ"
    elif trials.max() <= 1.0:
        problem = "no group has more than one trial, so that groups cannot be told apart"
    elif ((hits == 0.0) | (hits == trials)).all():
        problem = "every group has all successes or none, so that the variance has no estimate"
    if problem:
        raise InputError(problem, hint="describe the groups instead", column=rows.design.group_name)


def _cells(rows: ModelRows, success: Array, size: Array) -> tuple[Cells, Array]:
    """Rows that share group and predictors counted once, predictors made orthonormal."""
    x, names = rows.columns[:, rows.design.fixed], rows.design.fixed_names
    by = (rows.codes, *x.T)
    try:
        # One whole number is sorted several times as fast as all columns.
        parts, values = zip(*(pd.factorize(column, sort=True) for column in by), strict=True)
        pattern = np.ravel_multi_index(parts, [*map(len, values)])
    except ValueError:  # there are no such large numbers
        pattern = pd.DataFrame(x).groupby([*by]).ngroup().to_numpy()
    order = np.argsort(pattern)
    first = np.flatnonzero(np.diff(pattern[order], prepend=-1))
    successes, trials = (np.add.reduceat(v[order], first) for v in (success, size))
    x, group, share = x[order[first]], rows.codes[order[first]], trials / trials.sum()
    # Zeros below make the factor square where cells are fewer than terms.
    weighted = np.vstack([x * np.sqrt(share)[:, None], np.zeros((len(names), len(names)))])
    upper = np.linalg.qr(weighted, mode="r")
    known = np.abs(np.diagonal(upper)) <= _DEPENDENT * np.linalg.norm(upper, axis=0)
    if known.any():
        raise InputError(
            "the terms before this one predict it exactly, or it is the same in every row",
            hint="drop it, or one of those it depends on",
            column=names[known.argmax()],
        )
    root = np.linalg.inv(upper)
    return Cells(group, np.ascontiguousarray(x @ root), trials, successes), root


def _without(design: DesignMoments, cells: Cells, root: Array) -> Point:
    """Find the optimum without a random intercept, which is the same with any nodes."""
    start = np.append(_plain(cells), 0.0)
    found = minimise(cells, start, FEW_NODES, np.zeros(len(design.groups)), True)
    values, axes = np.linalg.eigh(found.bend[:-1, :-1])
    if values[0] < _SEPARATED * cells.trials.sum():
        spread = (cells.x @ np.linalg.inv(root)).std(axis=0)
        raise InputError(
            "the fixed terms predict the outcome of some rows without error (separation), so that "
            "their coefficients have no estimate",
            hint="leave a term out, or join levels of a category",
            column=design.fixed_names[int(np.argmax(np.abs(root @ axes[:, 0]) * spread))],
        )
    return found


def _plain(cells: Cells) -> Array:
    """Coefficients of the logistic model without groups, by steps of at most four log odds."""
    x, trials, beta = cells.x, cells.trials, np.zeros(cells.x.shape[1])
    for _ in range(_PLAIN_STEPS):
        chance = expit(x @ beta)
        slope = x.T @ (cells.successes - trials * chance)
        step = np.linalg.solve((x.T * (trials * chance * (1.0 - chance))) @ x, slope)
        beta += step * (4.0 / max(4.0, float(np.abs(x @ step).max())))
    return beta


def _settle(cells: Cells, point: Point, numbers: Sequence[int], held: bool) -> tuple[int, Point]:
    """Find the optimum with the first of some numbers of nodes that the next one confirms."""
    enough, largest = (_HELD_ENOUGH, np.inf) if held else (_ENOUGH, _LARGEST)
    for nodes, more in pairwise(numbers):
        # Log odds beyond the edge are not told apart.
        if held and np.abs(cells.x @ point.theta[:-1]).max() > EDGE:
            break
        again = measure(cells, point.theta, more, point.modes)
        if abs(again.deviance - point.deviance) <= enough or abs(point.theta[-1]) > largest:
            return nodes, point
        # A search from afar may fail with many nodes where one from nearby does not.
        point = minimise(cells, point.theta, more, point.modes, held)
    if held and len(numbers) > 1:
        why = "the data allow variances so large that the likelihood cannot be integrated there"
        raise InputError(why, hint="ask for a lower level, or state nodes= in fit_binary")
    return numbers[-1], point


def _search(cells: Cells, root: Array, without: Point, nodes: int) -> Point:
    """Find the optimum, which may be the one without a random intercept."""
    starts = [np.append(without.theta[:-1], sd) for sd in _STARTS]
    tried = (minimise(cells, theta, nodes, without.modes, False) for theta in starts)
    best = next((one for one in tried if one.deviance < without.deviance - _SAME), without)
    # Where groups lie far apart, what holds within them tells where else to look.
    level = cells.sums(cells.trials[:, None] * cells.x) / cells.sums(cells.trials)[:, None]
    within = replace(cells, x=cells.x - level[cells.group])
    # In columns as they were given: those made orthonormal mix what differs between groups alone.
    back = np.linalg.inv(root)
    own, between = ((x @ back).var(axis=0) for x in (within.x, level))
    apart = (between > _APART * own) & (own > _DEPENDENT * between + _ROUNDING * (back**2).sum(0))
    if best is not without and not apart.any():
        return best
    theta = minimise(within, starts[-1], nodes, without.modes, False).theta
    # Slopes without limit are no place to start from.
    theta /= max(1.0, 0.2 * float(np.abs(within.x @ theta[:-1]).max()))
    offset = level @ theta[:-1]
    theta[-1] = np.hypot(_STARTS[0], offset.std())
    found = minimise(cells, theta, nodes, -offset / theta[-1], False)
    return found if found.deviance < best.deviance - _SAME else best
