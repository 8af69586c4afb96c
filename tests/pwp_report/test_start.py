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
from pwp_lib.measures import Measure, get_measure, known_measures
from pwp_lib.models import fit_models
from pwp_lib.ranking import composite_ranks
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


#: Numbers that hold whoever the patients are, and why.
CONVENTIONS = {
    r"\b95%": "the level of an interval",
    r"\b5%": "the level of a test; a whole share of a simulation",
    r"\b1\.96\b": "the normal curve's point of 5%",
    r"\b1\.39\b": "of two intervals that do not overlap where a test at 5% rejects",
    r"\b1\.01\b": "below it R-hat gives no cause for alarm",
    r"\b0\.001\b": "parameter of the inverse-gamma priors",
    r"(?<!\d)\.05\b|(?<!\d)\.001\b": "levels of significance",
    r"(?<!\d)\.008\b": "2 of 252, the smallest p-value of five against five",
}
#: What an example makes up, what is simulated from a truth that is stated, what others found.
EXAMPLES = {
    "Draw 100,000 people whose two scores correlate by 0.7": "simulated",
    "Two scores for each of twenty thousand people come from one": "simulated",
    "A scale has a standard deviation of 5": "made up",
    "The therapist effect is 9%. Which statement follows?": "made up",
    "The random-slope model was fitted by REML with, and without": "made up",
    "To narrow the interval we doubled the chain to 50,000 draws": "made up",
    "Five therapists are compared with five by permuting": "of any five and five",
    "Suppose that every person describes a theme with the same": "made up",
    "Both coders gave 20 codes, each gave 5 more": "made up",
    "A linear probability model gives a share of 6%": "made up",
    "Two studies report therapist effects of 9% and 4%": "made up",
    "After adjustment for the number of sessions the therapist": "made up",
    "With 4,000 patients our study has more than 99.9% power": "made up",
    "How many therapists with 50 patients each are needed": "a design to plan",
    "How much power does the cohort's own design have": "a true effect to suppose",
    "for the *power* of the F test at a true effect of 2%": "a true effect to suppose",
    "That divides the width by about 1.4.": "the square root of 2",
    "The paper tells the story on p. 5.": "two other studies",
    "had 26,888 patients of 462 therapists in 30 clinics": "another study",
    "Services in deprived areas see patients who begin worse": "the truth of a made cohort",
    "Draw the thirty services again with a seed of your own": "the truth of a made cohort",
}


def bare(markdown: str) -> str:
    """Give what is said in words: no code, formula, role, link or label."""
    markdown = re.sub(r"^```(?!\{).*?^```", "", markdown, flags=re.S | re.M)
    markdown = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", "", markdown, flags=re.S)
    markdown = re.sub(r"\{[a-z:]+\}`[^`]*`|`[^`\n]*`|\]\([^)]*\)", "", markdown)
    return re.sub(r"^:[a-z]+:.*$", "", markdown, flags=re.M)


def numbers_of_rows(markdown: str) -> list[str]:
    """Find lines with a therapist's code, or a decimal number or percentage of these rows."""
    directive = re.compile(r"^(:{3,})\{.*?^\1$", flags=re.S | re.M)
    text_alone = directive.sub(lambda m: "" if is_example(m[0]) else m[0], bare(markdown))
    found = []
    for line in text_alone.splitlines():
        rest = "" if is_example(line) else re.sub("|".join(CONVENTIONS), "", line)
        if re.search(r"\bT\d\d\b|\d*\.\d|\d%|\d per cent", rest):
            found.append(line)
    return found


def is_example(words: str) -> bool:
    return any(example in words for example in EXAMPLES)


def test_numbers_of_the_packaged_rows_are_found() -> None:
    assert len(numbers_of_rows("The effect is 8.7%.\n\nT15 has most.\n\np = .03")) == 3
    assert len(numbers_of_rows("- here 9%\n- a 95% interval, 1.96 errors\n- T08")) == 2
    assert numbers_of_rows("```{list-table} x\n* - 8.7%\n```") == ["* - 8.7%"]
    assert numbers_of_rows("$x = 0.5$, `0.5`, {ref}`ex-1.5`, p < .001\n\n```r\n0.5\n```") == []


@pytest.mark.parametrize("file", chapter_files(), ids=lambda file: file.stem)
def test_a_started_notebook_speaks_of_the_researchers_data_alone(file: Path) -> None:
    notebook = json.loads(file.read_text(encoding="utf-8"))
    if {"paper", "downloads"} & set(notebook["metadata"].get("needs", [])):
        return  # left out where the data are the researcher's
    cells = own_chapter(notebook, "mine", set(NEEDS) - {"paper", "downloads"})["cells"]
    words = [text(cell) for cell in cells if cell["cell_type"] == "markdown"]
    assert [line for cell in words for line in numbers_of_rows(cell)] == []
    assert not any("{glue:" in cell or "paper beside ours" in cell for cell in words)
    assert all(set(cell["metadata"]) <= {"tags"} for cell in cells)  # no captions


@pytest.mark.parametrize("file", chapter_files(), ids=lambda file: file.stem)
def test_a_started_notebook_has_no_empty_section(file: Path) -> None:
    cells = own_chapter(json.loads(file.read_text(encoding="utf-8")), "mine", set(NEEDS))["cells"]
    words = "\n".join(text(c) if c["cell_type"] == "markdown" else "code" for c in cells)
    lines = re.sub("^```.*?^```", "x", words, flags=re.S | re.M).splitlines()
    lines = [line for line in lines if line.strip()]
    for line, following in zip(lines, [*lines[1:], "# end"], strict=True):
        if line.startswith("#") and following.startswith("#"):
            assert following.index(" ") > line.index(" "), line
    assert words.count("{solution-start}") == words.count("{solution-end}")


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
    assert "Not cleared" not in (folder / "README.md").read_text(encoding="utf-8")
    written = sorted(p.name for p in folder.glob("*.ipynb"))
    assert written == [p.name for p in chapter_files()] == list(started.chapters)
    for file in folder.glob("*.ipynb"):
        nbformat.validate(nbformat.read(file, as_version=4))
        cells = cells_of(file)
        assert "Not cleared for release" not in text(cells[0])
        assert not LEFT_OUT & {t for c in cells for t in c["metadata"].get("tags", [])}


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
    mark, _, cell = map(text, cells_of(tmp_path / "d" / "03_multilevel_modelling.ipynb")[:3])
    assert 'first, second = "wsas", "phq9"' in cell
    assert json.dumps(own_file.as_posix()) in cell
    ast.parse(cell)
    assert "Not cleared for release" in readme
    assert "Not cleared for release" in mark


#: A measure that the library does not know, and thresholds of a study for one that it knows.
OWN_STUDY = """[measures.phq9]
reliable_change = 5
[measures.mood]
pre = "mood_pre"
post = "mood_post"
minimum = 0
maximum = 21
cutoff = 9
reliable_change = 4
higher_is_worse = {}
"""


def test_a_study_s_own_measures_are_known_after_the_data_cell(tmp_path: Path) -> None:
    """A threshold of the library's in the place of the study's would be wrong in silence."""
    study = tmp_path / "study.toml"
    study.write_text(OWN_STUDY.format("true"), encoding="utf-8")
    asked = Request(tmp_path / "d", write_own(tmp_path / "own.csv", "mood"), study)
    start_folder(asked._replace(measures=("phq9", "mood")))
    cell = text(cells_of(tmp_path / "d" / "03_multilevel_modelling.ipynb")[2])
    with known_measures([]):
        names: dict[str, Any] = {}
        exec(compile(cell, "cell", "exec"), names)
        assert get_measure("phq9").reliable_change == 5
        assert get_measure("mood").cutoff == 9
        both = ("phq9", "mood")
        fits = {m: fit_models(names["patients"], m, both).intercept for m in both}
        assert composite_ranks(fits)["position"].is_unique
    assert get_measure("phq9").reliable_change == 6


def test_chapters_refuse_scales_that_go_the_other_way(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(OWN_STUDY.format("false"), encoding="utf-8")
    asked = Request(tmp_path / "d", write_own(tmp_path / "own.csv", "mood"), study)
    with pytest.raises(InputError, match="mood is the other way round"):
        start_folder(asked._replace(measures=("phq9", "mood")))
    assert not (tmp_path / "d").exists()


@pytest.mark.nightly
@pytest.mark.parametrize("chapter", ["02_", "06_", "07_", "11_", "12_", "15_"])
def test_chapters_run_on_a_measure_of_the_study_s_own(chapter: str, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(OWN_STUDY.format("true"), encoding="utf-8")
    asked = Request(tmp_path / "d", write_own(tmp_path / "own.csv", "mood"), study)
    start_folder(asked._replace(measures=("mood", "phq9")))
    assert "own.csv" in ran(tmp_path / "d", chapter)


def test_a_rank_goes_by_the_direction_that_the_study_states() -> None:
    patients = simulate_cohort(seed=4, interviews=False).patients
    turned = patients.assign(
        mood_pre=27 - patients["phq9_pre"], mood_post=27 - patients["phq9_post"]
    )
    mood = Measure("mood", "Mood", 0, 27, None, None, higher_is_worse=False)
    plain = composite_ranks({"phq9": fit_models(patients, "phq9").intercept})
    with known_measures([mood]):
        other = composite_ranks({"mood": fit_models(turned, "mood").intercept})
    assert other.index.tolist() == plain.index.tolist()


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
        (
            lambda d: Request(d / "new", data=d / "one.csv"),
            "the chapters need two different measures, and the data hold one: gad7; name the"
            " columns of a second under [measures] in a study file; with one measure use pwp"
            " analyse.",
        ),
    ],
)
def test_what_cannot_be_started_is_refused_and_nothing_written(
    request_of: Any, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    patients = pd.read_csv(PACKAGED / "patients.csv").assign(phq9_pre=99)
    patients.to_csv(tmp_path / "bad.csv", index=False)
    one = patients.drop(columns=["phq9_pre", "phq9_post"])
    one.to_csv(tmp_path / "one.csv", index=False)
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
    [
        ("gad7", ("02_patient",)),
        pytest.param("gad7", ("07_quartile",), marks=pytest.mark.nightly),
        pytest.param("wsas", ("03_multilevel",), marks=pytest.mark.nightly),
    ],
)
def test_chapters_run_on_own_data(second: str, chapters: tuple[str, ...], tmp_path: Path) -> None:
    own_file = write_own(tmp_path / "own services.csv", second)
    start_folder(Request(tmp_path / "mine", own_file, measures=("phq9", second)))
    for chapter in chapters:
        shown = ran(tmp_path / "mine", chapter)
        assert "own services.csv" in shown


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("second", "chapter"),
    [("gad7", "02_patient"), ("wsas", "04_checking"), ("wsas", "05_mcmc"), ("wsas", "11_would")],
)
def test_long_chapters_run_on_other_measures(second: str, chapter: str, tmp_path: Path) -> None:
    own_file = write_own(tmp_path / "own.csv", second)
    start_folder(Request(tmp_path / "mine", own_file, measures=(second, "phq9")))
    assert "own.csv" in ran(tmp_path / "mine", chapter)


@pytest.mark.nightly
def test_a_chapter_runs_on_the_packaged_cohort(tmp_path: Path) -> None:
    start_folder(Request(tmp_path / "mine"))
    shown = ran(tmp_path / "mine", "06_ranking")
    assert all(therapist in shown for therapist in load_cohort().patients["therapist_id"].unique())
