from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from multilevel.errors import InputError
from pwp_lib.classroom import KEY_FILE, make_classroom, student_cohort
from pwp_lib.cohort import load_cohort
from pwp_lib.write import write_cohort

#: The first reads raw downloads, and the ninth is about the packaged cohort.
CHAPTERS = [
    path
    for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
    if path.name[:2] not in ("01", "10")
]


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def classroom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("class") / "made"
    make_classroom(2, 5, home)
    return home


def test_every_student_has_a_cohort_of_their_own(classroom: Path) -> None:
    one, two = load_cohort(classroom / "student_001"), load_cohort(classroom / "student_002")
    assert len(one.patients) == len(two.patients) == 1122
    assert not one.patients["phq9_post"].equals(two.patients["phq9_post"])
    assert one.provenance.synthetic


def test_same_seed_same_bytes_whatever_the_number_of_students(
    classroom: Path, tmp_path: Path
) -> None:
    make_classroom(1, 5, tmp_path / "again")
    again, first = _hashes(tmp_path / "again"), _hashes(classroom)
    for name in again:
        if name != KEY_FILE:
            assert again[name] == first[name]
    key, whole = pd.read_csv(tmp_path / "again" / KEY_FILE), pd.read_csv(classroom / KEY_FILE)
    pd.testing.assert_frame_equal(key, whole[whole["student"] == 1])
    make_classroom(1, 6, tmp_path / "other")
    assert _hashes(tmp_path / "other") != again


def test_key_holds_truth_interval_tests_ranks_and_clusters(classroom: Path) -> None:
    key = pd.read_csv(classroom / KEY_FILE)
    assert set(key["student"]) == {1, 2}
    numbers = key[(key["student"] == 1) & (key["measure"] == "phq9") & key["therapist"].isna()]
    value = numbers.set_index("item")["value"].astype(float)
    made = student_cohort(1, 5)
    assert value["true therapist effect"] == pytest.approx(made.truth.vpc[0], rel=1e-4)
    assert (
        value["therapist effect, lower 95%"]
        < value["therapist effect, random intercept"]
        < value["therapist effect, upper 95%"]
    )
    assert value["p, intercept against single level"] < 0.05
    # A key that told the unclipped variance alone would mark right answers as wrong.
    before = value["true residual variance, before rounding and clipping"]
    assert 0.75 * before < value["residual variance, random slope"] < 1.02 * before
    clusters = key[(key["item"] == "cluster") & (key["student"] == 1)]["value"].value_counts()
    assert clusters.to_dict() == {"middle": 11, "upper": 5, "lower": 5}
    ranks = key[(key["item"] == "rank") & (key["student"] == 2) & (key["measure"] == "gad7")]
    assert sorted(ranks["value"].astype(float)) == list(range(1, 22))


def test_students_files_do_not_give_the_truth_away(classroom: Path) -> None:
    manifest = (classroom / "student_001" / "manifest.json").read_text(encoding="utf-8")
    assert "seed" not in manifest
    assert "vpc" not in manifest


@pytest.mark.parametrize(("students", "seed"), [(0, 1), (-3, 1), (1001, 1), (1, -1), (1, 2**40)])
def test_bad_arguments_are_one_sentence(students: int, seed: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be from"):
        make_classroom(students, seed, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("keep")
    with pytest.raises(InputError, match="in use"):
        make_classroom(1, 1, tmp_path / "mine")
    with pytest.raises(InputError, match="no such folder"):
        make_classroom(1, 1, tmp_path / "none" / "deep")
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "note.txt"]


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("stopped")

    monkeypatch.setattr("pwp_lib.classroom.write_cohort", broken)
    with pytest.raises(RuntimeError, match="stopped"):
        make_classroom(1, 1, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.nightly
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_the_chapters_run_on_a_students_cohort(chapter: Path, tmp_path: Path) -> None:
    """As the teacher's pack promises; student 7 of seed 1 has the least effect of a class."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    folder = tmp_path / "student"
    write_cohort(student_cohort(7, 1).cohort, folder)
    notebook = nbformat.read(chapter, as_version=4)
    cells = [c for c in notebook.cells if "pwp.load_cohort()" in c.source]
    assert cells
    for cell in cells:
        cell.source = cell.source.replace("load_cohort()", f"load_cohort({str(folder)!r})")
    client = nbclient.NotebookClient(notebook, timeout=600)
    client.execute()  # raises where a cell does
