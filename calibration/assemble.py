"""From the scores to a cohort: identifiers, services, people, scales and coded interviews.

People and interviews come from the library's own generators; here they are only drawn until the
paper's statements about the ten therapists of the two clusters hold.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pwp_lib.cohort import Cohort, FlowStep, Provenance, read_cohort
from pwp_lib.scales import mann_whitney
from pwp_lib.simulate_interviews import simulate_segments
from pwp_lib.simulate_people import simulate_patients_details, simulate_therapists

from .people import even_out, exact_numbers
from .targets import TherapistPlan

__all__ = ["assemble"]

Five = NDArray[np.float64]
Scores = NDArray[np.int64]


def _u(x: Five, y: Five) -> float:
    """Smaller Mann-Whitney U, ties counted half: cheap, so that p is computed only if it fits."""
    above = float(np.sign(x[:, None] - y[None, :]).sum())
    return (x.size * y.size - abs(above)) / 2


def _identifiers(rng: np.random.Generator) -> list[str]:
    """T01 to T21 in the order of the plan; the paper names its numbers 6 and 17."""
    others = rng.permutation([k for k in range(1, 22) if k not in (6, 17)])
    numbers = [*others[:4], 17, *others[4:6], 6, *others[6:]]
    return [f"T{k:02d}" for k in numbers]


def _draw_until(
    rng: np.random.Generator,
    upper: tuple[float, float],
    lower: tuple[float, float],
    good: Callable[[Five, Five], bool],
    limits: tuple[int, int],
) -> tuple[Five, Five]:
    """Whole scores of five and five, normal with (mean, SD), drawn until `good` says so."""
    while True:
        x = np.clip(np.rint(rng.normal(*upper, 5)), *limits)
        y = np.clip(np.rint(rng.normal(*lower, 5)), *limits)
        if good(x, y):
            return x, y


def _scales(table: pd.DataFrame, plan: TherapistPlan, rng: np.random.Generator) -> pd.DataFrame:
    """Give the two clusters the scores that the paper's tests and sentences describe."""
    upper = table.index[plan.cluster == 0]
    lower = table.index[plan.cluster == 2]

    def resilience(x: Five, y: Five) -> bool:
        means = abs(x.mean() - 80.4) < 2 and 66 < y.mean() < 71 and x.mean() > y.mean()
        return means and _u(x, y) == 2 and round(mann_whitney(x, y).p_value, 2) == 0.03

    def rated(x: Five, y: Five) -> bool:
        means = x.mean() < y.mean()
        return means and _u(x, y) == 0.5 and round(mann_whitney(x, y).p_value, 2) == 0.02

    def alike(x: Five, y: Five) -> bool:
        return _u(x, y) >= 7

    wanted = {
        "resilience": ((80, 6), (69, 7), resilience, (0, 100)),
        "supervisor_experientiality": ((57, 7), (71, 6), rated, (20, 100)),
        "ego_strength": ((250, 18), (243, 18), alike, (64, 320)),
        "supervisor_rationality": ((77, 8), (72, 8), alike, (20, 100)),
    }
    for name, (a, b, good, limits) in wanted.items():
        table.loc[upper, name], table.loc[lower, name] = _draw_until(rng, a, b, good, limits)
    return table


def _effects(pre: Scores, post: Scores, therapist: Scores) -> NDArray[np.float64]:
    """Therapists' mean post scores, both measures' pre scores held constant, standardised."""
    own = pre - pre.mean(axis=1, keepdims=True)
    x = np.column_stack([np.ones(len(therapist)), own[0], own[1], own[0] * own[1]])
    n, effect = np.bincount(therapist), np.zeros(len(np.unique(therapist)))
    for y in post:
        left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        effect += np.bincount(therapist, weights=left) / n / left.std()
    return effect


def _deal_services(
    plan: TherapistPlan, effect: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Deal therapists to six services, 0 to 5, that differ no more than their therapists do.

    The paper says only that both clusters held therapists from a range of services. Random
    dealings are kept in which each cluster reaches four services or more, the two largest
    caseloads of the lower cluster are apart and every service has 90 patients; of 200
    such dealings that one is taken whose services differ at the lower quartile.
    """
    weight = plan.n / (plan.n + 10.5)  # residual over therapists' variance, as printed
    centred = effect - np.average(effect, weights=weight)
    kept: list[tuple[float, NDArray[np.int64]]] = []
    while len(kept) < 200:
        service = rng.permutation(np.resize(np.arange(6), len(plan.n)))
        reach = [len(set(service[plan.cluster == c])) for c in (0, 2)]
        apart = service[16] != service[17]
        if min(reach) < 4 or not apart or np.bincount(service, plan.n).min() < 90:
            continue
        total = np.bincount(service, weight * centred)
        kept.append((float((total**2 / np.bincount(service, weight)).sum()), service))
    return sorted(kept, key=lambda k: k[0])[50][1]


def _therapists(
    ids: list[str], plan: TherapistPlan, effect: NDArray[np.float64], seed: int,
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    """Draw therapists and deal them to services."""
    effective = -plan.rank.mean(axis=0)
    table = simulate_therapists(ids, effective, 6, rng, numbers=exact_numbers)
    service = _deal_services(plan, effect, np.random.default_rng([seed, 7]))
    table["service_id"] = [f"S{k + 1}" for k in service]
    return _scales(table, plan, rng)


def assemble(
    plan: TherapistPlan,
    pre: NDArray[np.int64],
    post: NDArray[np.int64],
    therapist: NDArray[np.int64],
    seed: int,
) -> Cohort:
    """Build the cohort from scores of shape (2, 1122) and the therapist of each column."""
    rng = np.random.default_rng([seed, 4])
    ids = _identifiers(rng)
    people = _therapists(ids, plan, _effects(pre, post, therapist), seed, rng)
    # Patients come in the order of the therapists' identifiers, shuffled within each.
    names = np.array(ids)[therapist]
    order = np.lexsort((rng.random(len(names)), names))
    codes = np.unique(names[order], return_inverse=True)[1]
    patients = pd.DataFrame(
        {
            "patient_id": [f"P{i + 1:04d}" for i in range(len(order))],
            "therapist_id": names[order],
            "service_id": people["service_id"].to_numpy()[therapist[order]],
            "phq9_pre": pre[0, order], "phq9_post": post[0, order],
            "gad7_pre": pre[1, order], "gad7_post": post[1, order],
        }
    )  # fmt: skip
    age = even_out(
        exact_numbers(len(codes), 41, 14.23, 16, 92, rng), codes.astype(np.int64), 36.0, 46.0, rng
    )
    details = simulate_patients_details(len(codes), rng, age=age, numbers=exact_numbers)
    rated = people.loc[people["supervisor_experientiality"].notna(), "therapist_id"]
    by_id = people.sort_values("therapist_id").reset_index(drop=True)
    segments = simulate_segments(
        [ids[j] for j in np.flatnonzero(plan.cluster == 0)],
        [ids[j] for j in np.flatnonzero(plan.cluster == 2)],
        list(by_id["therapist_id"]), set(rated), rng,
    )  # fmt: skip
    return read_cohort(
        pd.concat([patients, details], axis=1),
        by_id,
        segments,
        provenance=Provenance(
            synthetic=True,
            source=f"made by the search in calibration/ with seed {seed}",
            note="Fitted to the figures that Green et al. (2014) print; no row describes a person.",
            licence="CC0 1.0",
        ),
        flow=[FlowStep("made by the search", len(patients), len(ids), 6, 0)],
    )
