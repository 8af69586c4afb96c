"""Headings of own data: other names of scores and roles, halves of measures, what is not known."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from checking import FRAME, checked, patients_of
from running import run

from multilevel.errors import InputError
from pwp_lib.measures import MEASURES
from pwp_report.check import check_study_data
from pwp_report.recognise import named_after
from pwp_report.study import Study
from pwp_report.study_file import write_study


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("therapist_id", "therapst_id"), ("therapist_id", "thearpist_id"), ("sessions", "sesions"),
     ("service_id", "servicee_id"), ("sessions", "sessoins")],
)  # fmt: skip
def test_a_heading_one_letter_off_is_not_passed_over(
    right: str, wrong: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=right):
        checked(tmp_path, FRAME.rename(columns={right: wrong}))


@pytest.mark.parametrize("score", ["phq9_pre", "phq9_post", "gad7_pre", "gad7_post"])
def test_half_a_measure_stops_with_the_name_that_was_meant(score: str, tmp_path: Path) -> None:
    wrong = score.replace("_p", "_pp")
    with pytest.raises(InputError, match=f"did you mean {wrong}"):
        checked(tmp_path, FRAME.rename(columns={score: wrong}))


@pytest.mark.parametrize(
    ("pre", "post"),
    [("PHQ9 at assessment", "PHQ9 at discharge"), ("Pre-treatment PHQ-9", "Post-treatment PHQ-9"),
     ("PHQ9 Start of Treatment", "PHQ9 End of Treatment"), ("PHQ9 First Session", "PHQ9 Last"),
     ("First PHQ9 Score", "Most Recent PHQ9 Score"), ("PHQ_9_intake", "PHQ_9_termination")],
)  # fmt: skip
def test_headings_that_services_use(pre: str, post: str, tmp_path: Path) -> None:
    check = checked(tmp_path, FRAME.rename(columns={"phq9_pre": pre, "phq9_post": post}))
    assert patients_of(check)["phq9_pre"].sum() == FRAME["phq9_pre"].sum()
    assert patients_of(check)["phq9_post"].sum() == FRAME["phq9_post"].sum()


def test_means_of_items_exchanged_scores_and_empty_measures_are_asked_about(
    tmp_path: Path,
) -> None:
    mean = FRAME.assign(core_om_pre=FRAME["phq9_pre"] / 7, core_om_post=FRAME["phq9_post"] / 7)
    check = checked(tmp_path, mean)
    assert any("means of items" in r for r in check.remarks)
    # They go on the report's first page too.
    assert [q for q in check.study.questions if "CORE-OM" in q and "means of items" in q]
    assert not checked(tmp_path, FRAME).study.questions
    exchanged = FRAME.rename(columns={"phq9_pre": "phq9_post", "phq9_post": "phq9_pre"})
    assert any("got worse on average on PHQ-9" in r for r in checked(tmp_path, exchanged).remarks)
    mostly = FRAME.assign(wsas_pre=20, wsas_post=[10 if i % 4 == 0 else "" for i in FRAME.index])
    check = checked(tmp_path, mostly)
    assert len(patients_of(check)) == len(FRAME)
    assert any("WSAS is not used: it is missing" in r for r in check.remarks)


@pytest.mark.parametrize("patient", [True, False])
@pytest.mark.parametrize("therapist", [True, False])
@pytest.mark.parametrize("scores", [True, False])
def test_everything_that_is_not_recognised_is_named_at_once(
    patient: bool, therapist: bool, scores: bool, tmp_path: Path, capsys
) -> None:
    other = {
        **({} if patient else {"patient_id": "Who"}),
        **({} if therapist else {"therapist_id": "By"}),
        **(
            {} if scores else {"phq9_pre": "A", "phq9_post": "B", "gad7_pre": "C", "gad7_post": "D"}
        ),
    }
    FRAME.rename(columns=other).to_csv(tmp_path / "own.csv", index=False)
    written = tmp_path / "study.toml"
    code = run("check", tmp_path / "own.csv", "--write-study", written)
    assert (code == 0) == (not other)
    said = capsys.readouterr().err.rpartition("pwp: ")[2]
    problem = said.partition(": ")[2].split(" among")[0].split("; name")[0]
    for there, word in ((patient, "patient"), (therapist, "therapist"), (scores, "measure")):
        assert there == (word not in problem)
    text = written.read_text(encoding="utf-8")
    assert ('# patient_id = "?"  # needed' in text) != patient
    assert ('# therapist_id = "?"  # needed' in text) != therapist
    assert ("# No measure with" in text) != scores
    if other:
        heads = ", ".join(FRAME.rename(columns=other).columns)
        assert f"# The file has: {heads}\n" in text
        assert heads in said or (patient and therapist)


@pytest.mark.parametrize(
    "name", ["Discharge", "Discharge reason", "End reason", "Discharge status"]
)
def test_how_a_case_ended_is_its_status(name: str, tmp_path: Path) -> None:
    words = ["Completed treatment", "Dropped out", "Referred on", "Open"] * 20
    people = patients_of(checked(tmp_path, FRAME.assign(**{name: words}))).set_index("patient_id")
    status = people["status"].loc[["p0", "p1", "p3"]]
    assert status.tolist() == ["closed", "closed", "in_treatment"]
    assert "p2" not in people.index
    assert people["dropped_out"].loc[["p0", "p1"]].tolist() == [False, True]


def test_a_discharge_with_dates_says_who_is_closed_and_a_stated_study_wins(tmp_path: Path) -> None:
    dates = FRAME.assign(Discharge=["2024-03-01", "2024-04-01", "", "soon"] * 20)
    people = patients_of(checked(tmp_path, dates)).set_index("patient_id")
    assert people["status"].loc[["p0", "p2", "p3"]].tolist() == ["closed", "in_treatment", "closed"]
    words = FRAME.assign(Discharge=["yes", "no"] * 40)
    unused = checked(tmp_path, words, '[columns]\nstatus = ""\n')
    assert "status" not in patients_of(unused)
    stated = checked(tmp_path, words.assign(now="closed"), '[columns]\nstatus = "now"\n')
    assert set(patients_of(stated)["status"]) == {"closed"}


def test_a_score_with_decimals_is_told_what_to_state(tmp_path: Path) -> None:
    frame = FRAME.assign(phq9_pre=FRAME["phq9_pre"].astype(float) + 0.5)
    hints = {p.hint for p in checked(tmp_path, frame).problems}
    assert any("integer = false" in hint for hint in hints)


@pytest.mark.parametrize("heading", ["Case", "Ref", "Reference no", "Client reference"])
@pytest.mark.parametrize("spoilt", ["", "twice", "empty", "better"])
def test_a_case_is_the_patient_where_each_row_has_its_own_and_it_is_said(
    heading: str, spoilt: str, tmp_path: Path
) -> None:
    frame = FRAME.rename(columns={"patient_id": heading})
    if spoilt == "better":
        check = checked(tmp_path, frame.assign(ClientID=FRAME["patient_id"]))
        assert check.study.columns["patient_id"] == "ClientID"
        assert not any("is taken for the patient" in r for r in check.remarks)
    elif spoilt:
        frame.loc[3, heading] = frame.loc[2, heading] if spoilt == "twice" else ""
        with pytest.raises(InputError, match="identifies the patient"):
            checked(tmp_path, frame)
    else:
        check = checked(tmp_path, frame)
        assert check.study.columns["patient_id"] == heading
        assert "patient_id" in check.study.guessed
        assert any(f"column {heading} is taken for the patient" in r for r in check.remarks)
        assert len(patients_of(check)) == len(FRAME)


@pytest.mark.neighbours
@pytest.mark.parametrize("statuses", [["closed"], ["closed", "in_treatment"], ["in_treatment"]])
@pytest.mark.parametrize("gone", [0, 3, 12, 13, 57, 60])
def test_a_rule_on_closed_cases_says_how_many_of_them_dropped_out(
    gone: int, statuses: list[str], tmp_path: Path
) -> None:
    """Of those who came to that rule, rounded, and no number where few did or few did not."""
    words = ["Dropped out"] * gone + ["Completed treatment"] * (60 - gone) + ["Open"] * 20
    rows = FRAME.assign(Status=words, sessions=[1, 2] * 40)
    found = checked(tmp_path, rows, f"[inclusion]\nstatus = {statuses}\nminimum_sessions = 2\n")
    (rule,) = (s.rule for s in found.flow if "closed" in s.rule or s.rule == "in treatment")
    people = rows[(rows["sessions"] == 2) & ((rows["Status"] == "Open") <= (len(statuses) != 1))]
    there = int((people["Status"] == "Dropped out").sum())
    others = len(people) - there
    named = "nearly all" if others < 5 else str(5 * round(there / 5))
    named = named if there >= 5 else "some"
    said = f" ({named} who dropped out among them)" if there else ""
    if statuses == ["in_treatment"]:
        said = ""
    assert rule == " or ".join(s.replace("_", " ") for s in statuses).replace(
        "closed", f"closed{said}"
    )
    assert rule in found.rules["rule"].tolist()


def test_services_with_other_numbers_of_dropouts_are_chosen_by_the_same_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts, out = [], tmp_path / "out"
    out.mkdir()
    big = pd.concat([FRAME.assign(patient_id=FRAME["patient_id"] + s) for s in "ab"])
    for i, gone in enumerate((0, 3, 20)):
        words = ["Dropped out"] * gone + ["Completed treatment"] * (len(big) - gone)
        rows = big.assign(Status=words, therapist_id=big["therapist_id"] + f"of{i}")
        rows.to_csv(tmp_path / f"{i}.csv", index=False)
        parts.append(out / f"{i}.parquet")
        key = ("--key", tmp_path / f"key of {i}" / "key")
        assert run("summarise", tmp_path / f"{i}.csv", "--out", parts[-1], *key) == 0
    assert run("pool", *parts) == 0
    assert "different rules" not in capsys.readouterr().err


def test_the_study_file_that_is_begun_holds_headings_named_after_measures(tmp_path: Path) -> None:
    names = {"patient_id": "Patientennummer", "therapist_id": "Therapeut"}
    ends = {"pre": "vor", "post": "nach"}
    names |= {f"{m}_{e}": f"{m.upper()} {w}" for m in ("phq9", "gad7") for e, w in ends.items()}
    FRAME.rename(columns=names).to_csv(tmp_path / "own.csv", index=False)
    study = tmp_path / "study.toml"
    assert run("check", tmp_path / "own.csv", "--write-study", study) == 2
    text = study.read_text(encoding="utf-8")
    assert "No measure with" not in text
    blocks = '[measures.phq9]\n# pre = "PHQ9 vor"\n# post = "PHQ9 nach"\n', "[measures.gad7]\n"
    assert all(f"# {block}" in text for block in blocks)
    # As whoever fills it in does it: the hash is taken away, and the patient named.
    text = re.sub(r"(?m)^# (?=\[measures|pre =|post =|patient_id)", "", text)
    text = text.replace('patient_id = "?"', 'patient_id = "Patientennummer"')
    study.write_text(text, encoding="utf-8")
    check = check_study_data(tmp_path / "own.csv", study)
    pd.testing.assert_frame_equal(patients_of(check), patients_of(checked(tmp_path, FRAME)))


def test_more_columns_of_a_measure_are_named_beside_and_a_lone_one_is_a_score() -> None:
    text = write_study(Study(), ["PHQ9 a", "PHQ9 b", "PHQ9 c", "GAD7"])
    assert '# pre = "PHQ9 a"\n# post = "PHQ9 b"  # or "PHQ9 c"\n' in text
    assert '# [measures.gad7]\n# score = "GAD7"  # of a session' in text


@pytest.mark.parametrize(
    ("decimal", "form", "commas", "days"),
    [("", "%d.%m.%Y", True, True), (",", "%d.%m.%Y", False, True), ("", "%Y-%m-%d", True, False)],
)
def test_how_commas_and_dates_are_read_is_said(
    decimal: str, form: str, commas: bool, days: bool, tmp_path: Path
) -> None:
    began = pd.Timestamp("2022-05-26").strftime(form)
    scores = {c: FRAME[c].astype("str") + ",0" for c in ("phq9_pre", "phq9_post")}
    frame = FRAME.assign(**scores, started=began)
    check = checked(tmp_path, frame, f'[file]\ndecimal = "{decimal}"\n')
    assert patients_of(check)["phq9_pre"].sum() == FRAME["phq9_pre"].sum()
    said = "a comma in a number is read as a decimal point, in phq9_pre and phq9_post; decimal"
    assert any(line.startswith(said) for line in check.understood) == commas
    assert any("year first or day first" in line for line in check.understood) == days
    plain = checked(tmp_path, FRAME).understood
    assert not any("comma in" in line or "day first" in line for line in plain)


@pytest.mark.parametrize("name", ["deprivation decile", "DEPRIVATION DECILE", "Deprivaton decile"])
def test_a_covariate_in_other_capitals_is_asked_about(name: str, tmp_path: Path) -> None:
    frame = FRAME.assign(**{"Deprivation decile": FRAME.index % 10})
    with pytest.raises(InputError, match=r"no column \(did you mean Deprivation decile\?\)"):
        checked(tmp_path, frame, f'[case_mix]\nadjust = ["{name}"]\n')
    with pytest.raises(InputError, match="the covariate has no column; these"):
        checked(tmp_path, frame, '[case_mix]\nadjust = ["xyz"]\n')
    with pytest.raises(InputError, match=r"not there; did you mean Deprivation decile\?"):
        checked(tmp_path, frame, f'[keep]\n"{name}" = ["1"]\n')


@pytest.mark.parametrize(
    "heading",
    ["PHQ-15", "PHQ-8", "PHQ-2", "PHQ-A", "PHQ-ADS", "PHQ9 item 9", "GAD-2", "YP-CORE", "LD-CORE",
     "CORE-SF", "CORE 5", "CORE-OM risk", "OQ-30", "Y-OQ"],
)  # fmt: skip
def test_relatives_of_a_measure_are_not_proposed_as_it(heading: str) -> None:
    found = {n: named_after([f"{heading} end"], m, r".*(?<![a-z])") for n, m in MEASURES.items()}
    assert not any(found.values())


@pytest.mark.parametrize(
    ("heading", "name"),
    [("PHQ-9 vor", "phq9"), ("PHQ total 2", "phq9"), ("GAD 7 Erst", "gad7"),
     ("CORE pre", "core_om"),
     ("CORE-10 pre", "core10"), ("OQ-45.2 eerste", "oq45")],
)  # fmt: skip
def test_a_measure_is_found_by_what_it_is_called(heading: str, name: str) -> None:
    found = [n for n, m in MEASURES.items() if named_after([heading], m, r".*(?<![a-z])")]
    assert found == [name]


@pytest.mark.parametrize(
    ("end", "column"),
    [("gad7_post", "phq9_post"), ("gad7_pre", "phq9_post"), ("gad7_post", "phq9_pre")],
)
def test_one_column_for_two_scores_is_refused(end: str, column: str, tmp_path: Path) -> None:
    named = {"pre": "gad7_pre", "post": "gad7_post", end.partition("_")[2]: column}
    lines = [f'{key} = "{value}"' for key, value in named.items()]
    first = '[measures.phq9]\npre = "phq9_pre"\npost = "phq9_post"\n'
    with pytest.raises(InputError, match="for two scores") as raised:
        checked(tmp_path, FRAME, first + "[measures.gad7]\n" + "\n".join(lines) + "\n")
    assert raised.value.column == column
