"""Many fits of one model at once, each to data of its own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.identify import ROUNDING, method_name, standardise, tells_variances, too_far
from multilevel.likelihood import Array, Stack, pieces
from multilevel.search import solve


@dataclass(frozen=True)
class ManyFits:
    """Fits to `R` designs as arrays; a design that cannot be fitted has NaN throughout.

    Attributes
    ----------
    deviance : ndarray of shape (R,)
    beta : ndarray of shape (R, p)
        Fixed coefficients in raw units.
    beta_covariance : ndarray of shape (R, p, p)
    random_covariance : ndarray of shape (R, q, q)
    residual_variance : ndarray of shape (R,)
    vpc : ndarray of shape (R,)
        Variance partition coefficient at the means of the random terms.
    singular, converged : ndarray of bool, shape (R,)
    """

    deviance: Array
    beta: Array
    beta_covariance: Array
    random_covariance: Array
    residual_variance: Array
    vpc: Array
    singular: NDArray[np.bool_]
    converged: NDArray[np.bool_]


def fit_many(
    design: DesignMoments, cross: ArrayLike, n: ArrayLike | None = None, *, method: str = "ML"
) -> ManyFits:
    """Fit one model to many designs as arrays.

    Parameters
    ----------
    design : DesignMoments
        A design whose columns' roles hold for `cross`.
    cross : array_like of shape (R, J, m, m)
        Cross-products of each design and group.
    n : array_like of shape (R, J) or (J,), optional
        Rows; those of the one design unless given.
    method : {"ML", "REML"}

    Returns
    -------
    ManyFits
        A design that is not identified, or has a column too far from zero for its spread to be
        told, has NaN and ``converged`` False: in a simulation it is a result, not an error.

    Examples
    --------
    Each group left out in turn:

    >>> rng = np.random.default_rng(1)
    >>> d = DesignMoments.from_arrays(rng.normal(size=60), {"Intercept": np.ones(60)},
    ...                               ["Intercept"], np.repeat(np.arange(6), 10))
    >>> kept = 1 - np.eye(6)
    >>> fits = fit_many(d, d.cross * kept[:, :, None, None], d.n * kept)
    >>> fits.vpc.shape, bool(fits.converged.all())
    ((6,), True)
    """
    m = len(design.names)
    wanted = f"cross-products of shape (R, J, {m}, {m}), and rows by group, are needed"
    try:
        blocks = np.asarray(cross, dtype=float)
        counts = np.broadcast_to(np.asarray(design.n if n is None else n, float), blocks.shape[:2])
    except (TypeError, ValueError):
        raise InputError(wanted) from None
    shaped = blocks.ndim == 4 and blocks.shape[2:] == (m, m) and len(blocks) > 0
    if not shaped or (counts >= 2.0**53).any():
        raise InputError(wanted)
    return _fitted(design, blocks, counts.sum(axis=1), method_name(method) == "REML")


def shares_without(designs: Sequence[DesignMoments], blocks: Sequence[Any]) -> Array:
    """Variance partition coefficients of several models of the same groups, blocks left out.

    Parameters
    ----------
    designs : sequence of DesignMoments
    blocks : sequence of ndarray of int
        The groups that are left out together, each block in its turn.

    Returns
    -------
    ndarray of shape (blocks, models)
    """

    def without(block: Any) -> list[float]:
        # The share at the means is that of the raw columns, and far ones lose no digits.
        kept = np.delete(np.arange(len(designs[0].n)), block)
        return [fit_many(d, d.products[None, kept], d.n[kept]).vpc[0] for d in designs]

    with ThreadPoolExecutor() as cores:
        return np.array(list(cores.map(without, blocks)))


def _fitted(roles: DesignMoments, cross: Array, n: Array, reml: bool) -> ManyFits:
    """Fit the designs that are identified; the others keep NaN."""
    every = standardise(cross, n, roles.fixed, roles.random, roles.response, reml)
    own = [f.name for f in fields(every) if f.init and f.name != "reml"]
    columns = [*roles.random, *roles.fixed, roles.response]
    known = (every.left > ROUNDING) & ~too_far(cross.sum(axis=1), columns, roles.constant)
    usable = np.flatnonzero((n > every.p) & known.all(axis=1) & tells_variances(every))
    stack = replace(every, **{name: getattr(every, name)[usable] for name in own})
    out: dict[str, NDArray[Any]] = {}
    for key, values in _raw(stack, roles.random_means(cross[usable].sum(axis=1))).items():
        unknown = False if values.dtype == bool else np.nan
        out[key] = np.full((len(cross), *values.shape[1:]), unknown)
        out[key][usable] = values
    return ManyFits(**out)


def _raw(stack: Stack, point: Array) -> dict[str, NDArray[Any]]:
    """Optima of a stack in raw units."""
    found = solve(stack)
    at = pieces(stack, found.g)
    residual = stack.scale**2 * at.squares / stack.dof
    x_back = np.linalg.inv(stack.x_root).swapaxes(-1, -2)
    beta = stack.ols + stack.scale[:, None] * (x_back @ at.beta[..., None])[..., 0]
    z_back = np.linalg.inv(stack.z_root).swapaxes(-1, -2)
    relative = z_back @ found.g @ z_back.swapaxes(-1, -2)
    share = np.einsum("...i,...ij,...j->...", point, relative, point)
    return {
        "deviance": found.deviance,
        "beta": beta,
        "beta_covariance": residual[:, None, None] * x_back @ at.inverse @ x_back.swapaxes(-1, -2),
        "random_covariance": residual[:, None, None] * relative,
        "residual_variance": residual,
        "vpc": share / (1.0 + share),
        "singular": found.rank < stack.q,
        "converged": found.converged,
    }
