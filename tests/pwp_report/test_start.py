"""`pwp start`: cells kept or left out whole, one replaced; the folder runs on own data."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from running import run

from multilevel.errors import InputError
from pwp_lib.cohort import PACKAGED, load_cohort
from pwp_lib.simulate import simulate_cohort
from pwp_report.start import (
    LEFT_OUT,
    Request,
    chapter_files,
    own_chapter,
    start_folder,
)
from pwp_report.wording import NEEDS, remark


def cells_of(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text(encoding="utf-8"))["cells"])


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def write_own(path: Path, second: str) -> Path:
    """Write a cohort of other people, with a measure of this name as the second."""
    patients = simulate_cohort(seed=11, interviews=False).patients
    columns = ["patient_id", "therapist_id", "phq9_pre", "phq9_post", "gad7_pre", "gad7_post"]
    own = patients[columns].rename(columns=lambda name: name.replace("gad7", second))
    own.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("file", chapter_files(), ids=lambda file: file.stem)
def test_a_chapter_names_its_measures_once(file: Path) -> None:
    notebook = json.loads(file.read_text(encoding="utf-8"))
    tagged = [c for c in notebook["cells"] if "data" in c["metadata"].get("tags", [])]
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert tagged == code[:1]
    assert 'first, second = "phq9", "gad7"' in text(tagged[0])
    assert set(notebook["metadata"].get("needs", [])) <= set(NEEDS)
    if {"paper", "downloads"} & set(notebook["metadata"].get("needs", [])):
        return
    for cell in code[1:]:
        if "paper" not in cell["metadata"].get("tags", []):
            assert not re.search("phq9|gad7", text(cell)), text(cell)


@pytest.mark.parametrize("file", chapter_files(), ids=lambda file: file.stem)
def test_no_cell_needs_a_name_of_a_cell_that_may_be_left_out(file: Path) -> None:
    notebook = json.loads(file.read_text(encoding="utf-8"))
    held = set(notebook["metadata"].get("needs", []))
    made: dict[str, set[str]] = {}  # a name, and the tags without which it is not made
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        tags = set(cell["metadata"].get("tags", []))
        without = tags & (LEFT_OUT | set(NEEDS) - held)
        stored, loaded = names_in(re.sub("^%.*", "", text(cell), flags=re.M))
        if not tags & LEFT_OUT:
            lacking = {name for name in loaded - stored if made.get(name, set()) - without}
            assert not lacking, text(cell)
        for name in stored:
            made[name] = made.get(name, without) & without


def names_in(source: str) -> tuple[set[str], set[str]]:
    """Names that a piece of code makes, and names that it uses."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [n for n in nodes if isinstance(n, ast.Name)]
    stored = {n.id for n in names if isinstance(n.ctx, ast.Store)}
    stored |= {n.name for n in nodes if isinstance(n, ast.FunctionDef)}
    stored |= {n.asname or n.name.split(".")[0] for n in nodes if isinstance(n, ast.alias)}
    stored |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    return stored, {n.id for n in names if isinstance(n.ctx, ast.Load)}


def test_cells_are_kept_or_left_out_whole() -> None:
    def cell(kind: str, source: str, *tags: str) -> dict[str, Any]:
        return {"cell_type": kind, "metadata": {"tags": list(tags)}, "source": source}

    kept = [cell("markdown", "an idea of the paper's"), cell("code", "phq9 = 1", "hide-input")]
    left_out = [cell("markdown", "here 9%", "finding"), cell("code", "paper", "paper")]
    left_out.append(cell("code", "by service", "services"))
    data = cell("code", "packaged", "data")
    metadata = {"kernelspec": {}, "needs": ["paper"]}
    notebook = {"cells": [data, *kept, *left_out], "metadata": metadata}
    made = own_chapter(notebook, "mine", {"paper", "sessions"})
    assert [c["source"] for c in made["cells"]] == [
        remark("not_cleared"),
        "mine",
        *(c["source"] for c in kept),
    ]
    assert made["metadata"] == {"kernelspec": {}}


def test_the_packaged_cohort_leaves_no_chapter_out(tmp_path: Path) -> None:
    started = start_folder(Request(tmp_path / "new" / "mine"))
    folder = tmp_path / "new" / "mine"
    assert started.left_out == {}
    written = sorted(p.name for p in folder.glob("*.ipynb"))
    assert written == [p.name for p in chapter_files()] == list(started.chapters)
    for file in folder.glob("*.ipynb"):
        nbformat.validate(nbformat.read(file, as_version=4))
        cells = cells_of(file)
        assert "Not cleared for release" in text(cells[0])
        assert not {"finding", "paper"} & {t for c in cells for t in c["metadata"].get("tags", [])}


def test_chapters_without_their_tables_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_file = write_own(tmp_path / "own.csv", "wsas")
    assert run("start", tmp_path / "d", "--data", own_file, "--measures", "wsas, phq9") == 0
    said = capsys.readouterr()
    missing = {p.name for p in chapter_files()} - {p.name for p in (tmp_path / "d").iterdir()}
    assert missing
    readme = (tmp_path / "d" / "README.md").read_text(encoding="utf-8")
    assert all(name in said.out and f"`{name}` needs" in readme for name in missing)
    assert "not cleared" in said.err
    cell = text(cells_of(tmp_path / "d" / "03_multilevel_modelling.ipynb")[2])
    assert 'first, second = "wsas", "phq9"' in cell
    assert json.dumps(own_file.as_posix()) in cell
    ast.parse(cell)


@pytest.mark.parametrize(
    ("request_of", "sentence"),
    [
        (lambda d: Request(d / "full"), "not empty"),
        (lambda d: Request(d / "full" / "x"), "a file, not a folder"),
        (lambda d: Request(d / "full" / "x" / "y"), "cannot be written"),
        (lambda d: Request(d / "new", study=d / "study.toml"), "--data"),
        (lambda d: Request(d / "new", measures=("phq9",)), "two different measures"),
        (lambda d: Request(d / "new", measures=("phq9", "phq9")), "two different measures"),
        (lambda d: Request(d / "new", measures=("phq9", "core10")), "phq9, gad7"),
        (lambda d: Request(d / "new", data=d / "bad.csv"), "phq9_pre"),
    ],
)
def test_what_cannot_be_started_is_refused_and_nothing_written(
    request_of: Any, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    patients = pd.read_csv(PACKAGED / "patients.csv").assign(phq9_pre=99)
    patients.to_csv(tmp_path / "bad.csv", index=False)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=re.escape(sentence)):
        start_folder(request_of(tmp_path))
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "full" / "x").read_text() == "mine"


def ran(folder: Path, chapter: str) -> str:
    """Run a notebook of the folder, and give all text that it put out."""
    notebook = nbformat.read(next(folder.glob(f"{chapter}*.ipynb")), as_version=4)
    where = {"metadata": {"path": str(folder)}}
    # A busy machine is slow to start a kernel.
    NotebookClient(notebook, startup_timeout=300, resources=where).execute()
    return json.dumps(notebook)


@pytest.mark.parametrize(
    ("second", "chapters"),
    [("gad7", ("02_patient", "07_quartile")), ("wsas", ("03_multilevel",))],
)
def test_chapters_run_on_own_data(second: str, chapters: tuple[str, ...], tmp_path: Path) -> None:
    own_file = write_own(tmp_path / "own services.csv", second)
    start_folder(Request(tmp_path / "mine", own_file, measures=("phq9", second)))
    for chapter in chapters:
        shown = ran(tmp_path / "mine", chapter)
        assert "own services.csv" in shown


@pytest.mark.nightly
@pytest.mark.parametrize("chapter", ["04_checking", "05_mcmc", "11_would"])
def test_long_chapters_run_on_other_measures(chapter: str, tmp_path: Path) -> None:
    own_file = write_own(tmp_path / "own.csv", "wsas")
    start_folder(Request(tmp_path / "mine", own_file, measures=("wsas", "phq9")))
    assert "own.csv" in ran(tmp_path / "mine", chapter)


def test_a_chapter_runs_on_the_packaged_cohort(tmp_path: Path) -> None:
    start_folder(Request(tmp_path / "mine"))
    shown = ran(tmp_path / "mine", "06_ranking")
    assert "synthetic" in shown
    assert all(therapist in shown for therapist in load_cohort().patients["therapist_id"].unique())
