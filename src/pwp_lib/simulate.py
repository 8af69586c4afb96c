"""Cohorts whose truth is known: for teaching, for recovery studies and for power.

Scores after treatment follow the model that is later fitted,

    post = b0 + b1 x own + b2 x other + b3 x own x other + u0_j + u1_j x own + e,

with both scores before treatment centred on the mean of the cohort, therapists' intercepts and
slopes correlated within and between the measures, and residuals correlated between the measures.
A truth with something above therapists adds to it

    v_k + a x deprivation_k + c x (mean of own in the caseload),

the service's intercept, its area's deprivation and the contextual effect of the caseload.

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

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaincinv, ndtr

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort, FlowStep, Provenance, read_cohort
from pwp_lib.measures import Measure
from pwp_lib.simulate_interviews import simulate_segments
from pwp_lib.simulate_people import simulate_patients_details, simulate_therapists
from pwp_lib.truth import Truth, root_of

__all__ = ["scores_after", "scores_before", "simulate_cohort"]


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


def scores_before(
    truth: Truth, z: NDArray[np.float64], higher: ArrayLike = 0.0
) -> NDArray[np.float64]:
    """Whole scores before treatment, shape (n, M), correlated through a normal copula.

    Parameters
    ----------
    truth : Truth
    z : ndarray of shape (n, M)
        Standard normal numbers.
    higher : array_like of shape (n, M)
        Points by which patients begin higher than the truth says; about so many, within the scale.
    """
    if len(truth.measures) == 2:
        r = truth.pre_correlation
        z[:, 1] = r * z[:, 0] + np.sqrt(1 - r**2) * z[:, 1]
    z, scores = z + np.asarray(higher) / truth.pre_sd, np.empty(z.shape)
    for i, measure in enumerate(truth.measures):
        cdf = _scale_cdf(measure, truth.pre_mean[i], truth.pre_sd[i])
        scores[:, i] = measure.minimum + np.searchsorted(cdf, ndtr(z[:, i]))
        scores[:, i] = np.minimum(scores[:, i], measure.maximum)
    return scores


def scores_after(
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
    truth: Truth | None = None, seed: int = 1, *, integer: bool = True, interviews: bool = True
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
    interviews : bool
        Whether to add coded segments; the clusters are those of the true intercepts.

    Returns
    -------
    Cohort
        Marked as synthetic. With ``integer=False`` the measures' scores after treatment may leave
        the scale, and its measures are widened accordingly. Where the truth has deprivation,
        patients have that of their service's area, in standard deviations, as a further column.

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
    shape = len(codes), len(truth.measures)
    u = rng.standard_normal((len(truth.caseloads), 2 * shape[1]))
    u = u @ root_of(truth.random_covariance, "random_covariance").T
    z = rng.standard_normal(shape)
    root = root_of(truth.residual_covariance, "residual_covariance")
    noise = rng.standard_normal(shape) @ root.T
    effective = _effectiveness(truth, u)
    ids = list(truth.therapist_ids)
    therapists = simulate_therapists(ids, effective, truth.services, rng)
    deprivation, before, above = _above(truth, therapists["service_id"], rng.spawn(1)[0])
    pre = scores_before(truth, z, before[codes])
    mean = scores_after(truth, pre, u[codes]) + above[codes] + _context(truth, pre, codes)
    post: NDArray[np.float64] = mean + noise
    if integer:
        for i, measure in enumerate(truth.measures):
            variance = truth.residual_covariance[i][i]
            z_post = noise[:, i] / np.sqrt(variance) if variance > 0 else noise[:, i]
            post[:, i] = _bounded(mean[:, i], max(variance, 1e-9), z_post, measure)
    rows = therapists.loc[codes, ["therapist_id", "service_id"]].reset_index(drop=True)
    for i, measure in enumerate(truth.measures):
        rows[measure.pre], rows[measure.post] = pre[:, i], post[:, i]
    if truth.deprivation:
        rows["deprivation"] = deprivation[codes]
    width = max(len(str(len(rows))), 4)
    rows.insert(0, "patient_id", [f"P{i + 1:0{width}d}" for i in range(len(rows))])
    details = simulate_patients_details(len(rows), rng)
    coded = interviews and len(ids) >= 12
    return read_cohort(
        pd.concat([rows, details], axis=1),
        therapists,
        _segments(therapists, effective, rng) if coded else None,
        measures=[_widened(m, rows[m.post].to_numpy()) for m in truth.measures],
        provenance=Provenance(
            synthetic=True,
            source=f"simulated by pwp_lib with seed {seed}",
            note="Drawn from a stated truth, not fitted to any figure.",
            licence="CC0 1.0",
        ),
        flow=[FlowStep("simulated", len(rows), len(ids), truth.services, 0)],
    )


def _above(
    truth: Truth, services: pd.Series, rng: np.random.Generator
) -> tuple[NDArray[np.float64], ...]:
    """Draw what is above patients, by therapist: deprivation, points before, points after."""
    covariance, deprivation, mix = truth.above_therapists
    codes = services.rank(method="dense").to_numpy(dtype=int) - 1
    area = rng.standard_normal(truth.services)[codes]
    v = rng.standard_normal((truth.services, len(covariance)))
    v = (v @ root_of(covariance, "service_covariance").T)[codes]
    own = rng.standard_normal((len(codes), len(mix))) * mix[:, 0]
    return area, area[:, None] * deprivation[:, 0] + own, area[:, None] * deprivation[:, 1] + v


def _context(
    truth: Truth, pre: NDArray[np.float64], codes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Points that the mean of a caseload adds for its patients, shape (n, M)."""
    total = pd.DataFrame(pre - pre.mean(axis=0)).groupby(codes).transform("mean").to_numpy()
    return np.asarray(total * truth.above_therapists[2][:, 1])


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
