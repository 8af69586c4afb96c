"""Prior distributions for the multilevel model, and what they come to on given data.

Every prior here is an inverse-Wishart kernel for the covariance matrix of the random terms times
a factor that never exceeds one,

    p(Omega) ~ |Omega|^-((df + q + 1) / 2) exp(-tr(S Omega^-1) / 2) |R|^power exp(-sum(half * var)),

with ``R`` the correlation matrix and ``var`` the variances. That is why one sampler serves all: it
proposes from the inverse-Wishart that the kernel leads to, and the factor decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import ArrayLike

from multilevel.arguments import Checked
from multilevel.design import Array, DesignMoments
from multilevel.errors import InputError

Kind: TypeAlias = Literal["mlwin", "flat-sd", "half-normal", "inverse-wishart"]

#: Shape and rate of MLwiN's inverse-gamma prior for a variance.
GAMMA = (0.001, 0.001)
#: Eigenvalues of a correlation matrix are lifted to this before MLwiN's prior is built on it.
LEAST_EIGENVALUE = 0.1
#: Below this LKJ shape so much of the prior lies at correlations that rounding makes exactly one
#: that a chain would meet matrices which cannot be inverted.
LEAST_LKJ = 0.5
#: Larger numbers have squares that floats do not hold.
_LARGEST = 1e100


@dataclass(frozen=True)
class PriorValues:
    """A prior with its numbers, for given data.

    Attributes
    ----------
    name : str
        The prior in words, as printed under a table.
    df, scale : float, ndarray of shape (q, q)
        Inverse-Wishart kernel of the random terms' covariance matrix.
    power : float
        Power of the determinant of the correlation matrix.
    half : ndarray of shape (q,)
        Multipliers of the variances in the exponent: ``1 / (2 scale**2)`` for a half-normal.
    residual_shape, residual_rate : float
        Inverse-gamma kernel of the residual variance.
    notes : tuple of str
        What had to be decided, and how.
    """

    name: str
    df: float
    scale: Array
    power: float
    half: Array
    residual_shape: float
    residual_rate: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prior(Checked):
    """A prior as chosen, before it meets data; the fixed effects have flat ones.

    Attributes
    ----------
    kind : {"mlwin", "flat-sd", "half-normal", "inverse-wishart"}
        ``"mlwin"``, what is believed to be MLwiN's default: inverse-gamma(0.001, 0.001) for a
        single variance; for a q x q covariance matrix inverse-Wishart with q degrees of freedom
        and scale q times the maximum-likelihood estimate, which makes the prior depend on the
        data. ``"flat-sd"``: flat on the standard deviations. ``"half-normal"``: half-normal on
        them. ``"inverse-wishart"``: with `df` and `scale` as given.
    scale : float, sequence or matrix, optional
        Half-normal: its scale for each random term, in the units of its coefficient (half the SD
        of the response over the root mean square of the term, which of a centred one is its SD,
        when left out). Inverse-Wishart: the q x q scale
        matrix, or the variance for a single term.
    df : float, optional
        Degrees of freedom of the inverse-Wishart.
    lkj : float
        Shape of the LKJ prior of the correlations under flat and half-normal SDs, 0.5 or more; 1
        is uniform over correlation matrices.
    residual : tuple of float, optional
        Shape and rate of an inverse-gamma prior of the residual variance. Left out, it is (0.001,
        0.001) with inverse-Wishart priors and a flat prior on the residual SD with the others.

    Examples
    --------
    >>> Prior("half-normal", scale=[3.0, 0.5], lkj=2)
    Prior(kind='half-normal', scale=[3.0, 0.5], df=None, lkj=2, residual=None)
    """

    kind: Kind = "mlwin"
    scale: float | Sequence[float] | Sequence[Sequence[float]] | Array | None = None
    df: float | None = None
    lkj: float = 1.0
    residual: tuple[float, float] | None = None

    def resolve(
        self, design: DesignMoments, covariance: Array, residual_variance: float
    ) -> PriorValues:
        """Put numbers to the prior.

        Parameters
        ----------
        design : DesignMoments
        covariance, residual_variance : ndarray of shape (q, q), float
            Maximum-likelihood estimates; MLwiN's prior is built on them.

        Raises
        ------
        InputError
            If the prior is incomplete or does not fit the model.
        """
        q = len(design.random)
        if np.shape(covariance) != (q, q):
            raise InputError(f"the covariance of {q} random terms has {q} rows and columns")
        # With df = -1 the kernel and the factor |R|^(q/2) are flat SDs and correlations together.
        df, scale, half, power = -1.0, np.zeros((q, q)), np.zeros(q), 0.0
        notes: tuple[str, ...] = ()
        if not isinstance(self.kind, str) or self.kind not in get_args(Kind):
            known = f"use one of {get_args(Kind)}"
            raise InputError(f"no prior is called {self.kind!r}", hint=known)
        if self.kind == "flat-sd" or self.kind == "half-normal":
            name, half, power = self._on_sds(design)
        elif self.kind == "inverse-wishart":
            name, df, scale = self._inverse_wishart(q)
        else:
            name, df, scale, notes = _as_mlwin(design, covariance, residual_variance)
        shape, rate, residual_name = self._residual()
        name = f"{name}; {residual_name}; flat on the fixed effects"
        # In another order of memory the chain would be compiled once more.
        scale = np.ascontiguousarray(scale)
        return PriorValues(name, df, scale, power, half, shape, rate, notes)

    def _on_sds(self, design: DesignMoments) -> tuple[str, Array, float]:
        q, lkj = len(design.random), float(_numbers(self.lkj, (), "the LKJ shape"))
        if not lkj >= LEAST_LKJ:
            raise InputError(
                f"the LKJ shape is below {LEAST_LKJ}, where correlations of exactly one cannot be "
                "told from others",
                hint="1 is uniform over correlation matrices",
            )
        name, half = "flat on the standard deviations of the random terms", np.zeros(q)
        if self.kind == "half-normal":
            given = _usual_scales(design) if self.scale is None else self.scale
            scales = _numbers(given, (q,), "the scale of a half-normal prior")
            if not (scales > 0).all():
                raise InputError("the scale of a half-normal prior must be positive")
            half = 0.5 / scales**2
            shown = ", ".join(f"{s:.4g}" for s in scales)
            name = f"half-normal on the standard deviations of the random terms, scale {shown}"
        if q == 1:
            return name, half, 0.0
        return f"{name}, LKJ({lkj:g}) on their correlations", half, q / 2 + lkj - 1

    def _inverse_wishart(self, q: int) -> tuple[str, float, Array]:
        if self.df is None or self.scale is None:
            raise InputError("an inverse-Wishart prior needs its df and its scale")
        df = float(_numbers(self.df, (), "the df of an inverse-Wishart prior"))
        if not df > q - 1:
            raise InputError(f"the df of an inverse-Wishart prior of {q} terms must exceed {q - 1}")
        scale = _numbers(self.scale, (q, q), "the scale of an inverse-Wishart prior")
        if not _is_regular(scale):
            raise InputError(
                "the scale of an inverse-Wishart prior must be positive definite",
                hint="a singular estimate cannot serve as one: give the matrix in numbers",
            )
        return f"inverse-Wishart({df:g}) on the covariance", df, scale

    def _residual(self) -> tuple[float, float, str]:
        usual = GAMMA if self.kind in ("mlwin", "inverse-wishart") else None
        pair = usual if self.residual is None else self.residual
        if pair is None:
            return -0.5, 0.0, "flat on the residual standard deviation"
        shape, rate = _numbers(pair, (2,), "shape and rate of an inverse-gamma prior")
        if shape < 0 or rate < 0:
            raise InputError("shape and rate of an inverse-gamma prior cannot be negative")
        name = f"inverse-gamma({shape:g}, {rate:g}) on the residual variance"
        return float(shape), float(rate), name


def _usual_scales(design: DesignMoments) -> Array:
    """Half the SD of the response over the root mean square of each random term."""
    total, n, y, constant = design.total, design.n_total, design.response, design.constant
    mean = 0.0 if constant is None else total[y, constant] / n
    sd = math.sqrt(max(total[y, y] / n - mean**2, 0.0))
    return np.asarray(0.5 * sd / np.sqrt(np.diagonal(total)[list(design.random)] / n))


def _numbers(given: ArrayLike, shape: tuple[int, ...], what: str) -> Array:
    """Take finite numbers of the shape wanted, a single one for all."""
    try:
        # Neither text nor complex numbers.
        found = np.broadcast_to(given, shape).astype(float, casting="same_kind")
    except (TypeError, ValueError):
        wanted = " x ".join(map(str, shape)) or "a single number"
        raise InputError(f"{what} is not of the shape wanted", hint=f"give {wanted}") from None
    if not (np.abs(found) < _LARGEST).all():
        raise InputError(f"{what} is not a finite number")
    return found


def _is_regular(matrix: Array) -> bool:
    """Whether a matrix is positive definite, rounding allowed for and whatever the units."""
    sd = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    if not (sd > 0).all():
        return False
    scaled = matrix / np.outer(sd, sd)
    return bool(np.allclose(scaled, scaled.T) and np.linalg.eigvalsh(scaled).min() > 1e-9)


def as_prior(prior: str | Prior) -> Prior:
    """Take a prior's name for the prior.

    Examples
    --------
    >>> as_prior("flat-sd").kind
    'flat-sd'
    """
    return prior if isinstance(prior, Prior) else Prior(cast(Kind, prior))


def _as_mlwin(
    design: DesignMoments, covariance: Array, residual_variance: float
) -> tuple[str, float, Array, tuple[str, ...]]:
    q = len(design.random)
    if q == 1:
        name = f"inverse-gamma{GAMMA} on the variance between groups"
        return name, 2 * GAMMA[0], np.array([[2 * GAMMA[1]]]), ()
    regular = off_the_boundary(design, covariance, residual_variance)
    note = (
        "The maximum-likelihood estimate of the covariance matrix between groups is singular, "
        "where MLwiN's prior is not defined. The prior was built on an estimate moved off the "
        "boundary: a variance no smaller than the standard error that an estimate of zero has, "
        f"correlations shrunk until no eigenvalue of their matrix is far below {LEAST_EIGENVALUE}."
    )
    name = f"inverse-Wishart({q}) on the covariance, scale {q} times the ML estimate"
    return name, float(q), q * regular, () if regular is covariance else (note,)


def off_the_boundary(design: DesignMoments, covariance: Array, residual_variance: float) -> Array:
    """Return the ML estimate, or one moved off the boundary where it is singular.

    A variance is lifted to the standard error (expected information) that an estimate of zero
    would have; correlations are shrunk until no eigenvalue of their matrix is below 0.1, or 0.09
    once its diagonal is one again.
    """
    information = np.array([design.cross[:, i, i] for i in design.random])
    least = residual_variance * np.sqrt(2.0 / (information**2).sum(axis=1))
    if np.linalg.eigvalsh(covariance / np.sqrt(np.outer(least, least)))[0] > 1e-6:
        return covariance
    sds = np.sqrt(np.maximum(np.diag(covariance), least))
    correlation = covariance / np.outer(sds, sds)
    np.fill_diagonal(correlation, 1.0)
    # As statsmodels' corr_clipped, whose import alone takes two seconds.
    values, vectors = np.linalg.eigh(correlation)
    lifted: Array = (vectors * np.maximum(values, LEAST_EIGENVALUE)) @ vectors.T
    sds = sds / np.sqrt(np.diag(lifted))
    return lifted * np.outer(sds, sds)
