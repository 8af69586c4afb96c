"""The students' edition: plain Markdown, no answers, and it runs from the two tables."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import re
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("students", ROOT / "book" / "students.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["students"] = module
    spec.loader.exec_module(module)
    return module


students = load()
BOOK = students.Book(CHAPTERS)


def words(kind: str, source: str, *tags: str) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {"tags": list(tags)}, "source": source}


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        ("a {term}`kappa` and {term}`profiles <confidence interval>`", "a kappa and profiles"),
        ("see {numref}`fig-themes`, {ref}`ex-template-2`", "see Figure 9.2, Exercise 9.2"),
        ("by {cite:t}`king2004`", "by King (2004)"),
        ("so {cite:p}`self1987,stram1994`", "so (Self and Liang, 1987; Stram and Lee, 1994)"),
        ("{cite:t}`vehtari2021`", "Vehtari et al. (2021)"),
        ("in [](09_template_analysis), [the primer](../book/primer)", None),
        (":::{admonition} Note\n:class: tip\nOne\n\ntwo.\n:::", "> **Note**\n>\n> One\n>\n> two."),
        (
            ":::{exercise}\n:label: ex-template-3\n◐ *Redo.* It.\n:::",
            "**Exercise 9.3.** ◐ *Redo.* It.",
        ),
        (
            "```{list-table} T\n:name: tab-scales\n\n* - a\n  - b\n* - 1\n  -\n```",
            None,
        ),
    ],
)
def test_what_the_chapters_use_becomes_plain_markdown(myst: str, markdown: str | None) -> None:
    made = students.plain(myst, BOOK)
    if markdown is not None:
        assert made == markdown
    assert not re.search(r"\{[a-z:-]+\}|:::|\]\(\.\.", made)


def test_a_question_keeps_its_choices_and_not_which_is_right() -> None:
    quiz = (
        ":::{quiz} How many?\n- [ ] one\n  : No.\n- [x] two, or\n  more\n  : Yes.\n\nWhy so.\n:::"
    )
    assert students.plain(quiz, BOOK) == "**How many?**\n\n- ( ) one\n- ( ) two, or more"


def test_a_fold_may_hold_code() -> None:
    made = students.plain(":::{dropdown} And in R?\n```r\nlm(y ~ x)\n```\n:::", BOOK)
    assert made.startswith("<details><summary>And in R?</summary>\n\n```r\n")


@pytest.mark.parametrize(
    "myst", [":::{card} x\ny\n:::", "{doc}`x`", ":::{quiz} never ends\n- [ ] a"]
)
def test_what_is_not_known_is_refused(myst: str) -> None:
    with pytest.raises(ValueError, match=r"does not know|without an end"):
        students.plain(myst, BOOK)


def test_solutions_and_findings_go_and_their_headings_stay() -> None:
    start = "Do it.\n\n:::{solution-start} ex\n:class: dropdown\n:::\n\nThe answer"
    cells = [
        words("markdown", start),
        words("code", "answer = 1"),
        words("markdown", "It is 1.\n\n:::{solution-end}\n:::\n\nNext."),
        words("code", "glue('x', 1)", "remove-cell", "finding"),
        words("markdown", "### Step 7\n\nWe find {glue:text}`x`.", "finding"),
    ]
    kept = [cell["source"] for cell in students.without_answers(cells)]
    assert kept == ["Do it.", "Next.", f"### Step 7\n\n{students.ASK}"]


def test_cells_that_use_what_the_library_made_are_marked() -> None:
    cells = [
        words("code", "fit = pwp.fit_mixed(f, d)"),
        words("code", "d['x'] = fit.vpc()"),
        words("code", "d.head()"),
        words("code", "fit = 1\nfit + 1"),
        words("code", "fit"),
    ]
    made = [students.NEEDS_US in cell["source"] for cell in students.marked(cells)]
    assert made == [True, True, True, False, False]


@pytest.mark.parametrize("file", CHAPTERS, ids=lambda file: file.stem)
def test_an_edition_is_plain_and_whole(file: Path) -> None:
    notebook = students.edition(file, BOOK)
    nbformat.validate(nbformat.from_dict(notebook))
    known = {False: set(dir(builtins)), True: set(dir(builtins))}
    for cell in notebook["cells"]:
        text = cell["source"]
        if cell["cell_type"] == "markdown":
            assert not re.search(r"\{[a-z:-]+\}`|:::|\{glue|solution-|\[x\]", text), text
            continue
        needs_us = text.startswith(students.NEEDS_US)
        tree = ast.parse(re.sub("^[%!].*", "", text, flags=re.M))
        stored, used, _ = students.names_in(text)
        stored |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        stored |= {n.name or "" for n in ast.walk(tree) if isinstance(n, ast.ExceptHandler)}
        assert used <= known[needs_us] | stored, text
        known[True] |= stored
        known[False] |= set() if needs_us else stored


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("students") / "empty"
    assert students.write_edition(home) == len(CHAPTERS)
    return home


@pytest.mark.nightly
@pytest.mark.parametrize(
    "chapter",
    [
        "09_template",
        pytest.param("02_patient", marks=pytest.mark.nightly),
        pytest.param("08_mann", marks=pytest.mark.nightly),
    ],
)
def test_chapters_run_in_a_folder_with_the_tables(chapter: str, folder: Path) -> None:
    notebook = nbformat.read(next(folder.glob(f"{chapter}*.ipynb")), as_version=4)
    where = {"metadata": {"path": str(folder)}}
    # A busy machine is slow to start a kernel.
    NotebookClient(notebook, startup_timeout=300, resources=where).execute()
    ran = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    assert [c.execution_count for c in ran] == [*range(1, len(ran) + 1)]
    made = [o for c in ran for o in c.outputs]
    assert not [o for o in made if o.output_type == "error"]
    assert [o for o in made if "image/png" in o.get("data", {})]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("chapter", "fits"), [pytest.param("03", 2, marks=pytest.mark.nightly), ("09", 1)]
)
def test_a_chapter_runs_without_the_library(chapter: str, fits: int, folder: Path) -> None:
    notebook = nbformat.read(next(folder.glob(f"{chapter}_*.ipynb")), as_version=4)
    cells = [c for c in notebook.cells if not c.source.startswith(students.NEEDS_US)]
    assert "pwp_lib" not in "".join(c.source for c in cells if c.cell_type == "code")
    assert sum("mixedlm" in c.source for c in cells if c.cell_type == "code") >= fits
    notebook.cells = cells
    where = {"metadata": {"path": str(folder)}}
    # A busy machine is slow to start a kernel.
    NotebookClient(notebook, startup_timeout=300, resources=where).execute()


def test_the_archive_holds_what_an_installation_needs(tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    students.write_archive(tmp_path)
    with zipfile.ZipFile(tmp_path / "downloads" / "students.zip") as archive:
        names = set(archive.namelist())
        pins = archive.read("students/requirements.txt").decode()
    assert {f"students/{file.name}" for file in CHAPTERS} <= names
    assert "students/library/src/pwp_lib/__init__.py" in names
    assert not [n for n in names if n.startswith("students/library/notebooks/0")]
    wanted = {*students.PACKAGES}
    assert {re.split("[=;]", pin)[0] for pin in pins.split()} >= wanted - {"pymc"}, pins
