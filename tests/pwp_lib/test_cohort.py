from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multilevel.errors import InputError
from pwp_lib.cohort import (
    Cohort,
    FlowStep,
    Provenance,
    load_cohort,
    packaged,
    read_cohort,
)
from pwp_lib.measures import Measure, get_measure
from pwp_lib.schema import parse_table, patient_fields
from pwp_lib.write import write_cohort

SYNTHETIC = Provenance(synthetic=True, source="a test")


def _people(n: int = 8) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "patient_id": [f"P{i}" for i in range(n)],
            "therapist_id": [f"T{i % 2}" for i in range(n)],
            "service_id": "S1",
            "phq9_pre": np.arange(n) + 10,
            "phq9_post": np.arange(n),
            "gad7_pre": np.arange(n) + 8,
            "gad7_post": np.arange(n) + 1,
            "sessions": 4,
            "age": 40,
            "gender": "female",
            "ethnicity": pd.NA,
            "status": "closed",
        }
    )


def _save(folder, frame: pd.DataFrame, name: str = "patients.csv"):
    path = folder / name
    frame.to_csv(path, index=False)
    return path


def _with(column: str, row: int, value: object) -> pd.DataFrame:
    frame = _people().astype(object)
    frame.loc[row, column] = value
    return frame


def test_a_good_file_becomes_a_cohort(tmp_path):
    cohort = read_cohort(_save(tmp_path, _people().sample(frac=1, random_state=1)))
    assert isinstance(cohort, Cohort)
    assert cohort.therapists is None
    assert not cohort.provenance.synthetic
    assert cohort.provenance.source == "patients.csv"
    assert cohort.patients["phq9_pre"].dtype == "int64"
    order = cohort.patients[["therapist_id", "patient_id"]].apply(tuple, axis=1).tolist()
    assert order == sorted(order)
    assert cohort.caseloads().to_dict() == {"T0": 4, "T1": 4}
    assert cohort.measure("PHQ-9").name == "phq9"


def test_frame_and_file_give_the_same_cohort(tmp_path):
    from_file = read_cohort(_save(tmp_path, _people()))
    pd.testing.assert_frame_equal(from_file.patients, read_cohort(_people()).patients)


BAD = {
    "out of range": (_with("phq9_pre", 3, 47), 5, "phq9_pre", "whole number from 0 to 27"),
    "below the range": (_with("gad7_post", 0, -9), 2, "gad7_post", "whole number from 0 to 21"),
    "a missing code": (_with("gad7_post", 7, 99), 9, "gad7_post", "whole number from 0 to 21"),
    "text": (_with("phq9_post", 2, "twelve"), 4, "phq9_post", "this is text"),
    "a percentage": (_with("phq9_post", 2, "45%"), 4, "phq9_post", "this is text"),
    "a date": (_with("phq9_post", 2, "2011-02-28"), 4, "phq9_post", "this is text"),
    "not whole": (_with("phq9_pre", 1, 12.5), 3, "phq9_pre", "whole number"),
    "duplicate patient": (_with("patient_id", 5, "P0"), 7, "patient_id", "row of its own"),
    "no patient": (_with("patient_id", 5, None), 7, "patient_id", "an entry is missing"),
    "no therapist": (_with("therapist_id", 5, " "), 7, "therapist_id", "an entry is missing"),
    "therapist -9": (_with("therapist_id", 5, -9), 7, "therapist_id", "code for missing"),
    "patient ?": (_with("patient_id", 5, "?"), 7, "patient_id", "code for missing"),
    "no sessions": (_with("sessions", 4, 0), 6, "sessions", "whole number of 1 or more"),
    "a status unheard of": (_with("status", 4, "done"), 6, "status", "closed or in_treatment"),
    "two services": (_with("service_id", 4, "S2"), 6, "therapist_id", "another service"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("as_file", [True, False], ids=["file", "frame"])
def test_bad_cells_are_named_by_file_row_column_and_mend(case, as_file, tmp_path):
    frame, row, column, words = BAD[case]
    source = _save(tmp_path, frame) if as_file else frame
    with pytest.raises(InputError) as caught:
        read_cohort(source)
    error = caught.value
    assert (error.row, error.column) == (row, column)
    assert words in str(error)
    assert error.hint
    assert error.file == ("patients.csv" if as_file else None)
    assert str(tmp_path) not in str(error)


def test_a_blank_line_does_not_shift_the_row_that_is_named(tmp_path):
    path = _save(tmp_path, _with("phq9_pre", 3, 47))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], "", *lines[2:]]) + "\n")
    with pytest.raises(InputError) as caught:
        read_cohort(path)
    assert caught.value.row == 6


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        (",".join(_people().columns) + "\n", "a header and no rows"),
        (",".join(_people().columns) + "\n\n\n", "a header and no rows"),
        ("a,b\n1,2\n1,2,3,4,5\n", "no table of comma-separated text"),
        (",".join(f"c{i}" for i in range(6000)) + "\n", "more than 5,000 columns"),
    ],
)
def test_files_that_are_no_table(content, words, tmp_path):
    path = tmp_path / "patients.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=rf"^patients\.csv(, row \d)?: .*{words}"):
        read_cohort(path)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match=r"^nowhere\.csv: there is no such file"):
        read_cohort(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="the file cannot be opened"):
        read_cohort(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_names_with_accents_are_read(encoding, tmp_path):
    path = tmp_path / "patients.csv"
    frame = _people().assign(patient_id=[f"Zoë{i}" for i in range(8)])
    path.write_bytes(frame.to_csv(index=False).encode(encoding))
    pd.testing.assert_frame_equal(read_cohort(path).patients, read_cohort(frame).patients)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_another_encoding_is_refused_in_words(encoding, tmp_path):
    path = tmp_path / "patients.csv"
    path.write_bytes(_people().assign(gender="Zoë").to_csv(index=False).encode(encoding))
    with pytest.raises(InputError, match="no table of comma-separated text"):
        read_cohort(path)


def test_decimal_commas_and_named_missing_codes(tmp_path):
    path = tmp_path / "patients.csv"
    frame = _people().assign(age=40.5)
    frame.loc[3, "age"] = np.nan
    frame.to_csv(path, index=False, sep=";", decimal=",", na_rep="unknown")
    found = read_cohort(path, decimal=",", missing=["unknown"]).patients
    # Cells separated by semicolons have decimal commas, unless told otherwise.
    pd.testing.assert_frame_equal(read_cohort(path, missing=["unknown"]).patients, found)
    pd.testing.assert_frame_equal(found, read_cohort(frame).patients)
    with pytest.raises(InputError, match="a point or a comma"):
        read_cohort(path, decimal=";")


def test_a_row_longer_than_the_header_loses_no_cell_in_silence(tmp_path):
    path = _save(tmp_path, _people())
    path.write_text(path.read_text().replace(",closed\n", ",closed,x\n"))
    with pytest.raises(InputError, match="no table of comma-separated text"):
        read_cohort(path)


def test_what_comes_with_the_library_is_found_by_name():
    assert (packaged("extracts") / "s1_national.csv").is_file()
    with pytest.raises(InputError, match="no such file comes with the library"):
        packaged("nothing")


def test_the_stored_cohort_is_read_as_a_table_of_ones_own(tmp_path):
    stored = load_cohort()
    own = read_cohort(*(packaged(f"{n}.csv") for n in ("patients", "therapists", "segments")))
    pd.testing.assert_frame_equal(own.patients, stored.patients)
    pd.testing.assert_frame_equal(own.therapists, stored.therapists)
    pd.testing.assert_frame_equal(own.segments, stored.segments)


@pytest.mark.parametrize("typed", ["phq9pre", "PHQ9_Pre", "phq9 pre", "phq_9_pre"])
def test_a_misspelt_column_is_met_with_the_nearest_name(typed):
    with pytest.raises(InputError, match=rf"did you mean {typed}\? Rename it to phq9_pre"):
        read_cohort(_people().rename(columns={"phq9_pre": typed}))


def test_a_missing_column_far_from_any_is_only_named():
    with pytest.raises(InputError, match=r"column gad7_post: the column is missing; add it"):
        read_cohort(_people().drop(columns=["gad7_post"]))


def test_a_column_given_twice(tmp_path):
    path = _save(tmp_path, _people().assign(extra=1).rename(columns={"extra": "phq9_pre"}))
    with pytest.raises(InputError, match="column phq9_pre: the column appears twice"):
        read_cohort(path)


def test_a_therapist_in_no_table_and_one_therapist_only():
    therapists = pd.DataFrame({"therapist_id": ["T0", "T2"]})
    with pytest.raises(InputError, match="row 3, column therapist_id: this therapist has no row"):
        read_cohort(_people(), therapists)
    with pytest.raises(InputError, match="only one therapist"):
        read_cohort(_people().assign(therapist_id="T0"))


def test_segments_are_checked_too():
    segments = pd.DataFrame(
        {
            "participant_id": ["a", "b"],
            "role": ["pwp", "boss"],
            "therapist_id": ["T0", "T1"],
            "coder": "first",
            "high_order_theme": "x",
            "lower_order_theme": "y",
        }
    )
    with pytest.raises(InputError, match="column role: pwp or supervisor is needed"):
        read_cohort(_people(), segments=segments)


def test_every_problem_is_listed_at_once_in_the_order_of_the_rows():
    frame = _with("phq9_pre", 6, 47)
    frame.loc[2, "gad7_post"] = "x"
    frame.loc[4, "status"] = "gone"
    fields = patient_fields([get_measure("phq9"), get_measure("gad7")])
    _, problems = parse_table(frame, fields)
    assert [p.row for p in problems] == [4, 6, 8]


def test_patients_without_a_score_leave_and_the_flow_counts_them():
    frame = _with("gad7_post", 1, None)
    frame.loc[3, "phq9_pre"] = "NULL"
    cohort = read_cohort(frame)
    assert [s.excluded for s in cohort.flow] == [0, 2]
    assert cohort.flow[-1] == FlowStep("a score on every measure at both ends", 6, 2, 1, 2)
    assert cohort.flow_table()["patients"].tolist() == [8, 6]


def test_other_columns_stay():
    cohort = read_cohort(_people().assign(deprivation=[3.0, None] * 4))
    assert cohort.patients["deprivation"].isna().sum() == 4


def test_other_measures_need_no_cut_off_and_may_have_decimals():
    own = Measure("wellbeing", "Wellbeing", 7, 35, None, None, higher_is_worse=False, integer=False)
    frame = _people()[["patient_id", "therapist_id"]].assign(
        wellbeing_pre=20.25, wellbeing_post=np.linspace(7, 35, 8)
    )
    cohort = read_cohort(frame, measures=[own])
    assert cohort.measure("wellbeing") is own
    with pytest.raises(InputError, match="the cohort has no measure phq9"):
        cohort.measure("phq9")


def test_whole_numbers_as_identifiers_stay_whole():
    frame = _people().assign(therapist_id=[6.0, 17.0] * 4)
    assert set(read_cohort(frame).patients["therapist_id"]) == {"6", "17"}


_SECRET = re.compile(r"4711|Zacharias|0815")


@settings(max_examples=40, deadline=None)
@given(
    column=st.sampled_from(list(_people().columns)),
    row=st.integers(0, 7),
    value=st.sampled_from(["4711", "Zacharias", 4711, -4711.5, "0815x", "47.11e400"]),
)
def test_no_message_shows_a_value(column, row, value):
    fields = patient_fields([get_measure("phq9"), get_measure("gad7")])
    _, problems = parse_table(_with(column, row, value), fields)
    for problem in problems:
        assert not _SECRET.search(str(problem))
        assert str(problem).count("\n") == 0


def test_a_written_cohort_comes_back_whole_and_a_changed_file_is_refused(tmp_path):
    therapists = pd.DataFrame({"therapist_id": ["T0", "T1"], "resilience": [80, 72.5]})
    cohort = read_cohort(_people(), therapists, provenance=SYNTHETIC)
    folder = write_cohort(cohort, tmp_path / "c", made_by={"seed": 1})
    back = load_cohort(folder)
    assert back.provenance == SYNTHETIC
    assert back.flow == cohort.flow
    assert back.measures == cohort.measures
    pd.testing.assert_frame_equal(back.patients, cohort.patients)
    pd.testing.assert_frame_equal(back.therapists, cohort.therapists)
    assert all(line.endswith(",TRUE") for line in _lines(folder / "patients.csv")[1:])
    assert "invented" in (folder / "README.md").read_text()

    path = folder / "patients.csv"
    path.write_text(path.read_text().replace("P0,T0,S1,10", "P0,T0,S1,11"))
    with pytest.raises(InputError, match="not the one that the manifest describes"):
        load_cohort(folder)


def _lines(path):
    return path.read_text().splitlines()


def test_line_ends_of_another_system_do_not_change_the_hash(tmp_path):
    folder = write_cohort(read_cohort(_people(), provenance=SYNTHETIC), tmp_path)
    path = folder / "patients.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(load_cohort(folder).patients) == 8


def test_writing_twice_gives_the_same_bytes_and_leaves_nothing_beside(tmp_path):
    cohort = read_cohort(_people(), provenance=SYNTHETIC)
    first = {p.name: p.read_bytes() for p in write_cohort(cohort, tmp_path).iterdir()}
    second = {p.name: p.read_bytes() for p in write_cohort(cohort, tmp_path).iterdir()}
    assert first == second
    assert set(first) == {"patients.csv", "README.md", "manifest.json"}


def test_real_patients_are_not_written(tmp_path):
    with pytest.raises(InputError, match="only a synthetic cohort"):
        write_cohort(read_cohort(_people()), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_file_in_which_every_row_is_marked_is_synthetic(tmp_path):
    marked = _save(tmp_path, _people().assign(synthetic="TRUE"))
    assert read_cohort(marked).provenance.synthetic
    assert "synthetic" not in read_cohort(marked).patients.columns
    partly = _people().assign(synthetic=["TRUE"] * 7 + ["FALSE"])
    assert not read_cohort(partly).provenance.synthetic


def test_a_folder_without_manifest_and_a_manifest_of_something_else(tmp_path):
    with pytest.raises(InputError, match="there is no manifest"):
        load_cohort(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(InputError, match="cannot be read"):
        load_cohort(tmp_path)


def test_a_cohort_prints_counts_and_no_rows():
    assert repr(read_cohort(_people())) == "<cohort: 8 patients of 2 therapists; PHQ-9, GAD-7>"


@pytest.mark.parametrize(
    "values",
    [pd.Timestamp("2020-01-01"), 1 + 2j, [1], pd.Timedelta("3D")],
    ids=["date", "complex", "list", "time"],
)
@pytest.mark.parametrize("column", ["phq9_pre", "sessions"])
def test_a_frame_with_strange_types_is_refused_in_words(values, column):
    with pytest.raises(InputError, match=f"column {column}: .* this is text"):
        read_cohort(_people().assign(**{column: pd.Series([values] * 8)}))


def test_usual_types_of_a_frame_are_taken_as_they_are():
    expected = read_cohort(_people()).patients
    for types in ({"phq9_pre": "Int64"}, {"phq9_pre": "category"}, {"gender": "category"}):
        pd.testing.assert_frame_equal(read_cohort(_people().astype(types)).patients, expected)
    strange = _people().set_axis(list("hgfedcba"), axis=0)
    pd.testing.assert_frame_equal(read_cohort(strange).patients, expected)


def test_a_problem_in_a_frame_names_its_table():
    therapists = pd.DataFrame({"therapist_id": ["T0", "T1"], "age": ["old", 30]})
    with pytest.raises(InputError, match=r"^the therapists' table, row 2, column age: "):
        read_cohort(_people(), therapists)


def test_measures_are_named_once_and_one_need_not_be_in_a_list():
    assert [m.name for m in read_cohort(_people(), measures="phq9").measures] == ["phq9"]
    with pytest.raises(InputError, match="named twice"):
        read_cohort(_people(), measures=["phq9", "PHQ-9"])
    with pytest.raises(InputError, match="no measure is named"):
        read_cohort(_people(), measures=[])


def test_the_packaged_cohort_is_whole_and_marked():
    cohort = load_cohort()
    assert cohort.provenance.synthetic
    assert (len(cohort.patients), len(cohort.caseloads())) == (1122, 21)
    assert set(cohort.patients["therapist_id"]) == {f"T{i:02d}" for i in range(1, 22)}
    assert cohort.patients["patient_id"].iloc[[0, -1]].tolist() == ["P0001", "P1122"]
    assert cohort.therapists is not None
    assert cohort.segments is not None
    assert set(cohort.segments["therapist_id"]) <= set(cohort.therapists["therapist_id"])
    assert "synthetic" not in cohort.patients.columns
