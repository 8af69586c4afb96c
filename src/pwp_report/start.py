"""``pwp start``: a folder of the researcher's own with the notebooks to edit and run.

Cells are kept or left out whole, by their tags, and one is replaced: the cell tagged ``data``. No
word of prose and no line of code is rewritten. Captions, which say what a figure of the packaged
cohort shows, stay in the book.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pwp_lib.cohort import Cohort, load_cohort
from pwp_lib.scales import SCALES
from pwp_report.check import check_study_data
from pwp_report.wording import NEEDS, refusal, remark, render

#: Cells with these tags speak of the packaged cohort or of the paper: what a chapter finds, the
#: paper beside it, and all else that holds for these rows alone (exercises, solutions, points).
LEFT_OUT = {"finding", "paper", "cohort"}


class Request(NamedTuple):
    """What ``pwp start`` is asked for.

    Attributes
    ----------
    folder : Path
        New or empty.
    data, study, therapists : Path or None
        The researcher's files; the packaged cohort without `data`.
    measures : tuple of str
        Names of the two measures, as in columns ``<name>_pre``.
    """

    folder: Path
    data: Path | None = None
    study: Path | None = None
    therapists: Path | None = None
    measures: tuple[str, ...] = ("phq9", "gad7")


class Started(NamedTuple):
    """What was written: names of notebooks, and for each one left out what it needs."""

    chapters: tuple[str, ...]
    left_out: dict[str, str]


def start_folder(asked: Request) -> Started:
    """Write the folder: all of it, or nothing.

    Parameters
    ----------
    asked : Request

    Returns
    -------
    Started

    Raises
    ------
    InputError
        If the folder is not empty or cannot be written, if the file of data has problems, if it
        does not hold the two measures, or if a higher score on one of them is better.
    """
    folder = asked.folder
    if folder.exists() and not folder.is_dir():
        raise refusal("file_not_new_folder", file=folder)
    if folder.exists() and any(folder.iterdir()):
        raise refusal("folder_not_empty", file=folder)
    if asked.data is not None:
        cohort = check_study_data(asked.data, asked.study, asked.therapists).required()
    elif asked.study is not None or asked.therapists is not None:
        raise refusal("study_without_data")
    else:
        cohort = load_cohort()
    _refuse_other_measures(asked.measures, cohort)
    cell = render("start.py.j2", asked=asked, quoted=json.dumps)
    there = _what_is_there(asked, cohort)
    notebooks: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for file in chapter_files():
        notebook = json.loads(file.read_text(encoding="utf-8"))
        if lacking := [need for need in notebook["metadata"].get("needs", []) if need not in there]:
            left_out[file.name] = " and ".join(NEEDS[need] for need in lacking)
        else:
            own = own_chapter(notebook, cell, there)
            notebooks[file.name] = json.dumps(own, indent=1, ensure_ascii=False) + "\n"
    started = Started(tuple(notebooks), left_out)
    readme = render("start.md.j2", data=asked.data, **started._asdict())
    _write(folder, {**notebooks, "README.md": readme})
    return started


def chapter_files() -> list[Path]:
    """Find the notebooks: in the installed package, or in the repository beside `src`."""
    here = Path(__file__).resolve().parent
    packaged = here / "chapters"
    folder = packaged if packaged.is_dir() else here.parents[1] / "notebooks"
    return sorted(folder.glob("[0-9]*.ipynb"))


def own_chapter(notebook: dict[str, Any], data_cell: str, there: set[str]) -> dict[str, Any]:
    """Make a researcher's notebook of a chapter.

    Parameters
    ----------
    notebook : dict
        As read from JSON.
    data_cell : str
        Source that takes the place of the cell tagged ``data``.
    there : set of str
        Names in `NEEDS` of what the data hold; a cell tagged with another of them is left out. The
        packaged cohort alone has `downloads`, and needs no mark that it is not cleared.
    """
    without = LEFT_OUT | (set(NEEDS) - there)
    cells = [] if "downloads" in there else [_cell("markdown", "mark", remark("not_cleared"))]
    for cell in notebook["cells"]:
        tags = set(cell["metadata"].get("tags", []))
        if "data" in tags:
            cells.append(_cell("code", "data", data_cell, tags=["data"]))
        elif not tags & without:
            # A caption, in the other metadata, says what these rows show.
            cells.append({**cell, "metadata": {"tags": sorted(tags)}})
    metadata = {key: value for key, value in notebook["metadata"].items() if key != "needs"}
    return {**notebook, "cells": cells, "metadata": metadata}


def _cell(kind: str, name: str, source: str, **metadata: object) -> dict[str, Any]:
    cell = {"cell_type": kind, "id": name, "metadata": metadata, "source": source}
    return cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []}


def _refuse_other_measures(measures: Sequence[str], cohort: Cohort) -> None:
    known = [measure.name for measure in cohort.measures]
    if len(measures) != 2 or len(set(measures)) != 2:
        raise refusal("chapters_need_two_measures")
    if not set(measures) <= set(known):
        key = "data_lack_measures" if len(known) > 1 else "data_of_one_measure"
        raise refusal(key, known=", ".join(known))
    for name in (m for m in measures if not cohort.measure(m).higher_is_worse):
        raise refusal("chapters_higher_is_worse", name=name)


def _what_is_there(asked: Request, cohort: Cohort) -> set[str]:
    """Names in `NEEDS` of what the data hold."""
    therapists = cohort.therapists
    measures = [cohort.measure(name) for name in asked.measures]
    held = {
        **dict.fromkeys(("downloads", "paper"), asked.data is None),
        "therapists": therapists is not None and {s.name for s in SCALES} <= {*therapists},
        "segments": cohort.segments is not None,
        "services": "service_id" in cohort.patients.columns,
        "sessions": "sessions" in cohort.patients.columns,
        "thresholds": all(None not in (m.cutoff, m.reliable_change) for m in measures),
    }
    return {need for need, is_held in held.items() if is_held}


def _write(folder: Path, texts: dict[str, str]) -> None:
    """Write all files beside the folder's place, then move them there in one step."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".start-", dir=folder.parent) as made:
            (work := Path(made, "own")).mkdir(0o700)
            for name, text in texts.items():
                (work / name).write_text(text, encoding="utf-8", newline="\n")
            if folder.exists():
                folder.rmdir()
            work.replace(folder)
    except OSError:
        raise refusal("start_folder_not_writable", file=folder) from None
