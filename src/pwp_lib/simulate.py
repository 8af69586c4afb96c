"""Cohorts whose truth is known: for teaching, for recovery studies and for power.

Scores after treatment follow the model that is later fitted,

    post = b0 + b1 x own + b2 x other + b3 x own x other + u0_j + u1_j x own + e,

with both scores before treatment centred on the mean of the cohort, therapists' intercepts and
slopes correlated within and between the measures, and residuals correlated between the measures.

**Whole scores within a range, or unbounded ones.** With ``integer=True`` a score after treatment is
drawn from a beta distribution over the scale that has the model's mean and, where the scale leaves
room for it, the model's variance, and is then rounded. So the means are those of the truth, as long
as they lie within the scale, but the variance shrinks towards the ends: such cohorts look like real
ones, and fits to them recover the fixed part well and the variances only roughly: the residual
variance comes out lower, and the correlation of intercept and slope higher, than it is. Simply
rounding normal scores and clipping them at 0 would be worse: it biases the fixed part too, since it
lifts the means of effective therapists' patients. Studies of recovery and of power that take
the truth at its word use ``integer=False``: scores are normal and may leave the scale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaincinv, ndtr

from multilevel.design import DesignMoments
from multilevel.errors import InputError
from pwp_lib.cohort import Cohort, FlowStep, Provenance, read_cohort
from pwp_lib.measures import Measure
from pwp_lib.simulate_interviews import simulate_segments
from pwp_lib.simulate_people import simulate_patients_details, simulate_therapists
from pwp_lib.truth import Truth, root_of

__all__ = ["SimulatedDesigns", "simulate_cohort", "simulate_designs"]


def _scale_cdf(measure: Measure, mean: float, sd: float) -> NDArray[np.float64]:
    """Cumulative probabilities of the whole scores, beta-shaped with that mean and SD."""
    low, high = measure.minimum - 0.5, measure.maximum + 0.5
    share, spread = (mean - low) / (high - low), (sd / (high - low)) ** 2
    size = share * (1 - share) / spread - 1
    if not 0 < share < 1 or size <= 0:
        raise InputError(
            f"no scores on {measure.label} have this mean and SD", hint="lower the SD",
            column=measure.pre,
        )  # fmt: skip
    ends = np.arange(1, int(measure.maximum - measure.minimum) + 2) / (high - low)
    cdf: NDArray[np.float64] = betainc(share * size, (1 - share) * size, ends)
    return cdf


def _pre_scores(truth: Truth, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Whole scores before treatment, shape (n, M), correlated through a normal copula."""
    m = len(truth.measures)
    z = rng.standard_normal((n, m))
    if m == 2:
        r = truth.pre_correlation
        z[:, 1] = r * z[:, 0] + np.sqrt(1 - r**2) * z[:, 1]
    scores = np.empty((n, m))
    for i, measure in enumerate(truth.measures):
        cdf = _scale_cdf(measure, truth.pre_mean[i], truth.pre_sd[i])
        scores[:, i] = measure.minimum + np.searchsorted(cdf, ndtr(z[:, i]))
        scores[:, i] = np.minimum(scores[:, i], measure.maximum)
    return scores


def _expected(
    truth: Truth, pre: NDArray[np.float64], effects: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Means after treatment, shape (..., N, M), given each patient's therapist effects."""
    centred = pre - pre.mean(axis=-2, keepdims=True)
    mean: NDArray[np.float64] = np.empty_like(centred)
    for i, beta in enumerate(truth.fixed):
        own = centred[..., i]
        mean[..., i] = beta[0] + effects[..., 2 * i] + (beta[1] + effects[..., 2 * i + 1]) * own
        if len(truth.measures) == 2:
            other = centred[..., 1 - i]
            mean[..., i] += beta[2] * other + beta[3] * own * other
    return mean


def _bounded(
    mean: NDArray[np.float64], variance: float, z: NDArray[np.float64], measure: Measure
) -> NDArray[np.float64]:
    """Whole scores within the scale that keep the mean and, where there is room, the variance."""
    low, high = measure.minimum - 0.5, measure.maximum + 0.5
    width = high - low
    share = np.clip((mean - low) / width, 0.8 / width, 1 - 0.8 / width)
    size = share * (1 - share) * width**2 / variance - 1
    # No more than a hump at an end: without the bound, scores near 0 would be 0 or far off.
    size = np.maximum(size, 0.75 / np.minimum(share, 1 - share))
    drawn = low + width * betaincinv(share * size, (1 - share) * size, ndtr(z))
    bounded: NDArray[np.float64] = np.clip(np.round(drawn), measure.minimum, measure.maximum)
    return bounded


def simulate_cohort(
    truth: Truth | None = None,
    seed: int = 1,
    *,
    integer: bool = True,
    effects: ArrayLike | None = None,
    interviews: bool = True,
) -> Cohort:
    """Simulate a cohort from a stated truth.

    Parameters
    ----------
    truth : Truth, optional
        The paper's shape if not given.
    seed : int
        The same seed gives the same cohort.
    integer : bool
        Whole scores within the scale after treatment (see the module's notes), or normal ones.
    effects : array_like of shape (J, 2M), optional
        Therapists' intercepts and slopes, if they are not to be drawn.
    interviews : bool
        Whether to add coded segments; the clusters are those of the true intercepts.

    Returns
    -------
    Cohort
        Marked as synthetic. With ``integer=False`` the measures' scores after treatment may leave
        the scale, and its measures are widened accordingly.

    Examples
    --------
    >>> cohort = simulate_cohort(seed=7)
    >>> cohort
    <synthetic cohort: 1,122 patients of 21 therapists; PHQ-9, GAD-7>
    >>> len(simulate_cohort(Truth().with_therapists(8, caseload=30)).patients)
    240
    """
    truth = truth or Truth()
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(truth.caseloads)), truth.caseloads)
    u = _effects(truth, effects, rng)
    pre = _pre_scores(truth, len(codes), rng)
    mean = _expected(truth, pre, u[codes])
    root = root_of(truth.residual_covariance, "residual_covariance")
    noise = rng.standard_normal(mean.shape) @ root.T
    post: NDArray[np.float64] = mean + noise
    if integer:
        for i, measure in enumerate(truth.measures):
            variance = truth.residual_covariance[i][i]
            z = noise[:, i] / np.sqrt(variance) if variance > 0 else noise[:, i]
            post[:, i] = _bounded(mean[:, i], max(variance, 1e-9), z, measure)
    return _assemble(truth, codes, u, pre, post, seed, rng, interviews=interviews)


def _effects(
    truth: Truth, effects: ArrayLike | None, rng: np.random.Generator
) -> NDArray[np.float64]:
    shape = (len(truth.caseloads), 2 * len(truth.measures))
    root = root_of(truth.random_covariance, "random_covariance")
    drawn: NDArray[np.float64] = rng.standard_normal(shape) @ root.T
    if effects is None:
        return drawn
    given = np.asarray(effects, dtype=float)
    if given.shape != shape:
        raise InputError(f"effects need the shape {shape}", column="effects")
    return given


def _assemble(
    truth: Truth,
    codes: NDArray[np.int64],
    u: NDArray[np.float64],
    pre: NDArray[np.float64],
    post: NDArray[np.float64],
    seed: int,
    rng: np.random.Generator,
    *,
    interviews: bool,
) -> Cohort:
    ids = list(truth.therapist_ids)
    effective = _effectiveness(truth, u)
    therapists = simulate_therapists(ids, effective, truth.services, rng)
    width = max(len(str(len(codes))), 4)
    patients = pd.DataFrame(
        {
            "patient_id": [f"P{i + 1:0{width}d}" for i in range(len(codes))],
            "therapist_id": np.array(ids, dtype=object)[codes],
            "service_id": therapists["service_id"].to_numpy()[codes],
        }
    )
    for i, measure in enumerate(truth.measures):
        patients[measure.pre], patients[measure.post] = pre[:, i], post[:, i]
    details = simulate_patients_details(len(codes), rng)
    segments = _segments(therapists, effective, rng) if interviews and len(ids) >= 12 else None
    return read_cohort(
        pd.concat([patients, details], axis=1),
        therapists,
        segments,
        measures=[_widened(m, post[:, i]) for i, m in enumerate(truth.measures)],
        provenance=Provenance(
            synthetic=True,
            source=f"simulated by pwp_lib with seed {seed}",
            note="Drawn from a stated truth, not fitted to any figure.",
            licence="CC0 1.0",
        ),
        flow=[FlowStep("simulated", len(patients), len(ids), truth.services, 0)],
    )


def _effectiveness(truth: Truth, u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average each therapist's standardised intercepts; higher is more effective."""
    worse = np.array([m.sign for m in truth.measures])
    sd = np.sqrt(np.diag(truth.random_covariance)[::2] + 1e-12)
    effective: NDArray[np.float64] = -(u[:, ::2] * worse / sd).mean(axis=1)
    return effective


def _segments(
    therapists: pd.DataFrame, effective: NDArray[np.float64], rng: np.random.Generator
) -> pd.DataFrame:
    """Simulate interviews in which the clusters are those of the true intercepts."""
    ids = [str(t) for t in therapists["therapist_id"]]
    best = [ids[i] for i in np.argsort(-effective, kind="stable")]
    rated = therapists["supervisor_rationality"].notna()
    supervised = set(therapists.loc[rated, "therapist_id"])
    k = round(len(ids) / 4)
    return simulate_segments(best[:k], best[-k:], ids, supervised, rng)


def _widened(measure: Measure, post: NDArray[np.float64]) -> Measure:
    """Return the measure itself, or one that allows for unbounded scores."""
    inside = (post >= measure.minimum) & (post <= measure.maximum)
    if bool(np.all(inside & (post % 1 == 0))):
        return measure
    return replace(
        measure,
        minimum=min(float(np.floor(post.min())), measure.minimum),
        maximum=max(float(np.ceil(post.max())), measure.maximum),
        integer=False,
    )


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
        pre = _pre_scores(truth, r * n, rng).reshape(r, n, m)
        u = rng.standard_normal((r, j, 2 * m)) @ root_u.T
        noise = rng.standard_normal((r, n, m)) @ root_e.T
        post = _expected(truth, pre, u[:, codes]) + noise
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
