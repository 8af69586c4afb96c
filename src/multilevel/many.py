"""Many fits at once: stacks of moments that share the roles of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from multilevel.identify import constant_column
from multilevel.likelihood import Array, Stack, coordinates, pieces, standardise
from multilevel.search import solve

__all__ = ["ManyFits", "fit_many", "stack_designs"]

#: Groups worked on at a time, so that the arrays stay in the processor's cache.
_BLOCK = 6_000
_ROUNDING = 1e-12


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
        Variance partition coefficient at the point given, or at the means of the random terms.
    singular, converged : ndarray of bool, shape (R,)
    fixed_names, random_names : tuple of str
    method : str
    """

    deviance: Array
    beta: Array
    beta_covariance: Array
    random_covariance: Array
    residual_variance: Array
    vpc: Array
    singular: NDArray[np.bool_]
    converged: NDArray[np.bool_]
    fixed_names: tuple[str, ...]
    random_names: tuple[str, ...]
    method: str

    def __len__(self) -> int:
        """Return the number of fits."""
        return len(self.deviance)

    def table(self) -> pd.DataFrame:
        """One row a fit: deviance, coefficients, variance components, vpc, singular, converged."""
        columns: dict[str, NDArray[np.float64] | NDArray[np.bool_]] = {"deviance": self.deviance}
        columns.update({name: self.beta[:, i] for i, name in enumerate(self.fixed_names)})
        names = self.random_names
        for i, j in coordinates(len(names)):
            label = f"var({names[i]})" if i == j else f"cov({names[j]}, {names[i]})"
            columns[label] = self.random_covariance[:, i, j]
        columns["residual"] = self.residual_variance
        columns.update(vpc=self.vpc, singular=self.singular, converged=self.converged)
        return pd.DataFrame(columns)


def stack_designs(designs: Sequence[DesignMoments]) -> tuple[Array, NDArray[np.int64]]:
    """Stack designs with the same columns: cross-products (R, J, m, m) and rows (R, J).

    Designs with fewer groups are filled up with groups that have no rows.

    Raises
    ------
    InputError
        If there is no design or their columns differ.
    """
    if not designs:
        raise InputError("there is no design to fit")
    first = designs[0]
    roles = (first.names, first.fixed, first.random, first.response)
    if any((d.names, d.fixed, d.random, d.response) != roles for d in designs):
        raise InputError("the designs differ in their columns", hint="fit them one by one")
    most, width = max(len(d.groups) for d in designs), len(first.names)
    cross = np.zeros((len(designs), most, width, width))
    n = np.zeros((len(designs), most), dtype=np.int64)
    for row, design in enumerate(designs):
        cross[row, : len(design.groups)] = design.cross
        n[row, : len(design.groups)] = design.n
    return cross, n


def fit_many(
    designs: DesignMoments | Sequence[DesignMoments],
    cross: ArrayLike | None = None,
    n: ArrayLike | None = None,
    *,
    method: str = "ML",
    point: ArrayLike | None = None,
) -> ManyFits:
    """Fit one model to many designs as arrays.

    Parameters
    ----------
    designs : DesignMoments or sequence of DesignMoments
        Either the designs, or one design whose columns' roles hold for `cross`.
    cross : array_like of shape (R, J, m, m), optional
        Cross-products of each design and group. Needed when one design is given.
    n : array_like of shape (R, J) or (J,), optional
        Rows; those of the one design unless given.
    method : {"ML", "REML"}
    point : array_like of shape (q,), optional
        Values of the random terms at which to report the variance partition coefficient; their
        pooled means in each design unless given.

    Returns
    -------
    ManyFits
        A design that is not identified has NaN and ``converged`` False: in a simulation it is a
        result, not an error.

    Examples
    --------
    >>> from multilevel.replicate import replicate_moments
    >>> rng = np.random.default_rng(1)
    >>> d = DesignMoments.from_arrays(rng.normal(size=60), {"Intercept": np.ones(60)},
    ...                               ["Intercept"], np.repeat(np.arange(6), 10))
    >>> fits = fit_many(d, replicate_moments(d, [3.0], [[1.0]], 4.0, 500, rng))
    >>> len(fits), bool(fits.converged.all())
    (500, True)
    """
    roles = designs if isinstance(designs, DesignMoments) else designs[0] if designs else None
    if roles is None:
        raise InputError("there is no design to fit")
    if isinstance(designs, DesignMoments):
        blocks = designs.cross[None] if cross is None else np.asarray(cross, dtype=float)
        counts = np.asarray(designs.n if n is None else n)
    else:
        blocks, counts = stack_designs(designs)
    if blocks.ndim != 4 or blocks.shape[-1] != len(roles.names):
        raise InputError(f"cross-products of shape (R, J, {len(roles.names)}, same) are needed")
    patients = np.broadcast_to(counts, blocks.shape[:2]).sum(axis=1).astype(float)
    name = method.upper()
    if name not in ("ML", "REML"):
        raise InputError('the method is neither "ML" nor "REML"', hint="give one of the two")
    size = max(1, _BLOCK // max(blocks.shape[1], 1))
    parts = [
        _fit_block(roles, blocks[i : i + size], patients[i : i + size], name == "REML", point)
        for i in range(0, len(blocks), size)
    ]
    joined: dict[str, Any] = {
        key: np.concatenate([part[key] for part in parts]) for key in parts[0]
    }
    return ManyFits(
        **joined, fixed_names=roles.fixed_names, random_names=roles.random_names, method=name
    )


def _fit_block(
    roles: DesignMoments, cross: Array, n: Array, reml: bool, point: ArrayLike | None
) -> dict[str, NDArray[Any]]:
    """Fit designs that fit into the cache together; those not identified keep NaN."""
    usable = _usable(roles, cross, n)
    rows, p, q = len(cross), len(roles.fixed), len(roles.random)
    out: dict[str, NDArray[Any]] = {
        "deviance": np.full(rows, np.nan),
        "beta": np.full((rows, p), np.nan),
        "beta_covariance": np.full((rows, p, p), np.nan),
        "random_covariance": np.full((rows, q, q), np.nan),
        "residual_variance": np.full(rows, np.nan),
        "vpc": np.full(rows, np.nan),
        "singular": np.zeros(rows, dtype=bool),
        "converged": np.zeros(rows, dtype=bool),
    }
    if usable.any():
        stack = standardise(
            cross[usable], n[usable], roles.fixed, roles.random, roles.response, reml
        )
        where = _points(roles, cross[usable]) if point is None else np.asarray(point, dtype=float)
        for key, values in _raw(stack, where).items():
            out[key][usable] = values
    return out


def _usable(roles: DesignMoments, cross: Array, n: Array) -> NDArray[np.bool_]:
    """Which designs are identified, as far as their pooled columns tell."""
    total = cross.sum(axis=1)
    good = np.isfinite(total).all(axis=(1, 2)) & (n > len(roles.fixed))
    total = np.where(good[:, None, None], total, np.eye(total.shape[-1]))
    size = np.sqrt(np.maximum(np.diagonal(total, axis1=1, axis2=2), 1e-300))
    scaled = total / (size[:, :, None] * size[:, None, :])
    together = (*roles.fixed, roles.response)
    for terms in (together, roles.random):
        if terms:
            square = scaled[:, list(terms)][:, :, list(terms)]
            good &= np.linalg.eigvalsh(square)[:, 0] > _ROUNDING
    out: NDArray[np.bool_] = good
    return out


def _points(roles: DesignMoments, cross: Array) -> Array:
    """Pooled means of the random terms in each design, shape (R, q)."""
    constant = constant_column(roles)
    if constant is None:
        raise InputError("no constant is stored, so means are not known", hint="give a point")
    total = cross.sum(axis=1)
    out: Array = total[:, constant, list(roles.random)] / total[:, constant, constant][:, None]
    return out


def _raw(stack: Stack, point: Array) -> dict[str, NDArray[Any]]:
    """Optima of a stack in raw units."""
    found = solve(stack)
    at = pieces(stack, found.g)
    unit = stack.scale**2
    residual = unit * at.squares / stack.dof
    x_back = np.linalg.inv(stack.x_root).swapaxes(-1, -2)
    beta = stack.ols + stack.scale[:, None] * (x_back @ at.beta[..., None])[..., 0]
    covariance = residual[:, None, None] * x_back @ at.inverse @ x_back.swapaxes(-1, -2)
    z_back = np.linalg.inv(stack.z_root).swapaxes(-1, -2)
    relative = z_back @ found.g @ z_back.swapaxes(-1, -2)
    share = np.einsum("...i,...ij,...j->...", point, relative, point)
    return {
        "deviance": found.deviance,
        "beta": beta,
        "beta_covariance": covariance,
        "random_covariance": residual[:, None, None] * relative,
        "residual_variance": residual,
        "vpc": share / (1.0 + share),
        "singular": found.rank < stack.q,
        "converged": found.converged,
    }
