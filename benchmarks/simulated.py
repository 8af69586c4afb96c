"""Many simulated cohorts as the cross-products of their therapists, for what is fitted at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from pwp_lib.measures import Measure
from pwp_lib.simulate import scores_after, scores_before
from pwp_lib.truth import Truth, root_of


@dataclass(frozen=True)
class SimulatedDesigns:
    """Cross-products of many simulated cohorts, ready to be fitted at once.

    Attributes
    ----------
    cross : ndarray of shape (R, J, m, m)
        ``cross[r, j] = W_j' W_j`` of replicate r, columns as `names`.
    names : tuple of str
        Intercept, own score centred, other score centred, their product, score after treatment.
    truth : Truth
    measure : Measure
    """

    cross: NDArray[np.float64]
    names: tuple[str, ...]
    truth: Truth
    measure: Measure

    def __len__(self) -> int:
        return len(self.cross)

    def __getitem__(self, replicate: int) -> DesignMoments:
        """One replicate, with a random intercept and a random slope on the own score."""
        return self.design(self.cross[replicate])

    def design(self, cross: NDArray[np.float64] | None = None, slope: bool = True) -> DesignMoments:
        """Lay out the columns for a fit; `cross` is the first replicate's unless given.

        Parameters
        ----------
        cross : ndarray of shape (J, m, m), optional
        slope : bool
            Whether the slope varies between therapists, or the intercept alone.
        """
        m = len(self.names)
        chosen = self.cross[0] if cross is None else cross
        sums = chosen[:, 0].sum(axis=0)
        return DesignMoments(
            groups=np.array(self.truth.therapist_ids, dtype=object),
            n=np.array(self.truth.caseloads, dtype=np.int64),
            cross=chosen,
            names=self.names,
            fixed=tuple(range(m - 1)),
            random=(0, 1) if slope else (0,),
            response=m - 1,
            group_name="therapist_id",
            polynomials=tuple({(): 1.0} if n == "Intercept" else {(n,): 1.0} for n in self.names),
            means={n: float(sums[i] / sums[0]) for i, n in enumerate(self.names) if i},
        )


def simulate_designs(
    truth: Truth | None = None, replicates: int = 1000, seed: int = 1, *, measure: int = 0
) -> SimulatedDesigns:
    """Simulate many cohorts and keep only what a fit needs of each.

    Scores after treatment are normal and unbounded, so the truth is exactly that of the model.

    Parameters
    ----------
    truth : Truth, optional
    replicates : int
    seed : int
    measure : int
        Which measure is the response: 0 or 1.

    Returns
    -------
    SimulatedDesigns

    Examples
    --------
    >>> designs = simulate_designs(replicates=3, seed=1)
    >>> designs.cross.shape
    (3, 21, 5, 5)
    >>> int(designs.cross[0, :, 0, 0].sum())
    1122
    """
    truth = truth or Truth()
    if measure not in range(len(truth.measures)) or replicates < 1:
        raise InputError("one replicate or more of one of the truth's measures is needed")
    if any(part.any() for part in truth.above_therapists):
        raise InputError("these designs have no services", hint="take simulate_cohort")
    rng = np.random.default_rng(seed)
    m, n, j = len(truth.measures), truth.n_patients, len(truth.caseloads)
    ends = np.concatenate([[0], np.cumsum(truth.caseloads)])
    codes = np.repeat(np.arange(j), truth.caseloads)
    root_u = root_of(truth.random_covariance, "random_covariance")
    root_e = root_of(truth.residual_covariance, "residual_covariance")
    own, k = truth.measures[measure], 3 if m == 1 else 5
    cross = np.empty((replicates, j, k, k))
    # A few million numbers at a time keep memory small whatever the number of replicates.
    block = max(1, 1_000_000 // n)
    for start in range(0, replicates, block):
        r = min(block, replicates - start)
        pre = scores_before(truth, rng.standard_normal((r * n, m))).reshape(r, n, m)
        u = rng.standard_normal((r, j, 2 * m)) @ root_u.T
        noise = rng.standard_normal((r, n, m)) @ root_e.T
        post = scores_after(truth, pre, u[:, codes]) + noise
        w = _columns(pre - pre.mean(axis=1, keepdims=True), post, measure)
        for t in range(j):
            part = w[:, ends[t] : ends[t + 1]]
            cross[start : start + r, t] = part.transpose(0, 2, 1) @ part
    names = [f"center({own.pre})"]
    if m == 2:
        other = truth.measures[1 - measure]
        names += [f"center({other.pre})", f"center({own.pre}):center({other.pre})"]
    return SimulatedDesigns(cross, ("Intercept", *names, own.post), truth, own)


def _columns(
    centred: NDArray[np.float64], post: NDArray[np.float64], measure: int
) -> NDArray[np.float64]:
    """Lay out the model's columns, shape (R, N, m)."""
    own = centred[..., measure]
    parts = [np.ones_like(own), own]
    if centred.shape[-1] == 2:
        other = centred[..., 1 - measure]
        parts += [other, own * other]
    return np.stack([*parts, post[..., measure]], axis=-1)
