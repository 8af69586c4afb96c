from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import skew

from pwp_lib.measures import PHQ9
from pwp_lib.numbers import bare_p
from pwp_lib.outcomes import national_outcomes
from pwp_lib.sensitivity import sensitivity_panel
from pwp_report import release_parts as parts
from pwp_report import report_figures
from pwp_report.analysis import Analysis
from pwp_report.disclosure import MARK, DisclosurePolicy
from pwp_report.register import CHANGED
from pwp_report.release import _checks, release_results
from pwp_report.release_parts import (
    OTHERS_TOGETHER,
    rounded,
    therapists_at_rules,
    variances,
)
from pwp_report.table_words import entries


def test_small_caseloads_appear_only_together(
    safe_run: Path, safe_analysis: Analysis, texts
) -> None:
    loads = safe_analysis.cohort.caseloads()
    small = [str(t) for t in loads.index[loads < 20]]
    assert len(small) == 2
    everything = "".join(texts(safe_run).values())
    assert not any(t in everything for t in small)
    residuals = pd.read_csv(safe_run / "tables" / "residuals_phq9.csv")
    assert OTHERS_TOGETHER in set(residuals["therapist"])
    # The two have 17 patients together: two others join, so that those together are three or more
    # therapists, with 20 patients without the largest.
    assert len(residuals) == 6 + 1


def test_width_of_an_interval_tells_only_the_rounded_caseload(safe_analysis: Analysis) -> None:
    released = release_results(safe_analysis, DisclosurePolicy())
    frame = released.frame("residuals_phq9")
    assert frame is not None
    result = safe_analysis.measures["phq9"]
    between = float(result.fit.random_covariance.to_numpy()[0, 0])
    within = result.fit.residual_variance
    exact = result.residuals["se"] * (result.residuals["n"] * between + within) ** 0.5
    for row in frame[frame["therapist"] != OTHERS_TOGETHER].itertuples():
        n = float(row.n)
        expected = exact[row.therapist] / (n * between + within) ** 0.5
        assert row.se == pytest.approx(expected, abs=0.006)
        assert n % 5 == 0


def test_published_counts_are_multiples_of_five_or_withheld(safe_run: Path) -> None:
    seen = 0
    for path in (safe_run / "tables").glob("outcomes*.csv"):
        table = pd.read_csv(path, dtype=str)
        for column in [c for c in table if c == "n" or c.startswith("n_")]:
            for value in table[column].dropna():
                seen += 1
                assert value == MARK or (float(value) % 5 == 0 and float(value) >= 5)
    assert seen > 50


def test_percentages_follow_from_released_counts(safe_run: Path) -> None:
    """Of everybody one, by therapist the two between which the exact share must lie."""
    whole = pd.read_csv(safe_run / "tables" / "outcomes.csv").iloc[0]
    assert abs(whole["improvement"] - 100 * whole["n_improved"] / whole["n"]) <= 0.5
    table = pd.read_csv(safe_run / "tables" / "outcomes_by_therapist.csv", dtype=str)
    for row in table.itertuples():
        if MARK in (row.n_improved, row.n):
            assert row.improvement == MARK
        else:
            part, n = float(row.n_improved), float(row.n)
            low, high = map(float, row.improvement.split(" to "))
            least = 5 if part == 5 else part - 2  # fewer than 5 is never shown
            assert low <= 100 * least / (n + 2) < low + 1
            assert high == 100 or high - 1 < 100 * (part + 2) / (n - 2) <= high


def test_shares_by_therapist_hold_the_exact_ones(safe_analysis: Analysis, safe_run: Path) -> None:
    shown = pd.read_csv(safe_run / "tables" / "outcomes_by_therapist.csv", dtype=str)
    shown = shown[shown["measure"] == "PHQ-9"].set_index("therapist")
    exact, seen = safe_analysis.outcomes_by_therapist["phq9"], 0
    for column in ("caseness", "improvement", "recovery", "rcsi"):
        ranges = shown.loc[shown[column] != MARK, column].drop("others together", errors="ignore")
        for therapist, text in ranges.items():
            low, high = map(float, text.split(" to "))
            assert low <= 100 * exact.loc[therapist, column] <= high
            seen += 1
    assert seen > 20


def test_the_line_of_the_funnel_is_the_share_of_everybody(
    safe_analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, seen = release_results(safe_analysis, DisclosurePolicy()), {}
    plot = report_figures.funnel_limits

    def limits(target: float, *args: object, **kwargs: object) -> pd.DataFrame:
        seen[target] = True
        return plot(target, *args, **kwargs)

    monkeypatch.setattr(report_figures, "funnel_limits", limits)
    drawn = report_figures.draw_all(safe_analysis, released)
    whole = released.tables["outcomes"].frame
    assert set(seen) == {0, *(whole["n_rcsi"] / whole["n_case_pre"])}
    people = released.tables["outcomes_by_therapist"].frame
    people = people[(people["measure"] == "PHQ-9") & (people["therapist"] != "others together")]
    n = int((people[["n_case_pre", "n_rcsi"]] != MARK).all(axis=1).sum())
    assert f"Drawn: {n} of {released.therapists} therapists" in drawn["funnel_phq9"].caption


def test_who_has_few_improved_is_not_missing_from_the_funnel_without_a_word(
    safe_analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Withheld are small counts: where all is fine, in the lowest rates."""
    released = release_results(safe_analysis, DisclosurePolicy())
    table = released.tables["outcomes_by_therapist"]
    frame = table.frame.astype(object)
    known = (frame["measure"] == "PHQ-9") & (frame["therapist"] != OTHERS_TOGETHER)
    of_all = [[20, 10]] * (known.sum() - 2)
    frame.loc[known, ["n_case_pre", "n_rcsi"]] = [[40, MARK], [10, 10], *of_all]
    tables = {**released.tables, "outcomes_by_therapist": replace(table, frame=frame)}
    plotted: list[Any] = []

    def kept(name: str, caption: str, axes: Any, alt: str = "") -> report_figures.Drawn:
        plotted.extend([axes] * (name == "funnel_phq9"))
        return report_figures.Drawn(name, caption, alt, b"")

    monkeypatch.setattr(report_figures, "_drawn", kept)
    drawn = report_figures.draw_all(safe_analysis, replace(released, tables=tables))
    (marks,) = (line.get_xdata() for line in plotted[0].lines if line.get_marker() == "|")
    assert [*marks] == [40]
    caption = drawn["funnel_phq9"].caption
    assert "Marks at the foot: 1, each" in caption
    assert "by up to 33 percentage points" in caption  # ten of ten could be eight of twelve


def test_counts_in_the_tables_files_are_numbers(open_run: Path, safe_run: Path) -> None:
    for run in (open_run, safe_run):
        for path in sorted((run / "tables").glob("*.csv")):
            table = pd.read_csv(path, dtype=str)
            whole = {
                "n",
                "missing",
                "patients",
                "df",
                "rank",
                "rank_lower",
                "upper_shared",
            }
            for column in whole & {*table} | {c for c in table if c.startswith("n_")}:
                numbers = table[column].dropna()
                assert numbers[numbers != MARK].str.fullmatch(r"\d+").all(), path.name


# --- Attacks by difference, by statistics and by pictures -----------------------------------------


def test_what_a_total_leaves_over_is_no_small_caseload(
    safe_analysis: Analysis, safe_run: Path
) -> None:
    shown = pd.read_csv(safe_run / "tables" / "residuals_phq9.csv")["therapist"]
    loads = safe_analysis.cohort.caseloads()
    rest = loads[~loads.index.isin(shown)]
    assert len(rest) >= 3
    assert rest.sum() - rest.max() >= 20


def test_no_mean_rules_out_a_number_of_patients_or_tells_a_sum(safe_run: Path) -> None:
    """Scores are whole: a mean with many decimals would fit few numbers of patients and one sum."""
    policy, seen = DisclosurePolicy(), 0
    for name in ("outcomes", "outcomes_by_therapist"):
        table = pd.read_csv(safe_run / "tables" / f"{name}.csv", dtype=str)
        for row in table.to_dict("records"):
            low, high = policy.bounds(float(row["n"]))
            for column in ("mean_pre", "mean_post", "mean_change"):
                half = 0.5 * 10.0 ** -len(row[column].partition(".")[2].ljust(1, "0"))
                mean, sums = float(row[column]), 0
                for n in range(int(low), int(high) + 1):
                    fits = np.floor((mean + half) * n + 1e-9) - np.ceil((mean - half) * n - 1e-9)
                    assert fits >= 0, (name, column, n)
                    sums += int(fits) + 1
                assert sums >= 5
                seen += 1
    assert seen > 40


def test_pictures_are_drawn_from_the_released_tables_alone(
    safe_analysis: Analysis, safe_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points and whiskers lie where the tables say: nothing finer can be read off them."""
    # How sure an order is, the first page says; it stands in captions, and in no picture.
    sure = {"label": "", "sure": True, "rankability": "80"}
    monkeypatch.setattr(report_figures, "how_sure", lambda *_: sure)
    released = release_results(safe_analysis, DisclosurePolicy())
    blank = {
        n: SimpleNamespace(measure=r.measure, ranked=r.ranked, with_mix=None)
        for n, r in safe_analysis.measures.items()
    }
    nothing_else: Any = SimpleNamespace(measures=blank)
    drawn = list(report_figures._caterpillar(nothing_else, released))
    for result in blank.values():
        drawn += report_figures._of_measure(result, released)  # type: ignore[arg-type]
    assert {d.name for d in drawn} >= {"caterpillar", "rank_intervals_phq9", "funnel_mean_phq9"}
    for picture in drawn:
        assert (safe_run / "figures" / f"{picture.name}.svg").read_bytes() == picture.svg
        text = re.sub(rb"(?s)<style.*?</style>|<[^>]+>", b" ", picture.svg).decode()
        assert not re.search(r"\bn ?= ?\d", text)


def test_how_many_intervals_miss_zero_is_counted(safe_analysis: Analysis, safe_run: Path) -> None:
    """Once it said "most overlap", whatever was drawn."""
    frame = pd.read_csv(safe_run / "tables" / "residuals_phq9.csv")
    alone = frame[frame["therapist"] != OTHERS_TOGETHER]
    apart = sum(row.lower > 0 or row.upper < 0 for row in alone.itertuples())
    released = release_results(safe_analysis, DisclosurePolicy())
    caption = next(report_figures._caterpillar(safe_analysis, released)).caption
    assert f"Intervals that miss zero: {apart} of {len(alone)} on PHQ-9" in caption


def test_services_that_are_not_recorded_are_not_counted_as_none(safe_analysis: Analysis) -> None:
    flow = release_results(safe_analysis, DisclosurePolicy()).tables["flow"]
    assert ("services" in flow.frame) == ("service_id" in safe_analysis.cohort.patients)
    bare = replace(safe_analysis, flow=safe_analysis.flow.assign(services=0))
    flow = release_results(bare, DisclosurePolicy()).tables["flow"]
    assert "services" not in flow.frame
    assert flow.title == "Patients and therapists at each rule"


def test_an_effect_by_severity_is_not_shown_with_one_residual_variance(safe_run: Path) -> None:
    """Where patients' spread grows with the first score, such a curve is an artefact."""
    assert not list((safe_run / "tables").glob("severity_*"))
    assert not list((safe_run / "figures").glob("severity_*"))


def test_p_values_are_rounded_once() -> None:
    frame = pd.DataFrame({"p_value": [0.054502, 0.099467, 0.0012345, np.nan]})
    assert rounded(frame, 3)["p_value"].tolist()[:3] == [0.055, 0.099, 0.001]
    for p in (0.0014996, 0.0055004, 0.0084996, 0.0499999, 0.000123456):
        assert bare_p(rounded(pd.DataFrame({"p_value": [p]}), 3)["p_value"].iloc[0]) == bare_p(p)


def test_numbers_of_patients_in_words_are_released_ones(safe_run: Path, texts) -> None:
    counted = re.compile(r"(?<![\d.,])(\d[\d,]*) (?:patients|cases|people)\b")
    seen = 0
    for name, text in texts(safe_run).items():
        for found in counted.findall(re.sub(r"base64,[^\"]*", "", text)):
            seen += 1
            assert int(found.replace(",", "")) % 5 == 0, (name, found)
    assert seen >= 2


def test_no_exact_count_of_the_whole_stands_anywhere(
    safe_analysis: Analysis, safe_run: Path, texts
) -> None:
    counts = safe_analysis.outcomes.filter(regex="^n").to_numpy().ravel().astype(int)
    telling = {int(n) for n in counts if n > 100 and n % 5}
    assert len(telling) >= 3
    for name, text in texts(safe_run).items():
        words = re.sub(r"base64,[^\"]*|<svg.*?</svg>", "", text, flags=re.DOTALL)
        if not name.endswith(".svg"):
            assert not telling & {int(n) for n in re.findall(r"(?<![\d.#])\d{3}(?![\d.])", words)}


def test_a_few_therapists_who_fell_at_a_rule_are_not_counted() -> None:
    policy = DisclosurePolicy()
    assert therapists_at_rules(pd.Series([30, 22, 21, 21]), policy) == [30, MARK, 21, 21]
    assert therapists_at_rules(pd.Series([22, 21]), DisclosurePolicy(active=False)) == [22, 21]


def test_measures_are_named_as_readers_know_them(safe_run: Path) -> None:
    for name in ("therapist_effect", "outcomes"):
        table = pd.read_csv(safe_run / "tables" / f"{name}.csv")
        assert set(table["measure"]) == {"PHQ-9", "GAD-7"}


def test_what_control_cannot_do_is_said(safe_run: Path, open_run: Path) -> None:
    said = json.loads((safe_run / "results.json").read_text(encoding="utf-8"))["withheld"]
    assert any("withheld in one and 5 in the other was one less" in line for line in said)
    assert any("Numbers of therapists are exact" in line for line in said)
    assert json.loads((open_run / "results.json").read_text(encoding="utf-8"))["withheld"] == []
    # One patient more, and the count under 5 is known: the sentence is true.
    policy = DisclosurePolicy()
    assert (policy.count(4), policy.count(5)) == (None, 5)


@pytest.mark.parametrize("q", [1, 2, 3])
def test_standard_errors_stand_beside_their_own_variances(q: int) -> None:
    """They go by columns of the lower triangle: by rows, three random terms were mixed up."""
    names = ["Intercept", "x", "z"][:q]
    matrix = pd.DataFrame(
        [[10 * (min(i, j) + 1) + max(i, j) + 1 for j in range(q)] for i in range(q)], names, names
    )
    components = [
        f"var({a})" if i == j else f"cov({a}, {names[j]})"
        for i, a in enumerate(names)
        for j in range(i, q)
    ]
    errors = pd.Series(range(len(components) + 1), [*components, "residual"], dtype=float)
    fit: Any = SimpleNamespace(
        random_covariance=matrix, residual_variance=99.0, variance_se=lambda: errors
    )
    found = variances(fit).set_index("component")
    assert found["se"].tolist() == errors.tolist()
    for i, a in enumerate(names):
        assert found.loc[f"var({a})", "estimate"] == matrix.loc[a, a]
        for b in names[i + 1 :]:
            assert found.loc[f"cov({a}, {b})", "estimate"] == matrix.loc[a, b]
    assert found.loc["residual", "estimate"] == 99.0


def test_analyses_that_could_not_be_done_are_no_rows(safe_analysis: Analysis) -> None:
    released = release_results(safe_analysis, DisclosurePolicy(active=False))
    for name, result in safe_analysis.measures.items():
        if result.sensitivity is None:
            continue
        rows = result.sensitivity.rows
        done = rows[(rows["family"] != "leave one out") & (rows["note"] == "")]
        shown = released.tables[f"sensitivity_{name}"].frame
        assert len(shown) == len(done) < len(rows)
        assert "MLwiN" not in " ".join(shown["analysis"])


@pytest.mark.parametrize("singular", [True, False])
def test_at_the_bound_of_the_correlation_slopes_are_not_checked_again(
    safe_analysis: Analysis, singular: bool
) -> None:
    result = safe_analysis.measures["phq9"]
    levels = ["patients", "therapists, Intercept", "therapists, center(phq9_pre)"]
    table = pd.DataFrame({"value": 0.1}, [f"{level}: skewness" for level in levels])
    checks = table.rename_axis("check")
    slope = SimpleNamespace(singular=singular)
    one = SimpleNamespace(
        checks=checks, fit=slope, measure=result.measure, residuals=result.residuals
    )
    tables = SimpleNamespace(policy=DisclosurePolicy(active=False), made={}, shown=list)
    tables.add = lambda name, frame, **_: tables.made.setdefault(name, frame)
    tables.of_everybody, tables.alone = (lambda _: float("nan")), []
    one.sensitivity = None
    _checks(tables, one)
    shown = tables.made["checks"]["check"].tolist()
    assert shown == [f"{level}: skewness" for level in levels[: 3 - singular]]


def test_p_values_among_checks_are_rounded_once(safe_analysis: Analysis) -> None:
    names = ["equal spread by therapist, p", "patients: Shapiro-Wilk p", "patients: skewness"]
    checks = pd.DataFrame({"value": [0.000501, 0.0014996, 0.000501]}, names).rename_axis("check")
    result: Any = SimpleNamespace(
        checks=checks, sensitivity=None, fit=SimpleNamespace(singular=False), measure=None,
        residuals=pd.DataFrame({"n": []}),
    )  # fmt: skip
    tables = SimpleNamespace(policy=DisclosurePolicy(), made={}, shown=list)
    tables.add = lambda name, frame, **_: tables.made.setdefault(name, frame)
    _checks(tables, result)
    shown = entries(tables.made["checks"])["value"].tolist()
    assert shown == ["< .001", ".001", 0.001]


@pytest.mark.parametrize("active", [True, False])
def test_no_gap_tells_where_those_stand_who_are_not_shown(
    safe_analysis: Analysis, active: bool
) -> None:
    """Nor does what is said of all therapists' residuals tell with theirs those of a few."""
    released = release_results(safe_analysis, DisclosurePolicy(active))
    result = safe_analysis.measures["phq9"]
    table = entries(released.tables["residuals_phq9"].frame).set_index("therapist")
    alone = [t for t in table.index if t != OTHERS_TOGETHER]
    assert (len(alone) < len(result.residuals)) == active
    assert ("rank" in table) != active
    assert table["residual"].loc[alone].is_monotonic_increasing
    own = result.fit.residuals(se="diagnostic").loc[alone]
    checks = released.tables["checks_phq9"].frame.set_index("check")["value"]
    skewness = float(skew((own["residual"] / own["se"]).dropna()))
    assert float(checks["therapists, Intercept: skewness"]) == pytest.approx(skewness, abs=6e-4)


def test_who_differs_by_few_from_an_earlier_run_is_not_left_out_one_by_one(
    safe_analysis: Analysis,
) -> None:
    """The therapist effect without one who is not shown, beside it, tells their residual."""
    patients = safe_analysis.cohort.patients
    result = safe_analysis.measures["phq9"]
    panel = sensitivity_panel(patients, PHQ9, draws=0)
    measures = {"phq9": replace(result, sensitivity=panel)}
    safe_analysis = replace(safe_analysis, measures={**safe_analysis.measures, **measures})
    who = safe_analysis.cohort.caseloads().idxmax()
    changed = patients.assign(**{f"{CHANGED}1": 2.0 * (patients["therapist_id"] == who)})
    analysis = replace(safe_analysis, cohort=replace(safe_analysis.cohort, patients=changed))
    told = {}
    for name, one in {"before": safe_analysis, "now": analysis}.items():
        made = release_results(one, DisclosurePolicy()).tables
        tables = [table.frame for n, table in made.items() if n.startswith("one_less")]
        told[name] = {*pd.concat(tables)["therapist"]}
        residuals = {*made["residuals_phq9"].frame["therapist"], "all therapists"}
    # And who else is withheld beside them, so that a total does not tell.
    held = {t for t in told["before"] if t not in residuals}
    assert who in held
    assert told["before"] - told["now"] == held


@pytest.mark.parametrize(("gone", "shown"), [(0, False), (1, False), (4, False), (5, True)])
def test_an_analysis_of_few_patients_less_is_not_shown_nor_one_of_as_many(
    gone: int, shown: bool, safe_analysis: Analysis
) -> None:
    """Where it is and has other figures, somebody is left out."""
    panel = sensitivity_panel(safe_analysis.cohort.patients, PHQ9, draws=0)
    rows = panel.rows.copy()
    n = rows["n_patients"].iloc[0]
    one = rows.iloc[[0]].assign(
        family="patients", analysis="Closed cases only", n_patients=n - gone
    )
    panel = replace(panel, rows=pd.concat([rows[rows["family"] != "patients"], one]))
    for active in (True, False):
        policy = DisclosurePolicy(active)
        frame = parts.sensitivity(panel, PHQ9, lambda *_: float(n), policy)
        assert frame["analysis"].str.startswith("Closed cases only").any() == (shown or not active)
        # Models of the same patients stay.
        assert frame["analysis"].eq("Random slope, REML").any()


def test_what_referees_ask_for_names_no_place_that_is_not_there(safe_run: Path) -> None:
    table = pd.read_csv(safe_run / "tables" / "reporting.csv", keep_default_na=False)
    page = (safe_run / "report.html").read_text(encoding="utf-8")
    assert table["where"].str.len().gt(0).all()
    assert not table["where"].str.contains("Not in these data").any()
    where = table.set_index("asked_by")["where"]
    if "tables/missing.csv" not in {f"tables/{p.name}" for p in (safe_run / "tables").glob("*")}:
        assert "Nobody is known to lack a last score" in [*where]
    assert "Of its later items we had no text" in page


def test_who_lies_beyond_a_funnel_does_so_whatever_the_exact_caseload(safe_run: Path) -> None:
    page = (safe_run / "report.html").read_text(encoding="utf-8")
    captions = re.findall(r"Each therapist(?:&#39;|')s departure on[^<]*", page)
    assert captions
    for caption in captions:
        found = re.search(
            r"Whatever the exact caseloads, (\d+) of (\d+) therapists lie.*, (\d+) of them", caption
        )
        assert found
        assert int(found[3]) <= int(found[1]) <= int(found[2])
        assert "at least 0" not in caption


def test_courses_that_are_finished_by_definition_are_not_withheld(safe_analysis: Analysis) -> None:
    """Where no status is recorded, that every course is finished says nothing of anybody."""
    people = safe_analysis.cohort.patients.drop(columns=["status", "sessions"], errors="ignore")
    national = national_outcomes(people, safe_analysis.cohort.measures).rename({"all": "analysed"})
    assert national["n_finished"].tolist() == national["n"].tolist()
    cohort = replace(safe_analysis.cohort, patients=people)
    analysis = replace(safe_analysis, cohort=cohort, national=national)
    shown = release_results(analysis, DisclosurePolicy()).tables["national"].frame.iloc[0]
    assert shown["n_finished"] == shown["n"] != MARK
