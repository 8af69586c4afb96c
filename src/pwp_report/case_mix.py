"""Case mix: what patients brought with them, as terms of a model, and what it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from multilevel.fit import MixedFit, fit_mixed
from multilevel.many import fit_many
from pwp_lib.checks import patient_residuals
from pwp_lib.measures import Measure
from pwp_lib.models import model_formula
from pwp_report.read.cells import read_codes
from pwp_report.read.raw import shown_name
from pwp_report.study import Study
from pwp_report.wording import refusal, remark

__all__ = ["CaseMix", "adjusted_effects", "case_mix_columns", "case_mix_terms", "read_case_mix"]

#: What happened in treatment: adjusting for it would take away the effect that is asked for.
_DONE = ("sessions", "status", "ended", "attended", "missed", "contact_kind", "mode")
_DONE_WORDS = ("completion", "completed", "dropout", "dropped_out", "drop_out")
#: Numbers with more values than this are numbers, others are categories.
_CATEGORIES = 6
_REPLICATES = 200
#: Of fewer services drawn again and again the spread says nothing.
_LEAST_SERVICES = 10


class CaseMix(NamedTuple):
    """What is adjusted for, and how; `least` patients have a category of their own."""

    names: tuple[str, ...] = ()
    missing: str = "category"
    therapist_mean: bool = False
    least: int = 20


def case_mix_columns(study: Study, columns: Sequence[str], file: str) -> dict[str, str]:
    """Find the column of each covariate that a study asks for, by role or by its own name.

    Raises
    ------
    InputError
        If there is no such column, or it holds what the therapist did, or a score.
    """
    found = {}
    scores = {c for s in study.measures for c in (s.pre, s.post, s.score)}
    done = {*_DONE_WORDS, *(study.columns[r] for r in _DONE if r in study.columns), *_DONE}
    for name in study.adjust:
        column = study.columns.get(name, name)
        wrong = {
            "covariate_of_treatment": {name.lower(), column} & done,
            "covariate_a_score": {column} & scores,
            "covariate_not_found": {column} - {*columns},
        }
        for key, there in wrong.items():
            if there:
                person = {study.columns.get(r) for r in ("age", "gender", "ethnicity")}
                taken = {*study.columns.values(), "synthetic"} - person | scores | done
                free = [shown_name(c) for c in columns if not {c, c.lower()} & taken]
                listed = ", ".join(free[:12]) or "(none)"
                raise refusal(key, file=file or None, column=shown_name(name), listed=listed)
        found[name] = column
    return found


def read_case_mix(frame: pd.DataFrame, columns: Mapping[str, str], study: Study) -> pd.DataFrame:
    """Read covariates as numbers or categories: ``mix_0`` and so on, missing entries as such."""
    made = {}
    for i, column in enumerate(columns.values()):
        text = read_codes(frame[column], set(study.missing))
        point = text.str.replace(",", ".") if study.decimal == "," else text
        numbers = pd.to_numeric(point, errors="coerce")
        plain = bool((numbers.notna() == text.notna()).all())
        made[f"mix_{i}"] = numbers if plain and numbers.nunique() > _CATEGORIES else text
    return pd.DataFrame(made, index=frame.index)


def case_mix_terms(patients: pd.DataFrame, asked: CaseMix) -> tuple[pd.DataFrame, list[str]]:
    """Covariates as columns of numbers, and in sentences what became of missing and rare entries.

    Parameters
    ----------
    patients : DataFrame
        With ``mix_0`` and so on, in the order of the names asked for.
    asked : CaseMix

    Returns
    -------
    DataFrame
        Indexed as the patients who are kept: one column a term, none for a covariate without
        variation.
    list of str
    """
    raw = [f"mix_{i}" for i in range(len(asked.names))]
    kept = patients.dropna(subset=raw) if asked.missing == "drop" else patients
    said = ["Patients without one of them are left out."] if len(kept) < len(patients) else []
    made: dict[str, Any] = {}
    for column, name in zip(raw, asked.names, strict=True):
        values = kept[column]
        if pd.api.types.is_numeric_dtype(values):
            made[f"term_{column}"] = values.fillna(values.mean())
            levels = values.isna().map({True: "missing", False: ""})
        else:
            levels = values.fillna("missing")
        levels, joined = _without_rare(levels, asked.least)
        if joined:
            said.append(f"Categories of {name} with fewer than {asked.least} patients are joined.")
        for k, level in enumerate(levels.value_counts().index[1:]):
            made[f"term_{column}_{k}"] = (levels == level).astype(float)
    table = pd.DataFrame(made, index=kept.index)
    return table.loc[:, table.nunique() > 1], said


def _without_rare(levels: pd.Series, least: int) -> tuple[pd.Series, bool]:
    """Join rare categories; where they are few together too, with the most frequent."""
    sizes = levels.map(levels.value_counts())
    rare = sizes < least
    if 0 < rare.sum() < least:
        return levels.mask(rare, levels.mode().iloc[0]), True
    return levels.mask(rare, "(others)"), bool(rare.any())


def adjusted_effects(
    patients: pd.DataFrame,
    measure: Measure,
    measures: Sequence[Measure],
    asked: CaseMix,
    seed: int = 1,
) -> tuple[pd.DataFrame, list[str], pd.Series | None]:
    """Therapist effect of a measure without adjustment, and as adjustment is added.

    Parameters
    ----------
    patients : DataFrame
    measure : Measure
    measures : sequence of Measure
        Whose first scores are in the model.
    asked : CaseMix
    seed : int
        Of the bootstrap behind the interval of a change: of therapists, or of services where a
        covariate has one value in each.

    Returns
    -------
    DataFrame
        One row a model: ``adjusted_for``, ``vpc`` with its profile interval, and ``change`` from
        the row before with its interval; shares.
    list of str
        What became of missing and rare entries.
    Series or None
        By therapist, the mean of the last scores less what first scores and case mix let expect,
        not drawn towards the average. None where nothing more is adjusted for, or patients are
        left out: from the same without adjustment it would tell of those few.
    """
    mix, said = case_mix_terms(patients, asked)
    rows, terms = patients.loc[mix.index].join(mix), list(map(str, mix))
    formulas = {
        "nothing": f"{measure.post} ~ 1 + (1 | therapist_id)",
        "first scores": model_formula(measure, measures),
    }
    if terms:
        formulas["first scores and case mix"] = model_formula(measure, measures, extra=terms)
    if asked.therapist_mean:
        mean = rows.groupby("therapist_id")[measure.pre].transform("mean")
        rows = rows.assign(therapist_mean=mean)
        words = f"{[*formulas][-1]}, and the therapist's mean first score"
        formulas[words] = model_formula(measure, measures, extra=[*terms, "therapist_mean"])
    rows = rows.dropna(subset=[measure.post, *(m.pre for m in measures)])
    of_services = _of_services(rows, asked.names) if "service_id" in rows else ""
    if of_services:
        said.append(remark("of_services", names=of_services, least=_LEAST_SERVICES))
    lines, before = [], None
    for words, formula in formulas.items():
        fit = fit_mixed(formula, rows)
        found = fit.profile_interval()
        line = {"adjusted_for": words, "vpc": fit.vpc()}
        line |= {"vpc_lower": found.lower, "vpc_upper": found.upper}
        unit = "service_id" if of_services and "case mix" in words else "therapist_id"
        unit_of = rows.groupby("therapist_id")[unit].first().reindex(fit.design.groups)
        lines.append(line if before is None else line | _change(before, fit, unit_of, seed))
        before = fit
    own = None
    if len(lines) > 2 and len(mix) == len(patients):
        expected = patient_residuals(fit, rows)["expected"]
        own = (rows[measure.post] - expected).groupby(rows["therapist_id"]).mean()
    return pd.DataFrame(lines), said, own


def _of_services(rows: pd.DataFrame, names: Sequence[str]) -> str:
    """Name the covariates that have one value in every service, but not one in all."""
    mix = rows[[f"mix_{i}" for i in range(len(names))]]
    within = mix.groupby(rows["service_id"]).nunique(dropna=False).max()
    constant = (within == 1) & (mix.nunique(dropna=False) > 1)
    return ", ".join(n for n, found in zip(names, constant, strict=True) if found)


def _change(before: MixedFit, after: MixedFit, unit_of: pd.Series, seed: int) -> dict[str, float]:
    """Change of the effect; its interval from resampled units: therapists, or services of them."""
    rng, n = np.random.default_rng(seed), before.n_groups
    units = [*pd.Series(range(n)).groupby(pd.factorize(unit_of)[0]).indices.values()]
    changes = []
    for _ in range(min(_REPLICATES, max(50, 200_000 // n))):
        drawn = np.concatenate([units[k] for k in rng.integers(0, len(units), len(units))])
        pair = [
            fit_many(f.design, f.design.cross[None, drawn], f.design.n[drawn]).vpc[0]
            for f in (before, after)
        ]
        changes.append(pair[1] - pair[0])
    change, half = after.vpc() - before.vpc(), 1.959964 * float(np.nanstd(changes, ddof=1))
    if len(units) < min(n, _LEAST_SERVICES):
        half = np.nan
    return {"change": change, "change_lower": change - half, "change_upper": change + half}
