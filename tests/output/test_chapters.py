from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pytest

from pwp_lib.data.disclosure import DisclosurePolicy
from pwp_lib.data.measures import GAD7, PHQ9, Measure, get_measure, known_measures
from pwp_lib.errors import InputError
from pwp_lib.output.chapters import (
    CHAPTERS,
    PAGES,
    Cell,
    Facts,
    own_code,
    own_notebook,
    own_page,
    renamed,
)
from pwp_lib.output.chapters_build import book_folder, read_chapter
from pwp_lib.output.chapters_run import WITHHELD, Gate, _bound, run_chapter
from pwp_lib.output.release import Published, Release

FUNCTION = Measure("wellbeing", "Well-Being (own)", 0, 50, None, None, higher_is_worse=False)
LACKS = (
    "two-measures", "two-ranks", "thresholds", "national", "effect", "services",
    "therapists", "few-patients", "resilience", "supervisors", "uncontrolled",
)  # fmt: skip
TAGS = {"hide-input", "remove-input", "paper", "packaged", "open", "pooled"}
WAYS = {
    "two measures": Facts([PHQ9, GAD7], ["phq9", "gad7"]),
    "others": Facts([FUNCTION, get_measure("core10")], ["wellbeing", "core10"], seed=7),
    "three": Facts([get_measure("wsas"), PHQ9, GAD7], ["wsas", "phq9"], size=3),
    "one": Facts(
        [get_measure("core10")], ["core10"], {"two-measures": "One.", "two-ranks": "One."}
    ),
    "next to nothing": Facts([FUNCTION], [], dict.fromkeys(LACKS, "Not in these data.")),
}  # fmt: skip


def _cells(way: str) -> Iterator[tuple[str, Cell]]:
    for name in CHAPTERS:
        for cell in own_notebook(read_chapter(name), WAYS[way]):
            yield name, cell


def _original() -> Iterator[tuple[str, Cell]]:
    for name in CHAPTERS:
        for cell in read_chapter(name):
            yield name, cell


def test_tags_are_known_and_phrases_stand_where_they_are_replaced() -> None:
    for name, cell in _original():
        tags = cell["metadata"].get("tags", [])
        assert {t for t in tags if not t.startswith("needs-")} <= TAGS, (name, tags)
        assert {t[6:] for t in tags if t.startswith("needs-")} <= {*LACKS}, (name, tags)
        marks = cell["metadata"].get("pwp", {})
        assert {*marks} <= {"own", "instead", "keep", "table", "figure", "quiet"}, (name, marks)
        source = "".join(cell["source"])
        lost = [old for old in marks.get("instead", {}) if old not in source]
        assert lost == [], f"{name}: the prose has changed, and {lost} is replaced over own data"


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_the_paper_is_left(way: str) -> None:
    foreign = re.compile(
        r"\bpaper\b(?!_design)|\bp\. ?\d|synthetic|[Ee]xercise|load_cohort|published_figure"
        r"|scoreboard|paper_beside_ours|quiz|load_extracts|21 (PWPs|therapists) of",
        re.IGNORECASE,
    )
    for name, cell in _cells(way):
        found = foreign.search(cell["source"])
        assert found is None, f"{name}: {found and found[0]!r} in {cell['source'][:300]}"


@pytest.mark.parametrize("way", ["others", "next to nothing"])
def test_other_measures_take_the_place_of_the_papers(way: str) -> None:
    for name, cell in _cells(way):
        if not cell["pwp"].get("keep"):
            assert not re.search(r"phq9|gad7|PHQ-9|GAD-7", cell["source"]), (name, cell["source"])


@pytest.mark.parametrize("way", WAYS)
def test_every_code_cell_is_python(way: str) -> None:
    for name, cell in _cells(way):
        if cell["cell_type"] == "code":
            assert ast.parse(cell["source"], filename=name).body, name


@pytest.mark.parametrize("way", WAYS)
def test_steps_are_numbered_in_a_row_and_none_is_spoken_of_that_is_gone(way: str) -> None:
    for name in CHAPTERS:
        prose = [
            c["source"]
            for c in own_notebook(read_chapter(name), WAYS[way])
            if c["cell_type"] == "markdown"
        ]
        steps = [int(n) for text in prose for n in re.findall(r"(?m)^### Step (\d+)\b", text)]
        assert steps == [*range(1, len(steps) + 1)], name
        if name == "04_mcmc_intervals":
            continue  # "Step 2" is also a step of the sampler there.
        told = {int(n) for text in prose for n in re.findall(r"\bsteps? (\d+)", text)}
        assert told <= {*steps}, name


@pytest.mark.parametrize("way", WAYS)
def test_no_link_leads_out_of_the_book(way: str) -> None:
    pages = {*CHAPTERS, *PAGES}
    for name, cell in _cells(way):
        if cell["cell_type"] == "markdown":
            for to in re.findall(r"\]\((?!https?:)([^)#]+)", cell["source"]):
                assert to.rsplit("/", 1)[-1] in pages, (name, to)
            assert not re.search(r"^## [^\n]*\n+## ", cell["source"], re.MULTILINE), name


def test_pages_of_prose_say_nothing_of_the_paper() -> None:
    for page in PAGES:
        text = (book_folder() / "book" / f"{page}.md").read_text(encoding="utf-8")
        shown = own_page(text, WAYS["one"])
        assert not re.search(r"\bpaper\b|synthetic", shown), shown
        assert "{bibliography}" in shown or len(shown) > 0.8 * len(text)
    glossary = own_page((book_folder() / "book/glossary.md").read_text("utf-8"), WAYS["one"])
    assert "10 on the" not in glossary
    assert "\n    Scoring at or above a scale's cut-off. A patient" in glossary


def test_a_missing_thing_is_said_once() -> None:
    facts = replace(WAYS["two measures"], lacks={"national": "No national definitions."})
    said = [c["source"] for c in own_notebook(read_chapter(CHAPTERS[1]), facts)]
    assert said.count("*No national definitions.*") == 1


def test_formulas_and_names_follow_the_measures() -> None:
    text = 'fit("phq9_post ~ center(phq9_pre) * center(gad7_pre) + (1 | therapist_id)"), phq9.label'
    assert renamed(text, WAYS["others"]) == (
        'fit("wellbeing_post ~ center(wellbeing_pre) * center(core10_pre) + (1 | therapist_id)"), '
        "wellbeing_scale.label"
    )
    assert "center(core10_pre) + (1" in renamed(text, WAYS["one"])
    with pytest.raises(InputError, match="second measure"):
        renamed("the GAD-7", WAYS["one"])


def test_measures_that_change_places_are_renamed_once() -> None:
    code = 'ranks = composite_ranks(fits)\nshow(fits["phq9"], caption="On the PHQ-9.")'
    assert own_code(code, Facts([GAD7, PHQ9], ["gad7"]), {}) == (
        "ranks = composite_ranks({name: fits[name] for name in ['gad7']}, cohort.measures)\n"
        'show(fits["gad7"], caption="On the GAD-7.")'
    )


def test_the_studys_own_thresholds_are_found_by_name() -> None:
    with known_measures([replace(PHQ9, reliable_change=5), FUNCTION]):
        assert get_measure("phq9").reliable_change == 5
        assert get_measure("wellbeing") is FUNCTION
    assert get_measure("phq9").reliable_change == 6


# --- Disclosure control ---------------------------------------------------------------------------


def _gate(large: bool = True, active: bool = True) -> Gate:
    outcomes = pd.DataFrame({"n": [100 if large else "*"]}, dtype=object)
    if not large:
        from pwp_lib.data.disclosure import MARK

        outcomes = pd.DataFrame({"n": [MARK]}, dtype=object)
    tables = {"outcomes": Published("outcomes", "Outcomes", outcomes)}
    released = Release(tables, DisclosurePolicy(active=active), "100", 10, [], [])
    return Gate(released, {})


SECRET = [{"output_type": "stream", "name": "stdout", "text": "secret"}]


@pytest.mark.parametrize("way", WAYS)
def test_an_output_is_allowed_by_name_or_dropped(way: str) -> None:
    for name, cell in _cells(way):
        if cell["cell_type"] == "code" and not {"open", "pooled"} & {*cell["tags"]}:
            shown = _gate().outputs(cell, SECRET)
            assert "secret" not in str(shown), (name, cell["source"])
            assert not cell["pwp"].get("quiet") or shown == []


def test_pooled_results_of_too_few_patients_are_withheld() -> None:
    cell: Cell = {"tags": ["pooled"], "pwp": {}, "source": ""}
    assert _gate().outputs(cell, SECRET) == SECRET
    assert WITHHELD in str(_gate(large=False).outputs(cell, SECRET))
    assert _gate(active=False, large=False).outputs(cell, SECRET) == SECRET


def test_what_may_not_be_shown_and_leaves_nothing_behind_is_not_run() -> None:
    shows: Cell = {"cell_type": "code", "source": "1 / 0", "tags": [], "pwp": {}}
    (ran,) = run_chapter([shows], None, _gate(), "A chapter")  # type: ignore[arg-type]
    assert WITHHELD in str(ran["outputs"])
    named: Cell = {**shows, "pwp": {"table": ["outcomes"]}}
    (ran,) = run_chapter([named], None, _gate(), "A chapter")  # type: ignore[arg-type]
    assert "100" in str(ran["outputs"])
    looped: Cell = {**named, "source": "for m in cohort.measures:\n    show.figure(m)"}
    (ran,) = run_chapter([looped], None, _gate(), "A chapter")  # type: ignore[arg-type]
    assert "100" in str(ran["outputs"])
    broken: Cell = {**shows, "source": "x = {}\nx[0] = 1 / 0"}
    (ran,) = run_chapter([broken], None, _gate(), "A")  # type: ignore[arg-type]
    assert ran["outputs"] == []
    needs: Cell = {**shows, "source": "x", "tags": ["open"]}
    for used in (
        broken,
        {**broken, "source": "y = 1 / 0"},
        {**broken, "source": "import zzyzx as y"},
    ):
        via: Cell = {**shows, "source": "x = y"}
        with pytest.raises(InputError, match=r"ZeroDivisionError|ModuleNotFoundError"):
            run_chapter([used, via, needs], None, _gate(), "A")  # type: ignore[arg-type]


def test_without_control_every_cell_runs() -> None:
    cells = [cell for _, cell in _cells("two measures")]
    code = [c["cell_type"] == "code" for c in cells]
    assert _gate(active=False).needed(cells) == code
    assert 0 < sum(_gate().needed(cells)) < sum(code)


def test_names_that_a_cell_changes_are_bound_by_it() -> None:
    code = (
        "import a.b, c as d\nfrom e import f\ng.h = i[j] = 1\ndef k(): pass\n"
        "(l, *m), n = o\np += 1\nfor q in r: pass\nwith s as t: u.append(v)"
    )
    assert _bound(ast.parse(code)) == {*"adfgiklmnpqtu"}


#: Open cells that use the cohort: they read the study's measures, or the number of scales.
_OF_THE_STUDY = ("m.reliable_change:g} points or more", "dict(posterior.posterior.sizes)",
                 "0.95 ** len(scales)")  # fmt: skip


def _used(tree: ast.AST, kind: type[ast.expr_context]) -> set[str]:
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, kind)}


def test_open_cells_hold_nothing_that_was_worked_out_from_patients() -> None:
    for name in CHAPTERS:
        tainted = {"prepared_cohort"}
        for cell in own_notebook(read_chapter(name), WAYS["two measures"]):
            if cell["cell_type"] != "code":
                continue
            for statement in ast.parse(cell["source"]).body:
                touched = _used(statement, ast.Load) & tainted
                allowed = any(words in cell["source"] for words in _OF_THE_STUDY)
                assert not (touched and "open" in cell["tags"] and not allowed), (name, touched)
                if touched:
                    tainted |= _used(statement, ast.Store)


def test_a_chapter_that_stops_says_where_and_no_value() -> None:
    cells = [
        {"cell_type": "markdown", "source": "### Step 9: divide", "tags": [], "pwp": {}},
        {"cell_type": "code", "source": "x = {}['PATIENT-7']", "tags": ["open"], "pwp": {}},
    ]
    with pytest.raises(InputError) as caught:
        run_chapter(cells, None, _gate(), "A chapter")  # type: ignore[arg-type]
    assert 'the chapter "A chapter"' in str(caught.value)
    assert '"Step 9: divide": KeyError' in str(caught.value)
    assert "PATIENT" not in str(caught.value)


def test_outputs_keep_their_order_and_warnings_lose_their_place() -> None:
    code = (
        "import warnings\nprint('first')\nwarnings.warn('third', UserWarning)\n"
        "class Shown:\n    def _repr_html_(self): return '<p>second</p>'\nShown()"
    )
    cell: Cell = {"cell_type": "code", "source": code, "tags": [], "pwp": {}}
    (ran,) = run_chapter([cell], None, _gate(active=False), "A chapter")  # type: ignore[arg-type]
    first, second, third = ran["outputs"]
    assert first["text"] == "first\n"
    assert second["data"]["text/html"] == "<p>second</p>"
    assert third["data"]["text/markdown"] == "Warning: third"
