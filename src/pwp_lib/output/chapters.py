"""The book's chapters over own data: which cells stand, and what they say there.

A cell says in git what becomes of it. Tags: ``paper`` and ``packaged`` leave it out, ``needs-X``
leaves it out where the data lack X, ``open`` says that its output holds nothing of a patient.
``pooled`` says that its output holds nothing but what the release says of all patients together.
Under ``pwp`` in its metadata: ``own``, its text for own data; ``instead``, what its phrases become;
``keep``, that the measures in it are examples and keep their names; ``table`` and ``figure``, the
released tables and figures that stand for its output; ``quiet``, that nothing need be said of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pwp_lib.errors import InputError
from pwp_lib.findings.models import model_formula

if TYPE_CHECKING:
    from pwp_lib.analysis import Analysis
    from pwp_lib.data.measures import Measure
    from pwp_lib.data.study import Study

__all__ = ["CHAPTERS", "PAGES", "Facts", "facts_of", "own_notebook", "own_page"]

Cell = dict[str, Any]

#: Chapters that mean something over own data. Interviews (8), the score board (9) and pooling (10,
#: which begins where nobody holds all rows) do not.
CHAPTERS = (
    "01_data_preparation",
    "02_patient_outcomes",
    "03_multilevel_modelling",
    "04_mcmc_intervals",
    "05_ranking_practitioners",
    "06_quartile_comparison",
    "07_mann_whitney_tests",
    "11_would_another_analysis_say_the_same",
    "12_how_many_therapists",
    "13_reading_with_care",
)
PAGES = ("what_it_licenses", "governance", "glossary", "references")
#: Sections for teaching, or about the paper, left out whole.
_SECTIONS = ("The paper beside ours", "Exercises", "Quick questions")
#: A sentence with one of these speaks of the paper, of the packaged cohort or of teaching.
_FOREIGN = re.compile(r"\b[Pp]aper('s)?\b|\bp\. ?\d|\b[Ee]xercises?\b|\bsynthetic\b")
_SECOND = re.compile(r"GAD-7|\bgad7|\b(both|two|second|other) measures?\b|\bon either measure\b")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"*\[{`$])")
_HEADING = re.compile(r"^(?P<rank>#{2,}) [^\n]*\n+(?=(?P<next>#{2,}) )", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
_CAPTION = re.compile(r'caption=(f?)"((?:[^"\\]|\\.)*)"')
_FORMULA = r"(?P<of>phq9|gad7)_post ~ center\((?:phq9|gad7)_pre\) \* center\((?:phq9|gad7)_pre\)"
_NAMES = re.compile(_FORMULA + r"|(?P<bare>(?<![\w\"'])(?:phq9|gad7)(?![\w\"']))"
                    r"|(?P<name>phq9|gad7)|(?P<label>PHQ-9|GAD-7)")  # fmt: skip
_SIZED = re.compile(r"(rank_uncertainty|split_sample_comparison|under_chance|sensitivity_panel)\(")
_STARTS = re.compile(r"\s*([-*] |\d+\. |[:#|$]|```)")
_ENDS = re.compile(r"\s*([:#|$]|```)")
#: What pages of prose say of the packaged cohort's measures and therapists alone.
_PAGE_PHRASES = {
    "cut-off: 10 on the PHQ-9, 8 on the GAD-7.": "cut-off.",
    "would give: 6 points or more on the PHQ-9, 4 or more on the GAD-7.": "would give.",
    "ranks on the two measures": "ranks on the measures",
    " The therapists of this book.": "",
}
_RELEASED = ("table", "figure")
_STEP = re.compile(r"^### Step (\d+)\b", re.MULTILINE)
_STEPS = re.compile(r"\b[Ss]teps? \d+(?: and \d+)?\b")
_PLACE = {"phq9": 0, "gad7": 1, "PHQ-9": 0, "GAD-7": 1}


@dataclass(frozen=True)
class Facts:
    """What a chapter has to know of the data.

    Attributes
    ----------
    measures : sequence of Measure
        The first is the example of the chapters, the second what stands beside it.
    ranked : sequence of str
        Names of the measures that tell therapists apart.
    lacks : mapping of str to str
        What the data lack, and the sentence that says so; without a sentence nothing is said.
    seed : int
    size : int or None
        Therapists of a cluster, where the study sets it.
    pages : sequence of str
        Chapters that there are.
    """

    measures: Sequence[Measure]
    ranked: Sequence[str]
    lacks: Mapping[str, str] = field(default_factory=dict)
    seed: int = 1
    size: int | None = None
    pages: Sequence[str] = CHAPTERS

    def speaks_of_more(self, sentence: str) -> bool:
        """Whether a sentence of a chapter is about what these data have not."""
        alone = len(self.measures) < 2 and _SECOND.search(sentence) is not None
        return alone or self.points_elsewhere(sentence)

    def points_elsewhere(self, sentence: str) -> bool:
        """Whether a sentence is about what is not in this book."""
        if _FOREIGN.search(sentence):
            return True
        known = {*self.pages, *PAGES}
        return any(to.rsplit("/", 1)[-1] not in known for to in _LINK.findall(sentence))


def facts_of(analysis: Analysis, study: Study, control: bool) -> Facts:
    """Find out what the data have and what they lack.

    Raises
    ------
    InputError
        If a measure's models cannot be estimated: the chapters are about them.
    """
    missing = [m for m in analysis.cohort.measures if m.name not in analysis.measures]
    if missing:
        raise InputError(
            f"the models of {missing[0].label} cannot be estimated, and the chapters need them",
            mend="see what pwp analyse says, or leave the measure out in a study file",
        )
    ranked = [n for n, r in analysis.measures.items() if r.residuals["residual"].any()]
    listed = sorted(analysis.cohort.measures, key=lambda m: m.name not in ranked)
    lacks = _lacks(analysis, listed, ranked)
    if control:
        lacks["uncontrolled"] = "Left out: nothing of what this step gives may be shown."
    return Facts(listed, ranked, lacks, study.seed, study.cluster_size, _pages(analysis))


def _pages(analysis: Analysis) -> tuple[str, ...]:
    gone = set()
    if analysis.ranks is None:
        gone |= {"05_ranking_practitioners", "06_quartile_comparison", "07_mann_whitney_tests"}
    elif analysis.comparison is None:
        gone.add("06_quartile_comparison")
    if analysis.scales is None:
        gone.add("07_mann_whitney_tests")
    if any(r.sensitivity is None for r in analysis.measures.values()):
        gone.add("11_would_another_analysis_say_the_same")
    return tuple(c for c in CHAPTERS if c not in gone)


def _lacks(
    analysis: Analysis, measures: Sequence[Measure], ranked: Sequence[str]
) -> dict[str, str]:
    patients, first = analysis.cohort.patients, measures[0]
    nil = "The therapist effect is estimated as nil, so this step has nothing to show."
    thresholds = all(m.cutoff is not None and m.reliable_change is not None for m in measures)
    found = {
        "two-measures": len(measures) > 1 or "There is one measure only, so this step is left out.",
        "two-ranks": len(ranked) > 1
        or "Only one measure tells the therapists apart, so that there are no ranks to set beside "
        "its ranks."
        * (len(measures) > 1),
        "thresholds": thresholds
        or "A measure without a cut-off or a reliable change has none of these rates.",
        "national": analysis.national is not None
        or "The national definitions cannot be applied to these data: they need a measure of "
        "depression and one of anxiety, with their thresholds.",
        "effect": first.name in ranked or nil,
        "services": analysis.services is not None or "Services are not recorded in these data.",
        "therapists": analysis.cohort.therapists is not None
        or "There is no table of therapists and their scales.",
        "resilience": _both_have(analysis, "resilience")
        or "Resilience is not known of therapists in both clusters.",
        "supervisors": _both_have(analysis, "supervisor_experientiality") or "",
        "few-patients": len(patients) <= 20_000
        or "A sampler that goes through the patients one by one is left out: there are too many.",
    }
    return {need: why for need, why in found.items() if why is not True}


def _both_have(analysis: Analysis, scale: str) -> bool:
    """Whether a scale is known of somebody in either cluster."""
    if analysis.scales is None or scale not in analysis.scales.index:
        return False
    row = analysis.scales.loc[scale]
    return bool(row["n_upper"] > 0 and row["n_lower"] > 0)


def own_notebook(cells: Sequence[Cell], facts: Facts) -> list[Cell]:
    """Choose and rewrite the cells of a chapter.

    Parameters
    ----------
    cells : sequence of dict
        As they stand in git.
    facts : Facts

    Returns
    -------
    list of dict
        ``cell_type``, ``source`` (a string), ``tags`` and ``pwp``.
    """
    out: list[Cell] = []
    section = ""
    for cell in cells:
        tags = list(cell["metadata"].get("tags", []))
        own = cell["metadata"].get("pwp", {})
        text = own.get("own", "".join(cell["source"]))
        lacking = [t[6:] for t in tags if t.startswith("needs-") and t[6:] in facts.lacks]
        for old, new in own.get("instead", {}).items():
            text = text.replace(old, new)
        if cell["cell_type"] == "markdown":
            _, text = _without_sections(text, section)
            section, _ = _without_sections("".join(cell["source"]), section)
        gone = {"paper", "packaged"} & {*tags} or (section and cell["cell_type"] == "code")
        if gone or not text.strip():
            continue
        if lacking:
            _say(out, facts.lacks[lacking[0]])
        elif cell["cell_type"] == "markdown":
            if prose := own_prose(text, facts):
                out.append({"cell_type": "markdown", "source": prose, "tags": [], "pwp": {}})
        else:
            out.append(
                {
                    "cell_type": "code",
                    "source": own_code(text, facts, own),
                    "tags": tags,
                    "pwp": own_marks(own, facts),
                }
            )
    return _counted(out)


def _counted(cells: list[Cell]) -> list[Cell]:
    """Give the steps that are left numbers in a row, where the text speaks of them too."""
    prose = [c for c in cells if c["cell_type"] == "markdown"]
    steps = [n for c in prose for n in _STEP.findall(c["source"])]
    new = {n: str(i) for i, n in enumerate(dict.fromkeys(steps), start=1)}
    for cell in prose:
        cell["source"] = _STEPS.sub(
            lambda m: re.sub(r"\d+", lambda n: new.get(n[0], n[0]), m[0]), cell["source"]
        )
    return cells


def _say(out: list[Cell], why: str) -> None:
    """Say once why cells in a row are left out."""
    if why and not (out and out[-1]["source"] == f"*{why}*"):
        out.append({"cell_type": "markdown", "source": f"*{why}*", "tags": [], "pwp": {}})


def _without_sections(text: str, section: str) -> tuple[str, str]:
    """Cut the sections that are left out; return the one that goes on, and what is left."""
    kept = []
    for line in text.split("\n"):
        if line.startswith("## "):
            section = line[3:].strip() if line[3:].strip() in _SECTIONS else ""
        if not section:
            kept.append(line)
    return section, "\n".join(kept)


def own_prose(text: str, facts: Facts) -> str:
    """Leave out sentences about what is not in this book, and rename the measures."""
    return renamed(_without(text, facts.speaks_of_more), facts)


def _without(text: str, left_out: Callable[[str], bool]) -> str:
    """Leave out sentences, and headings under which nothing is left."""
    kept = []
    for line in text.split("\n"):
        lead = line[: _depth(line)]
        if not line[len(lead) :].strip() or line.startswith(("#", "$$", ":", "```")):
            kept.append(line)
            continue
        said = [s for s in _SENTENCE.split(line[len(lead) :]) if not left_out(s)]
        if said:
            kept.append(lead + " ".join(said))
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()
    return _HEADING.sub(_if_filled, joined)


def _if_filled(found: re.Match[str]) -> str:
    """Drop a heading under which nothing is left before the next of its rank."""
    return "" if len(found["next"]) <= len(found["rank"]) else found[0]


def own_page(text: str, facts: Facts) -> str:
    """Do the same for a page of prose, whose lines are wrapped."""
    lines: list[str] = []
    for line in text.split("\n"):
        goes_on = lines and lines[-1].strip() and line.strip() and not _STARTS.match(line)
        if goes_on and not _ENDS.match(lines[-1]) and _depth(line) == _depth(lines[-1]):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    joined = "\n".join(lines)
    for old, new in _PAGE_PHRASES.items():
        joined = joined.replace(old, new)
    return _without(joined, facts.points_elsewhere)


def _depth(line: str) -> int:
    """How far in the text of a line begins; behind the mark of a list."""
    found = re.match(r"\s*(?:[-*] |\d+\. )?", line)
    return len(found[0]) if found else 0


def own_code(text: str, facts: Facts, marks: Mapping[str, Any]) -> str:
    """Read the user's cohort in place of the packaged one, and rename the measures."""
    text = text.replace("pwp.load_cohort()", "prepared_cohort()")
    size = "" if facts.size is None else f", size={facts.size}"
    ranked = _SIZED.search(text) is not None
    text = re.sub(r"\bseed=1\b", f"seed={facts.seed}{size if ranked else ''}", text)
    text = text.replace("composite_ranks(fits)", f"composite_ranks(fits, cohort.measures{size})")
    text = _CAPTION.sub(lambda m: f'caption={m[1]}"{_caption(m[2], facts)}"', text)
    text = text if marks.get("keep") else renamed(text, facts)
    if len(facts.ranked) < len(facts.measures):
        some = f"{{name: fits[name] for name in {list(facts.ranked)}}}"
        text = text.replace("composite_ranks(fits", f"composite_ranks({some}")
    return text


def _caption(text: str, facts: Facts) -> str:
    """Leave out sentences of a caption; one that goes on behind a line keeps its space."""
    return _without(text, facts.speaks_of_more) + (" " if text.endswith(" ") else "")


def own_marks(marks: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """Name by the user's measures what a cell wants of the release."""
    listed = {k: [v] if isinstance(v, str) else v for k, v in marks.items() if k in _RELEASED}
    named = {k: [renamed(name, facts) for name in v] for k, v in listed.items()}
    return {**{k: True for k in ("keep", "quiet") if marks.get(k)}, **named}


def renamed(text: str, facts: Facts) -> str:
    """Put the user's measures in the place of the paper's two.

    Raises
    ------
    InputError
        If the text speaks of a second measure and there is one only.
    """

    def new(found: re.Match[str]) -> str:
        place = _PLACE[found["of"] or found[0]]
        if place >= len(facts.measures):
            raise InputError(f"a chapter speaks of a second measure: {text[:60]!r}")
        measure = facts.measures[place]
        if found["of"]:
            return model_formula(measure, facts.measures, "single")
        if found["label"]:
            return measure.label
        # A name that stands alone is a variable of the chapter: it must hide nothing there.
        return f"{measure.name}_scale" if found["bare"] else measure.name

    return _NAMES.sub(new, text)
