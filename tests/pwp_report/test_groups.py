"""Patients treated together: found, asked about, and told apart from their therapists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from checking import FRAME, checked, patients_of
from independent import Linear, nested
from running import run

from multilevel.errors import InputError
from multilevel.fit import fit_mixed
from pwp_lib.measures import PHQ9
from pwp_report.analysis import analyse
from pwp_report.case_mix import CaseMix, case_mix_rows
from pwp_report.service_level import GROUPS, fit_levels, level_effects

_NAMED = '[columns]\ngroup_id = "Cohort ref"\n'


def _treated(
    seed: int,
    therapists: int = 14,
    groups: tuple[int, int] = (2, 5),
    size: tuple[int, int] = (5, 12),
    sds: tuple[float, float] = (0.0, 2.4),
    co_led: bool = False,
) -> pd.DataFrame:
    """Patients in groups in therapists, with SDs of 5 within a group; every group has a label."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    own = rng.normal(0, sds[0], therapists)
    for t in range(therapists):
        for g in range(rng.integers(*groups, endpoint=True)):
            shared = rng.normal(0, sds[1])
            for _ in range(rng.integers(*size, endpoint=True)):
                leader = (t + 1) % therapists if co_led and rng.random() < 0.5 else t
                pre = rng.normal(15, 4)
                post = 4 + 0.5 * pre + own[leader] + shared + rng.normal(0, 5)
                rows.append((leader, f"{t:02d}/{g}", pre, post))
    frame = pd.DataFrame(rows, columns=["therapist_id", "Cohort ref", "phq9_pre", "phq9_post"])
    frame["therapist_id"] = "t" + frame["therapist_id"].astype(str)
    for score in ("phq9_pre", "phq9_post"):
        frame[score] = frame[score].round().clip(0, 27)
    return frame.assign(patient_id=[f"p{i}" for i in range(len(frame))]).sample(
        frac=1, random_state=seed
    )


def _found(folder: Path, frame: pd.DataFrame, study: str = "") -> str:
    return checked(folder, frame, study).study.perhaps["groups_not_named"]


@pytest.mark.parametrize("seed", range(12))
def test_a_column_of_groups_is_found_and_asked_about(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    shape = {
        "therapists": int(rng.integers(6, 30)),
        "groups": (2, int(rng.integers(2, 6))),
        "size": (4, int(rng.integers(6, 16))),
        "co_led": bool(seed % 3 == 1),
    }
    frame = _treated(seed, **shape)
    if seed % 2:  # some are treated alone
        frame.loc[frame.sample(frac=0.3, random_state=seed).index, "Cohort ref"] = None
    if seed % 4 == 3:  # a row a session
        frame = frame.drop(columns="phq9_post").rename(columns={"phq9_pre": "phq9"})
        parts = [frame.assign(date=f"2024-0{m}-01", attended="yes") for m in (1, 2, 3)]
        frame = pd.concat(parts, ignore_index=True)
    check = checked(tmp_path, frame)
    assert check.study.perhaps["groups_not_named"] == "Cohort ref"
    assert any("column Cohort ref" in q for q in check.study.questions)


@pytest.mark.parametrize("heading", ["Group no", "Cohort", "Course group", "Gruppe"])
@pytest.mark.parametrize("seed", range(4))
def test_groups_that_every_therapist_numbers_anew_are_asked_about_by_their_heading(
    seed: int, heading: str, tmp_path: Path
) -> None:
    frame = _treated(seed, 8 + 3 * seed, (2, 4))
    number = frame.pop("Cohort ref").str.extract(r"/(\d+)")[0]
    assert _found(tmp_path, frame.assign(**{heading: number})) == heading
    other = {"Age group": number, "Ethnic group": number, "Priority": number}
    assert _found(tmp_path, frame.assign(**other)) == ""


def _others(frame: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Columns that are of no groups: where, when, who else, and what has nothing to do with it."""
    rng, n = np.random.default_rng(seed), len(frame)
    therapist = frame["therapist_id"].str[1:].astype(int).to_numpy()
    return {
        "Ward": [f"w{t * 3 + k}" for t, k in zip(therapist, rng.integers(0, 3, n), strict=True)],
        "Sector": rng.integers(0, max(n // 9, 2), n),
        "Priority": rng.integers(1, 4, n),
        "Desk": [f"d{t}" for t in therapist],
        "Pair": [f"x{t // 2}" for t in therapist],
        "Cluster": [f"c{t // 3}{k}" for t, k in zip(therapist, rng.integers(0, 2, n), strict=True)],
        "Note": [f"n{i}" for i in range(n)],
        "Half": rng.integers(0, n // 2, n),
        "Band": pd.cut(frame["phq9_pre"], 8).astype(str),
    }


@pytest.mark.parametrize("seed", range(15))
def test_other_columns_are_taken_for_no_groups(seed: int, tmp_path: Path) -> None:
    frame = _treated(seed, therapists=8 + 2 * seed, size=(5, 20)).drop(columns="Cohort ref")
    assert _found(tmp_path, frame.assign(**_others(frame, seed))) == ""


def test_numbers_of_two_services_are_no_groups(tmp_path: Path) -> None:
    place = ["north" if i % 2 else "south" for i in range(len(FRAME))]
    assert _found(tmp_path, FRAME.drop(columns="service_id").assign(Clinic=place)) == ""


@pytest.mark.parametrize("answer", ["Cohort ref", ""])
def test_the_question_has_an_answer(answer: str, tmp_path: Path) -> None:
    check = checked(tmp_path, _treated(1), f'[columns]\ngroup_id = "{answer}"\n')
    assert not check.study.questions
    assert ("group_id" in patients_of(check)) == bool(answer)
    if answer:
        assert patients_of(check)["group_id"].notna().all()


@pytest.mark.parametrize(
    ("study", "asked"),
    [
        ("", False),  # who was treated in a group is not analysed
        ("[inclusion]\none_to_one = false\n", True),
        ('[inclusion]\none_to_one = false\n[columns]\ngroup_id = ""\n', False),
    ],
)
def test_who_was_treated_in_groups_that_no_column_names_is_asked_about(
    study: str, asked: bool, tmp_path: Path
) -> None:
    mode = ["group" if i % 3 == 0 else "individual" for i in range(len(FRAME))]
    check = checked(tmp_path, FRAME.assign(mode=mode), study)
    assert any("in which" in q for q in check.study.questions) == asked


def test_a_word_of_the_mode_that_is_not_known_may_be_of_a_group(tmp_path: Path) -> None:
    """It is no group until the study file says so, and then that is what is asked."""
    mode = ["psych. course" if i % 3 == 0 else "individual" for i in range(len(FRAME))]
    study = "[inclusion]\none_to_one = false\n"
    check = checked(tmp_path, FRAME.assign(mode=mode), study)
    (asked,) = check.study.questions
    assert "count as not group: if they mean it, list them as group under [codes]" in asked
    check = checked(
        tmp_path, FRAME.assign(mode=mode), study + '[codes]\ngroup = ["psych. course"]\n'
    )
    (asked,) = check.study.questions
    assert "no column says in which" in asked
    assert len(patients_of(check)) == len(FRAME)


@pytest.mark.parametrize("alone", [0.0, 0.3])
def test_shares_of_groups_and_therapists_are_those_of_another_way(alone: float) -> None:
    frame = _treated(5, sds=(1.5, 2.0)).rename(columns={"Cohort ref": "group_id"})
    own = frame.sample(frac=alone, random_state=2).index
    frame.loc[own, "group_id"] = None
    mix = case_mix_rows(frame, CaseMix())
    found = level_effects({"first scores": fit_levels(mix, PHQ9, [PHQ9], levels=GROUPS)})
    assert found["level"].tolist() == ["therapists", "groups of a therapist"]
    # In one block a therapist: a column for all, and one for each group.
    label = frame["group_id"].fillna(frame["patient_id"]) + frame["therapist_id"]
    place = label.groupby(frame["therapist_id"]).transform(lambda g: pd.factorize(g)[0])
    z = np.zeros((len(frame), 2 + place.max()))
    z[:, 0] = z[np.arange(len(frame)), 1 + place] = 1
    pre = frame["phq9_pre"] - frame["phq9_pre"].mean()
    x = np.column_stack([np.ones(len(frame)), pre])
    factor = nested(1, 1 + int(place.max()))
    other = Linear(frame["phq9_post"], x, z, frame["therapist_id"], factor).fit(
        [0.1, 0.5], [0.3, 0.1]
    )
    for k, row in enumerate(found.to_dict("records")):
        ends = other.interval(k)
        assert row["vpc"] == pytest.approx(other.share(k), abs=2e-5)
        assert row["vpc_lower"] == pytest.approx(ends[0], abs=2e-4)
        assert row["vpc_upper"] == pytest.approx(ends[1], abs=2e-4)


def test_therapists_alike_seem_to_differ_until_groups_are_a_level() -> None:
    """By simulation, of 40 samples in which therapists are alike and a sixth lies in groups."""
    told = {"without": 0, "with": 0}
    for seed in range(40):
        frame = _treated(seed, 30, (3, 3), (11, 11)).rename(columns={"Cohort ref": "group_id"})
        fit = fit_mixed("phq9_post ~ phq9_pre + (1 | therapist_id)", frame)
        told["without"] += fit.profile_interval().lower > 0
        three = fit_mixed("phq9_post ~ phq9_pre + (1 | therapist_id/group_id)", frame)
        told["with"] += three.profile_interval("therapist_id").lower > 0  # type: ignore[call-arg]
    assert told["without"] >= 25
    assert told["with"] <= 4


def test_few_groups_are_no_level_and_the_reason_is_kept(tmp_path: Path) -> None:
    check = checked(tmp_path, _treated(3, therapists=9, groups=(1, 1)), _NAMED)
    mix = case_mix_rows(patients_of(check), CaseMix())
    with pytest.raises(InputError, match="two groups of two patients or more"):
        fit_levels(mix, PHQ9, [PHQ9], levels=GROUPS)
    cohort = check.required()
    found = analyse(cohort, draws=500, sensitivity=False, engines=["ml"])
    assert "two groups of two patients or more" in found.not_done["together.phq9"]
    assert not found.measures["phq9"].groups


def test_the_first_page_tells_groups_from_therapists(tmp_path: Path) -> None:
    _treated(0, 30, (3, 3), (11, 11)).to_csv(tmp_path / "own.csv", index=False)
    (tmp_path / "study.toml").write_text(_NAMED, encoding="utf-8")
    key, out = tmp_path / "keys" / "a.key", tmp_path / "out"
    asked = ["analyse", tmp_path / "own.csv", "--study", tmp_path / "study.toml"]
    assert run(*asked, "--key", key, "--out", out) == 0
    page = (out / "run-0001" / "report.html").read_text(encoding="utf-8")
    table = pd.read_csv(out / "run-0001" / "tables" / "together.csv").set_index("level")
    share, groups = table.loc["therapists"], table.loc["groups of a therapist"]
    said = f"{share.vpc} (95% interval {share.vpc_lower} to {share.vpc_upper})".replace(" (", "% (")
    assert f"on PHQ-9 {said} of all these differences lie between therapists" in page
    assert f"and {groups.vpc}% (95% interval" in page
    assert "the share between therapists cannot be told from zero" in page
    # What is said without groups of the same figures is not said with them.
    assert "This share can be told from zero" not in page
    assert "These differences are more than chance gives" not in page


def test_an_open_question_stands_on_the_first_page(tmp_path: Path) -> None:
    _treated(0, 30, (3, 3), (11, 11)).to_csv(tmp_path / "own.csv", index=False)
    key, out = tmp_path / "keys" / "a.key", tmp_path / "out"
    assert run("analyse", tmp_path / "own.csv", "--key", key, "--out", out) == 0
    page = (out / "run-0001" / "report.html").read_text(encoding="utf-8")
    assert "Open, and the results depend on the answer: patients stand in small sets" in page
