"""Case mix: what patients brought with them, as terms of a model, and what it changes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from multilevel.fit import MixedFit, fit_mixed
from multilevel.many import shares_without
from multilevel.nested import NestedFit
from pwp_lib.measures import Measure
from pwp_lib.models import model_formula
from pwp_lib.numbers import listing
from pwp_report.read.cells import MISSING_CODES, read_codes, read_dates, read_numbers
from pwp_report.read.raw import did_you_mean, shown_name
from pwp_report.recognise import NOBODY, guess_roles, speaks_of
from pwp_report.study import Study, column_not_there
from pwp_report.wording import refusal, remark

#: What a model is adjusted for, in words.
FIRST, WITH_MIX = "first scores", "first scores and case mix"

#: Numbers with more values than this are numbers, others are categories.
_CATEGORIES = 6
#: Of more different numbers none is looked at as a code.
_CODES = 30
#: Roles that say who and where a patient was, and when.
_WHO = ("patient_id", "therapist_id", "service_id", "person_id")
_WHEN = ("started", "ended", "date", "time")
#: Headings under which the day numbers of a spreadsheet are dates.
_OF_DATES = r"(?i).*(?:dates?(?![a-z])|dob|birth)"
#: Of fewer services left out in turn the spread says nothing.
_LEAST_SERVICES = 10


class CaseMix(NamedTuple):
    """What is adjusted for, and how; fewer patients than `least` have no category of their own.

    Nor have those of whom fewer than `few` have a yes-or-no outcome, or lack it: such a count would
    be withheld.
    """

    names: tuple[str, ...] = ()
    missing: str = "category"
    therapist_mean: bool = False
    least: int = 20
    few: int = 5


NO_MIX = CaseMix()


def case_mix_columns(study: Study, columns: Sequence[str], file: str) -> dict[str, str]:
    """Find the column of each covariate that a study asks for, by role or by its own name.

    Raises
    ------
    InputError
        If there is no such column, or it holds what the therapist did, a score, a date, or who a
        patient, therapist or service is.
    """
    found = {}
    scores = {c for s in study.measures for c in (s.pre, s.post, s.score)}
    done = {c for role, c in study.columns.items() if speaks_of("of_treatment", role)}
    for name in study.adjust:
        column = study.columns.get(name, name)
        wrong = {
            "covariate_of_treatment": {column} & done or speaks_of("of_treatment", column),
            "covariate_a_score": {column} & scores,
            "covariate_who": {column} & {study.columns.get(r) for r in _WHO},
            "covariate_a_date": {column} & {study.columns.get(r) for r in _WHEN},
            "covariate_not_found": {column} - {*columns},
        }
        if key := next((k for k, there in wrong.items() if there), ""):
            person = {study.columns.get(r) for r in ("age", "gender", "ethnicity")}
            taken = {*study.columns.values(), "synthetic"} - person | scores | done
            free = [c for c in columns if c not in taken and not speaks_of("of_treatment", c)]
            listed = ", ".join(map(shown_name, free[:12])) or "(none)"
            meant = did_you_mean(name, free, " (did you mean {}?)")
            raise refusal(key, file=file, column=shown_name(name), listed=listed, meant=meant)
        found[name] = column
    for column in {study.columns.get(n, n) for n in study.categories} - {*columns}:
        raise column_not_there("under categories", column, columns, file)
    return found


def read_case_mix(
    frame: pd.DataFrame, columns: Mapping[str, str], study: Study, file: str = ""
) -> tuple[pd.DataFrame, list[str]]:
    """Read covariates as numbers or categories: ``mix_0`` and so on, missing entries as such.

    Returns
    -------
    DataFrame
    list of str
        What was understood beside that, and what has to be asked.

    Raises
    ------
    InputError
        If the entries of a column are dates, or of a patient or a therapist each.
    """
    made, said = {}, []
    patients = frame[study.columns["patient_id"]] if "patient_id" in study.columns else frame.index
    for i, (name, column) in enumerate(columns.items()):
        text = read_codes(frame[column], set(study.missing))
        if key := _no_covariate(text, column, patients[text.notna()].nunique()):
            raise refusal(key, file=file, column=shown_name(column))
        read = read_numbers(frame[column], {*study.missing, *NOBODY}, study.decimal or None)
        coded = {name, column} & {*study.categories}
        numeric = read.values.nunique() > _CATEGORIES and not (read.wrong.any() or coded)
        made[f"mix_{i}"] = read.values if numeric else text
        worth_saying = {
            "words_for_missing": numeric and read.values.count() < text.count(),
            "number_far_off": numeric and _has_code(read.values),
            "numbers_as_categories": not (numeric or coded) and _numbers_beside_words(text),
        }
        said += [remark(key, name=shown_name(name)) for key, so in worth_saying.items() if so]
    return pd.DataFrame(made, index=frame.index), said


def _no_covariate(text: pd.Series, column: str, patients: int) -> str:
    """Say by its entries why a column is no covariate; empty where it may be one."""
    entries = text.dropna().drop_duplicates()
    many = max(_CATEGORIES, patients / 2)
    short = entries.str.fullmatch(r"[-+]?\d{0,5}(?:[.,]\d*)?%?")
    numbers = short & (re.match(_OF_DATES, column) is None)
    if 2 * (read_dates(entries).values.notna() & ~numbers).sum() > len(entries):
        return "covariate_a_date"
    who = guess_roles([column], _WHO[:2])
    if "therapist_id" in who and len(entries) > _CATEGORIES:
        return "covariate_who"
    return "covariate_of_one_each" if len(entries if who else entries[~short]) > many else ""


def _has_code(values: pd.Series) -> bool:
    """Whether a number that often stands for missing lies far from all others."""
    coded = values.isin(MISSING_CODES)
    others = values[~coded]
    return bool((coded & ~values.between(min(0, others.min()), 2 * others.max())).any())


def _numbers_beside_words(text: pd.Series) -> bool:
    """Whether entries that are taken as categories are numbers for the most part."""
    numbers = pd.to_numeric(text.str.replace(",", "."), errors="coerce")
    return numbers.nunique() > _CATEGORIES and 2 * numbers.count() > text.count()


def telling(patients: pd.DataFrame, measure: Measure, names: Sequence[str]) -> list[str]:
    """Ask about covariates that tell over 15% of what first scores leave open of the last.

    What is known before treatment hardly ever tells so much; what became of the patient does. And
    about numbers that tell far more each by itself than by a straight line, as codes do.
    """
    rows = patients.dropna(subset=[measure.pre, measure.post])
    line = np.polyfit(rows[measure.pre], rows[measure.post], 1)
    left, found, codes = rows[measure.post] - np.polyval(line, rows[measure.pre]), [], []
    for i, name in enumerate(names):
        own = rows[f"mix_{i}"]
        codes += [shown_name(name)] * (own.dtype.kind == "f" and _as_codes(own, left))
        own = own if own.dtype.kind != "f" else pd.qcut(own, _CATEGORIES, duplicates="drop")
        within = left - left.groupby(own, dropna=False, observed=True).transform("mean")
        found += [shown_name(name)] * bool(within.var(ddof=own.nunique() + 1) < 0.85 * left.var())
    asked = {"covariates_tell": found, "numbers_as_codes": codes}.items()
    return [remark(key, measure=measure, names=listing(n)) for key, n in asked if n]


def _as_codes(values: pd.Series, left: pd.Series) -> bool:
    """Whether few different numbers leave a straight line by more than chance, and by 1%."""
    from scipy.stats import f

    own, n, k = left[values.notna()], values.count(), values.nunique()
    if not 2 < k < min(n, _CODES):
        return False
    by = values.dropna()
    line = own - np.polyval(np.polyfit(by, own, 1), by)
    rest = ((own - own.groupby(by).transform("mean")) ** 2).sum()
    more = ((line**2).sum() - rest) / (k - 2) / rest * (n - k)
    return bool((line**2).sum() - rest > 0.01 * own.var() * n and f.sf(more, k - 2, n - k) < 0.001)


class Term(NamedTuple):
    """A term of a model: its covariate, what is compared, and how rows are coded.

    Attributes
    ----------
    covariate, compared : str
    column : str
    unit : float
        What a number is divided by; zero of a category.
    values : mapping of str to float
        Of a category, by entry.
    other : float
        Of whoever has no number, or another entry: the mean of the others.
    """

    covariate: str
    compared: str
    column: str
    unit: float
    values: Mapping[str, float]
    other: float

    def of(self, rows: pd.DataFrame) -> pd.Series:
        """Code the rows of this or another table of patients."""
        values: pd.Series = rows[self.column]
        if self.unit:
            return values.fillna(self.other) / self.unit
        return _entries(values).map(self.values).astype("float64").fillna(self.other)


class CaseMixRows(NamedTuple):
    """Rows with their case mix as columns of numbers.

    Attributes
    ----------
    rows : DataFrame
        The patients who are kept, with a column for each term.
    terms : dict of str to Term
        By column; none for a covariate without variation.
    of_services : list of str
        Terms with one value in every service.
    said : tuple of str
        What became of missing and rare entries, in sentences.
    whole : bool
        Whether all patients are kept.
    """

    rows: pd.DataFrame
    terms: dict[str, Term]
    of_services: list[str]
    said: tuple[str, ...]
    whole: bool


def case_mix_rows(patients: pd.DataFrame, asked: CaseMix, outcome: str = "") -> CaseMixRows:
    """Give covariates as columns of numbers, rare categories joined or in none.

    Parameters
    ----------
    patients : DataFrame
        Rows of one model, with ``mix_0`` and so on in the order of the names asked for.
    asked : CaseMix
    outcome : str
        Column of a yes-or-no outcome: of a category some have it and some do not.
    """
    raw = [f"mix_{i}" for i in range(len(asked.names))]
    kept = patients.dropna(subset=raw) if asked.missing == "drop" else patients
    # In words: a number would be one more count beside those that are released together.
    lost = 1 - len(kept) / max(1, len(patients))
    words = ("mix_lacks_few", "mix_lacks_some", "mix_lacks_many")[(lost >= 0.05) + (lost >= 0.2)]
    said = [remark(words)] if lost else []
    terms: dict[str, Term] = {}
    for column, name in zip(raw, asked.names, strict=True):
        values = kept[column]
        if pd.api.types.is_numeric_dtype(values):
            if _of_few(values, asked.least):
                said.append(remark("number_of_few", name=name, least=asked.least))
                continue
            # Per one, ten or a hundred, whatever a standard deviation has a few of.
            unit, mean = 10.0 ** np.floor(np.log10(values.std() or 1.0)), float(values.mean())
            terms[f"term_{column}"] = Term(name, f"each {unit:,g} more", column, unit, {}, mean)
        elif _numbers_beside_words(values.astype("str")):
            said.append(remark("numbers_as_categories", name=name) + ".")
        sizes, into, rare = _without_rare(_counted(kept, column, outcome), asked)
        said += [remark(key, name=name, least=asked.least) for key in rare]
        reference, *others = [*sizes.index] or [""]
        for k, level in enumerate(others):
            mine = {str(e): float(to == level) for e, to in into.dropna().items()}
            compared, share = f"{level}, against {reference}", sizes[level] / sizes.sum()
            terms[f"term_{column}_{k}"] = Term(name, compared, column, 0.0, mine, share)
    made = {t: term.of(kept) for t, term in terms.items()}
    terms = {t: terms[t] for t, values in made.items() if values.max() > values.min()}
    rows, fixed = kept.assign(**{t: made[t] for t in terms}), []
    if "service_id" in rows and not outcome:
        within = rows.groupby("service_id")
        fixed = [t for t in terms if (within[t].max() == within[t].min()).all()]
        names = ", ".join(dict.fromkeys(terms[t].covariate for t in fixed))
        said += [remark("of_services", names=names, least=_LEAST_SERVICES)] if fixed else []
    return CaseMixRows(rows, terms, fixed, tuple(said), len(kept) == len(patients))


def _of_few(values: pd.Series, least: int) -> bool:
    """Whether a coefficient would be of few: nearly all have one value, or four vary the most."""
    squares = (values - values.mean()).pow(2).sort_values(ascending=False)
    rare = values.value_counts().iloc[1:].sum() < least
    return bool(rare or 2 * squares.iloc[:4].sum() > squares.sum())


def _entries(values: pd.Series) -> pd.Series:
    """Give entries as categories, one of them that there is none; of numbers, whether there is."""
    if pd.api.types.is_numeric_dtype(values):
        values = values.isna().map({True: "missing", False: "recorded"})
    found = values.astype("category")
    return found.cat.set_categories(found.cat.categories.union(["missing"])).fillna("missing")


def _counted(rows: pd.DataFrame, column: str, outcome: str) -> pd.DataFrame:
    """Count patients, and those with an outcome, by entry of a covariate and therapist."""
    # A million rows are grouped by codes ten times as fast as by labels.
    codes = rows["therapist_id"].astype("category").cat.codes
    rows = rows.assign(entry=_entries(rows[column]), therapist_id=codes)
    kept = {"n": ("entry", "size"), "yes": (outcome, "sum"), "service_id": ("service_id", "first")}
    kept = {name: of for name, of in kept.items() if of[0] in rows}
    table = rows.groupby(["entry", "therapist_id"], observed=True).agg(**kept).reset_index()
    return table.astype({"entry": object})


def _without_rare(table: pd.DataFrame, asked: CaseMix) -> tuple[pd.Series, pd.Series, list[str]]:
    """Join rare categories; where they are rare together too, put them in none.

    Joined with another category they would be taken for what they are not, and left out they
    could be told from models with them: those in none are expected to be as the others' mean.

    What a model says of a category must be of several therapists of whom none can tell another,
    and of several services, since a name that one of them alone has would say which it is.

    Returns
    -------
    sizes : Series of int
        Patients by category, most first.
    into : Series
        By entry its category, missing where it is in none.
    said : list of str
    """
    said: list[str] = []
    into = pd.Series({e: e for e in table["entry"]}, dtype=object)
    for key, joined in {"categories_joined": "rare categories", "categories_none": None}.items():
        parts = table.groupby(table["entry"].map(into))
        most = table.groupby([table["entry"].map(into), "therapist_id"])["n"].sum().groupby(level=0)
        few = (most.size() < 3) | (parts["n"].sum() - most.max() < asked.least)
        if "service_id" in table:
            few |= parts["service_id"].nunique() < min(3, table["service_id"].nunique())
        if "yes" in table:
            have = parts["yes"].sum()
            few |= np.minimum(have, parts["n"].sum() - have) < asked.few
        if not few.any():
            break
        said = [key]
        into = into.mask(into.isin(few.index[few]), joined)
    sizes = table["n"].groupby(table["entry"].map(into)).sum()
    return sizes.sort_values(ascending=False, kind="stable"), into, said


def adjusted_effects(
    mix: CaseMixRows, measure: Measure, measures: Sequence[Measure], asked: CaseMix
) -> tuple[pd.DataFrame, MixedFit]:
    """Therapist effect of a measure without adjustment, and as adjustment is added.

    Parameters
    ----------
    mix : CaseMixRows
        Of patients with every score of the model.
    measure : Measure
    measures : sequence of Measure
        Whose first scores are in the model.
    asked : CaseMix

    Returns
    -------
    DataFrame
        One row a model: ``adjusted_for``, ``vpc`` with its profile interval, and ``change`` from
        the row before with its interval; shares.
    MixedFit
        The model with first scores and case mix.
    """
    rows, terms = mix.rows, list(mix.terms)
    nothing, first = f"{measure.post} ~ 1 + (1 | therapist_id)", model_formula(measure, measures)
    formulas = {"nothing": nothing, FIRST: first}
    if terms:
        formulas[WITH_MIX] = model_formula(measure, measures, extra=terms)
    if asked.therapist_mean:
        mean = rows.groupby("therapist_id")[measure.pre].transform("mean")
        rows = rows.assign(therapist_mean=mean)
        more = model_formula(measure, measures, extra=[*terms, "therapist_mean"])
        formulas[f"{[*formulas][-1]}, and the therapist's mean first score"] = more
    lines: list[dict[str, Any]] = []
    fits: list[MixedFit] = []
    for words, formula in formulas.items():
        fit = fit_mixed(formula, rows)
        share = zip(("vpc", "vpc_lower", "vpc_upper"), fit.profile_interval()[:3], strict=True)
        line = {"adjusted_for": words, **dict(share)}
        unit = "service_id" if mix.of_services and "case mix" in words else "therapist_id"
        unit_of = rows.groupby("therapist_id")[unit].first().reindex(fit.design.groups)
        lines.append(line | (_change(fits[-1], fit, unit_of) if fits else {}))
        fits.append(fit)
    return pd.DataFrame(lines), fits[1 + bool(terms)]


def coefficients(mix: CaseMixRows, fit: MixedFit, services: dict[str, NestedFit]) -> pd.DataFrame:
    """Points of the last score for each term of the case mix, and whom they are of.

    Parameters
    ----------
    mix : CaseMixRows
    fit : MixedFit
        Of patients in therapists, for Satterthwaite's degrees of freedom.
    services : mapping of str to NestedFit
        If there is one of three levels with the same terms, estimates are its own. A term of
        services has as many degrees of freedom as there are services, less one and less such
        terms; without this model it has no interval.

    Returns
    -------
    DataFrame
        By term: ``covariate``, ``compared``, ``estimate`` with its 95% interval, ``df``, and ``n``,
        patients in the category or in all.
    """
    from scipy.stats import t

    terms, rows = mix.terms, mix.rows
    found = fit.satterthwaite().loc[[*terms], ["estimate", "se", "df"]]
    found.loc[mix.of_services, "df"] = np.nan
    if WITH_MIX in services:
        found[["estimate", "se"]] = services[WITH_MIX].fixed.loc[[*terms], ["estimate", "se"]]
        found.loc[mix.of_services, "df"] = rows["service_id"].nunique() - 1 - len(mix.of_services)
    estimate, half = found["estimate"], found["se"] * t.ppf(0.975, found["df"])
    table = pd.DataFrame([term[:2] for term in terms.values()], found.index, Term._fields[:2])
    n = [len(rows) if term.unit else (rows[name] == 1).sum() for name, term in terms.items()]
    ends = {"estimate_lower": estimate - half, "estimate_upper": estimate + half}
    return table.assign(estimate=estimate, **ends, df=found["df"], n=n)


def _change(before: MixedFit, after: MixedFit, unit_of: pd.Series) -> dict[str, float]:
    """Change of the effect; its interval by the jackknife of therapists, or of their services.

    Units drawn again and again give an interval that is too narrow: it held a known change in 82
    to 84% of cohorts of 12 and of 30 therapists, this one in 90 to 92%.
    """
    from scipy.stats import t

    n, units = before.n_groups, pd.factorize(unit_of)[0]
    # Nor does that of fewer than five therapists, which of two is zero, or of shares of zero.
    few = units.max() + 1 < max(5, min(n, _LEAST_SERVICES)) or before.vpc() + after.vpc() < 0.001
    # Of very many units some at a time are left out.
    blocks = [*pd.Series(range(n)).groupby(units % max(50, 200_000 // n)).indices.values()]
    changes = np.diff(shares_without([before.design, after.design], blocks))
    wide = float(t.ppf(0.975, len(blocks) - 1)) * (len(blocks) - 1) ** 0.5
    half = np.nan if few else wide * float(np.nanstd(changes))
    change = after.vpc() - before.vpc()
    return {"change": change, "change_lower": change - half, "change_upper": change + half}
