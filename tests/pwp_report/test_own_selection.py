"""Which rows and scores a study chooses, and how many patients that leaves."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from checking import FRAME, SESSIONS, checked, completeness_of, patients_of

from multilevel.errors import InputError
from pwp_report.disclosure import MARK, DisclosurePolicy, share_between


@pytest.mark.parametrize(
    ("section", "entries", "left"),
    [("keep", '["north"]', 40), ("keep", '["North", "east"]', 60), ("leave_out", '["South"]', 60),
     ("leave_out", '["north", ""]', 40)],
)  # fmt: skip
def test_rows_are_kept_or_left_out_by_any_column(
    section: str, entries: str, left: int, tmp_path: Path
) -> None:
    frame = FRAME.assign(Team=["North", "South", "North", "East"] * 20)
    check = checked(tmp_path, frame, f"[{section}]\nTeam = {entries}\n")
    assert len(patients_of(check)) == left
    assert [s.patients for s in check.flow[:2]] == [80, left]
    with pytest.raises(InputError, match="did you mean Team"):
        checked(tmp_path, frame, f"[{section}]\nTeams = {entries}\n")


def test_the_flow_counts_all_therapists_of_the_rows_that_are_left(tmp_path: Path) -> None:
    """Not those of patients' first rows alone, who would be more after a later rule."""
    roles = SESSIONS.assign(Role="lead", Site="north")
    # Another leads each patient's last session, and a helper of one site stands beside each lead.
    last = roles.groupby("PathwayID").tail(1).index
    names = [f"late-{i % 7}" for i in range(len(last))]
    roles.loc[last, "CarePersLocalId"] = names
    helpers = roles.assign(Role="helper", CarePersLocalId="Help Er")
    helpers.loc[helpers.index[::2], "CarePersLocalId"] = "help er"
    rows = pd.concat([roles, helpers], ignore_index=True).sample(frac=1, random_state=1)
    check = checked(tmp_path, rows, '[keep]\nRole = ["lead"]\n')
    leads = roles["CarePersLocalId"].nunique()
    assert [s.therapists for s in check.flow[:2]] == [leads + 1, leads]
    assert all(a.therapists >= b.therapists for a, b in pairwise(check.flow))
    assert check.study.rows_out == 0.5
    # Of 40 rows a tenth could be of fewer than five.
    few = checked(tmp_path, FRAME.head(40).assign(Team=["a", "b"] * 20), '[keep]\nTeam = ["a"]\n')
    assert few.study.rows_out == 0.0
    whole = checked(tmp_path, roles)
    assert (whole.flow[0].therapists, whole.study.rows_out) == (leads, 0.0)


def test_repeated_rows_are_dropped_where_a_study_says_so(tmp_path: Path) -> None:
    twice = pd.concat([FRAME, FRAME.head(7)])
    check = checked(tmp_path, twice, "[file]\ndrop_repeated_rows = true\n")
    pd.testing.assert_frame_equal(patients_of(check), patients_of(checked(tmp_path, FRAME)))
    assert any(r.startswith("7 rows with the same entries") for r in check.remarks)


def test_the_last_recorded_score_and_follow_ups(tmp_path: Path) -> None:
    last = SESSIONS.groupby("PathwayID").tail(1)
    scores = [20 + i % 8 for i in range(len(last))]
    later = last.assign(CareContDate="2023-01-05", PHQ9=scores, AppType="follow-up")
    sessions = pd.concat([SESSIONS, later])
    plain = patients_of(checked(tmp_path, SESSIONS)).set_index("patient_id")
    check = checked(tmp_path, sessions)
    assert patients_of(check).set_index("patient_id")["phq9_post"].equals(plain["phq9_post"])
    assert any("follow-up sessions after the end" in r for r in check.remarks)
    counted = patients_of(checked(tmp_path, sessions, "[sessions]\nfollow_ups = true\n"))
    given = pd.Series(scores, [*later["PathwayID"]])
    assert counted.set_index("patient_id")["phq9_post"].sort_index().eq(given.sort_index()).all()
    gaps = SESSIONS.assign(PHQ9=SESSIONS["PHQ9"].astype(object))
    gaps.loc[last.index, "PHQ9"] = ""
    recorded = patients_of(checked(tmp_path, gaps, '[sessions]\nscores = "recorded"\n'))
    middle = SESSIONS.drop(index=last.index).groupby("PathwayID")["PHQ9"].last()
    found = recorded.set_index("patient_id")["phq9_post"].sort_index()
    assert found.tolist() == middle.sort_index().tolist()


def test_patients_may_lack_a_measure_that_is_not_required(tmp_path: Path) -> None:
    frame = FRAME.assign(gad7_post=FRAME["gad7_post"].astype(object))
    frame.loc[:19, "gad7_post"] = ""
    study = "[measures.phq9]\n[measures.gad7]\nrequired = {}\n"
    free, asked = (checked(tmp_path, frame, study.format(word)) for word in ("false", "true"))
    assert len(patients_of(free)) == 80
    assert len(patients_of(asked)) == 60
    # Every score is of the measures that are required, of whoever is analysed.
    assert completeness_of(free)["complete"].sum() == 80
    assert completeness_of(asked)["complete"].sum() == 60


def test_where_no_measure_is_required_every_score_is_of_one_at_least(tmp_path: Path) -> None:
    gaps = {f"{m}_post": FRAME[f"{m}_post"].astype(object) for m in ("phq9", "gad7")}
    gaps = {
        c: v.mask(FRAME.index < n, "") for (c, v), n in zip(gaps.items(), (30, 20), strict=True)
    }
    study = "[measures.phq9]\nrequired = false\n[measures.gad7]\nrequired = false\n"
    check = checked(tmp_path, FRAME.assign(**gaps), study)
    assert len(patients_of(check)) == completeness_of(check)["eligible"].sum() == 80
    assert completeness_of(check)["complete"].sum() == 60


@pytest.mark.parametrize("costly", ["phq9", "gad7"])
@pytest.mark.parametrize("end", ["pre", "post"])
def test_the_flow_says_which_measure_costs_which_patients(
    costly: str, end: str, tmp_path: Path
) -> None:
    gaps = FRAME[f"{costly}_{end}"].astype(object).mask(FRAME.index % 8 == 1, "")
    check = checked(tmp_path, FRAME.assign(**{f"{costly}_{end}": gaps}))
    label = {"phq9": "PHQ-9", "gad7": "GAD-7"}
    excluded = check.rules.set_index("rule")["excluded"]
    for name, words in label.items():
        assert excluded[f"a score on {words} at both ends"] == (10 if name == costly else 0)
    assert completeness_of(check).iloc[:, 0].sum() == len(FRAME)
    assert len(patients_of(check)) == 70


@pytest.mark.parametrize(("eligible", "lacking"), [(12, 2), (22, 2), (22, 0), (12, 5), (60, 6),
                                                   (199, 1), (40, 30), (5, 0), (7, 4),
                                                   (5000, 1)])  # fmt: skip
def test_no_share_of_complete_courses_is_more_than_it_is(eligible: int, lacking: int) -> None:
    exact = 100 * (eligible - lacking) / eligible
    share = _share(eligible - lacking, eligible, DisclosurePolicy())
    if share == MARK:
        assert eligible - lacking < 5
        return
    low, _, high = str(share).partition(" to ")
    assert float(low) <= exact <= float(high)
    assert float(low) < 100
    openly = float(_share(eligible - lacking, eligible, DisclosurePolicy(active=False)))
    assert (openly == 100) == (lacking == 0)
    assert abs(openly - exact) <= 0.05 or openly == 99.9 < exact


def _share(complete: int, eligible: int, policy: DisclosurePolicy) -> float | str:
    return share_between(policy.count(complete), policy.count(eligible), policy)


_GAPS = FRAME.assign(
    phq9_post=FRAME["phq9_post"].astype(object).mask(FRAME.index % 2 == 0, ""),
    gad7_post=FRAME["gad7_post"].astype(object).mask(FRAME.index % 2 == 1, ""),
)
_PAIRS = pd.concat([SESSIONS, SESSIONS.assign(CarePersLocalId="another")])


@pytest.mark.parametrize(
    ("frame", "study", "key", "remedy"),
    [
        (FRAME.assign(mode="group"), "", "one_to_one = false", "[inclusion]\none_to_one = false"),
        (SESSIONS.assign(AppType="02"), "", "assessment = false",
         "[inclusion]\nassessment = false"),
        (FRAME.assign(sessions=1), "", "minimum_sessions", "[inclusion]\nminimum_sessions = 1"),
        (FRAME, "[inclusion]\nminimum_age = 99", "minimum_age", "[inclusion]\nminimum_age = 18"),
        (FRAME, "[inclusion]\nmaximum_age = 9", "maximum_age", "[inclusion]\nmaximum_age = 99"),
        (FRAME, "[inclusion]\nminimum_patients = 999", "minimum_patients",
         "[inclusion]\nminimum_patients = 2"),
        (FRAME.assign(therapist_id="n/a", who=FRAME["therapist_id"]), "", "therapist_id",
         '[columns]\ntherapist_id = "who"'),
        (FRAME.assign(status="declined"), "", "under closed of [codes]",
         '[codes]\nclosed = ["declined"]\nneither = []'),
        (_GAPS, "", "required = false",
         "[measures.phq9]\nrequired = false\n[measures.gad7]\nrequired = false"),
        (_PAIRS, '[therapists]\nseveral = "exclude"', 'several = "most_sessions"',
         '[therapists]\nseveral = "most_sessions"'),
    ],
)  # fmt: skip
def test_a_rule_that_leaves_nobody_is_named_with_the_key_that_relaxes_it(
    frame: pd.DataFrame, study: str, key: str, remedy: str, tmp_path: Path
) -> None:
    (problem,) = checked(tmp_path, frame, study).problems
    assert problem.problem.startswith("no patient is left after the rule: ")
    assert key in problem.hint
    assert "in a study file" in problem.hint
    # And what it says is a remedy.
    assert not [p for p in checked(tmp_path, frame, remedy).problems if "is left" in p.problem]
