"""Five files unlike each other: what is released is what pandas, statsmodels and lme4 find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from own_files import NAMES, make, make_therapists

from pwp_lib.measures import MEASURES
from pwp_report.analysis import Analysis, analyse
from pwp_report.case_mix import CaseMix
from pwp_report.check import check_study_data
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.release import release_results
from pwp_report.released import ReleasedResults
from pwp_report.study import Study

REFERENCE = pd.read_csv(Path(__file__).parents[1] / "reference" / "own_files.csv")
LABELS = {"phq9": "PHQ-9", "gad7": "GAD-7"}


#: Three of them are analysed at night.
_LONG = ("two_measures", "services", "uneven")


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.nightly if n in _LONG else ()) for n in NAMES],
)
def file(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, pd.DataFrame, Analysis, ReleasedResults]:
    rows = make(request.param)
    place = tmp_path_factory.mktemp("five") / "own.csv"
    rows.to_csv(place, index=False)
    staff = place.with_name("staff.csv")
    make_therapists(request.param).to_csv(staff, index=False)
    adjust = ("age", "gender") if "age" in rows else ()
    found = check_study_data(place, Study(adjust=adjust), staff)
    assert found.cohort is not None
    mix = CaseMix(adjust)
    analysis = analyse(found.cohort, engines=("ml",), sensitivity=False, case_mix=mix)
    return request.param, rows, analysis, release_results(analysis, DisclosurePolicy(active=False))


def _measures(rows: pd.DataFrame) -> list[str]:
    return [m for m in LABELS if f"{m}_pre" in rows]


def _by_r(name: str, measure: str) -> pd.Series:
    mine = REFERENCE[(REFERENCE["file"] == name) & (REFERENCE["measure"] == measure)]
    return mine.set_index("what")["value"]


@pytest.mark.neighbours
def test_models_are_those_of_lme4(file) -> None:
    name, rows, _, released = file
    for measure in _measures(rows):
        r = _by_r(name, measure)
        models = released.tables[f"models_{measure}"].frame
        kinds = ["deviance_single", "deviance_intercept", "deviance_slope"]
        assert models["deviance"].tolist() == pytest.approx(r[kinds].tolist(), abs=0.002)
        fixed = released.tables[f"fixed_{measure}"].frame["estimate"].to_numpy()
        # lme4 puts both slopes before their product, as the report does.
        theirs = r[[f"fixed_{i + 1}" for i in range(len(fixed))]].to_numpy()
        assert fixed == pytest.approx(theirs, abs=0.0025)
        errors = released.tables[f"fixed_{measure}"].frame["se"].to_numpy()
        assert errors == pytest.approx(
            r[[f"se_{i + 1}" for i in range(len(errors))]].to_numpy(), abs=0.0025
        )
        variances = released.tables[f"variances_{measure}"].frame.set_index("component")
        assert variances.loc["residual", "estimate"] == pytest.approx(r["residual"], abs=0.01)
        if "variance_se_1" in r:  # on the boundary there is no information to invert
            theirs = r[[f"variance_se_{i}" for i in (1, 2, 3, 4)]].to_numpy()
            assert variances["se"].to_numpy() == pytest.approx(theirs, abs=0.0025)
        effect = released.tables["therapist_effect"].frame.set_index("measure").loc[LABELS[measure]]
        assert effect["vpc"] == pytest.approx(r["vpc"], abs=0.06)
        ends = effect[["profile_lower", "profile_upper"]].astype(float).tolist()
        assert ends == pytest.approx([r["vpc_lower"], r["vpc_upper"]], abs=0.06)


def test_bounds_with_missing_scores_filled_are_those_of_lme4(file) -> None:
    name, rows, _, released = file
    assert ("missing" in released.tables) == (name == "missing")
    for measure in _measures(rows) if name == "missing" else ():
        r = _by_r(name, measure)
        table = released.tables["missing"].frame
        mine = table.loc[table["measure"] == LABELS[measure], "vpc"].to_numpy()
        assert mine == pytest.approx(r[[f"missing_{i}" for i in range(1, 6)]].to_numpy(), abs=0.06)


def test_predictors_are_those_of_lme4(file) -> None:
    name, rows, _, released = file
    table = released.tables["predictors"].frame.set_index(["measure", "predictor"])
    for measure in _measures(rows):
        r = _by_r(name, measure)
        for predictor in ("age", "resilience"):
            row = table.loc[(LABELS[measure], predictor)]
            theirs = [r[f"{predictor}_{what}"] for what in ("estimate", "se", "p")]
            mine = row[["estimate", "se", "p_value"]].astype(float).tolist()
            assert mine == pytest.approx(theirs, abs=0.002)


def test_residuals_and_ranks_are_those_of_lme4(file) -> None:
    name, rows, _, released = file
    for measure in _measures(rows):
        r = _by_r(name, measure)
        theirs, errors = (
            r[r.index.str.fullmatch(f"{start}T\\d+")].rename(lambda u: u.rpartition("_")[2])
            for start in ("u_", "u_se_")
        )
        table = released.tables[f"residuals_{measure}"].frame.set_index("therapist")
        assert set(table.index) == set(theirs.index)
        assert table["residual"].to_numpy() == pytest.approx(
            theirs[table.index].to_numpy(), abs=0.01
        )
        assert table["se"].to_numpy() == pytest.approx(errors[table.index].to_numpy(), abs=0.01)
        half = 1.96 * errors[table.index].to_numpy()
        for end, sign in (("lower", -1), ("upper", 1)):
            expected = theirs[table.index].to_numpy() + sign * half
            assert table[end].to_numpy() == pytest.approx(expected, abs=0.02)
        apart = theirs.sort_values()
        if apart.diff().min() > 0.002:
            assert table.sort_values("rank").index.tolist() == apart.index.tolist()


def test_effects_before_and_after_adjustment_and_services_are_those_of_lme4(file) -> None:
    name, rows, _, released = file
    for measure in _measures(rows):
        r = _by_r(name, measure)
        adjusted = released.tables["adjusted"].frame
        mine = adjusted[adjusted["measure"] == LABELS[measure]].set_index("adjusted_for")["vpc"]
        assert mine["nothing"] == pytest.approx(r["vpc_empty"], abs=0.06)
        if "age" in rows:
            assert mine["first scores and case mix"] == pytest.approx(r["vpc_adjusted"], abs=0.06)
            levels = released.tables["services"].frame
            mine = (levels["measure"] == LABELS[measure]) & (
                levels["adjusted_for"] == "first scores"
            )
            levels = levels[mine].set_index("level")["vpc"]
            assert levels["services"] == pytest.approx(r["vpc_service"], abs=0.06)
            within = levels["therapists of a service"]
            assert within == pytest.approx(r["vpc_within_service"], abs=0.06)


def test_rates_in_logistic_models_are_those_of_lme4(file) -> None:
    name, rows, _, released = file
    table = released.tables["rates"].frame
    for measure in _measures(rows):
        r = _by_r(name, measure)
        mine = table[
            (table["measure"] == LABELS[measure]) & (table["outcome"] == "Reliable improvement")
        ].iloc[0]
        assert mine["median_odds_ratio"] == pytest.approx(r["improved_mor"], abs=0.008)
        assert mine["latent"] == pytest.approx(r["improved_latent"], abs=0.06)
        d = rows.dropna()
        gain = d[f"{measure}_pre"] - d[f"{measure}_post"]
        yes = gain >= (MEASURES[measure].reliable_change or np.inf)
        assert mine["n"] == len(d)
        assert mine["percent"] == pytest.approx(100 * yes.mean(), abs=0.06)


def test_outcomes_are_those_of_pandas(file) -> None:
    _, rows, analysis, released = file
    whole = released.tables["outcomes"].frame.set_index("measure")
    each = released.tables["outcomes_by_therapist"].frame.set_index(["measure", "therapist"])
    d = rows.dropna()
    groups = {"all": d} | {str(t): g for t, g in d.groupby("therapist_id")}
    for measure in _measures(rows):
        chosen = MEASURES[measure]
        for who, g in groups.items():
            row = whole.loc[LABELS[measure]] if who == "all" else each.loc[(LABELS[measure], who)]
            pre, post = g[f"{measure}_pre"], g[f"{measure}_post"]
            case, gain = pre >= chosen.cutoff, pre - post
            counts = {
                "n": len(g),
                "n_case_pre": case.sum(),
                "n_improved": (gain >= chosen.reliable_change).sum(),
                "n_deteriorated": (gain <= -chosen.reliable_change).sum(),
                "n_recovered": (case & (post < chosen.cutoff)).sum(),
                "n_rcsi": (case & (post < chosen.cutoff) & (gain >= chosen.reliable_change)).sum(),
            }
            assert {k: row[k] for k in counts} == counts, who
            means = {
                "mean_pre": pre.mean(),
                "mean_post": post.mean(),
                "mean_change": gain.mean(),
                "sd_pre": pre.std(),
                "sd_post": post.std(),
                "effect_size": gain.mean() / pre.std(),
            }
            for key, value in means.items():
                assert row[key] == pytest.approx(value, abs=0.0051), (who, key)
    assert len(each) == len(_measures(rows)) * len(analysis.cohort.caseloads())


def test_the_flow_the_missing_and_the_groups_are_those_of_pandas(file) -> None:
    _, rows, analysis, released = file
    d = rows.dropna()
    flow = released.tables["flow"].frame["patients"].tolist()
    assert (flow[0], flow[-1]) == (len(rows), len(d))
    complete = released.tables["completeness"].frame.set_index("therapist")
    assert complete["eligible"].to_dict() == rows.groupby("therapist_id").size().to_dict()
    assert complete["complete"].to_dict() == d.groupby("therapist_id").size().to_dict()
    assert ("last_scores" in released.tables) == (len(d) < len(rows))
    everybody = analysis.ends([*analysis.cohort.caseloads().index])
    clusters = released.tables["clusters"].frame.set_index(["measure", "cluster"])
    for measure in _measures(rows):
        sides = {t: side == "upper" for side, ts in everybody.items() for t in ts}
        both = d[d["therapist_id"].isin(sides)].assign(
            upper=lambda x, of=sides: x["therapist_id"].map(of).astype(float)
        )
        for end, g in both.groupby("upper"):
            row = clusters.loc[(LABELS[measure], "upper" if end else "lower")]
            assert (row["n"], row["therapists"]) == (len(g), g["therapist_id"].nunique())
            assert row["mean_post"] == pytest.approx(g[f"{measure}_post"].mean(), abs=0.0051)
