from __future__ import annotations

import itertools
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from multilevel.errors import InputError
from pwp_lib.cohort import PACKAGED, Cohort, load_cohort
from pwp_lib.extracts import (
    describe_extracts,
    extract_completeness,
    load_extracts,
    read_extracts,
    read_map,
    tidy_extract,
)
from pwp_lib.simulate import simulate_cohort
from pwp_lib.truth import Truth
from pwp_report.read.table import read_table

ROOT = Path(__file__).parents[2]


def _make(cohort: Cohort, folder: Path, seed: int = 1) -> Path:
    sys.path.insert(0, str(ROOT))
    try:
        from calibration.extracts import make_extracts
    finally:
        sys.path.remove(str(ROOT))
    return make_extracts(cohort, folder, seed)


@pytest.fixture(scope="module", name="small")
def _small() -> Cohort:
    return simulate_cohort(Truth(caseloads=(8,) * 12), seed=3, interviews=False)


@pytest.fixture(scope="module", name="folder")
def _folder(small, tmp_path_factory) -> Path:
    return _make(small, tmp_path_factory.mktemp("downloads"), seed=5)


@pytest.fixture(name="copy")
def _copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def _edit(folder: Path, service: str, change) -> None:
    """Change a download's table and write it as it was."""
    map_ = read_map(folder / f"{service.lower()}.toml")
    raw = read_table(folder / map_.file)
    text = change(raw.frame).to_csv(index=False, sep=raw.delimiter)
    (folder / map_.file).write_bytes(text.encode(raw.encoding))


def test_the_packaged_downloads_give_the_packaged_cohort_back_exactly():
    packaged = load_cohort()
    cohort = read_extracts(therapists=packaged.therapists, segments=packaged.segments)
    pd.testing.assert_frame_equal(cohort.patients, packaged.patients)
    assert cohort.provenance.synthetic
    first, last = cohort.flow[0], cohort.flow[-1]
    assert first.therapists == 23
    assert (last.patients, last.therapists, last.services) == (1122, 21, 6)


def test_the_packaged_downloads_are_small_and_marked():
    files = list((PACKAGED / "extracts").iterdir())
    assert sum(f.stat().st_size for f in files) < 1_500_000
    downloads = load_extracts()
    assert list(downloads) == [f"S{i}" for i in range(1, 7)]
    for raw in downloads.values():
        assert (raw.frame["synthetic"] == "TRUE").all()
    assert len({(raw.delimiter, raw.encoding) for raw in downloads.values()}) >= 4
    formats = {m.date_format for m in map(read_map, (PACKAGED / "extracts").glob("*.toml"))}
    assert len(formats) == 6


@pytest.mark.parametrize("seed", [1, 2])
def test_any_cohort_comes_back_from_downloads_made_of_it(seed, tmp_path):
    truth = Truth(caseloads=(5, 9, 3, 12, 7, 4, 6, 2, 8))
    cohort = simulate_cohort(truth, seed=seed, interviews=False)
    back = read_extracts(_make(cohort, tmp_path / "d", seed))
    pd.testing.assert_frame_equal(back.patients, cohort.patients)


def test_the_same_seed_makes_the_same_bytes(small, folder, tmp_path):
    again = _make(small, tmp_path / "again", seed=5)
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {
        p.name: p.read_bytes() for p in folder.iterdir()
    }


def test_every_rule_takes_somebody_out_and_the_counts_add_up(folder):
    flow = read_extracts(folder).flow
    rules = [s.rule for s in flow]
    assert rules[0] == "patients in the downloads"
    for words in ("withdraw", "2 sessions", "assessment", "one-to-one", "score on every measure"):
        (step,) = [s for s in flow if words in s.rule]
        assert step.excluded > 0, words
    for before, after in itertools.pairwise(flow):
        assert before.patients - after.excluded == after.patients


def test_completeness_by_therapist_is_of_those_who_meet_the_other_rules(folder, small):
    table = extract_completeness(folder)
    flow = {s.rule: s for s in read_extracts(folder).flow}
    last = flow["a score on every measure at both ends"]
    assert table["eligible"].sum() == last.patients + last.excluded
    assert table["complete"].to_dict() == small.caseloads().to_dict()
    assert (table["share"] <= 1).all()


def test_counts_of_the_downloads_are_those_of_their_rows(folder):
    table = describe_extracts(folder)
    for service, row in table.iterrows():
        map_ = read_map(folder / f"{str(service).lower()}.toml")
        frame = read_table(folder / map_.file).frame
        assert row["rows"] == len(frame)
        assert row["repeated"] == frame.duplicated().sum()
        assert row["sessions"] + row["not_attended"] + row["repeated"] == row["rows"]
        assert row["patients"] == frame[map_.columns["patient"]].nunique()
    assert table["repeated"].gt(0).sum() == 3


def test_neither_repeated_rows_nor_their_order_matter(copy, small):
    for service in ("S1", "S4", "S6"):
        _edit(
            copy, service,
            lambda f: pd.concat([f, f.iloc[::3]]).sample(frac=1, random_state=1),
        )  # fmt: skip
    pd.testing.assert_frame_equal(read_extracts(copy).patients, small.patients)


def test_a_score_at_a_session_not_attended_is_not_used(copy, small):
    map_ = read_map(copy / "s1.toml")

    def score_them(frame: pd.DataFrame) -> pd.DataFrame:
        missed = ~frame["AttendOrDNACode"].isin(map_.codes["attended"])
        assert missed.any()
        return frame.assign(PHQ9_Score=frame["PHQ9_Score"].mask(missed, "27"))

    _edit(copy, "S1", score_them)
    pd.testing.assert_frame_equal(read_extracts(copy).patients, small.patients)


def test_scores_are_those_of_the_first_and_last_session_attended(folder):
    map_ = read_map(folder / "s3.toml")
    sessions = tidy_extract(read_table(folder / map_.file), map_)
    cohort = read_extracts(folder).patients
    theirs = cohort[cohort["service_id"] == "S3"]
    seen = sessions[sessions["attended"] & sessions["one_to_one"] & ~sessions["withdrawn"]]
    ends = seen.sort_values("order").groupby("patient_id")["phq9"].agg(["first", "size"])
    dates = seen.groupby("patient_id")["order"].nunique()
    assert (dates == ends["size"]).all()  # nobody is seen twice at the same time
    assert set(theirs["phq9_pre"]) <= set(ends["first"].dropna().astype(int))


def test_a_birthday_later_in_the_year_is_not_yet_a_year(folder):
    map_ = read_map(folder / "s2.toml")
    assert "birth" in map_.columns
    raw = read_table(folder / map_.file)
    sessions = tidy_extract(raw, map_)
    rows = raw.frame.loc[sessions.index]
    birth = pd.to_datetime(rows[map_.columns["birth"]], format=map_.date_format)
    exact = (sessions["order"] - birth).dt.days / 365.2425
    assert ((exact - sessions["age"]) > -0.01).all()
    assert ((exact - sessions["age"]) < 1.01).all()


def test_in_memory_downloads_and_maps_will_do(folder, small):
    maps = [read_map(p) for p in sorted(folder.glob("*.toml"))]
    raws = {m.service: read_table(folder / m.file) for m in maps}
    pd.testing.assert_frame_equal(read_extracts(raws, maps).patients, small.patients)
    with pytest.raises(InputError, match="no download of S1"):
        read_extracts({s: r for s, r in raws.items() if s != "S1"}, maps)


def _put(column: str, value: object, row: int = 4):
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype(object)
        frame.loc[row, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("service", "change", "words"),
    [
        ("S1", _put("PHQ9_Score", 4711), "s1_national.csv, row 6, column PHQ9_Score: this is a"),
        ("S1", _put("GAD7_Score", "Zacharias"), "row 6, column GAD7_Score: this is text"),
        ("S1", _put("CareContDate", "31/31/2010"), "column CareContDate: this is something that"),
        ("S1", _put("CareContDate", None), "column CareContDate: an entry is missing"),
        ("S1", _put("PathwayID", None), "column PathwayID: an entry is missing"),
        ("S1", _put("CarePersLocalId", "Zacharias"), "this therapist is in no key"),
        ("S1", _put("EthnicCategory", "0815"), "column EthnicCategory: the map has no such code"),
        ("S1", _put("Gender", "Zacharias"), "column Gender: the map has no such code"),
        (
            "S1",
            lambda f: f.rename(columns={"PHQ9_Score": "PHQ9Score"}),
            "column PHQ9_Score: the column is missing; did you mean PHQ9Score?",
        ),
    ],
)
def test_what_a_map_does_not_account_for_is_named_and_not_shown(copy, service, change, words):
    _edit(copy, service, change)
    with pytest.raises(InputError) as caught:
        read_extracts(copy)
    assert words in str(caught.value)
    assert not re.search("4711|Zacharias|31/31|0815", str(caught.value))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[columns]", "[colums]", r"colums is not known; did you mean columns\?"),
        ('"attended" = "AttendOrDNACode"', '"attendance" = "AttendOrDNACode"', "not known"),
        ('"date" = "CareContDate"\n', "", "columns.date is missing"),
        ('file = "s1_national.csv"\n', "", "file is missing"),
        ("[scores]", "[scores", "the map is no TOML"),
    ],
)
def test_maps_are_read_strictly(copy, old, new, words):
    path = copy / "s1.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_extracts(copy)


def test_what_is_missing_is_said(folder, tmp_path):
    with pytest.raises(InputError, match="no map in the folder"):
        read_extracts(tmp_path)
    with pytest.raises(InputError, match="there is no such file"):
        read_map(tmp_path / "s9.toml")
    map_ = read_map(folder / "s1.toml")
    with pytest.raises(InputError, match="no column for oci"):
        tidy_extract(read_table(folder / map_.file), map_, ["oci"])
    assert replace(map_, scores={"phq9": "PHQ9_Score"}).table().loc["score on phq9"].item() == (
        "PHQ9_Score"
    )


def test_one_measure_alone_takes_fewer_patients_out(folder, small):
    cohort = read_extracts(folder, measures=["phq9"])
    assert len(cohort.patients) > len(small.patients)
    assert "gad7_pre" not in cohort.patients
    assert np.isin(small.patients["phq9_pre"], cohort.patients["phq9_pre"]).all()
