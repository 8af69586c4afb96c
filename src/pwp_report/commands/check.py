"""``pwp check``: what a file holds, all that is wrong with it, and what it is enough for."""

import json
from contextlib import suppress
from pathlib import Path

import pandas as pd

from multilevel.errors import InputError
from pwp_lib.numbers import count
from pwp_report.check import Check, check_study_data
from pwp_report.commands.terminal import say, show
from pwp_report.disclosure import MARK
from pwp_report.problems import Problem
from pwp_report.read.raw import shown_name
from pwp_report.read.table import read_table
from pwp_report.study import Study, recognise_study
from pwp_report.study_file import read_study, write_study
from pwp_report.wording import refusal, remark


def check_file(
    file: Path, study: Path | None, therapists: Path | None, write: Path | None, every: bool
) -> None:
    """Check a file and print what was found.

    Raises
    ------
    InputError
        If the file has problems: after all of them have been printed.
    """
    if write is not None and write.exists():
        raise refusal("study_file_exists", file=write)
    try:
        found = check_study_data(file, study, therapists)
    except InputError as problem:
        if write is not None:
            _write_what_is_known(file, study, write, "[file]" in (problem.hint or ""))
        raise
    say(*found.understood, "")
    if found.problems:
        _show_problems(found, every)
    else:
        policy = found.study.policy(not found.required().provenance.synthetic)
        # Counts that rest on entries which could not be read would not be those of the file.
        title = "Rules of inclusion: patients excluded in turn, and by each alone"
        title += f" ({MARK}: 1 to {policy.threshold - 1})" * policy.active
        shown = found.rules.filter(like="excluded").map(lambda n: policy.text(n) if n else "0")
        show(title, found.rules.assign(**shown))
        show("Enough for each step", found.enough)
    if write is not None:
        _write_text(write, write_study(found.study))
        say(f"The study file {write.name} is written: check what it guessed.")
    found.required()
    asked = found.study.questions
    say(remark("questions_open" if asked else "nothing_to_correct", count=len(asked)), *asked)
    if asked:
        say(remark("questions_answered", names=json.dumps([*dict.fromkeys(q.key for q in asked)])))


def _write_what_is_known(file: Path, study: Path | None, write: Path, which: bool) -> None:
    """Write what was recognised where that was not enough: what is missing can be filled in.

    Where it is open `which` table of the file is meant, nothing is known, and that can be said.
    """
    try:
        done = Study() if study is None else read_study(study)
        headings: list[str] = []
        if not which:
            raw = read_table(file, table=done.table or None)
            done = recognise_study(done, headings := list(raw.frame.columns), raw.name)
    except InputError:
        return  # the error that is raised anyway says why
    _write_text(write, write_study(done, headings))
    left = "name the table in it" if which else "fill in what it could not guess"
    say(remark("study_file_begun", file=write.name, left=left), stderr=True)


def _write_text(path: Path, text: str) -> None:
    """Write a small file whole, or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise refusal("file_not_writable", file=path) from None


def _show_problems(found: Check, every: bool) -> None:
    items = list(found.problems)
    lines = [(_rows(p, every), shown_name(p.column), p.kind, p.problem, p.hint) for p in items]
    frame = pd.DataFrame(lines, columns=["rows", "column", "found", "problem", "hint"])
    places = count(sum(max(1, p.count) for p in items), "place")
    show(f"To be corrected: {count(len(items), 'kind')} of problem in {places}", frame)
    say("How many patients each rule leaves is said once all of it can be read.", "")
    if not every and any(p.count > 5 for p in items):
        say("--all lists every row.", "")


def _rows(problem: Problem, every: bool) -> str:
    if not problem.rows:
        return "all"
    shown = problem.rows if every else problem.rows[:5]
    more = problem.count - len(shown)
    return ", ".join(map(str, shown)) + f" and {more:,} more" * (more > 0)
