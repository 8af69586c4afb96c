from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from independent import Linear, one, slope
from scipy import stats

from multilevel.errors import InputError
from multilevel.fit import MixedFit
from pwp_lib.checks import check_model
from pwp_lib.cohort import Cohort, load_cohort
from pwp_lib.measures import PHQ9
from pwp_lib.models import fit_models
from pwp_lib.outcomes import OUTCOMES
from pwp_lib.ranking import composite_ranks
from pwp_lib.sensitivity import SensitivityPanel
from pwp_lib.simulate import simulate_cohort
from pwp_lib.truth import Truth
from pwp_report import methods
from pwp_report.analysis import Analysis, _Attempts, _groups, analyse
from pwp_report.case_mix import CaseMix
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.inclusion import enough_for
from pwp_report.ledger import MARK
from pwp_report.methods import first_page, methods_and_results
from pwp_report.rates import Asked, RateModel, fit_rate
from pwp_report.release import release_results
from pwp_report.release_parts import sensitivity
from pwp_report.released import ReleasedResults, ReleasedTable
from pwp_report.report import _sections, write_run
from pwp_report.study import ScoreColumns, Study
from pwp_report.table_words import phrase

POLICY = DisclosurePolicy()
#: What was released of an analysis, which nothing changes in place.
KEPT: list[tuple[Analysis, ReleasedResults]] = []


def _released(analysis: Analysis) -> ReleasedResults:
    """Release an analysis once for all tests."""
    for known, released in KEPT:
        if known is analysis:
            return released
    KEPT.append((analysis, release_results(analysis, POLICY)))
    return KEPT[-1][1]


def test_methods_name_what_the_reporting_guidance_asks_for(safe_run: Path) -> None:
    text = (safe_run / "methods.txt").read_text(encoding="utf-8")
    for words in (
        "two levels", "10 therapists", "complete cases", "y_ij =", "maximum likelihood",
        "95% profile-likelihood interval", "pwp_lib", "seed 1", "not allocated",
    ):  # fmt: skip
        assert words in text
    assert "rounded to the nearest 5" in text
    assert "nan" not in text


def test_methods_say_how_many_patients_a_therapist_has(safe_run: Path, open_run: Path) -> None:
    sample = pd.read_csv(safe_run / "tables" / "sample.csv")
    row = sample[(sample["of whom"] == "caseloads") & (sample["variable"] == "patients")].iloc[0]
    said = f"had {row['mean']:.1f} patients in the mean"
    text = (safe_run / "methods.txt").read_text(encoding="utf-8")
    assert said in text
    told = text.split(said)[1].split(".")[0]
    assert " to " not in told  # The ends are single caseloads.
    assert ("SD " in told) == (row["sd"] == row["sd"])
    assert ("median " in told) == (row["median"] == row["median"])
    openly = (open_run / "methods.txt").read_text(encoding="utf-8")
    assert " to " in openly.split("patients in the mean (")[1].split(")")[0]


def test_questions_that_are_open_stand_before_the_answer(safe_analysis: Analysis) -> None:
    released = _released(safe_analysis)
    page = "\n".join(first_page(safe_analysis, Study(questions=("is it 0 to 40",)), released))
    before, _, after = page.partition("## The answer")
    assert "Open, and the results depend on the answer: is it 0 to 40." in before
    assert "is it 0 to 40" not in after
    assert "Open, and" not in "\n".join(first_page(safe_analysis, Study(), released))


def test_questions_that_the_study_file_answers_are_listed_in_the_methods(
    safe_analysis: Analysis,
) -> None:
    released, study = _released(safe_analysis), Study(settled=("is it 0 to 40", "who is a / b"))
    assert "is it 0 to 40" not in "\n".join(first_page(safe_analysis, study, released))
    said = "as being as it should be: (1) is it 0 to 40 (2) who is a / b."
    assert [p for p in methods_and_results(safe_analysis, study, released) if said in p]
    assert "Asked about" not in "\n".join(methods_and_results(safe_analysis, Study(), released))


def test_that_a_therapist_counts_for_one_service_is_on_the_first_page(
    safe_analysis: Analysis,
) -> None:
    released = _released(safe_analysis)
    for how in ("one", "most_patients"):
        page = "\n".join(first_page(safe_analysis, Study(several_services=how), released))
        assert ("counts, with all patients, for the one with most" in page) == (how != "one")


def test_the_order_of_rows_that_a_study_states_is_said_first(safe_analysis: Analysis) -> None:
    released = _released(safe_analysis)
    said = "on one day are taken in the order of the file's rows"
    for stated in (True, False):
        page = "\n".join(first_page(safe_analysis, Study(rows_in_order=stated), released))
        assert (said in page.partition("## The answer")[0]) == stated


def test_a_fit_on_the_boundary_is_said_in_words(cohort_of_copies: Cohort, tmp_path: Path) -> None:
    analysis = analyse(cohort_of_copies, draws=200, sensitivity=False)
    run = write_run(analysis, Study(), DisclosurePolicy(active=False), tmp_path / "out")
    text = (run / "methods.txt").read_text(encoding="utf-8")
    assert "estimated at zero, or the correlation" in text
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "no difference between therapists was found" in page
    assert "not estimated: the share between therapists is at zero" in page
    alone = pd.read_csv(run / "tables" / "residuals_phq9.csv")
    assert alone[["residual", "lower", "upper", "rank"]].isna().all(axis=None)
    assert not (run / "figures" / "rank_intervals_phq9.svg").exists()
    for word in ("singular", "MLwiN&#39;s prior"):
        assert word not in page
    # No group is picked by how a tie is broken, and why is said where they would be.
    assert analysis.groups is None
    assert not (run / "tables" / "clusters.csv").exists()
    section = page.partition('<section id="groups">')[2].partition("</section>")[0]
    assert "no upper and no lower group: on PHQ-9 and GAD-7 the therapist effect is" in section
    assert "first and the last quarter" not in section
    assert "groups formed by them" not in text


@pytest.mark.parametrize("alike", [("phq9",), ("gad7",), ("phq9", "gad7")])
def test_groups_are_by_ranks_on_measures_on_which_therapists_differ(
    safe_analysis: Analysis, alike: tuple[str, ...]
) -> None:
    """On a measure without an effect the order of therapists is how a tie is broken."""
    fits = {name: r.fit for name, r in safe_analysis.measures.items()}
    others = {name: fit for name, fit in fits.items() if name not in alike}
    flat: Any = SimpleNamespace(vpc=lambda: 0.0)
    attempts = _Attempts(safe_analysis.cohort, 1, 200, None, (), (), CaseMix())
    found = _groups(attempts, fits | dict.fromkeys(alike, flat), "groups")
    if not others:
        assert found is None
        assert "no upper and no lower group" in attempts.not_done["groups"]
        return
    right = composite_ranks(others, safe_analysis.cohort.measures)["cluster"]
    pd.testing.assert_series_equal(found, right)
    (label,) = (m.label for m in safe_analysis.cohort.measures if m.name in alike)
    assert f"On {label} the therapist effect is estimated at zero" in attempts.not_done["groups.on"]
    analysis = replace(safe_analysis, not_done=attempts.not_done)
    sections = _sections(analysis, release_results(analysis, POLICY), {}, [])
    said = next(" ".join(s["text"]) for s in sections if s["id"] == "groups")
    assert "first and the last quarter" in said
    assert "are by ranks on the other measures alone" in said


@pytest.mark.parametrize("vpc", [0.0, 5e-5, 4.9e-4, 6e-4])
def test_a_share_that_is_printed_as_none_is_none_everywhere(
    safe_analysis: Analysis, monkeypatch: pytest.MonkeyPatch, vpc: float
) -> None:
    """A caseload of 49,229 for a reliable figure was what the search had rounded."""
    monkeypatch.setattr(MixedFit, "vpc", lambda *_, **__: vpc)
    results = {n: replace(r, vpc=vpc) for n, r in safe_analysis.measures.items()}
    attempts = _Attempts(safe_analysis.cohort, 1, 200, None, (), (), CaseMix())
    groups = _groups(attempts, {n: r.fit for n, r in results.items()}, "groups")
    analysis = replace(safe_analysis, measures=results, groups=groups)
    released = release_results(analysis, POLICY)
    page = "\n".join(first_page(analysis, Study(), released))
    none = vpc < 5e-4
    assert ("no difference between therapists was found" in page) == none
    assert ("a caseload of" in page) != none
    assert (groups is None) == none
    assert released.frame("therapist_effect")["vpc"].eq(0).all() == none
    assert released.frame("residuals_phq9")["expected_rank"].isna().all() == none


@pytest.mark.parametrize("vpc", [0.0, 1e-7, 4e-4, 0.02])
def test_where_therapists_are_alike_no_analysis_shares_their_order(vpc: float) -> None:
    row = {"family": "main", "note": "", "n_patients": 80, "n_therapists": 9, "lower": 0.0}
    row |= {"interval": "", "upper": 0.1, "analysis": "a", "vpc": vpc}
    other = row | {"analysis": "b", "vpc": 0.03, "upper_shared": 1.0, "lower_shared": 2.0}
    rows = pd.DataFrame([row, other | {"rank_correlation": 0.4}])
    shown = sensitivity(SensitivityPanel(rows, "phq9"), PHQ9, lambda *_: 80, POLICY)
    shared = shown[["rank_correlation", "upper_shared", "lower_shared"]]
    assert shared.isna().all(axis=None) == (vpc < 0.01)


@pytest.mark.parametrize(
    ("sd", "median", "said"),
    [
        (7.04, 20.0, " (SD 7.0, median 20; of rounded caseloads)."),
        (np.nan, 20.0, " (median 20; of rounded caseloads)."),
        (np.nan, np.nan, "."),
    ],
)
def test_of_caseloads_nothing_is_said_that_the_table_leaves_out(
    safe_analysis: Analysis, sd: float, median: float, said: str
) -> None:
    row = {"of whom": "caseloads", "variable": "patients", "mean": 21.0, "sd": sd, "median": median}
    released = _released(safe_analysis)
    sample = ReleasedTable("sample", "sample", pd.DataFrame([row]))
    released = replace(released, tables={**released.tables, "sample": sample})
    text = methods_and_results(safe_analysis, Study(), released)[0]
    assert f"A therapist had 21.0 patients in the mean{said}" in text


@pytest.mark.parametrize("optional", [(), ("wsas", "reqol"), ("phq9", "gad7", "wsas", "reqol")])
def test_methods_say_which_first_scores_each_model_has(
    safe_analysis: Analysis, optional: tuple[str, ...]
) -> None:
    """It said the other measure's, and one product, of models that had three."""
    measures = tuple(
        replace(PHQ9, name=n, label=n.upper()) for n in ("phq9", "gad7", "wsas", "reqol")
    )
    some, found = next(iter(safe_analysis.measures.values())), {}
    for m in measures:
        listed = [o.pre for o in measures if o == m or o.name not in optional]
        fixed = pd.DataFrame(index=[f"center({pre})" for pre in listed])
        slope: Any = SimpleNamespace(fixed=fixed, singular=False)
        found[m.name] = replace(some, measure=m, models=replace(some.models, slope=slope))
    cohort = replace(safe_analysis.cohort, measures=measures)
    analysis = replace(safe_analysis, cohort=cohort, measures=found)
    released = _released(safe_analysis)
    row = {"measure": "PHQ9", "vpc": 5.0, "profile_lower": 1.0, "profile_upper": 9.0}
    effect = ReleasedTable("therapist_effect", "effect", pd.DataFrame([row]))
    released = replace(released, tables={"therapist_effect": effect})
    text = "\n".join(methods_and_results(analysis, Study(), released))
    assert "the other measure's score" not in text
    each = "score before treatment on each of the other measures, and on the product of the own"
    assert (each in text) == (not optional)
    more = "(on PHQ9 of GAD7; on GAD7 of PHQ9; on WSAS of PHQ9 and GAD7; on REQOL of PHQ9 and GAD7)"
    assert (f"and on that of other measures {more}, each with its product" in text) == (
        len(optional) == 2
    )
    assert ("(other fixed terms)" in text) == (len(optional) < 4)
    assert ("on the own score before treatment, centred" in text) == (len(optional) == 4)


def test_the_first_page_says_of_which_measures_every_score_is(safe_analysis: Analysis) -> None:
    rate = {"outcome": "Every score recorded", "adjusted_for": "nothing", "percent": 90.0}
    for of, said in {"all measures": "", "PHQ-9 and GAD-7": " on PHQ-9 and GAD-7"}.items():
        page = _page_with(safe_analysis, False, rates=[rate | {"measure": of}])
        assert f"90% of those who meet the other rules have every score{said}." in page


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (
            (1140, 815),
            "on PHQ-9 and GAD-7. Both scores, the first and the last, "
            "are there for 1,140 on PHQ-9 and 815 on GAD-7.",
        ),
        ((1140, MARK), "are there for 1,140 on PHQ-9."),
    ],
)
def test_how_many_have_the_scores_of_each_measure_is_said_where_they_differ(
    safe_analysis: Analysis, sizes: tuple[Any, Any], said: str
) -> None:
    rows = _released(safe_analysis).frame("outcomes").assign(n=list(sizes)).to_dict("records")
    page = _page_with(safe_analysis, False, outcomes=rows)
    assert said in page
    assert "Both scores" not in "\n".join(
        first_page(safe_analysis, Study(), _released(safe_analysis))
    )


@pytest.mark.parametrize(("kurtosis", "vpc"), [(3.9, 5.0), (4.1, 5.0), (19.0, 0.0)])
def test_that_the_share_may_be_that_of_a_few_therapists_is_said(
    kurtosis: float, vpc: float, safe_analysis: Analysis
) -> None:
    checks = [
        {"check": f"{level}: excess kurtosis", "value": value}
        for level, value in [("patients", 9.0), ("therapists, Intercept", kurtosis)]
    ]
    effect = {"measure": "PHQ-9", "vpc": vpc, "profile_lower": 0.0, "profile_upper": 9.0}
    page = _page_with(safe_analysis, False, therapist_effect=[effect], checks_phq9=checks)
    said = "Not that therapists in general differ by so much on PHQ-9: one or a few of them"
    above, _, below = page.partition("## What must not be concluded")
    assert (said in below) == (kurtosis == 4.1)
    # Beside the share, the patients per hundred and the caseload that is enough as well.
    assert ("one or a few therapists may make all of that" in above) == (kurtosis == 4.1)
    assert ("That is so for the one or the few who differ" in below) == (kurtosis == 4.1)


def test_two_of_45_therapists_who_make_all_of_the_share_have_such_a_kurtosis() -> None:
    """And normal effects hardly ever do, as a simulation beside the limit says."""
    truth = Truth.one_measure().with_therapists(45, caseload=30)
    cohort = simulate_cohort(truth, seed=5, interviews=False)
    rng, people = np.random.default_rng(3), cohort.patients.copy()
    labels = people["therapist_id"].unique()
    shift = pd.Series(0.0, index=labels)
    shift.iloc[:2] = [7.0, -7.0]
    for effects, apart in ((shift, True), (pd.Series(rng.normal(0, 1.5, 45), labels), False)):
        noise = people["phq9_pre"] + people["therapist_id"].map(effects)
        people["phq9_post"] = (noise + rng.normal(0, 4, len(people))).clip(0, 27).round()
        fit = fit_models(people, PHQ9, [PHQ9]).slope
        found = check_model(fit, people, PHQ9).table()["value"]
        assert (found["therapists, Intercept: excess kurtosis"] > 4) == apart


def test_who_lacks_a_last_score_is_counted_where_that_may_be_told(safe_analysis: Analysis) -> None:
    table = [
        {"measure": "PHQ-9", "first": 1140, "lacking": 320},
        {"measure": "GAD-7", "first": 1140, "lacking": MARK},
    ]
    missing = [
        {"measure": "PHQ-9", "missing_scores": w, "vpc": v}
        for w, v in [("a", 1.0), ("b", 2.0), ("c", 4.0)]
    ]
    page = _page_with(
        safe_analysis,
        False,
        last_scores=table,
        missing=missing,
        rates=[],
    )
    assert "have a first score, 320 of 1,140 on PHQ-9 have no last score. Had those" in page


@pytest.mark.parametrize(
    ("p", "rate", "shares", "figures"),
    [
        (2e-11, "complete", ["80 to 98", "38 to 52", MARK], "lowest has 38 to 52%, the highest 80"),
        (2e-11, "complete", [90.0, 44.0, 60.0], "lowest has 44.0%, the highest 90.0%"),
        (2e-11, "complete", ["38 to 52"], "no therapist's own can be shown"),
        (0.03, "complete", ["80 to 98", "38 to 52"], ""),
        (2e-11, "dropout", ["80 to 98", "38 to 52"], ""),
    ],
)
def test_that_completeness_differs_by_therapist_is_on_the_first_page(
    p: float, rate: str, shares: list[object], figures: str, safe_analysis: Analysis
) -> None:
    """Where it is more than chance; of few therapists the table of models gives no figure."""
    asked = Asked(rate, "", "Every score recorded", pd.DataFrame(), ())
    model = RateModel(asked, 400, 0.62, {"per_hundred_median": (62.0, 55.0, 70.0)}, p)
    mixed = replace(model, asked=replace(asked, terms=("x",)), p_value=0.0)
    table: list[dict[str, Any]] = [{"therapist": f"T{i}", "share": s} for i, s in enumerate(shares)]
    table.append({"therapist": "others together", "share": "1 to 2"})
    every = {"outcome": "Every score recorded", "measure": "all measures", "percent": 62.0}
    every |= {"adjusted_for": "nothing", "per_hundred_low": np.nan}
    analysis = replace(safe_analysis, rates=(model, mixed))
    page = _page_with(analysis, False, completeness=table, rates=[every])
    said = "have every score. This share differs between therapists by more than chance gives: "
    assert (said in page) == bool(figures)
    assert figures in page
    many = [every | {"per_hundred_low": 44.0, "per_hundred_high": 77.0}]
    page = _page_with(analysis, False, completeness=table, rates=many)
    ends = "it is about 44% with a therapist at the 5th percentile of all therapists and 77% with"
    assert (said + ends in page) == bool(figures)


def test_who_is_left_out_for_one_measure_is_on_the_first_page(safe_analysis: Analysis) -> None:
    released = _released(safe_analysis)
    first, rule = released.frame("flow").head(1), "a score on GAD-7 at both ends"
    begun = first["patients"].iloc[0]
    for share, told in ((0.5, True), (0.05, False)):
        gone = int(share * begun)
        flow = pd.concat([first, first.assign(rule=rule, excluded=gone, patients=begun - gone)])
        table = replace(released.tables["flow"], frame=flow)
        page = "\n".join(
            first_page(
                safe_analysis, Study(), replace(released, tables={**released.tables, "flow": table})
            )
        )
        said = f"{gone:,} patients who meet the rules before it are left out of all measures"
        assert (f"{said} for want of {rule}, whether they have the others or not." in page) == told


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.5, "About 50% of the rows"), (1.0, "Nearly all of the rows"), (0.0, "")],
)
def test_that_rows_are_left_out_is_on_the_first_page(
    share: float, said: str, safe_analysis: Analysis
) -> None:
    study = Study(rows_out=share)
    page = "\n".join(first_page(safe_analysis, study, _released(safe_analysis)))
    assert ("of the rows of the file are left out, as the study file says" in page) == bool(said)
    assert said in page


@pytest.mark.parametrize("several", ["most_sessions", "first", "exclude"])
def test_that_many_had_several_therapists_is_on_the_first_page(
    several: str, safe_analysis: Analysis
) -> None:
    released = _released(safe_analysis)
    study = Study(several=several, several_had="20")
    page = "\n".join(first_page(safe_analysis, study, released))
    begun = released.frame("flow")["patients"].iloc[0]
    words = {"most_sessions": "the one with most sessions", "first": "the first"}.get(several)
    said = f"20 of the {begun} patients in the file had several therapists. "
    said += f"Each counts as a patient of {words} alone"
    assert (said in page) == (words is not None)
    tied = "\n".join(first_page(safe_analysis, replace(study, tied="15"), released))
    later = "whatever the others did; of two with equally many, as 15 of these patients had, of the"
    assert (f"{later} later." in tied) == (several == "most_sessions")
    chosen = replace(study, keep={"Team": ("a",)})
    assert (
        "20 of all patients in the rows that were kept had"
        in "\n".join(first_page(safe_analysis, chosen, released))
    ) == (words is not None)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([0.002, 5.2, 22.1], "on PHQ-9 from under 0.1% to 22.1%"),
        ([0.05, 2.0], "on PHQ-9 from under 0.1% to 2.0%"),
        ([0.0, 7.0], "on PHQ-9 from 0.0% to 7.0%"),
    ],
)
def test_bounds_are_told_as_their_table_writes_them(
    safe_analysis: Analysis, shares: list[float], said: str
) -> None:
    # What the share is without them is no bound of what it would be with them.
    named = zip(["left out", *["filled"] * len(shares)], [99.0, *shares], strict=True)
    missing = [{"measure": "PHQ-9", "missing_scores": w, "vpc": s} for w, s in named]
    rate = {"measure": "all measures", "outcome": "Every score recorded", "percent": 84.0}
    rates = [rate | {"adjusted_for": "nothing"}]
    assert said in _page_with(safe_analysis, False, missing=missing, rates=rates)


def test_three_measures_are_listed_and_one_therapist_has(
    safe_analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort, third = safe_analysis.cohort, replace(PHQ9, name="wsas", label="WSAS")
    analysis = replace(safe_analysis, cohort=replace(cohort, measures=(*cohort.measures, third)))
    for enough, verb in (("1", "has"), ("2", "have"), ("0", "have")):
        sure = {"label": "PHQ-9", "sure": True, "patients": "30", "enough": enough, "all": "26"}
        found = sure | {"rankability": "50", "alone": 21}
        monkeypatch.setattr(methods, "how_sure", lambda *_, found=found: found)
        page = " ".join(first_page(analysis, Study(), _released(safe_analysis)))
        assert ", on PHQ-9, GAD-7 and WSAS." in page
        assert f"and {enough} of 26 therapists {verb} that" in page
        assert f"which {enough} of 26 therapists {verb}" in page


def test_a_model_that_is_not_there_is_named_by_the_measure_s_label() -> None:
    rows = pd.DataFrame({"yes": [True, False] * 5, "therapist_id": ["A", "B"] * 5})
    asked = Asked("rcsi", "phq9", OUTCOMES["rcsi"].label, rows, (), of="PHQ-9")
    with pytest.raises(InputError, match=r"improvement \(RCSI\) \(PHQ-9\): too few"):
        fit_rate(asked)


def test_what_the_sampler_s_prior_does_is_said_of_every_estimate_it_holds_for() -> None:
    """Of 1.2% from 0.0 to 17.3 as of 0: by Gibbs sampling the interval began at 0.6."""
    said = phrase("notes", "therapist_effect_gibbs")
    assert "the interval by maximum likelihood includes zero and the one by Gibbs" in said
    assert "estimate is 0" not in said


def test_services_that_are_not_shown_say_why_and_what_helps() -> None:
    said = phrase("withheld", "services", n=6, least=20)
    assert "If one or two are not, as a rule with fewer than 20 patients" in said
    assert "minimum_patients = 20 under [inclusion]" in said


def test_the_first_page_says_where_every_row_counts_as_a_session(cohort_of_copies: Cohort) -> None:
    analysis = analyse(cohort_of_copies, engines=("ml",), sensitivity=False)
    released = release_results(analysis, DisclosurePolicy(active=False))
    for columns, level, said in (
        ({}, "session", True),
        ({"attended": "Kept"}, "session", False),
        ({"missed": "DNA"}, "session", False),
        ({}, "patient", False),
    ):
        page = " ".join(first_page(analysis, Study(columns=columns, level=level), released))
        assert ("every row counts as one" in page) == said


@pytest.fixture
def cohort_of_copies() -> Cohort:
    """Every therapist has the same patients, so that nothing is left between therapists."""
    some = load_cohort().patients.head(30)
    copies = [some.assign(therapist_id=f"T{i:02d}") for i in range(8)]
    patients = pd.concat(copies, ignore_index=True)
    patients["patient_id"] = [f"P{i:04d}" for i in range(len(patients))]
    return replace(load_cohort(), patients=patients.drop(columns="service_id"), therapists=None)


def test_with_one_measure_nothing_is_said_of_another(safe_run: Path, tmp_path: Path) -> None:
    both = (safe_run / "methods.txt").read_text(encoding="utf-8")
    assert "on their product, all centred" in both
    one = simulate_cohort(Truth.one_measure().with_therapists(9, caseload=15), seed=2)
    analysis = analyse(one, draws=200, sensitivity=False)
    run = write_run(analysis, Study(), DisclosurePolicy(active=False), tmp_path / "out")
    text = (run / "methods.txt").read_text(encoding="utf-8")
    assert "own score before treatment, centred on the mean" in text
    assert "other measure" not in text


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (7.9, 0.0, "the interval with it includes zero (no difference), the other does not"),
        (0.0, 2.1, "the interval without it includes zero (no difference), the other does not"),
        (7.9, 2.1, "Both shares can be told from zero"),
        (0.0, 0.0, "Neither share can be told from zero"),
    ],
)
def test_which_interval_includes_zero_is_said_and_not_how_nearly(
    safe_analysis: Analysis, before: float, after: float, said: str
) -> None:
    released = _released(safe_analysis)
    effect = released.tables["therapist_effect"]
    own = effect.frame.assign(profile_lower=before)
    frame = pd.DataFrame({"adjusted_for": ["first scores", "first scores and case mix"]})
    frame = frame.assign(
        measure="PHQ-9", vpc=[13.5, 9.0], vpc_lower=[before, after], vpc_upper=22.1
    )
    tables = {
        **released.tables,
        "therapist_effect": replace(effect, frame=own),
        "adjusted": ReleasedTable("adjusted", "Adjusted", frame),
    }
    study = Study(adjust=("year",))
    page = first_page(safe_analysis, study, replace(released, tables=tables))
    (told,) = (
        p for p in page if p.startswith("On PHQ-9, ") and "that first scores leave open" in p
    )
    assert said in told
    assert "only just" not in " ".join(page)


@pytest.mark.parametrize("adjust", ["", "asked", "done"])
@pytest.mark.parametrize("share", [0.0, 3.0])
def test_what_lies_between_services_is_not_booked_to_therapists(
    safe_analysis: Analysis, share: float, adjust: str
) -> None:
    released = release_results(safe_analysis, DisclosurePolicy())
    levels = [
        ("first scores", "services", share if adjust != "done" else 8.2, 0.0, 15.6),
        ("first scores", "therapists of a service", 3.9 if adjust != "done" else 3.2, 3.0, 5.2),
        ("first scores and case mix", "services", share, 0.0, 5.6),
        ("first scores and case mix", "therapists of a service", 3.9, 3.0, 5.2),
    ][: 4 if adjust == "done" else 2]
    names = ["adjusted_for", "level", "vpc", "vpc_lower", "vpc_upper"]
    frame = pd.DataFrame(levels, columns=names).assign(measure="PHQ-9")
    tables = {**released.tables, "services": ReleasedTable("services", "Services", frame)}
    released, study = replace(released, tables=tables), Study(adjust=("imd",) * bool(adjust))
    page = "\n".join(first_page(safe_analysis, study, released))
    answer, never = page.split("## What must not be concluded")
    own = "3.9% (95% interval 3.0 to 5.2) between the therapists within a service"
    some = share > 0 or adjust == "done"  # before the case mix or after it
    first = 8.2 if adjust == "done" else share
    assert f"told apart, on PHQ-9 {first:.1f}% (" in answer
    assert (own in answer) == (adjust != "done")
    assert ("Not that therapists answer for what lies between services" in never) == some
    assert ("their ranks contain what first scores alone leave of it" in never) == (
        some and bool(adjust)
    )
    assert ("ranking of therapists is not adjusted for the case mix" in answer) == bool(adjust)
    assert ("within a service (not adjusted for the case mix)" in answer) == (adjust == "asked")
    # First without the case mix, then with it, and each once.
    after = f"; once the case mix is adjusted for as well, {share:.1f}% (95% interval 0.0 to 5.6)"
    within = " and 3.9% (95% interval 3.0 to 5.2)"
    assert (after + within in answer) == (adjust == "done")
    assert "need not add up to the share of all therapists" in answer
    text = " ".join(methods_and_results(safe_analysis, study, released))
    assert "Data had three levels" in text
    assert own in text
    assert ("three levels were modelled without and with the case mix" in text) == bool(adjust)
    assert ("In the model of three levels with the case mix" in text) == (adjust == "done")


@pytest.mark.neighbours
@pytest.mark.parametrize("apart", [0.0, 0.5, 3.0])
def test_the_first_page_says_whether_a_share_can_be_told_from_none(apart: float) -> None:
    truth = Truth.one_measure().with_therapists(12, caseload=30)
    cohort = simulate_cohort(truth, seed=5, interviews=False)
    rng, people = np.random.default_rng(3), cohort.patients.copy()
    shift = pd.Series(apart * rng.normal(size=12), index=people["therapist_id"].unique())
    noise = people["phq9_pre"] + people["therapist_id"].map(shift) + rng.normal(0, 5, len(people))
    people["phq9_post"] = noise.clip(0, 27).round().astype(int)
    analysis = analyse(replace(cohort, patients=people), engines=("ml",), sensitivity=False)
    released = release_results(analysis, DisclosurePolicy(active=False))
    page = " ".join(first_page(analysis, Study(), released))
    # By another way: the interval includes zero where the model without the intercepts' variance,
    # and with that of the slopes, is not rejected.
    centred = people.assign(x=people["phq9_pre"] - people["phq9_pre"].mean())
    design = np.column_stack([np.ones(len(centred)), centred["x"]])
    data = centred["phq9_post"], design, design, centred["therapist_id"]
    both = Linear(*data, slope)
    alone = Linear(*data, lambda theta: np.diag([0.0, theta[0]]))
    least = min(alone.deviance(np.array([t])) for t in np.linspace(0, 0.3, 301))
    sure = least - both.fit().deviance > stats.chi2.isf(0.05, 1)
    # And where the intercepts of a model without slopes are more than chance.
    plain = Linear(data[0], design, design[:, :1], data[3], one)
    more = plain.deviance(np.zeros(1)) - plain.fit().deviance
    by_slopes = sure and stats.chi2.sf(more, 1) / 2 >= 0.05
    sure = sure and not by_slopes
    if analysis.measures["phq9"].vpc > 0.0005:
        assert (
            "This share can be told from zero: its interval does not include zero (no difference)"
            in page
        ) == sure
        assert ("cannot be told from zero" in page) != sure
        assert ("though an interval does not include it" in page) == by_slopes
        assert ("if therapists differ at all" in page) != sure
    else:
        assert "no difference between therapists was found" in page
        assert not sure
    assert "(a first score of 10 or more)" in page


@pytest.mark.parametrize("worse", [True, False])
def test_the_first_page_says_on_which_side_of_the_cut_off_a_case_is(
    safe_analysis: Analysis, worse: bool
) -> None:
    cohort = safe_analysis.cohort
    turned = tuple(replace(m, higher_is_worse=worse, cutoff=11) for m in cohort.measures)
    analysis = replace(safe_analysis, cohort=replace(cohort, measures=turned))
    page = " ".join(first_page(analysis, Study(), _released(safe_analysis)))
    assert ("a first score of 11 or more" in page) == worse
    assert ("a first score below 11" in page) != worse


def test_columns_are_named_as_a_reader_would_say_them(safe_analysis: Analysis) -> None:
    released = _released(safe_analysis)
    rows = {"measure": "PHQ-9", "adjusted_for": "first scores and case mix", "vpc": 6.6}
    ends = {f"{n}_{e}": v for n in ("vpc", "change") for e, v in (("lower", 1.0), ("upper", 2.0))}
    table = ReleasedTable("adjusted", "Adjusted", pd.DataFrame([rows | {"change": 1.5} | ends]))
    released = replace(released, tables={**released.tables, "adjusted": table})
    study = Study(adjust=("area_deprivation", "IMD decile", "Gender"))
    page = " ".join(first_page(safe_analysis, study, released))
    assert "(area deprivation, IMD decile, gender)" in page
    assert "_" not in page


def _page_with(analysis: Analysis, adjust: bool, **tables: list[dict[str, Any]]) -> str:
    """Give the first page where these tables stand in the place of the released ones."""
    released = _released(analysis)
    made = {n: ReleasedTable(n, n, pd.DataFrame(rows)) for n, rows in tables.items()}
    released = replace(released, tables={**released.tables, **made})
    return "\n".join(first_page(analysis, Study(adjust=("imd",) * adjust), released))


@pytest.mark.parametrize(("without", "said"), [(10.3, True), (10.5, False)])
def test_shares_beside_each_other_are_of_the_same_patients(
    safe_analysis: Analysis, without: float, said: bool
) -> None:
    """Who lacks an entry may be left out: 10.5% of all and 6.0% of the others are no change."""
    given = {"first scores": without, "first scores and case mix": 6.0}
    ends = {"vpc_lower": 3.0, "vpc_upper": 17.0}
    rows = [{"measure": "PHQ-9", "adjusted_for": w, "vpc": v} | ends for w, v in given.items()]
    effect = {"measure": "PHQ-9", "vpc": 10.5, "profile_lower": 6.0, "profile_upper": 17.0}
    page = _page_with(safe_analysis, True, therapist_effect=[effect], adjusted=rows)
    line = next(p for p in page.split("\n") if "lie between therapists" in p)
    both = "of those with every entry of the case mix 10.3% (95% interval 3.0 to 17.0), and 6.0%"
    assert (both in line) == said
    assert said or ", and 6.0% (95% interval 3.0 to 17.0) once the case mix" in line


_LOWER = [0.0, 0.03, 0.4, 2.0]


@pytest.mark.parametrize("mixed", [None, 0.0, 1.0])
@pytest.mark.parametrize("lower", [0.0, 0.03])
@pytest.mark.parametrize("p_values", [(0.229, 0.122), (0.04, 0.3), (0.3, 0.01)])
def test_a_share_is_not_told_from_zero_by_random_slopes_alone(
    safe_analysis: Analysis, lower: float, p_values: tuple[float, float], mixed: float | None
) -> None:
    """Where scores lie on a floor, slopes stand for their smaller spread, and the share with them.

    By simulation of 40 therapists who are alike, of 50 patients each of whom half end at 0 to 3,
    the interval of the random slope model leaves out zero in 14% of samples, that of the random
    intercept alone in 1%.
    """
    effect = {"measure": "PHQ-9", "vpc": 2.2, "profile_lower": lower, "profile_upper": 7.0}
    names = "random intercept", "random slope"
    models = [{"model": "single level", "p_value_boundary": np.nan}]
    models += [{"model": m, "p_value_boundary": p} for m, p in zip(names, p_values, strict=True)]
    row = {"measure": "PHQ-9", "adjusted_for": "first scores and case mix", "vpc": 2.0}
    row |= {"vpc_lower": mixed, "vpc_upper": 6.0, "change": -1.0}
    tables = {} if mixed is None else {"adjusted": [row]}
    tables |= {"therapist_effect": [effect], "models_phq9": models}
    page = _page_with(safe_analysis, mixed is not None, **tables)
    (said,) = (p for p in page.split("\n") if "lie between therapists" in p)
    apart = lower > 0 or bool(mixed)
    assert ("cannot be told from zero, though an interval" in said) == (
        apart and p_values[0] > 0.05
    )
    assert p_values[0] < 0.05 or not re.search("(This|Both) shares? can be told", said)
    if p_values[0] < 0.05 and mixed is None:
        assert ("This share can be told from zero" in said) == (lower > 0)


@pytest.mark.neighbours
@pytest.mark.parametrize("mixed", [None, *_LOWER])
@pytest.mark.parametrize("alone", _LOWER)
def test_a_share_is_told_from_none_by_the_interval_beside_it_and_by_nothing_else(
    safe_analysis: Analysis, alone: float, mixed: float | None
) -> None:
    effect = {"measure": "PHQ-9", "vpc": 3.0, "profile_lower": alone, "profile_upper": 7.0}
    row = {"measure": "PHQ-9", "adjusted_for": "first scores and case mix", "vpc": 2.0}
    row |= {"vpc_lower": mixed, "vpc_upper": 6.0, "change": -1.0}
    tables = {"therapist_effect": [effect]} | ({} if mixed is None else {"adjusted": [row]})
    page = _page_with(safe_analysis, mixed is not None, **tables)
    (said,) = (p for p in page.split("\n") if "lie between therapists" in p)

    def written(lower: float) -> str:
        return "under 0.1" if 0 < lower < 0.05 else f"{lower:.1f}"

    assert f"3.0% (95% interval {written(alone)} to 7.0)" in said
    assert "(p " not in said
    if mixed is None:
        assert (
            "can be told from zero: its interval does not include zero (no difference)" in said
        ) == (alone > 0)
        assert ("cannot be told from zero: its interval includes zero (no difference)" in said) == (
            alone == 0
        )
        return
    assert f"2.0% (95% interval {written(mixed)} to 6.0)" in said
    if (alone > 0) == (mixed > 0):
        assert ("Both shares can be told from zero" in said) == (alone > 0)
        assert ("Neither share can be told from zero" in said) == (alone == 0)
    else:
        word = "can" if alone > 0 else "cannot"
        assert f"Without the case mix the share {word} be told from zero, with it it" in said


@pytest.mark.neighbours
@pytest.mark.parametrize("with_mix", [None, 0.001, 0.024, 0.025, 0.034, 0.2])
@pytest.mark.parametrize("plain", [0.001, 0.024, 0.025, 0.034, 0.2])
def test_rates_are_more_than_chance_where_their_intervals_leave_none_out(
    safe_analysis: Analysis, plain: float, with_mix: float | None
) -> None:
    row = {"measure": "PHQ-9", "outcome": OUTCOMES["rcsi"].label, "p_value_boundary": plain}
    row |= {"adjusted_for": "first scores", "percent": 40.0}
    for name, value in (("low", 30.0), ("median", 40.0), ("high", 50.0)):
        row[f"per_hundred_{name}"] = value
    rows = [row]
    if with_mix is not None:
        rows.append(row | {"adjusted_for": "first scores and case mix"})
        rows[1]["p_value_boundary"] = with_mix
    page = _page_with(safe_analysis, with_mix is not None, rates=rows)
    (said,) = (p for p in page.split("\n") if "of 100 patients who could" in p)
    both = plain, plain if with_mix is None else with_mix
    # Half a chi-square with one degree of freedom: of the interval the whole one, 3.84.
    first, last = (stats.chi2.isf(2 * p, 1) > stats.chi2.isf(0.05, 1) for p in both)
    assert ("These differences are more than chance gives" in said) == (first and last)
    assert ("cannot be told from chance" in said) == (not first and not last)
    assert ("Without the case mix these differences" in said) == (first != last)
    assert "(p " not in said


@pytest.mark.parametrize("rcsi", [41.0, None, MARK])
def test_recovery_is_said_where_reliable_change_is_not_known(
    safe_analysis: Analysis, rcsi: Any
) -> None:
    row = {"measure": "PHQ-9", "mean_pre": 15.0, "mean_post": 9.5, "mean_change": 5.5}
    row |= {"recovery": 47.0, "rcsi": rcsi, "n_case_pre": 380}
    page = _page_with(safe_analysis, False, outcomes=[row])
    assert "47% recovered (they were no longer cases)" in page
    assert ("improved reliably" in page) == (rcsi == 41.0)
    assert ("Both are worked out from" in page) == (rcsi == 41.0)
    assert ("This is worked out from" in page) == (rcsi != 41.0)


@pytest.mark.parametrize("hidden", [(), ("recovery",), ("reliable_improvement", "recovery")])
@pytest.mark.parametrize("lines", [1, 2])
def test_a_national_figure_that_no_line_gives_is_missed_on_the_first_page(
    safe_analysis: Analysis, hidden: tuple[str, ...], lines: int
) -> None:
    """Of the patients analysed it may be withheld, and of all finished courses be there."""
    names = ("recovery", "reliable_improvement", "reliable_recovery", "reliable_deterioration")
    rows = [{name: MARK if name in hidden else 50.0 for name in names} for _ in range(lines)]
    page = _page_with(safe_analysis, False, national=[dict.fromkeys(names, MARK), *rows])
    said = [p for p in page.split("\n") if p.startswith("By the national definitions")]
    assert len(said) == bool(hidden)
    listed = " ".join(said).partition("no figure here of ")[2].partition(":")[0].split(" or ")
    assert {*listed} == {name.replace("_", " ") for name in hidden} or not hidden
    assert ("behind each is" in page) == (len(hidden) > 1)


def _of_few(analysis: Analysis, therapists: int) -> Analysis:
    """Give an analysis the patients of so many therapists alone."""
    patients = analysis.cohort.patients
    who = sorted(patients["therapist_id"].unique())[:therapists]
    patients = patients[patients["therapist_id"].isin(who)]
    return replace(analysis, cohort=replace(analysis.cohort, patients=patients))


@pytest.mark.parametrize("therapists", [1, 2, 4, 5, 10])
def test_too_few_therapists_are_said_to_be_so_first_as_check_says_it(
    safe_analysis: Analysis, therapists: int
) -> None:
    analysis = _of_few(safe_analysis, therapists)
    study = Study(measures=tuple(map(ScoreColumns, analysis.cohort.measures)))
    enough = enough_for(analysis.cohort.patients, study, POLICY, scales=False)
    few = enough.set_index("step")["enough"]["therapist effect (random intercept)"] == "no"
    page = first_page(analysis, Study(), _released(safe_analysis))
    assert page[1].startswith("Do patients of some therapists end treatment better off")
    assert ("These are too few therapists to answer it: it takes 5 at the least" in page[1]) == few
    assert few == (therapists < 5)
    # Nor is then said how much they differ, and who.
    answer = " ".join(page[2:])
    told = ["lie between therapists", "of 100 patients", "own figures are more than chance"]
    assert any(words in answer for words in told) != few


@pytest.mark.parametrize("p", [0.2, 0.001])
def test_where_slopes_differ_the_share_is_of_those_who_begin_at_the_mean(
    safe_analysis: Analysis, p: float
) -> None:
    effect = {"measure": "PHQ-9", "vpc": 6.6, "profile_lower": 2.0, "profile_upper": 12.0}
    models = [{"model": "single level", "p_value_boundary": np.nan}]
    models += [{"model": "random", "p_value_boundary": q} for q in (0.001, p)]
    page = _page_with(safe_analysis, False, therapist_effect=[effect], models_phq9=models)
    (line,) = (x for x in page.split("\n") if "lie between therapists" in x)
    assert ("That is the share of patients who begin at the mean" in line) == (p < 0.05)


@pytest.mark.parametrize("dropped", [True, False])
def test_therapists_who_lose_patients_are_on_the_first_page(
    safe_analysis: Analysis, dropped: bool
) -> None:
    """It can be all in which they differ."""
    row = {"measure": "all measures", "adjusted_for": "nothing", "p_value_boundary": 0.001}
    row |= {"per_hundred_low": 7.0, "per_hundred_median": 24.0, "per_hundred_high": 55.0}
    row |= {f"per_hundred_{e}_{b}": 9.0 for e in ("low", "high") for b in ("lower", "upper")}
    of = "Dropped out, of closed cases" if dropped else "Every score recorded"
    page = _page_with(safe_analysis, False, rates=[row | {"outcome": of, "percent": 25.0}])
    said = [x for x in page.split("\n") if x.startswith("Dropping out")]
    assert len(said) == dropped
    if dropped:
        assert "24 with the median therapist" in said[0]
        assert "These differences are more than chance gives" in said[0]


def test_that_one_of_five_therapists_has_one_patient_is_said_where_nothing_is_withheld(
    safe_analysis: Analysis,
) -> None:
    analysis = _of_few(safe_analysis, 5)
    first = analysis.cohort.patients.drop_duplicates("therapist_id").iloc[:1]
    others = analysis.cohort.patients[
        analysis.cohort.patients["therapist_id"] != first["therapist_id"].iloc[0]
    ]
    cohort = replace(analysis.cohort, patients=pd.concat([first, others]))
    for active in (True, False):
        released = release_results(safe_analysis, DisclosurePolicy(active=active))
        page = first_page(replace(analysis, cohort=cohort), Study(), released)
        assert ("too few therapists" in page[1]) != active


@pytest.mark.parametrize("everyone", [True, False])
@pytest.mark.parametrize("shares", [[1.1, 0.0, 5.1], [0.0, 0.0, 0.0]])
def test_bounds_of_missing_last_scores_are_told_wherever_they_differ(
    safe_analysis: Analysis, shares: list[float], everyone: bool
) -> None:
    """Of few patients without a score there is no model of who has every one."""
    # What the share is without them is no bound of what it would be with them.
    named = zip(["left out", *["filled"] * len(shares)], [99.0, *shares], strict=True)
    missing = [{"measure": "PHQ-9", "missing_scores": w, "vpc": s} for w, s in named]
    rate = {"measure": "all measures", "outcome": "Every score recorded", "percent": 84.0}
    rates = [rate | {"adjusted_for": "nothing"}] * everyone
    page = _page_with(safe_analysis, False, missing=missing, rates=rates)
    said = [p for p in page.split("\n") if p.startswith("Not that this holds for everybody")]
    assert len(said) == (everyone or max(shares) > 0)
    if said:
        assert ("84% of those who meet the other rules" in said[0]) == everyone
        assert ("some of those who meet the other rules have no last score" in said[0]) != everyone
        assert f"on PHQ-9 from {min(shares):.1f}% to {max(shares):.1f}%" in said[0]
        assert "between the 10th and the 90th percentile" in said[0]


@pytest.mark.parametrize("within", [9.5, 14.1, None])
@pytest.mark.parametrize("level", [True, False])
def test_the_share_within_services_stands_on_the_first_page(
    safe_analysis: Analysis, within: float | None, level: bool
) -> None:
    rows = [{"analysis": "Random slope, REML", "vpc": 14.1}]
    rows += [{"analysis": "Service as a fixed effect, REML", "vpc": within}] * (within is not None)
    row = {"measure": "PHQ-9", "adjusted_for": "first scores", "vpc": 3.0}
    row |= {"vpc_lower": 0.0, "vpc_upper": 9.0}
    levels = [row | {"level": words} for words in ("services", "therapists of a service")]
    page = _page_with(safe_analysis, False, sensitivity_phq9=rows, services=levels * level)
    said = [p for p in page.split("\n") if p.startswith("Within services")]
    assert len(said) == (within == 9.5 and not level)
    assert not said or said[0].endswith(
        "the share is 9.5% on PHQ-9 (14.1% without services), by REML, which counts what it"
        " costs to estimate the services (see Other analyses)."
    )


def test_a_share_within_services_that_is_that_of_all_is_named_beside_others(
    safe_analysis: Analysis,
) -> None:
    """It was left out without a word."""
    main = {"analysis": "Random slope, REML", "vpc": 14.1}
    rows = {
        f"sensitivity_{m}": [main, {"analysis": "Service as a fixed effect, REML", "vpc": within}]
        for m, within in {"phq9": 9.5, "gad7": 14.1}.items()
    }
    page = _page_with(safe_analysis, False, services=[], **rows)
    said = "9.5% on PHQ-9 (14.1% without services) and 14.1% on GAD-7 (14.1% without services), by"
    assert f"the share is {said} REML" in page


def test_two_recoveries_are_not_one_word_on_the_first_page(safe_analysis: Analysis) -> None:
    label = OUTCOMES["rcsi"].label
    row = {"measure": "PHQ-9", "outcome": label, "p_value_boundary": 0.2, "percent": 40.0}
    row |= {f"per_hundred_{name}": 40.0 for name in ("low", "median", "high")}
    row |= {"adjusted_for": "its own first score", "per_hundred_low": 25.0}
    page = _page_with(safe_analysis, False, rates=[row])
    assert "ecovery of cases" not in page
    assert "together RCSI, reliable and clinically significant improvement)" in page
    means = "(no longer a case, and improved by more than error of measurement explains)"
    assert f"{label} on PHQ-9 {means}: of 100 patients" in page
    # Rounded as counts are, they are not those of the rates that stand above.
    assert "about 25 do with a therapist at the 5th percentile" in page
    # Where nobody differs one figure is said, as of dropping out.
    rows = [row | {"per_hundred_low": 40.0, "measure": m} for m in ("PHQ-9", "GAD-7")]
    page = _page_with(safe_analysis, False, rates=rows)
    assert "about 40 do, whoever their therapist is: no difference between therapists was" in page
    assert "\nLikewise on GAD-7 40, whoever their therapist is.\n" in page
    assert "cannot be told from chance" not in page


def test_what_the_model_of_a_rate_is_adjusted_for_is_said_as_it_is(safe_run: Path) -> None:
    """Of the scores "first scores" means both and their product; of rates it means neither."""
    table = pd.read_csv(safe_run / "tables" / "rates.csv")
    assert {"all measures"} < {*table["measure"]}
    for row in table.itertuples():
        both = "national" in row.outcome
        given = "first scores" if both else "its own first score"
        assert row.adjusted_for == given or (row.measure == "all measures" and not both)
    text = (safe_run / "methods.txt").read_text(encoding="utf-8")
    own = "regression on the first score on their own measure (by the national definitions on both"
    assert own in text


def test_methods_speak_of_a_table_where_there_is_one(safe_analysis: Analysis) -> None:
    released = _released(safe_analysis)
    tables = {n: t for n, t in released.tables.items() if n != "completeness"}
    for some, said in ((released.tables, True), (tables, False)):
        text = " ".join(methods_and_results(safe_analysis, Study(), replace(released, tables=some)))
        assert ("completeness of each therapist's caseload is tabulated" in text) == said


@pytest.mark.neighbours
@pytest.mark.parametrize("alone", [0, 1, 5])
@pytest.mark.parametrize("enough", ["", "about 60"])
@pytest.mark.parametrize("rankability", ["", "0", "34", "79"])
def test_nothing_is_said_of_all_therapists_that_is_not_known_of_all(
    safe_analysis: Analysis, monkeypatch: pytest.MonkeyPatch,
    rankability: str, enough: str, alone: int,
) -> None:  # fmt: skip
    found = {"label": "PHQ-9", "sure": False, "patients": "15", "enough": enough, "all": "75"}
    found |= {"rankability": rankability, "alone": alone}
    monkeypatch.setattr(methods, "how_sure", lambda *_: found)
    page = first_page(safe_analysis, Study(), _released(safe_analysis))
    never = "\n".join(page[page.index("## What must not be concluded") :])
    shown = alone > 0
    assert (f"{rankability}% of the differences" in never) == (shown and rankability != "")
    assert ("the median caseload of all 75 therapists" in never) == (shown and rankability != "")
    counted = not shown or rankability != "0"
    assert ("a caseload of 15" in never) == counted
    assert ("about 60 of 75 therapists have that" in never) == (counted and enough != "")
    assert ", ." not in never
    assert "of 75 therapists" in never or not enough or not counted


def test_courses_of_treatment_are_said_to_be_of_fewer_people(safe_analysis: Analysis) -> None:
    policy = DisclosurePolicy(threshold=10)
    released, study = release_results(safe_analysis, policy), Study(threshold=10, people="1,005")
    page = "\n".join(first_page(safe_analysis, study, released))
    text = "\n".join(methods_and_results(safe_analysis, study, released))
    n = released.patients
    assert f"rests on {n} courses of treatment of 1,005 people, by" in page
    assert "several of a person are taken as independent" in page
    assert f"two levels: {n} courses of treatment" in text
    assert ", of 1,005 people (level 1)" in text
    assert "courses of one person were taken as independent" in text
    assert "counts below 10 are not shown, so that at least five people stand behind each." in text
    for plain in (
        first_page(safe_analysis, Study(), released),
        methods_and_results(safe_analysis, Study(), released),
    ):
        assert "courses of treatment" not in "\n".join(plain)


@pytest.mark.parametrize("earlier", [False, True])
def test_what_says_that_something_is_withheld_names_an_earlier_run(
    earlier: bool, safe_analysis: Analysis
) -> None:
    cohort = safe_analysis.cohort
    if earlier:
        cohort = replace(cohort, patients=cohort.patients.assign(changed_by_more=np.inf))
    analysis = replace(safe_analysis, cohort=cohort)
    released = release_results(analysis, POLICY)
    page = first_page(analysis, Study(), released)
    assert (
        any("withheld in this report (by their identifiers an earlier run was" in p for p in page)
        == earlier
    )
    sections = _sections(analysis, released, {}, [])
    notes = [t["note"] for part in sections for t in part["tables"]]
    told = [
        n for n in [*notes, *released.withheld] if "withheld: fewer" in n or "that are with" in n
    ]
    assert len(told) > 2
    assert all(
        ("(by their identifiers an earlier run was partly of the same" in n) == earlier
        for n in told
    )
    said = [w for w in released.withheld if "much more is withheld here than in a first run" in w]
    assert len(said) == earlier
    assert all("--despite-earlier-run" in w for w in said)
