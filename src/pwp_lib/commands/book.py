"""``pwp book``: the chapters themselves over own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pwp_lib.data.cohort import Cohort
from pwp_lib.data.measures import known_measures
from pwp_lib.data.study import Study
from pwp_lib.output.chapters import CHAPTERS, Facts, facts_of, own_notebook
from pwp_lib.output.chapters_build import build_pages, need_jupyter_book, read_chapter, title_of
from pwp_lib.output.chapters_run import Gate, run_chapter
from pwp_lib.output.release import release
from pwp_lib.output.report import safe_labels
from pwp_lib.output.report_figures import draw_all
from pwp_lib.output.runs import publish

from .analyse import Request, ready, run_analysis, say_where
from .terminal import progress, say

__all__ = ["book_of"]

#: On one of two busy cores 200,000 patients of 1,000 therapists took 2 minutes, and a million of
#: 5,000 took 5 minutes and 1.2 GB; without disclosure control, 14 minutes and 2.1 GB.
_MANY = 200_000


def book_of(asked: Request, only: Sequence[str] = ()) -> None:
    """Check, analyse, run the chapters and write the pages."""
    need_jupyter_book()
    cohort, known, policy = ready(asked)
    if len(cohort.patients) > _MANY:
        say(
            "With so many patients this takes minutes: a million of 5,000 therapists took 5 "
            "minutes and 1.2 GB of memory, without disclosure control 14 minutes and 2.1 GB.",
            stderr=True,
        )
    with progress(len(CHAPTERS) + 4) as step:
        analysis = run_analysis(cohort, known, step)
        step("disclosure control")
        released = release(analysis, policy)
        gate = Gate(released, draw_all(analysis, released), cohort.provenance.synthetic)
        facts = facts_of(analysis, known, policy.active)
        facts = replace(facts, pages=[p for p in facts.pages if not only or p in only])
        shown = replace(safe_labels(cohort), measures=tuple(facts.measures))

        def fill(work: Path) -> None:
            chapters = {}
            for name in facts.pages:
                cells = read_chapter(name)
                title = title_of(cells)
                step(title)
                with known_measures(shown.measures):
                    source = own_notebook(cells, facts)
                    chapters[name] = run_chapter(source, shown, gate, title, work)
            step("pages")
            build_pages(chapters, facts, gate, _index(shown, known, facts, gate), work)

        run = publish(asked.out, fill)
    say_where("index.html", asked, run, cohort, policy)


def _index(cohort: Cohort, study: Study, facts: Facts, gate: Gate) -> str:
    """Write the first page: what the book is over, and what is not in it."""
    released, policy = gate.released, gate.released.policy
    labels = [m.label for m in cohort.measures]
    text = [
        "# Therapist effects: your own data",
        "The chapters of the book *Therapist effects*, run over your own data: "
        f"{released.patients} patients of {released.therapists} therapists, on "
        + " and ".join([", ".join(labels[:-1]), labels[-1]] if labels[1:] else labels)
        + ". Comparisons with the paper that the book follows, exercises and questions are left "
        "out; so are the chapters on interviews, on the paper's figures and on pooling services.",
    ]
    if policy.active:
        text.append(
            "**Disclosure control is on.** Therapists and services go by pseudonyms. A step shows "
            "what the report of `pwp analyse` may show: counts under "
            f"{policy.threshold} are withheld and the others rounded to {policy.base}, therapists "
            f"with fewer than {policy.caseload} patients appear only together. The code of every "
            "step stands; where its result would show patients or small caseloads the page says "
            "*Withheld*. Run on your own machine with `--no-disclosure-control` to see it."
        )
        text += [f"- {line}" for line in released.withheld]
    elif not cohort.provenance.synthetic:
        text.append(
            "**Disclosure control was off.** These pages show patients one by one and must not "
            "leave the service."
        )
    names = ", as `pwp analyse` does" + (", names replaced by pseudonyms" if policy.active else "")
    text.append(
        "In the code, `prepared_cohort()` stands for reading your file with the rules of your "
        f"study file{names}. From Python: `cohort, problems = pwp.load_study_data(file)`. "
        f"Everything random has the seed {study.seed}."
    )
    return "\n\n".join(text) + "\n\n```{tableofcontents}\n```\n"
