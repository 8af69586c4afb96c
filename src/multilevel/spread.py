"""A residual standard deviation that depends on a predictor (`spread=`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multilevel.design import Array, DesignMoments
from multilevel.errors import InputError
from multilevel.expression import Expression, evaluate, is_rowwise, names_in
from multilevel.formula import parse_formula
from multilevel.memory import grouped_sums
from multilevel.rows import model_rows

#: Where nothing can be told of a model: beyond any deviance, and SciPy may subtract it.
NO_FIT = 1e30
#: A deviance that changes by less, where scales do by a hundredth or so, is flat.
_FLAT = 1e-6
#: At one end of the variable more rows than this are not few.
_FEW = 100
#: The share of few rows' response that is left of it where they are predicted without error.
_ROUNDING = 1e-9
_HINT = "leave out the spread, or those rows"
#: Scales are nearer to one than e to this power, so that products of them are numbers.
_FARTHEST = 170.0
#: Steps in delta, of a tenth in the scales each, at which valleys are looked for; and by how much
#: each step away from zero has to lower the deviance.
_SLOPE = 1e-4
_SCAN = (*range(-24, -12, 2), *range(-12, 13), *range(14, 25, 2))


@dataclass(frozen=True)
class Spread:
    """How the residual standard deviation depends on a predictor.

    With ``v`` the variable, it is ``sigma * v ** delta`` (power) or ``sigma * exp(delta * v)``.

    Attributes
    ----------
    text : str
        As given, for example ``"power(x + 1)"``.
    delta, se : float
        Estimate, and its standard error by the curvature of the profile.
    ratio : float
        Likelihood ratio against delta = 0, with one degree of freedom.
    log_scale : float
        Twice the sum of the logs of the rows' scales, which the deviance includes.
    means : mapping of str to float
        Mean of each column that the variable uses.
    plain : DesignMoments
        The design of the rows as they are, not scaled.
    neighbours : tuple
        The fits at one standard error below and above delta; intervals carry its uncertainty
        through them.
    """

    text: str
    delta: float
    se: float
    ratio: float
    log_scale: float
    expression: Expression = field(repr=False)
    means: Mapping[str, float] = field(repr=False)
    plain: DesignMoments = field(repr=False)
    neighbours: tuple[Any, ...] = field(default=(), repr=False)

    def same_as(self, other: Spread) -> bool:
        """Whether another depends on the same variable in the same way."""
        # By the same function: power or exp.
        return self.text[:3] == other.text[:3] and self.expression == other.expression

    def factor(self, at: Mapping[str, float]) -> float:
        """Residual variance at a point, as a multiple of sigma squared."""
        values = {**self.means, **at}
        log_unit = _log_unit(self.text, self.expression, lambda name: np.float64(values[name]))
        if not abs(self.delta * log_unit) < _FARTHEST:
            raise InputError("the residual variance is no number this far from the data")
        return float(np.exp(2.0 * self.delta * log_unit))


class ScaledRows(NamedTuple):
    """Rows of a design, to be divided by what the residual standard deviation is made of.

    Attributes
    ----------
    design : DesignMoments
        The design as it is without the dependence.
    columns : ndarray of shape (N, m)
        Columns of the design less its centres.
    codes : ndarray of int, shape (N,)
    log_unit : ndarray of shape (N,)
        Log of a row's scale at delta = 1.
    text, expression, means
        As in `Spread`.
    """

    design: DesignMoments
    columns: Array
    codes: NDArray[np.int64]
    log_unit: Array
    text: str
    expression: Expression
    means: Mapping[str, float]

    def scaled(self, delta: float, about: float = 0.0) -> DesignMoments:
        """Cross-products of the rows divided by their scales, the constant included.

        A scaled column is what is left of it about its centre, scaled, and the centre times the
        scaled constant: so a column far from zero loses no digits here either. With the mean of
        `log_unit` to be taken `about`, scales stay near one, whatever the variable's unit.
        """
        rows = self.columns * np.exp(-delta * (self.log_unit - about))[:, None]
        columns = {str(i): column for i, column in enumerate(np.ascontiguousarray(rows.T))}
        keys = tuple(combinations_with_replacement(columns, 2))
        sums = grouped_sums(self.codes, len(self.design.groups), columns, keys)
        centred, change = np.empty_like(self.design.cross), self.design.uncentring
        for (i, j), values in sums.items():
            centred[:, int(i), int(j)] = centred[:, int(j), int(i)] = values
        return replace(self.design, cross=change.T @ centred @ change, centred=centred)

    def log_scale(self, delta: float) -> float:
        """Twice the sum of the logs of the scales; refuses scales that are no numbers."""
        if not abs(delta) * float(np.abs(self.log_unit).max()) < _FARTHEST:
            hint = "write the variable about a typical value: power(x / 50), exp(x - 50)"
            raise InputError("sigma, far from all data, is no number", hint=hint)
        return 2.0 * delta * float(self.log_unit.sum())

    def refuse_unbounded(self, reml: bool) -> None:
        """Refuse few rows at one end of the variable that can be predicted without error.

        When their scales shrink against that of the first of the other rows, the deviance falls by
        twice the log of each, less what each random effect takes, or each term under REML, and
        rises by those of the rows beyond. Where it falls in all, it falls for ever, whatever
        maximum the likelihood has elsewhere.
        """
        for log_scale in (self.log_unit, -self.log_unit):
            few = log_scale <= log_scale.mean()
            if few.sum() > _FEW:
                continue
            further, codes = log_scale - log_scale[~few].min(), self.codes[few]
            rows = self.columns[few] / np.linalg.norm(self.columns, axis=0)
            x, y = rows[:, list(self.design.fixed)], rows[:, self.design.response]
            apart = (codes == np.unique(codes)[:, None])[:, :, None]
            effects = np.hstack([0.0 * x, *(apart * rows[:, list(self.design.random)])])
            for z in (0.0 * effects, effects):
                known = np.hstack([x, z])
                left = y - known @ np.linalg.lstsq(known, y)[0]
                taken = np.sort(further[few])[: np.linalg.matrix_rank(known if reml else z)].sum()
                falls = further.sum() - taken < -_ROUNDING * np.abs(further).sum()
                if falls and np.linalg.norm(left) <= _ROUNDING * np.linalg.norm(y):
                    why = "rows at one end of its variable can be predicted without error"
                    raise InputError(f"the likelihood has no maximum in delta: {why}", hint=_HINT)


def scaled_rows(formula: str, data: Any, spread: str) -> ScaledRows:
    """Read the rows of a model, and the variable that the residual spread depends on.

    Raises
    ------
    InputError
        For stored moments, frames that are not in memory, a variable that cannot be read, is
        not above zero where a power is asked, or does not vary.
    """
    expression = _variable(spread)
    own = tuple(dict.fromkeys(names_in(expression)))
    rows = model_rows(formula, data, own, "the residual spread")
    design, codes, raw = rows.design, rows.codes, rows.further
    log_unit = _log_unit(spread, expression, lambda name: raw[name].astype(float))
    if not np.isfinite(log_unit).all() or np.ptp(log_unit) == 0.0:
        why = "the residual spread cannot depend on a variable that is undefined or does not vary"
        raise InputError(why, hint=f"check {', '.join(own)}")
    means = {name: float(raw[name].mean()) for name in own}
    columns = rows.columns - np.array(design.centres)
    return ScaledRows(design, columns, codes, log_unit, spread.strip(), expression, means)


def _log_unit(spread: str, expression: Expression, column: Callable[[str], Any]) -> Any:
    """Log of the scale at delta = 1; refuses powers of what is not above zero."""
    with np.errstate(all="ignore"):
        v = np.asarray(evaluate(expression, column), dtype=float)
        if spread.strip().startswith("exp"):
            return v
        if not np.all(v > 0.0):
            hint = 'add a constant, as in "power(x + 1)"'
            raise InputError("a power needs a variable above zero in every row", hint=hint)
        return np.log(v)


def _variable(spread: str) -> Expression:
    """Return the expression inside ``power( )`` or ``exp( )``."""
    found = re.fullmatch(r"\s*(power|exp)\((.+)\)\s*", spread) if isinstance(spread, str) else None
    hint = 'write "power(x + 1)" or "exp(x)"'
    if found is None:
        raise InputError("the residual spread cannot be read", hint=hint)
    expression = parse_formula(f"I({found[2]}) ~ 1").response.factors[0]
    if not is_rowwise(expression) or not tuple(names_in(expression)):
        raise InputError("the residual spread needs columns and arithmetic", hint=hint)
    return expression


def profile_delta(deviance: Callable[[float], float], unit: float) -> tuple[float, float]:
    """Minimise a profile over delta; return it and its standard error.

    Parameters
    ----------
    deviance : callable
    unit : float
        A step in delta that changes the scales by about a tenth.

    Raises
    ------
    InputError
        Where there is no minimum, or a flat one.
    """
    from scipy.optimize import minimize_scalar

    @cache
    def height(steps: float) -> float:
        # In steps of the unit, as SciPy takes differences below 1e-11 for none.
        return deviance(steps * unit)

    # Few rows leave several valleys, and the one that begins at zero need not be the deepest.
    # Where the likelihood is flat but for rounding the nearest does.
    scan = np.array([height(k) + _SLOPE * abs(k) for k in _SCAN])
    around = np.minimum(np.append(np.inf, scan[:-1]), np.append(scan[1:], np.inf))
    valleys = [_SCAN[i] for i in np.argsort(scan) if scan[i] <= around[i]][:3]
    tried = (minimize_scalar(height, bracket=(k, k + 1.0), tol=1e-9) for k in valleys)
    found = min(tried, key=lambda one: float(one.fun))
    delta, low, step = float(found.x) * unit, float(found.fun), 0.2 * unit
    below, above = deviance(delta - step) - low, deviance(delta + step) - low
    flat = min(abs(above), abs(below)) < _FLAT
    # About a minimum the deviance rises alike on both sides.
    if not flat and not abs(above - below) < 0.5 * (above + below):
        why = "the likelihood has no maximum in delta that can be computed: few rows count for all"
        raise InputError(why, hint=_HINT)
    se = step * float(np.sqrt(2.0 / max(above + below, _FLAT)))
    if flat or max(deviance(delta - se), deviance(delta + se)) == NO_FIT:
        why = "the likelihood is flat in delta where it is highest, so that the rows do not tell it"
        raise InputError(why, hint="leave out the spread")
    return delta, se
