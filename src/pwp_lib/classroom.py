"""`pwp cohort`: a cohort for every student, each with a known truth, and one marking key."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort
from pwp_lib.models import MeasureModels, fit_models
from pwp_lib.ranking import composite_ranks
from pwp_lib.simulate import simulate_cohort
from pwp_lib.truth import Truth
from pwp_lib.write import write_cohort

__all__ = ["KEY_FILE", "StudentCohort", "make_classroom", "student_cohort"]

KEY_FILE = "marking_key.csv"
_MOST = 1_000
#: Range of the true therapist effect from student to student: the range met in the literature.
_EFFECTS = (0.02, 0.15)
_KEY_COLUMNS = ("student", "item", "measure", "therapist", "value")


@dataclass(frozen=True)
class StudentCohort:
    """One student's cohort, and what is true of it.

    Attributes
    ----------
    student : int
        From 1.
    cohort : Cohort
    truth : Truth
    """

    student: int
    cohort: Cohort
    truth: Truth

    def key(self) -> pd.DataFrame:
        """Solve the student's exercise: one line a number.

        Returns
        -------
        DataFrame
            ``student, item, measure, therapist, value``; see `make_classroom` for the items.
        """
        lines: list[tuple[Any, ...]] = []
        fits = {}
        for i, measure in enumerate(self.truth.measures):
            models = fit_models(self.cohort.patients, measure, self.cohort.measures)
            fits[measure.name] = models.slope
            lines += [(item, measure.name, "", v) for item, v in self._numbers(i, models)]
        ranks = composite_ranks(fits, self.cohort.measures)
        for therapist, row in ranks.iterrows():
            for m in self.truth.measures:
                lines.append(("rank", m.name, therapist, float(row[f"rank_{m.name}"])))
            lines.append(("composite rank", "", therapist, float(row["composite"])))
            lines.append(("cluster", "", therapist, str(row["cluster"])))
        frame = pd.DataFrame(lines, columns=list(_KEY_COLUMNS[1:]))
        return frame.assign(student=self.student)[list(_KEY_COLUMNS)]

    def _numbers(self, i: int, models: MeasureModels) -> list[tuple[str, float]]:
        random, residual = self.truth.random_covariance, self.truth.residual_covariance
        interval = models.intercept.profile_interval()
        slope = models.slope.random_covariance.to_numpy(dtype=float)
        first, second = models.test_intercept, models.test_slope
        return [
            ("true therapist effect", self.truth.vpc[i]),
            ("true intercept variance", random[2 * i][2 * i]),
            ("true slope variance", random[2 * i + 1][2 * i + 1]),
            # Whole scores within the scale vary less than what they were made from.
            ("true residual variance, before rounding and clipping", residual[i][i]),
            ("patients", float(models.intercept.n)),
            ("therapists", float(models.intercept.n_groups)),
            ("therapist effect, random intercept", interval.estimate),
            ("therapist effect, lower 95%", interval.lower),
            ("therapist effect, upper 95%", interval.upper),
            ("therapist effect, random slope, at the mean", models.slope.vpc()),
            ("intercept variance, random slope", float(slope[0, 0])),
            ("slope variance, random slope", float(slope[1, 1])),
            ("residual variance, random slope", models.slope.residual_variance),
            ("chi-square, intercept against single level", first.statistic),
            ("p, intercept against single level", first.p_value),
            ("p, intercept against single level, boundary", first.p_value_boundary),
            ("chi-square, slope against intercept", second.statistic),
            ("p, slope against intercept", second.p_value),
        ]


def student_cohort(student: int, seed: int) -> StudentCohort:
    """Make the cohort of one student: the paper's shape, with a truth of its own.

    Parameters
    ----------
    student : int
        From 1. A student's cohort does not depend on how many others there are.
    seed : int
        Of the class. Whoever has it can make the key.

    Examples
    --------
    >>> one, two = student_cohort(1, seed=5), student_cohort(2, seed=5)
    >>> one.truth.vpc != two.truth.vpc, one.cohort.provenance.synthetic
    (True, True)
    """
    rng = np.random.default_rng([seed, student])
    base = Truth()
    loads = tuple(int(k) for k in rng.permutation(base.caseloads))
    truth = replace(base, caseloads=loads).with_vpc(float(rng.uniform(*_EFFECTS)))
    cohort = simulate_cohort(truth, seed=int(rng.integers(2**31)))
    # Neither the truth nor the seed that would give it back goes with the student's files.
    origin = replace(
        cohort.provenance,
        source=f"simulated for student {student}",
        note="Drawn from a stated truth, which the marking key holds.",
    )
    return StudentCohort(student, replace(cohort, provenance=origin), truth)


def make_classroom(
    students: int,
    seed: int,
    out: str | os.PathLike[str],
    *,
    on_step: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Write a cohort for every student, and the marking key.

    Each cohort lies in a folder ``student_001`` and so on, in the form that
    `pwp_lib.load_cohort` and ``pwp analyse`` read. The key, ``marking_key.csv``, has one line a
    number: the truth (therapist effect and variances), the estimates from the paper's models with
    a profile-likelihood interval, both likelihood-ratio tests, every therapist's ranks, composite
    rank and cluster. All is written beside the folder and moved there at the end.

    Parameters
    ----------
    students : int
    seed : int
        The same seed makes the same files, byte by byte.
    out : path
        A new or an empty folder.
    on_step : callable, optional
        Called with what comes next.

    Returns
    -------
    DataFrame
        The key.

    Raises
    ------
    InputError
        If there are no students or more than 1,000, or the folder is in use.
    """
    home = Path(out)
    if not 1 <= students <= _MOST:
        raise InputError(f"the number of students must be from 1 to {_MOST:,}", hint="correct it")
    if not 0 <= seed < 2**32:
        raise InputError("the seed must be from 0 to 4,294,967,295", hint="correct it")
    _require_free(home)
    keys = []
    with tempfile.TemporaryDirectory(prefix=f".{home.name}.", dir=home.resolve().parent) as beside:
        work = Path(beside, "class")
        work.mkdir()
        width = max(3, len(str(students)))
        for student in range(1, students + 1):
            if on_step:
                on_step(f"student {student} of {students}")
            made = student_cohort(student, seed)
            write_cohort(made.cohort, work / f"student_{student:0{width}d}")
            keys.append(made.key())
        key = pd.concat(keys, ignore_index=True)
        value = key["value"].map(lambda v: v if isinstance(v, str) else f"{v:.6g}")
        text = key.assign(value=value).to_csv(index=False, lineterminator="\n")
        (work / KEY_FILE).write_text(text, encoding="utf-8", newline="\n")
        work.chmod(0o755)
        if home.exists():
            home.rmdir()
        work.replace(home)
    return key


def _require_free(home: Path) -> None:
    try:
        if home.exists() and (not home.is_dir() or any(home.iterdir())):
            raise InputError(
                "the folder for the cohorts is in use", hint="name a new or an empty one", file=home
            )
        if not home.resolve().parent.is_dir():
            raise InputError(
                "there is no such folder", hint="make it first", file=home.resolve().parent
            )
    except OSError:
        raise InputError("the folder cannot be used", hint="name another", file=home) from None
