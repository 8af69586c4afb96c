"""What is true of a simulated cohort: means, slopes, variances, caseloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multilevel.arguments import Checked
from multilevel.errors import InputError
from pwp_lib.measures import GAD7, PHQ9, Measure

__all__ = ["CASELOADS", "Truth", "root_of"]

Matrix: TypeAlias = tuple[tuple[float, ...], ...]

#: Patients of each therapist: 1,122 in all, 8 to 197. The paper prints only the sum and the ends;
#: these agree with its standard errors. In no order of effectiveness.
CASELOADS: tuple[int, ...] = (
    56, 90, 20, 36, 163, 29, 9, 134, 25, 51, 72, 10, 39, 197, 8, 26, 58, 30, 19, 39, 11,
)  # fmt: skip


def _covariance(sds: Sequence[float], correlations: ArrayLike) -> Matrix:
    scale = np.diag(sds)
    product = scale @ np.asarray(correlations) @ scale
    return tuple(tuple(float(v) for v in row) for row in product)


# Printed: the four variances and, through the therapist effects of 8.7% and 8.8%, the two residual
# variances (2.779 x .913 / .087 and 2.262 x .912 / .088). Worked out: intercept and slope correlate
# about .5, and changes on the two measures about .7. Ours: .95 between therapists' effects on the
# two measures, whose estimated ranks correlate .96.
_PAPER_RANDOM = _covariance(
    [2.779**0.5, 0.013**0.5, 2.262**0.5, 0.015**0.5],
    np.kron([[1.0, 0.95], [0.95, 1.0]], [[1.0, 0.5], [0.5, 1.0]]),
)
_PAPER_RESIDUAL = _covariance([29.164**0.5, 23.443**0.5], [[1.0, 0.72], [0.72, 1.0]])


@dataclass(frozen=True)
class Truth(Checked):
    """What is true of a simulated cohort. The defaults have the paper's shape.

    Parameters
    ----------
    measures : tuple of one or two Measure
    caseloads : tuple of int, length J
        Patients of each therapist.
    pre_mean, pre_sd : tuple of float, one a measure
        Scores before treatment; ours, from the caseness rates and effect sizes printed.
    pre_correlation : float
        Between the two measures before treatment; ours.
    fixed : tuple, one tuple a measure
        Intercept, slope on the own score, slope on the other score, slope on the product. With one
        measure the first two. Intercept and own slope are printed, the others are ours.
    random_covariance : tuple of tuple of float, (2M, 2M)
        Of intercept and slope on the first measure, then of those on the second.
    residual_covariance : tuple of tuple of float, (M, M)
    services : int
        Therapists are spread evenly over so many.
    service_covariance : tuple of tuple of float, (M, M)
        Of the services' intercepts, which their therapists share. Zero unless given.
    deprivation : tuple, one pair a measure
        What a standard deviation of deprivation of the service's area adds to scores before
        treatment, and what it adds after treatment for patients of equal scores before. Nothing
        unless given.
    caseload_mix : tuple, one pair a measure
        Standard deviation of therapists' mean scores before treatment within a service, and the
        contextual effect: what a caseload whose mean is a point higher adds after treatment for
        patients of equal scores before. None unless given.

    Examples
    --------
    >>> truth = Truth()
    >>> len(truth.caseloads), sum(truth.caseloads), [round(v, 3) for v in truth.vpc]
    (21, 1122, [0.087, 0.088])
    >>> Truth().with_vpc(0.05).with_therapists(60, caseload=40).n_patients
    2400
    """

    measures: tuple[Measure, ...] = (PHQ9, GAD7)
    caseloads: tuple[int, ...] = CASELOADS
    pre_mean: tuple[float, ...] = (12.7, 11.5)
    pre_sd: tuple[float, ...] = (6.42, 5.55)
    pre_correlation: float = 0.72
    fixed: Matrix = ((8.664, 0.549, 0.10, 0.0), (7.805, 0.478, 0.12, 0.0))
    random_covariance: Matrix = field(default=_PAPER_RANDOM)
    residual_covariance: Matrix = field(default=_PAPER_RESIDUAL)
    services: int = 6
    service_covariance: Matrix = ()
    deprivation: Matrix = ()
    caseload_mix: Matrix = ()

    def __post_init__(self) -> None:
        many = ("measures", "pre_mean", "pre_sd", "caseloads")
        if odd := [name for name in many if not isinstance(getattr(self, name), Sequence)]:
            raise InputError(f"{odd[0]} of a cohort that is simulated is a sequence, one each")
        m = len(self.measures)
        shapes = {
            "pre_mean": len(self.pre_mean) == m,
            "pre_sd": len(self.pre_sd) == m and min(self.pre_sd, default=0) > 0,
            "fixed": np.shape(self.fixed) == (m, 2 * m),
            "random_covariance": np.shape(self.random_covariance) == (2 * m, 2 * m),
            "residual_covariance": np.shape(self.residual_covariance) == (m, m),
            "caseloads": len(self.caseloads) >= 2 and min(self.caseloads) >= 1,
            "pre_correlation": -1 <= self.pre_correlation <= 1,
            "services": 1 <= self.services <= len(self.caseloads),
            "service_covariance": np.shape(self.service_covariance) in ((0,), (m, m)),
            "deprivation": np.shape(self.deprivation) in ((0,), (m, 2)),
            "caseload_mix": np.shape(self.caseload_mix) in ((0,), (m, 2)),
        }
        if m not in (1, 2):
            raise InputError("a simulated cohort has one measure or two")
        for name, good in shapes.items():
            if not good:
                raise InputError(
                    f"{name} does not fit {m} measure{'s' if m > 1 else ''} and the therapists",
                    hint="see the documentation of Truth",
                    column=name,
                )
        for name in ("random_covariance", "residual_covariance"):
            root_of(getattr(self, name), name)
        root_of(self.above_therapists[0], "service_covariance")

    @property
    def above_therapists(self) -> tuple[NDArray[np.float64], ...]:
        """Covariance of the services' intercepts, deprivation, caseload mix; zeros for no such."""
        m = len(self.measures)
        given = (self.service_covariance, self.deprivation, self.caseload_mix)
        widths = (m, 2, 2)
        return tuple(np.array(v or np.zeros((m, k))) for v, k in zip(given, widths, strict=True))

    @classmethod
    def one_measure(cls, measure: Measure = PHQ9, index: int = 0) -> Truth:
        """Keep one of the paper's two measures, without the other's score as a predictor."""
        full, at = cls(), slice(2 * index, 2 * index + 2)
        return cls(
            measures=(measure,),
            pre_mean=full.pre_mean[index : index + 1],
            pre_sd=full.pre_sd[index : index + 1],
            fixed=(full.fixed[index][:2],),
            random_covariance=tuple(row[at] for row in full.random_covariance[at]),
            residual_covariance=((full.residual_covariance[index][index],),),
        )

    @property
    def n_patients(self) -> int:
        """Patients in all."""
        return int(sum(self.caseloads))

    @property
    def therapist_ids(self) -> tuple[str, ...]:
        """``T01`` and so on; wider with a hundred therapists or more."""
        width = max(len(str(len(self.caseloads))), 2)
        return tuple(f"T{i + 1:0{width}d}" for i in range(len(self.caseloads)))

    @property
    def vpc(self) -> tuple[float, ...]:
        """Therapist effect on each measure at the mean score before treatment.

        A share of what scores before treatment, deprivation and the caseload's mean leave.
        """
        u, within = np.diag(self.random_covariance)[::2], self._within
        return tuple((u / (u + within)).tolist())

    @property
    def _within(self) -> NDArray[np.float64]:
        """Variance on each measure that is not the therapists'."""
        return np.diag(self.residual_covariance) + np.diag(self.above_therapists[0])

    def with_vpc(self, vpc: float) -> Truth:
        """Scale each measure's intercepts and slopes so that its therapist effect is `vpc`.

        Raises
        ------
        InputError
            If `vpc` is not in [0, 1).
        """
        if not 0 <= vpc < 1:
            raise InputError("a therapist effect lies between 0 and 1", hint="5% is 0.05")
        factors = []
        for i in range(len(self.measures)):
            wanted = vpc / (1 - vpc) * self._within[i]
            now = self.random_covariance[2 * i][2 * i]
            if now == 0 and wanted > 0:
                raise InputError("intercepts that do not vary cannot be scaled to vary")
            factors += [np.sqrt(wanted / now) if now > 0 else 0.0] * 2
        scaled = np.outer(factors, factors) * np.asarray(self.random_covariance)
        return replace(self, random_covariance=tuple(tuple(map(float, r)) for r in scaled))

    def with_therapists(self, n: int, caseload: int | None = None) -> Truth:
        """Take another number of therapists.

        Parameters
        ----------
        n : int
        caseload : int, optional
            The same for each; if not given, quantiles of the present caseloads.
        """
        if n < 2:
            raise InputError("two therapists or more are needed")
        at = (np.arange(n) + 0.5) / n
        spread = np.round(np.quantile(self.caseloads, at)).astype(int)
        loads = np.full(n, caseload) if caseload is not None else spread
        return replace(self, caseloads=tuple(int(k) for k in loads), services=min(self.services, n))


def root_of(covariance: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return a matrix whose product with its transpose is the covariance, singular or not."""
    matrix = np.asarray(covariance, dtype=float)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    if not np.allclose(matrix, matrix.T) or values.min() < -1e-9 * max(values.max(), 1e-12):
        raise InputError("this is no covariance matrix", hint="correct it", column=name)
    root: NDArray[np.float64] = vectors * np.sqrt(np.clip(values, 0, None))
    return root
