"""Who vouches for a released figure: each table claimed, cell by cell, from the rows of the file.

Nothing here is of the packages under test. `Claims` holds the tables of a run as text; every cell
that is a figure is open until a computation of this module has claimed it. The rules of release
(counts under 5 withheld, others to the nearest 5, ends of a share, decimals by size of group) are
stated here once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from independent import (
    Fitted,
    Linear,
    Logistic,
    expected_ranks,
    jackknifed_change,
    least_squares,
    nearest_and_furthest,
    nested,
    one,
    posterior,
    ranks_drawn,
    slope,
)
from scipy.stats import chi2, kurtosis, levene, norm, rankdata, shapiro, skew, spearmanr
from scipy.stats import t as student

MARK = "*"
FIGURE = re.compile(r"\*|['’]?[-−]?\d[\d,.]*(e[-+]?\d+)?( to [-−]?\d[\d.]*)?")
#: By measure: label, cut-off, reliable change, 1 where higher is worse, ends of the scale.
SCALES: Mapping[str, tuple[str, float | None, float | None, int, float, float]] = {
    "phq9": ("PHQ-9", 10, 6, 1, 0, 27),
    "gad7": ("GAD-7", 8, 4, 1, 0, 21),
    "core10": ("CORE-10", 11, 6, 1, 0, 40),
    "ors": ("ORS", 25, 6, -1, 0, 40),
    "wsas": ("WSAS", None, None, 1, 0, 40),
    "core_om": ("CORE-OM", 10, None, 1, 0, 40),
    "oq45": ("OQ-45", 64, 14, 1, 0, 180),
}
FIRST, WITH_MIX = "first scores", "first scores and case mix"
_RCSI = "Reliable and clinically significant improvement (RCSI)"
OUTCOMES = {
    "caseness": ("n_case_pre", "n"),
    "improvement": ("n_improved", "n"),
    "deterioration": ("n_deteriorated", "n"),
    "recovery": ("n_recovered", "n_case_pre"),
    "rcsi": ("n_rcsi", "n_case_pre"),
}
NATIONAL = {
    "recovery": "n_case",
    "reliable_improvement": "n_finished",
    "reliable_deterioration": "n_finished",
    "reliable_recovery": "n_case",
}
#: Draws behind the released ranks, and ours.
THEIRS, OURS = 10_000, 40_000
Rows = pd.DataFrame


def counted(n: int) -> str:
    """Write a count by the rule: none under 5, another to the nearest 5."""
    return MARK if n < 5 else str(5 * ((n + 2) // 5))


def ends(part: str, whole: str) -> str:
    """Percentages between which a share lies whose two counts are shown so."""
    if MARK in (part, whole):
        return MARK
    (a, b), (c, d) = ((max(5, int(x) - 2), int(x) + 2) for x in (part, whole))
    return f"{100 * a // d:.0f} to {min(100, -(-100 * b // c)):.0f}"


def percent(part: str, whole: str) -> str:
    """Percentage of two counts as they are shown."""
    if MARK in (part, whole):
        return MARK
    return f"{min(100.0, np.floor(100 * int(part) / int(whole) + 0.5)):.1f}"


def cluster(n: int, asked: int | None) -> int:
    """Therapists of the upper and of the lower group."""
    return asked or max(2, int(n / 4 + 0.5))


@dataclass
class Asked:
    """A file as pandas reads it, and what its study file asks for."""

    rows: Rows
    covariates: Sequence[str] = ()
    drop: bool = False
    therapist_mean: bool = False
    least: int = 20
    size: int | None = None
    therapists: Rows | None = None
    #: The share of the file's rows that the study leaves out, in one step; of no patient all rows.
    left_out: float = 0.0

    @cached_property
    def measures(self) -> list[str]:
        """In the file's order."""
        return [m for m in SCALES if f"{m}_pre" in self.rows]

    @cached_property
    def rules(self) -> list[pd.Series]:
        """Who meets each rule of inclusion, in turn."""
        r = self.rows
        met = [pd.Series(True, r.index)] * (1 + bool(self.left_out)) + [r["t"].notna()]
        if "sessions" in r:
            met.append(r["sessions"] >= 2)
        if "closed" in r:
            met.append(r["closed"] | r.get("in_treatment", False))
        if "of_age" in r:
            met.append(r["of_age"])
        return met + [r[[f"{m}_pre", f"{m}_post"]].notna().all(axis=1) for m in self.measures]

    @cached_property
    def eligible(self) -> Rows:
        """Who meets every rule but those on scores."""
        before = self.rules[: len(self.rules) - len(self.measures)]
        return self.rows[np.logical_and.reduce(before)]

    @cached_property
    def patients(self) -> Rows:
        """Who is analysed."""
        return self.rows[np.logical_and.reduce(self.rules)]

    @cached_property
    def loads(self) -> pd.Series:
        """Patients by therapist."""
        return self.patients.groupby("t").size()

    def safe(self, loads: Sequence[int]) -> bool:
        """Three therapists or more of whom none dominates."""
        ordered = sorted(loads)
        return len(ordered) > 2 and sum(ordered[:-1]) >= self.least

    @cached_property
    def together(self) -> list[Any]:
        """Therapists with few patients, and the next smallest until they are a safe group."""
        ordered = self.loads.sort_values(kind="stable")
        members = [t for t in ordered.index if ordered[t] < self.least]
        for t in ordered.index[len(members) :] if members else ():
            if self.safe(ordered[members].tolist()):
                break
            members.append(t)
        return members

    @cached_property
    def alone(self) -> list[Any]:
        """Those shown one by one."""
        return [t for t in self.loads.index if t not in self.together]

    # --- Models ----------------------------------------------------------------------------------

    def fixed(self, d: Rows, m: str, others: bool = True) -> dict[str, pd.Series]:
        """Columns of the fixed part: first scores about their means, and products with the own."""
        own = d[f"{m}_pre"] - d[f"{m}_pre"].mean()
        made = {"Intercept": pd.Series(1.0, d.index), f"center({m}_pre)": own}
        rest = [o for o in self.measures if o != m] if others else []
        centred = {f"center({o}_pre)": d[f"{o}_pre"] - d[f"{o}_pre"].mean() for o in rest}
        products = {f"center({m}_pre):{k}": own * v for k, v in centred.items()}
        return made | centred | products

    def model(
        self,
        d: Rows,
        m: str,
        kind: str = "slope",
        columns: Mapping[str, pd.Series] | None = None,
        extra: Mapping[Any, pd.Series] | None = None,
        reml: bool = False,
        y: pd.Series | None = None,
    ) -> Linear:
        """A linear model of a measure's last score."""
        columns = self.fixed(d, m) if columns is None else columns
        more = {k: v - v.mean() for k, v in (extra or {}).items()}
        x = np.column_stack([*columns.values(), *more.values()])
        last = d[f"{m}_post"] if y is None else y
        ones = np.ones((len(d), 1))
        if kind == "slope":
            z = np.column_stack([ones, d[f"{m}_pre"] - d[f"{m}_pre"].mean()])
            return Linear(last, x, z, d["t"], slope, reml)
        if kind == "one":
            return Linear(last, x, ones, d["t"], one, reml)
        units, groups = (pd.get_dummies(d[c].astype(str)).astype(float) for c in ("service", "t"))
        factor = nested(units.shape[1], groups.shape[1])
        return Linear(last, x, np.hstack([units, groups]), np.zeros(len(d)), factor, reml)

    def mix(self, d: Rows, yes: pd.Series | None = None) -> tuple[Rows, dict[Any, pd.Series]]:
        """Patients with their case mix, and its columns by covariate and what is compared."""
        kept = d.dropna(subset=list(self.covariates)) if self.drop else d
        made: dict[Any, pd.Series] = {}
        for name in self.covariates:
            values = kept[name]
            if pd.api.types.is_numeric_dtype(values) and values.nunique() > 6:
                unit = 10.0 ** np.floor(np.log10(values.std()))
                made[name, f"each {unit:,g} more"] = values.fillna(values.mean()) / unit
                levels = values.isna().map({True: "missing", False: "recorded"})
            else:
                levels = values.astype(object).where(values.notna(), "missing").astype(str)
                # What is understood as a gender is told in one word for it.
                levels = levels.replace({"Male": "male", "Female": "female"})
            levels = self._without_rare(kept, levels, yes)
            first, *rest = levels.value_counts().index
            for level in rest:
                mine = (levels == level).astype(float).where(levels.notna())
                made[name, f"{level}, against {first}"] = mine.fillna(mine.mean())
        return kept, {k: v for k, v in made.items() if v.nunique() > 1}

    def coded(self, rows: Rows) -> dict[Any, pd.Series]:
        """The case mix in the models of ranks, of other rows: as with the patients analysed."""
        if self.ranked is not self.mixed:
            return {}
        d, made = self.patients, {}
        for (name, compared), term in self.mix(d)[1].items():
            if compared.startswith("each "):
                unit = float(compared.split()[1].replace(",", ""))
                made[name, compared] = rows[name].fillna(d[name].mean()) / unit
                continue
            raw, theirs = (x[name].astype(object).where(x[name].notna(), "none") for x in (d, rows))
            if compared.startswith("missing, against recorded"):
                raw, theirs = raw == "none", theirs == "none"
            made[name, compared] = theirs.map(term.groupby(raw).first()).fillna(term.mean())
        return made

    def _without_rare(self, d: Rows, levels: pd.Series, yes: pd.Series | None) -> pd.Series:
        for into in ("rare categories", None):
            bad = []
            for level, g in d.groupby(levels):
                loads = g.groupby("t").size()
                few = len(loads) < 3 or loads.sum() - loads.max() < self.least
                if "service" in d:
                    few |= g["service"].nunique() < min(3, d["service"].nunique())
                if yes is not None:
                    have = int(yes[g.index].sum())
                    few |= min(have, len(g) - have) < 5
                bad += [level] * int(few)
            if not bad:
                break
            levels = levels.mask(levels.isin(bad), into)
        return levels

    @cached_property
    def of_services(self) -> list[Any]:
        """Terms of the case mix with one value in every service."""
        kept, terms = self.mix(self.patients)
        if "service" not in kept:
            return []
        return [k for k, v in terms.items() if v.groupby(kept["service"]).nunique().max() == 1]

    @cached_property
    def fits(self) -> dict[str, Fitted]:
        """The random slope model of each measure."""
        return {m: self.model(self.patients, m).fit() for m in self.measures}

    @cached_property
    def mixed(self) -> dict[str, Fitted]:
        """And with the case mix."""
        kept, terms = self.mix(self.patients)
        if not terms:
            return {}
        return {m: self.model(kept, m, extra=terms).fit() for m in self.measures}

    @cached_property
    def ranked(self) -> dict[str, Fitted]:
        """Of residuals, ranks and groups: with the case mix, unless patients are left out."""
        whole = len(self.mix(self.patients)[0]) == len(self.patients)
        return self.mixed if self.mixed and whole else self.fits

    def placed(self, fit: Fitted, m: str) -> pd.Series:
        """Ranks of therapists, 1 the best."""
        u = SCALES[m][3] * fit.effects()[0]
        return pd.Series(rankdata(np.round(u, 10)), fit.model.labels)

    def groups(self, fits: Mapping[str, Fitted]) -> pd.Series:
        """Upper, middle or lower, by the mean of the ranks on the measures."""
        ranks = pd.DataFrame({m: self.placed(f, m) for m, f in fits.items()})
        u = {m: SCALES[m][3] * f.effects()[0] for m, f in fits.items()}
        tie = sum(v / (v.std() or 1) for v in u.values())
        order = ranks.assign(c=ranks.mean(axis=1).round(9), tie=tie).sort_values(["c", "tie"]).index
        k = cluster(len(order), self.size)
        names = ["upper"] * k + ["middle"] * (len(order) - 2 * k) + ["lower"] * k
        return pd.Series(names, order)

    # --- Outcomes --------------------------------------------------------------------------------

    def flags(self, d: Rows, m: str) -> Rows:
        """Yes-or-no outcomes of patients on one measure."""
        _, cutoff, reliable, sign, *_ = SCALES[m]
        pre, post = d[f"{m}_pre"], d[f"{m}_post"]
        out = pd.DataFrame(index=d.index)
        gain = (sign * (pre - post)).round(6)
        if cutoff is not None:
            # At the cut-off is a case where higher is worse, and no case where it is better.
            before, after = ((x >= cutoff) if sign == 1 else (x < cutoff) for x in (pre, post))
            out["n_case_pre"], out["n_recovered"] = before, before & ~after
        if reliable is not None:
            out["n_improved"], out["n_deteriorated"] = gain >= reliable, gain <= -reliable
        if cutoff is not None and reliable is not None:
            out["n_rcsi"] = out["n_recovered"] & out["n_improved"]
        return out

    def national(self, d: Rows) -> Rows:
        """National definitions over the PHQ-9 and the GAD-7."""
        finished = d.get("closed", pd.Series(True, d.index)) & (d.get("sessions", 2) >= 2)
        each = [self.flags(d, m) for m in ("phq9", "gad7")]
        scores = d[[f"{m}_{e}" for m in ("phq9", "gad7") for e in ("pre", "post")]]
        ok = finished & scores.notna().all(axis=1)
        lacks = d[["phq9_pre", "gad7_pre"]].isna().any(axis=1)
        below = (d["phq9_post"] < 10) & (d["gad7_post"] < 8)
        case = each[0]["n_case_pre"] | each[1]["n_case_pre"]
        better, worse = (
            each[0][f"n_{w}"] | each[1][f"n_{w}"] for w in ("improved", "deteriorated")
        )
        out = pd.DataFrame({"n_finished": finished, "n_case": finished & (case | lacks)})
        out["n_recovery"] = ok & case & below
        out["n_reliable_improvement"] = ok & better & ~worse
        out["n_reliable_deterioration"] = ok & worse & ~better
        out["n_reliable_recovery"] = out["n_recovery"] & out["n_reliable_improvement"]
        return out


@dataclass
class Claims:
    """The tables of a run, what nobody has claimed yet, and what was found wrong."""

    asked: Asked
    tables: dict[str, Rows]
    wrong: list[str] = field(default_factory=list)
    small: int = 0
    withheld: int = 0

    def __post_init__(self) -> None:
        self.open = {
            (name, i, c)
            for name, table in self.tables.items()
            for i, row in enumerate(table.to_dict("records"))
            for c, cell in row.items()
            if FIGURE.fullmatch(cell)
        }

    @classmethod
    def of(cls, asked: Asked, folder: Path) -> Claims:
        """Read the tables of a run as text."""
        paths = sorted(folder.glob("*.csv"))
        return cls(asked, {p.stem: pd.read_csv(p, dtype=str, keep_default_na=False) for p in paths})

    def lines(self, table: str, **where: str) -> Iterator[tuple[int, dict[str, str]]]:
        """Rows of a table, none if there is no such table."""
        frame = self.tables.get(table, pd.DataFrame())
        for i, row in enumerate(frame.to_dict("records")):
            if all(row[k] == v for k, v in where.items()):
                yield i, row

    def _cell(self, table: str, i: int, column: str) -> str:
        self.open.discard((table, i, column))
        return str(self.tables[table].iloc[i][column])

    def number(
        self, table: str, i: int, column: str, value: float, places: int, more: float = 1e-4
    ) -> None:
        """Claim a number that is rounded; nothing stands where there is none."""
        cell = self._cell(table, i, column)
        if np.isnan(value):
            right = cell == ""
        else:
            right = bool(cell) and cell != MARK
            right = right and abs(float(cell) - value) <= 0.5001 * 10.0**-places + more
        if not right:
            self.wrong.append(f"{table} {i} {column}: {cell!r} and not {value:.6g}")

    def small_p(self, table: str, i: int, column: str, value: float, rel: float = 0.01) -> None:
        """Claim a p-value: three decimals, or three digits where it is small."""
        cell = self._cell(table, i, column)
        if np.isnan(value):
            right = cell == ""
        else:
            about = 0.0005 + rel * value if value >= 0.00095 else 0.006 * value + rel * value
            right = bool(cell) and abs(float(cell) - value) <= about + 1e-300
        if not right:
            self.wrong.append(f"{table} {i} {column}: {cell!r} and not {value:.6g}")

    def text(self, table: str, i: int, column: str, *expected: str) -> None:
        """Claim a cell as one of these texts."""
        cell = self._cell(table, i, column)
        if cell not in expected and not (
            FIGURE.fullmatch(cell) and cell != MARK and cell.removesuffix(".0") in expected
        ):
            self.wrong.append(f"{table} {i} {column}: {cell!r} and not one of {expected}")

    def count(self, table: str, i: int, column: str, n: int, zero: bool = False) -> str:
        """Claim a count by the rule, or withheld for the sake of another; say how it stands."""
        cell = self._cell(table, i, column).removesuffix(".0")
        if zero and n == 0:
            right = cell == "0"
        else:
            self.small += n < 5
            self.withheld += cell == MARK
            right = cell in (MARK, counted(n))
        if not right:
            self.wrong.append(f"{table} {i} {column}: {cell!r} and not {n} by the rule")
        return cell

    def mean(self, table: str, i: int, column: str, value: float, n: int) -> None:
        """Claim a mean or SD, whose decimals are those of its column."""
        if n < self.asked.least:
            self.text(table, i, column, MARK)
        else:
            self.number(table, i, column, value, 2 if column == "effect_size" else 1, 1e-9)

    # --- Counts and means ------------------------------------------------------------------------

    def flow(self) -> None:
        """Claim what each rule left, and whom it cost."""
        left = pd.Series(True, self.asked.rows.index)
        found = []
        for rule in self.asked.rules:
            now = left & rule
            rows = self.asked.rows[now]
            some = [rows["t"].nunique(), rows["service"].nunique() if "service" in rows else 0]
            found.append((int(now.sum()), int((left & ~rule).sum()), some))
            left = now
        if len(self.tables["flow"]) != len(found):
            self.wrong.append("flow: other rules")
            return
        for i, _ in self.lines("flow"):
            n, out, _ = found[i]
            self.count("flow", i, "patients", n)
            if i:
                self.count("flow", i, "excluded", out, zero=True)
        for k, column in enumerate(["therapists", "services"]):
            last = found[-1][2][k]
            for i in reversed(range(len(found))) if column in self.tables["flow"] else ():
                n = found[i][2][k]
                few = 0 < n - last < 5
                self.text("flow", i, column, MARK if few else str(n))
                last = last if few else n

    def sample(self) -> None:
        """Claim means of patients, therapists and caseloads."""
        d, loads = self.asked.patients, self.asked.loads
        shown = loads.map(lambda n: 5.0 * ((n + 2) // 5) if n >= 5 else 0.0)
        few = self.asked.together
        shown[few] = 0.0  # the fewest, so that they come before the median
        total = 5 * ((len(d) + 2) // 5)
        for i, row in self.lines("sample"):
            name, whom = row["variable"], row["of whom"]
            if whom == "patients":
                x = d[name]
                self.count("sample", i, "n", int(x.notna().sum()))
                self.count("sample", i, "missing", int(x.isna().sum()), zero=True)
            elif whom == "therapists":
                staff = self.asked.therapists
                x = staff[staff["therapist_id"].astype(str).isin(loads.index.astype(str))][name]
                self.text("sample", i, "n", str(x.notna().sum()))
                self.text("sample", i, "missing", str(x.isna().sum()))
            else:
                x = shown if name == "patients" else d.groupby("t")[name].mean()
                self.text("sample", i, "n", str(x.notna().sum()))
                self.text("sample", i, "missing", str(x.isna().sum()))
            mean = total / len(loads) if name == "patients" else x.mean()
            self.number("sample", i, "mean", mean, 1)
            spread = whom == "caseloads" and name == "patients"
            self.number("sample", i, "sd", np.nan if spread and len(few) else x.std(), 1)
            no_median = 2 * len(few) >= len(loads) if spread else whom == "caseloads"
            self.number("sample", i, "median", np.nan if no_median else x.median(), 1)

    def categories(self) -> None:
        """Claim patients by gender and ethnicity, which are all of them."""
        d, every = self.asked.patients, counted(len(self.asked.patients))
        for i, row in self.lines("categories"):
            column = {"gender": "sex" if "sex" in d else "gender"}.get(row["variable"], "ethnicity")
            word = d[column].astype(object).where(d[column].notna(), "not available")
            word = word.astype(str).str.lower().replace({"f": "female", "m": "male"})
            sizes = word.value_counts()
            mine = sizes[sizes < self.asked.least].sum()
            if row["category"] != "other categories":
                mine = sizes[row["category"].lower()]
            n = self.count("categories", i, "n", int(mine))
            self.text("categories", i, "share", MARK if n == MARK else ends(n, every))

    def _outcome_row(self, table: str, i: int, d: Rows, m: str, between: bool) -> None:
        sign, shown = SCALES[m][3], {"n": self.count(table, i, "n", len(d))}
        flags = self.asked.flags(d, m)
        for column in flags:
            shown[column] = self.count(table, i, column, int(flags[column].sum()))
        pre, post = d[f"{m}_pre"], d[f"{m}_post"]
        gain = sign * (pre - post)
        means = {f"{k}_{n}": getattr(x, f)() for n, x in (("pre", pre), ("post", post),
                 ("change", gain)) for k, f in (("mean", "mean"), ("sd", "std"))}  # fmt: skip
        for column, value in (means | {"effect_size": gain.mean() / pre.std()}).items():
            self.mean(table, i, column, value, len(d))
        for rate, (part, whole) in OUTCOMES.items():
            if part not in flags:
                self.text(table, i, rate, "")
            elif shown[whole] == MARK or shown[part] == MARK:
                self.text(table, i, rate, MARK)
            else:
                share = (ends if between else percent)(shown[part], shown[whole])
                self.text(table, i, rate, share.removesuffix(".0"), share)

    def outcomes(self) -> None:
        """Claim outcomes of all."""
        for m in self.asked.measures:
            for i, _ in self.lines("outcomes", measure=SCALES[m][0]):
                self._outcome_row("outcomes", i, self.asked.patients, m, between=False)

    @cached_property
    def named(self) -> dict[str, Any]:
        """Therapists by pseudonym: known by the means that are released of them."""
        m, d = self.asked.measures[0], self.asked.patients
        columns = ["mean_pre", "sd_pre", "mean_post", "sd_post", "effect_size"]
        found: dict[str, Any] = {}
        facts = {}
        for t in self.asked.alone:
            g = d[d["t"] == t]
            pre, post = g[f"{m}_pre"], g[f"{m}_post"]
            size = SCALES[m][3] * (pre - post).mean() / pre.std()
            facts[t] = (len(g), [pre.mean(), pre.std(), post.mean(), post.std(), size])
        for _, row in self.lines("outcomes_by_therapist", measure=SCALES[m][0]):
            if row["therapist"] == "others together":
                continue

            def near(n: int, c: str, value: float, row: Mapping[str, str] = row) -> bool:
                half = 0.00501 if n >= 1_000 or c == "effect_size" else 0.0501
                return abs(float(row[c]) - value) <= half

            fits = [
                t
                for t, (n, values) in facts.items()
                if row["n"] in (MARK, counted(n))
                and all(near(n, c, v) for c, v in zip(columns, values, strict=True))
            ]
            if len(fits) == 1:
                found[row["therapist"]] = fits[0]
            else:
                self.wrong.append(f"therapist {row['therapist']}: {len(fits)} have these means")
        if len(set(found.values())) != len(self.asked.alone):
            self.wrong.append("therapists shown one by one are others than by the rule")
        return found

    def _of(self, label: str, d: Rows) -> Rows:
        mine = self.asked.together if label == "others together" else [self.named[label]]
        return d[d["t"].isin(mine)]

    def by_therapist(self) -> None:
        """Claim outcomes and completeness of each therapist and of the others together."""
        for m in self.asked.measures:
            for i, row in self.lines("outcomes_by_therapist", measure=SCALES[m][0]):
                d = self._of(row["therapist"], self.asked.patients)
                self._outcome_row("outcomes_by_therapist", i, d, m, between=True)
        names = {SCALES[m][0]: [m] for m in self.asked.measures}
        for table in ("completeness", "completeness_by_measure"):
            for i, row in self.lines(table):
                mine = names.get(row.get("measure", ""), self.asked.measures)
                d = self._of(row["therapist"], self.asked.eligible)
                have = d[[f"{m}_{e}" for m in mine for e in ("pre", "post")]].notna().all(axis=1)
                whole = self.count(table, i, "eligible", len(d))
                part = self.count(table, i, "complete", int(have.sum()))
                self.text(table, i, "share", ends(part, whole))

    def last_scores(self) -> None:
        """Claim who lacks a last score."""
        known = self.asked.eligible
        known = known[known["t"].isin(self.asked.loads.index)]
        for m in self.asked.measures:
            for i, _ in self.lines("last_scores", measure=SCALES[m][0]):
                d = known.dropna(subset=[f"{m}_pre"])
                has = d[f"{m}_post"].notna()
                whole = self.count("last_scores", i, "first", len(d))
                part = self.count("last_scores", i, "last", int(has.sum()))
                self.count("last_scores", i, "lacking", int((~has).sum()), zero=True)
                self.text("last_scores", i, "share", ends(part, whole))
                for column, who in (("mean_last", has), ("mean_lacking", ~has)):
                    if who.sum() < self.asked.least:
                        self.text("last_scores", i, column, MARK)
                    else:
                        self.number("last_scores", i, column, d.loc[who, f"{m}_pre"].mean(), 1)

    def national(self) -> None:
        """Claim the national definitions."""
        for i, row in self.lines("national"):
            everybody = row["courses"].startswith("all finished")
            d = self.asked.eligible if everybody else self.asked.patients
            shown = {"n": self.count("national", i, "n", len(d))}
            flags = self.asked.national(d)
            for column in flags:
                shown[column] = self.count("national", i, column, int(flags[column].sum()))
            for rate, whole in NATIONAL.items():
                share = percent(shown[f"n_{rate}"], shown[whole])
                self.text("national", i, rate, share, share.removesuffix(".0"))

    # --- Models ----------------------------------------------------------------------------------

    def models(self, m: str) -> None:
        """Claim deviances and tests, the fixed part, variances and the effect."""
        a, d, fit = self.asked, self.asked.patients, self.asked.fits[m]
        columns = a.fixed(d, m)
        single = least_squares(d[f"{m}_post"].to_numpy(), np.column_stack([*columns.values()]))
        found = [single, a.model(d, m, "one").fit().deviance, fit.deviance]
        for i, k in enumerate([1, 2, 4]):
            more = 0.002  # of the optimum, twice
            self.number(f"models_{m}", i, "deviance", found[i], 3, more)
            self.number(f"models_{m}", i, "aic", found[i] + 2 * (len(columns) + k), 3, more)
            gain, df = (found[i - 1] - found[i], i) if i else (np.nan, np.nan)
            self.number(f"models_{m}", i, "chi2", max(gain, 0.0) if i else gain, 3, more)
            self.number(f"models_{m}", i, "df", df, 0)
            p = chi2.sf(gain, df) if i else np.nan
            mixture = (chi2.sf(gain, i) + (chi2.sf(gain, i - 1) if i > 1 else 0)) / 2
            self.small_p(f"models_{m}", i, "p_value", p)
            self.small_p(f"models_{m}", i, "p_value_boundary", mixture if i else np.nan)
        for k, (i, row) in enumerate(self.lines(f"fixed_{m}")):
            at = list(columns).index(row["term"])
            b, se = fit.beta[at], fit.se[at]
            self.number(f"fixed_{m}", i, "estimate", b, 3, 2e-4)
            self.number(f"fixed_{m}", i, "se", se, 3, 2e-4)
            self.number(f"fixed_{m}", i, "z", b / se, 3, 1e-3 + 2e-4 * abs(b / se))
            self.small_p(f"fixed_{m}", i, "p_value", 2 * norm.sf(abs(b / se)), 0.05)
            assert k == i
        g, errors = fit.covariance, fit.component_errors()
        values = [g[0, 0], g[1, 0], g[1, 1], fit.sigma2]
        for i, _ in self.lines(f"variances_{m}"):
            more = 1e-3 * max(abs(values[i]), errors[i])
            self.number(f"variances_{m}", i, "estimate", values[i], 3, more)
            self.number(f"variances_{m}", i, "se", errors[i], 3, more)
        for i, row in self.lines("therapist_effect", measure=SCALES[m][0]):
            self.number("therapist_effect", i, "vpc", 100 * fit.share(), 1, 0.01)
            for end, value in zip(("lower", "upper"), self.profile(fit), strict=True):
                self.number("therapist_effect", i, f"profile_{end}", 100 * value, 1, 0.02)
            if "median" in row:
                self._posterior(
                    "therapist_effect", i, m, fit, "mlwin", ("median", "lower", "upper")
                )

    def profile(self, fit: Fitted) -> tuple[float, float]:
        """Interval of the effect, found once."""
        self._profiles = getattr(self, "_profiles", {})
        if id(fit) not in self._profiles:
            self._profiles[id(fit)] = fit.interval()
        return self._profiles[id(fit)]

    def _posterior(
        self, table: str, i: int, m: str, fit: Fitted, prior: str, columns: Sequence[str]
    ) -> pd.Series:
        d = self.asked.patients
        x = fit.model.z[:, 1]
        drawn = posterior(fit, prior, d[f"{m}_post"].to_numpy(float), x)
        share = 100 * drawn[:, 0] ** 2 / (drawn[:, 0] ** 2 + drawn[:, 3])
        batches = share[: len(share) // 30 * 30].reshape(30, -1)
        for column, at in zip(columns, (50, 2.5, 97.5), strict=True):
            # Theirs are of about as many draws that say as much: four errors of the difference.
            error = np.percentile(batches, at, axis=1).std(ddof=1) / np.sqrt(30)
            self.number(table, i, column, float(np.percentile(share, at)), 1, 4 * 1.5 * error)
        effects = np.zeros(len(fit.model.labels))
        for s1, s2, rho, v in drawn[:: len(drawn) // 400]:
            theta = np.array([s1, rho * s2, s2 * np.sqrt(1 - rho**2)]) / np.sqrt(v)
            effects += fit.model.at(theta).v @ slope(theta).T[:, 0]
        return pd.Series(SCALES[m][3] * effects, fit.model.labels)

    def checks(self, m: str) -> None:
        """Claim the model checks: residuals of both levels, and their spread."""
        fit, values = self.asked.fits[m], {}
        fitted = fit.fitted()
        residual = fit.model.y - fitted
        z = residual / np.sqrt(fit.sigma2)
        values["spread and fitted value, correlation"] = spearmanr(fitted, abs(residual)).statistic
        parts = [z[fit.model.block == k] for k in range(len(fit.model.labels))]
        parts = [p for p in parts if len(p) > 2]
        values["equal spread by therapist, p"] = levene(*parts, center="median").pvalue
        names = {"patients": z}
        for k, term in enumerate(["Intercept", f"center({m}_pre)"]):
            names[f"therapists, {term}"] = fit.standardised(k)
        for level, x in names.items():
            x = np.sort(x[np.isfinite(x)])
            if len(x) < 3:
                continue
            some = x[np.linspace(0, len(x) - 1, min(len(x), 5_000)).round().astype(int)]
            values[f"{level}: skewness"], values[f"{level}: excess kurtosis"] = skew(x), kurtosis(x)
            values[f"{level}: Shapiro-Wilk p"] = shapiro(some).pvalue
        # Where some therapists are not shown, of the others alone.
        shown = [label in self._shown(m) for label in fit.model.labels]
        x = fit.standardised(0)[shown]
        x = np.sort(x[np.isfinite(x)])
        if not all(shown) and len(x) > 2:
            name = "therapists, Intercept"
            values[f"{name}: skewness"], values[f"{name}: excess kurtosis"] = skew(x), kurtosis(x)
            values[f"{name}: Shapiro-Wilk p"] = shapiro(x).pvalue
        for i, row in self.lines(f"checks_{m}"):
            self.number(f"checks_{m}", i, "value", values[row["check"]], 3, 0.002)

    def _shown(self, m: str) -> set[str]:
        """Therapists whose residuals on a measure are shown one by one."""
        rows = [row["therapist"] for _, row in self.lines(f"residuals_{m}")]
        return {self.named[t] for t in rows if t != "others together"}

    def residuals(self, m: str) -> None:
        """Claim residuals with intervals by the rounded caseload, ranks and their uncertainty."""
        a, fit, name = self.asked, self.asked.ranked[m], f"residuals_{m}"
        labels, sign = list(fit.model.labels), SCALES[m][3]
        u, own, _ = fit.effects()
        loads, between = fit.model.n_of, fit.between
        departure = pd.Series(fit.model.y - fit.expected()).groupby(fit.model.block).mean()
        joint, rank = fit.joint(), a.placed(fit, m)
        drawn = ranks_drawn(sign * u, joint, OURS)
        expected, spread = expected_ranks(sign * u, joint), drawn.std(axis=0)
        size, none = cluster(len(u), a.size), between <= 1e-9 * fit.sigma2
        before = a.placed(a.fits[m], m)
        error = np.sqrt(1 / THEIRS + 1 / OURS)
        for i, row in self.lines(name):
            if row["therapist"] == "others together":
                few = np.isin(labels, a.together)
                self.text(name, i, "n", counted(int(loads[few].sum())))
                mean = np.average(u[few], weights=loads[few])
                self.number(name, i, "residual", np.nan if none else mean, 2, 2e-3)
                continue
            j = labels.index(self.named[row["therapist"]])
            n = 5 * ((int(loads[j]) + 2) // 5)
            self.text(name, i, "n", counted(int(loads[j])))
            self.number(name, i, "departure", departure[j], 2, 2e-3)
            se = np.sqrt(own[j] * (loads[j] * between + fit.sigma2) / (n * between + fit.sigma2))
            values = {"residual": u[j], "se": se, "lower": u[j] - 1.96 * se,
                      "upper": u[j] + 1.96 * se, "rank": rank[labels[j]],
                      "reliability": n * between / (n * between + fit.sigma2)}  # fmt: skip
            if a.ranked is a.mixed:
                values["rank_unadjusted"] = before[labels[j]]
            if len(self._shown(m)) < len(labels):
                # Gaps would tell where the others stand.
                values = {c: v for c, v in values.items() if c not in ("rank", "rank_unadjusted")}
                if {"rank", "rank_unadjusted"} & {*row}:
                    self.wrong.append(f"{name} has ranks")
            for column, value in values.items():
                self.number(name, i, column, np.nan if none else value, 2, 2e-3)
            if none:
                for c in ("expected_rank", "rank_lower", "rank_upper", "p_upper", "p_lower"):
                    self.text(name, i, c, "")
                continue
            self.number(name, i, "expected_rank", expected[j], 2, 4.5 * spread[j] / THEIRS**0.5)
            for end, at in (("lower", 0.025), ("upper", 0.975)):
                # As many of our draws lie up to it, and below it, as chance allows in theirs.
                bound = float(self._cell(name, i, f"rank_{end}"))
                slack = 4.5 * np.sqrt(0.025 * 0.975) * error
                to, below = (drawn[:, j] <= bound).mean(), (drawn[:, j] < bound).mean()
                if not (to >= at - slack and below <= at + slack):
                    self.wrong.append(f"{name} {i} rank_{end}: {bound}: {below} {to}")
            for end, hit in (
                ("upper", drawn[:, j] <= size),
                ("lower", drawn[:, j] > len(u) - size),
            ):
                p = hit.mean()
                more = 4.5 * np.sqrt(max(p * (1 - p), 1 / OURS)) * error
                self.number(name, i, f"p_{end}", p, 2, more)

    def groups(self) -> None:
        """Claim the upper and the lower group, of therapists shown one by one."""
        a, groups = self.asked, self.asked.groups(self.asked.ranked)
        members = {e: [t for t in groups.index[groups == e] if t in a.alone] for e in groups}
        safe = all(a.safe(a.loads[members[e]].tolist()) for e in ("upper", "lower"))
        for m in a.measures:
            for i, row in self.lines("clusters", measure=SCALES[m][0]):
                if not safe:
                    self.text("clusters", i, "mean_post", MARK)
                    continue
                mine = members[row["cluster"]]
                d = a.patients[a.patients["t"].isin(mine)]
                self.text("clusters", i, "therapists", str(len(mine)))
                self.text("clusters", i, "n", counted(len(d)))
                pre, post = d[f"{m}_pre"], d[f"{m}_post"]
                gain = SCALES[m][3] * (pre - post)
                for column, x in (("pre", pre), ("post", post), ("change", gain)):
                    self.number("clusters", i, f"mean_{column}", x.mean(), 1, 0.0051)
                self.mean("clusters", i, "effect_size", gain.mean() / pre.std(), len(d))

    def sensitivity(self, m: str) -> None:
        """Claim the effect and the ranks under other choices."""
        a, d, name = self.asked, self.asked.patients, f"sensitivity_{m}"
        main, flags, sign = a.ranked[m], a.flags(a.patients, m), SCALES[m][3]
        mix = a.coded(d)
        own = a.fixed(d, m, others=False)
        everybody = a.eligible[a.eligible["t"].isin(a.loads.index)]
        scores = [f"{x}_{e}" for x in a.measures for e in ("pre", "post")]
        share = everybody[scores].notna().all(axis=1).groupby(everybody["t"]).mean()
        services = pd.get_dummies(d["service"].astype(str)).iloc[:, 1:] if "service" in d else None
        gain = sign * (d[f"{m}_pre"] - d[f"{m}_post"])
        by = gain.groupby(d["t"]).mean()
        size = by / d.groupby("t")[f"{m}_pre"].std()

        def of(rows: Rows) -> Linear:
            return a.model(rows, m, extra={k: v[rows.index] for k, v in mix.items()})

        def yes(column: str, who: pd.Series) -> Linear:
            rows = d[who]
            first = a.fixed(rows, m, others=False)
            again = {k: v[who] for k, v in mix.items()}
            return a.model(rows, m, "one", first, again, y=flags.loc[who, column].astype(float))

        case = flags.get("n_case_pre", pd.Series(False, d.index))
        every = pd.Series(True, d.index)
        known = {
            "Random slope, ML, all patients": lambda: main,
            "Random slope, REML": lambda: a.model(d, m, extra=mix, reml=True).fit(),
            "Random intercept, ML": lambda: a.model(d, m, "one", extra=mix).fit(),
            "Own pre score only": lambda: a.model(d, m, columns=own, extra=mix).fit(),
            "No pre scores": lambda: a.model(d, m, "one", {"one": own["Intercept"]}, mix).fit(),
            "No case mix": lambda: a.fits[m],
            "Service as a fixed effect, REML": lambda: a.model(
                d, m, extra=mix | {k: services[k].astype(float) for k in services}, reml=True
            ).fit(),
            "Closed cases only": lambda: of(d[d["closed"]]).fit(),
            "Therapists with 80% or more complete": lambda: of(
                d[d["t"].isin(share.index[share >= 0.8])]
            ).fit(),
            "Mean change, unadjusted": lambda: -by,
            "Effect size, unadjusted": lambda: -size,
            "Reliable improvement (linear probability)": lambda: yes("n_improved", every).fit(),
            "Reliable and clinically significant improvement (linear probability)": lambda: yes(
                "n_rcsi", case
            ).fit(),
            "MCMC, default priors of the paper's software": "mlwin",
            "MCMC, flat prior on SDs": "flat-sd",
            "MCMC, half-normal prior on SDs": "half-normal",
        }
        first = a.placed(main, m)
        for i, row in self.lines(name):
            what = row["analysis"]
            # Who counts as closed may be said.
            work = known[what.partition(", those known to have dropped out")[0]]
            n, therapists, slack = len(d), len(first), 0.0
            if isinstance(work, str):
                ranks = self._posterior(name, i, m, main, work, ("vpc", "lower", "upper")).rank()
                slack = 0.01  # neighbours whose means over the draws are as good as the same
            else:
                found = work()
                if isinstance(found, Fitted):
                    self.number(name, i, "vpc", 100 * found.share(), 1, 0.01)
                    n, therapists = found.model.n, len(found.model.labels)
                    ranks = a.placed(found, m)
                else:
                    ranks = found.dropna()
                if "(linear" in what:
                    column, whole = (
                        ("n_improved", every)
                        if "Reliable improvement" in what
                        else ("n_rcsi", case)
                    )
                    ranks = -flags.loc[whole, column].groupby(d.loc[whole, "t"]).mean()
            if what.startswith("Random slope, ML"):
                for end, value in zip(("lower", "upper"), self.profile(main), strict=True):
                    self.number(name, i, end, 100 * value, 1, 0.02)
            self.count(name, i, "patients", n)
            few = 0 < len(first) - therapists < 5
            self.text(name, i, "n_therapists", MARK if few else str(therapists))
            if ranks.round(9).nunique() == 1 or first.nunique() == 1:  # nobody differs
                for column in ("rank_correlation", "upper_shared", "lower_shared"):
                    self.text(name, i, column, "")
                continue
            both = pd.concat([first, ranks.round(9)], axis=1, join="inner").to_numpy()
            rho = spearmanr(both[:, 0], both[:, 1]).statistic
            self.number(name, i, "rank_correlation", rho, 3, 0.0006 + slack)
            for end, up in (("upper", True), ("lower", False)):
                least, most = self._shared(first, ranks.round(9), up)
                cell = self._cell(name, i, f"{end}_shared")
                if cell == "" or not least - 100 * slack <= float(cell) <= most + 100 * slack:
                    self.wrong.append(f"{name} {i} {end}_shared: {cell}, not {least} to {most}")

    def _shared(self, first: pd.Series, ranks: pd.Series, up: bool) -> tuple[int, int]:
        """How many of an end of one are in that of another, as ties are broken one way or other."""
        sets = []
        for r in (first, ranks):
            k = cluster(len(r), self.asked.size)
            r = r if up else -r
            edge = r.sort_values().iloc[k - 1]
            sets.append((set(r.index[r < edge]), set(r.index[r == edge]), k))
        (s1, e1, _), (s2, e2, k) = sets
        one_set = s1 | e1
        need = k - len(s2)
        sure = len(one_set & s2)
        inside, outside = len(e2 & one_set), len(e2 - one_set)
        return sure + max(0, need - outside), sure + min(need, inside)

    def one_less(self, m: str) -> None:
        """Claim the effect without each therapist."""
        fit = self.asked.ranked[m]
        labels = list(fit.model.labels)
        for i, row in self.lines(f"one_less_{m}"):
            if row["therapist"] == "all therapists":
                self.number(f"one_less_{m}", i, "vpc", 100 * fit.share(), 1, 0.01)
                continue
            j = labels.index(self.named[row["therapist"]])
            kept = np.delete(np.arange(len(labels)), j)
            start = np.where(np.abs(fit.theta) < 0.02, 0.02, fit.theta)
            share = fit.model.of_blocks(kept).fit(start, [0.3, 0.0, 0.05]).share_at_mean()
            self.number(f"one_less_{m}", i, "vpc", 100 * share, 1, 0.01)
        if f"one_less_{m}" in self.tables and len(labels) <= 100:
            shown = len(self.tables[f"one_less_{m}"]) - 1
            if shown != len(self.asked.alone):
                self.wrong.append(f"one_less_{m}: {shown} therapists")

    def adjusted(self, m: str) -> None:
        """Claim the effect as first scores and case mix are adjusted for, and its changes."""
        a, label = self.asked, SCALES[m][0]
        d, terms = a.mix(a.patients)
        ones = {"Intercept": pd.Series(1.0, d.index)}
        models = {"nothing": a.model(d, m, "one", ones), FIRST: a.model(d, m)}
        if terms:
            models[WITH_MIX] = a.model(d, m, extra=terms)
        if a.therapist_mean:
            mean = d.groupby("t")[f"{m}_pre"].transform("mean")
            words = f"{[*models][-1]}, and the therapist's mean first score"
            models[words] = a.model(d, m, extra={**terms, "mean": mean})
        found = {k: v.fit() for k, v in models.items()}
        names = list(models)
        for i, row in self.lines("adjusted", measure=label):
            what = row["adjusted_for"]
            fit = found[what]
            self.number("adjusted", i, "vpc", 100 * fit.share(), 1, 0.01)
            for end, value in zip(("lower", "upper"), fit.interval(), strict=True):
                self.number("adjusted", i, f"vpc_{end}", 100 * value, 1, 0.02)
            k = names.index(what)
            if not k:
                for c in ("change", "change_lower", "change_upper"):
                    self.number("adjusted", i, c, np.nan, 1)
                continue
            change = 100 * (fit.share() - found[names[k - 1]].share())
            self.number("adjusted", i, "change", change, 1, 0.02)
            unit = "service" if a.of_services and "case mix" in what else "t"
            of = d.groupby("t")[unit].first().reindex(fit.model.labels)
            units = [np.flatnonzero(of == u) for u in of.unique()]
            if unit == "service" and len(units) < 10:
                half, more = np.nan, 0.0
            else:
                # Of more units than these some are left out together: as they come.
                most = max(50, 200_000 // len(fit.model.labels))
                units = [np.concatenate(units[b::most]) for b in range(min(most, len(units)))]
                se = jackknifed_change(models[names[k - 1]], models[what], units)
                half, more = 100 * student.ppf(0.975, len(units) - 1) * se, 0.02
            self.number("adjusted", i, "change_lower", change - half, 1, more + 0.02)
            self.number("adjusted", i, "change_upper", change + half, 1, more + 0.02)

    def services(self, m: str) -> None:
        """Claim the third level, each service shown, and the coefficients of the case mix."""
        a, label = self.asked, SCALES[m][0]
        d, terms = a.mix(a.patients)
        enough = 0
        if "service" in d:
            enough = int((d.groupby("service")["t"].nunique() > 1).sum())
        fits: dict[str, Fitted] = {}
        if enough >= 5:
            fits[FIRST] = a.model(d, m, "nested").fit()
            if terms and enough >= 5 + len(a.of_services):
                fits[WITH_MIX] = a.model(d, m, "nested", extra=terms).fit()
        levels = {"services": 0, "therapists of a service": 1}
        for i, row in self.lines("services", measure=label):
            fit, k = fits[row["adjusted_for"]], levels[row["level"]]
            self.number("services", i, "vpc", 100 * fit.share(k), 1, 0.01)
            for end, value in zip(("lower", "upper"), fit.interval(k), strict=True):
                self.number("services", i, f"vpc_{end}", 100 * value, 1, 0.02)
            change = np.nan
            if row["adjusted_for"] == WITH_MIX:
                change = 100 * (fit.share(k) - fits[FIRST].share(k))
            self.number("services", i, "change", change, 1, 0.02)
        if fits:
            self._each_service(m, [*fits.values()][-1])
        self._coefficients(m, d, terms, fits.get(WITH_MIX))

    def _each_service(self, m: str, fit: Fitted) -> None:
        a, d = self.asked, self.asked.patients
        loads = d.groupby(["service", "t"]).size()
        hidden = []
        for s, mine in loads.groupby("service"):
            rest = mine[[t not in a.alone for _, t in mine.index]]
            if not all(a.safe(g.tolist()) for g in (mine, rest) if len(g)):
                hidden.append(s)
        sizes = loads.groupby("service").agg(["size", "sum"])
        for s in sizes["sum"].sort_values(kind="stable").index:
            left = loads[loads.index.isin(hidden, level=0)]
            few = left[[t not in a.alone for _, t in left.index]]
            if all(a.safe(some.tolist()) for some in (left, few) if len(some)):
                break
            hidden += [s] * (s not in hidden)
        shown = sizes[~sizes.index.isin(hidden)]
        self.hidden_services = len(hidden)
        names = sorted(d["service"].astype(str).unique())
        u, se = fit.found.v[0] * fit.theta[0], fit.model.factor(fit.theta)[0, 0]
        variance = fit.sigma2 * se**2 * np.diag(fit.found.inverse[0])
        table = pd.DataFrame({"u": u[: len(names)], "se": np.sqrt(variance[: len(names)])}, names)
        table = table.join(shown.set_axis(shown.index.astype(str)), how="inner")
        table = table.sort_values("u", ascending=SCALES[m][3] == 1)
        if f"by_service_{m}" in self.tables and len(self.tables[f"by_service_{m}"]) != len(table):
            self.wrong.append(f"by_service_{m}: other services")
            return
        for i, _ in self.lines(f"by_service_{m}"):
            s = table.iloc[i]
            self.text(f"by_service_{m}", i, "therapists", str(int(s["size"])))
            self.text(f"by_service_{m}", i, "n", counted(int(s["sum"])))
            self.number(f"by_service_{m}", i, "residual", s["u"], 1, 3e-3)
            self.number(f"by_service_{m}", i, "lower", s["u"] - 1.96 * s["se"], 1, 4e-3)
            self.number(f"by_service_{m}", i, "upper", s["u"] + 1.96 * s["se"], 1, 4e-3)

    def _coefficients(
        self, m: str, d: Rows, terms: Mapping[Any, pd.Series], three: Fitted | None
    ) -> None:
        a = self.asked
        for i, row in self.lines("case_mix", measure=SCALES[m][0]):
            key = (row["covariate"], row["compared"])
            fit, df = three or a.mixed[m], float(len(d) - len(a.loads) - len(terms))
            at = len(fit.beta) - len(terms) + list(terms).index(key)
            column = terms[key]
            n = len(d) if row["compared"].startswith("each") else int((column == 1).sum())
            if key in a.of_services:
                df = d["service"].nunique() - 1 - len(a.of_services) if three else np.nan
            b, half = fit.beta[at], fit.se[at] * student.ppf(0.975, df)
            # Satterthwaite's degrees of freedom of a term of patients lie above these: to infinity.
            more = fit.se[at] * abs(student.ppf(0.975, df) - 1.96) + 1e-3
            for column_name, value in (("", b), ("_lower", b - half), ("_upper", b + half)):
                slack = more if column_name and key not in a.of_services else 1e-3
                if np.isnan(value):
                    self.number("case_mix", i, f"estimate{column_name}", value, 2)
                elif n < a.least:
                    self.text("case_mix", i, f"estimate{column_name}", MARK)
                else:
                    # As fine as the standard error.
                    least = 2 if n >= 1_000 else 1
                    places = max(least, min(3, int(np.ceil(-np.log10(half / 1.98)))))
                    if column_name and abs(value) < 0.5 * 10.0**-places:  # its side of 0 is kept
                        value = np.copysign(10.0**-places, value)
                    self.number("case_mix", i, f"estimate{column_name}", value, places, slack)
            if "df" in row and key in a.of_services:
                self.number("case_mix", i, "df", df, 0)

    def missing(self, m: str) -> None:
        """Claim the effect with missing last scores filled."""
        a, (_, _, _, sign, low, high) = self.asked, SCALES[m]
        d = a.eligible[a.eligible["t"].isin(a.loads.index)]
        d = d.dropna(subset=[f"{x}_pre" for x in a.measures])
        seen = d[d[f"{m}_post"].notna()]
        mix = a.coded(d)
        gain = sign * (seen[f"{m}_pre"] - seen[f"{m}_post"])
        poor, good = np.percentile(gain, [10, 90])

        def filled(change) -> pd.DataFrame:
            last = (d[f"{m}_pre"] - sign * change).clip(low, high)
            return d.assign(**{f"{m}_post": d[f"{m}_post"].fillna(last)})

        line = a.model(filled(gain.mean()), m, extra=mix).fit().expected()
        ends = [(filled(c)[f"{m}_post"] - line).groupby(d["t"]).mean() for c in (poor, good)]
        changes = [0.0, gain.mean(), poor, good]
        n = d["t"].value_counts().reindex(ends[0].index)
        for weights in (n, n / n):
            for reached in nearest_and_furthest(*ends, weights):
                share = ((reached - ends[0]) / (ends[1] - ends[0])).fillna(0.0)
                changes.append(poor + (good - poor) * d["t"].map(share))
        shares = [a.model(filled(c), m, extra=mix).fit().share() for c in changes]
        said = {
            "no change from the first": shares[0],
            "the mean change of the others": shares[1],
            "changes that bring therapists together": min(shares),
            "changes that drive therapists apart": max(shares),
        }
        for i, row in self.lines("missing", measure=SCALES[m][0]):
            found = said.get(row["missing_scores"], a.ranked[m].share())
            self.number("missing", i, "vpc", 100 * found, 1, 0.01)

    def predictors(self, m: str) -> None:
        """Claim what therapists' own scales predict, each in a model by itself."""
        a, d = self.asked, self.asked.patients
        for i, row in self.lines("predictors", measure=SCALES[m][0]):
            staff = a.therapists.set_index(a.therapists["therapist_id"].astype(str))
            x = staff[row["predictor"]].reindex(a.loads.index.astype(str)).dropna()
            x = (x - x.mean()) / x.std()
            rows = d[d["t"].astype(str).isin(x.index)]
            column = {"p": rows["t"].astype(str).map(x)}
            fit = a.model(rows, m, "one", a.fixed(rows, m) | column, reml=True).fit()
            without = a.model(rows, m, "one", reml=True).fit()
            b, se, df = fit.beta[-1], fit.se[-1], len(x) - 2
            self.text("predictors", i, "n_therapists", str(len(x)))
            self.text("predictors", i, "df", str(df))
            values = {"estimate": b, "se": se, "t": b / se, "intercept_variance": fit.between,
                      "variance_without": without.between}  # fmt: skip
            for column_name, value in values.items():
                self.number("predictors", i, column_name, value, 3, 2e-3)
            self.small_p("predictors", i, "p_value", 2 * student.sf(abs(b / se), df))

    # --- Yes-or-no outcomes ----------------------------------------------------------------------

    def _yes_or_no(self, row: Mapping[str, str]) -> tuple[Rows, pd.Series, list[str], int]:
        """Patients who could have an outcome, who has it, and predictors; closed without scores."""
        a, d, outcome = self.asked, self.asked.patients, row["outcome"]
        if outcome.startswith("Dropped out"):
            rows = a.eligible[a.eligible["closed"]]
            return rows, rows["dropped_out"], [], 0
        if outcome == "Every score recorded":
            scores = [f"{m}_{e}" for m in a.measures for e in ("pre", "post")]
            return a.eligible, a.eligible[scores].notna().all(axis=1), [], 1
        if "national" in outcome:
            rate = outcome.split(",")[0].lower().replace(" ", "_")
            flags = a.national(d)
            who = flags[NATIONAL[rate]]
            return d[who], flags.loc[who, f"n_{rate}"], ["phq9", "gad7"], 1
        m = next(m for m in a.measures if SCALES[m][0] == row["measure"])
        flags = a.flags(d, m)
        column = {"Reliable improvement": "n_improved", "Reliable deterioration": "n_deteriorated",
                  }.get(outcome, "n_rcsi")  # fmt: skip
        assert column != "n_rcsi" or outcome == _RCSI
        who = flags["n_case_pre"] if column == "n_rcsi" else pd.Series(True, d.index)
        return d[who], flags.loc[who, column], [m], 1

    def rates(self) -> None:
        """Claim patients per hundred, odds ratios and effects of the logistic models."""
        a = self.asked
        for i, row in self.lines("rates"):
            everybody, yes, firsts, told = self._yes_or_no(row)
            n = self.count("rates", i, "n", len(everybody))
            share = percent(counted(int(yes.sum())), n)
            shares = (share, share.removesuffix(".0")) if told else (MARK,)
            self.text("rates", i, "percent", *shares)
            if not firsts and len(a.loads) < (40 if told else 20):  # of counts alone none is given
                self.wrong += [f"rates {i}: no row of drop-outs"] * (not told)
                self.wrong += [f"rates {i} {c}: {row[c]}" for c in list(row)[5:] if row[c]]
                continue
            d, terms = a.mix(everybody, yes)
            columns = {m: d[f"{m}_pre"] - d[f"{m}_pre"].mean() for m in firsts}
            if "case mix" in row["adjusted_for"]:
                columns |= {k: v - v.mean() for k, v in terms.items()}
            x = np.column_stack([np.ones(len(d)), *columns.values()])
            fit = Logistic(yes[d.index], x, d["t"])
            low, high = fit.interval()
            step = next(s for s in (1, 2, 5, np.inf) if s * len(d) >= 500)
            for name, deviate in (("median", 0.0), ("low", -1.6448536), ("high", 1.6448536)):
                bounds = sorted(fit.rate(deviate, sd) for sd in (low, high))
                values = {"": fit.rate(deviate, fit.sd), "_lower": bounds[0], "_upper": bounds[1]}
                for end, value in values.items():
                    if name == "median" and end:
                        continue
                    cell = float(self._cell("rates", i, f"per_hundred_{name}{end}"))
                    if cell % step or abs(cell - value) > 0.501 * step + 0.02:
                        self.wrong.append(
                            f"rates {i} per_hundred_{name}{end}: {cell}, not {value:.4g} by {step}"
                        )
            v = np.array([fit.sd, low, high]) ** 2
            figures = {
                "median_odds_ratio": (np.exp(np.sqrt(2 * v) * norm.ppf(0.75)), 2),
                "latent": (100 * v / (v + np.pi**2 / 3), 1),
                "probability": ([self._probability(fit.beta[0], s) for s in v], 1),
            }
            for name, (values, places) in figures.items():
                for end, value in zip(("", "_lower", "_upper"), values, strict=True):
                    self.number(
                        "rates", i, name + end, float(value), places, 0.004 + 0.01 * places % 2
                    )
            self.small_p("rates", i, "p_value_boundary", fit.p_boundary)

    @staticmethod
    def _probability(centre: float, variance: float) -> float:
        """Share of the variance of a yes-or-no outcome between therapists, first scores average."""
        from scipy.integrate import quad
        from scipy.special import expit

        if variance == 0:
            return 0.0
        sd = variance**0.5
        mean, square = (
            quad(lambda z, k=k: expit(centre + sd * z) ** k * norm.pdf(z), -10, 10, limit=200)[0]
            for k in (1, 2)
        )
        return 100 * (square - mean**2) / (mean * (1 - mean))

    # --- All -------------------------------------------------------------------------------------

    def all(self) -> None:
        """Let everything claim what it vouches for."""
        for work in (self.flow, self.sample, self.categories, self.outcomes, self.by_therapist,
                     self.last_scores, self.national, self.groups, self.rates):  # fmt: skip
            work()
        for m in self.asked.measures:
            for each in (self.models, self.checks, self.residuals, self.sensitivity, self.one_less,
                         self.adjusted, self.services, self.missing, self.predictors):  # fmt: skip
                each(m)
