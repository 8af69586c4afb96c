from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from playwright.sync_api import sync_playwright

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort, Provenance
from pwp_lib.measures import GAD7, PHQ9, known_measures
from pwp_lib.ranking import cluster_size
from pwp_lib.show import figures
from pwp_lib.show.labels import guarded, harmless_labels, plain_label, safe_csv
from pwp_lib.simulate import simulate_cohort
from pwp_lib.truth import Truth
from pwp_report import report, report_figures
from pwp_report.analysis import Analysis, analyse
from pwp_report.disclosure import MARK, DisclosurePolicy
from pwp_report.release import _reporting, _Tables, release_results
from pwp_report.released import ReleasedTable
from pwp_report.report_figures import Drawn
from pwp_report.study import Study
from pwp_report.wording import render

POLICY = DisclosurePolicy()


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(page)
    return parser.tags


def test_run_has_report_tables_figures_results_and_text(safe_run: Path) -> None:
    names = {str(p.relative_to(safe_run)) for p in safe_run.rglob("*")}
    assert {"report.html", "results.json", "methods.txt"} <= names
    assert {"tables/outcomes.csv", "tables/residuals_phq9.csv", "tables/flow.csv"} <= names
    assert "figures/caterpillar.svg" in names
    assert safe_run.name == "run-0001"
    assert (safe_run.parent / "latest").resolve() == safe_run.resolve()


def test_no_identifier_and_no_patient_anywhere(safe_run: Path, texts) -> None:
    for name, text in texts(safe_run).items():
        for word in ("nhs-", "leeds", "alert(1)", "HYPERLINK", "O'Neill", "own.csv"):
            assert word not in text, (name, word)
    for path in safe_run.rglob("*.png"):
        assert b"leeds" not in path.read_bytes()


def test_hostile_names_do_no_harm_without_control(open_run: Path) -> None:
    page = (open_run / "report.html").read_text(encoding="utf-8")
    tags = _tags(page)
    assert not {"script", "iframe", "object", "i", "b"} & {tag for tag, _ in tags}
    assert "&lt;b&gt;" in page
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    for path in (open_run / "tables").glob("*.csv"):
        for value in pd.read_csv(path, dtype=str, keep_default_na=False).to_numpy().ravel():
            number = re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", value)
            assert number or value[:1] not in ("=", "+", "-", "@")
    names = [str(p.relative_to(open_run)) for p in open_run.rglob("*")]
    assert all(re.fullmatch(r"[\w./-]+", n) and ".." not in n and len(n) < 80 for n in names)
    assert "x" * 100 not in page


def test_formulas_are_disarmed_in_csv() -> None:
    assert guarded("=1+1") == "'=1+1"
    assert guarded("@x") == "'@x"
    assert guarded(-3.5) == -3.5
    frame = pd.DataFrame({"=a": ["+b", "plain"]})
    assert safe_csv(frame) == "'=a\n'+b\nplain\n"


def test_labels_stay_different(hostile: Cohort) -> None:
    safe = report.safe_labels(hostile)
    assert safe.patients["therapist_id"].nunique() == 10
    assert safe.patients["therapist_id"].str.len().max() <= 40
    assert not re.search(r"[<>{}$`=\n]", "".join(safe.patients["service_id"].unique()))
    odd = replace(
        hostile,
        patients=hostile.patients.assign(
            gender="<b>{{1}}", patient_id=lambda f: "$" + f.patient_id
        ),
        measures=(replace(PHQ9, label="a' + 'b"), replace(GAD7, label="$")),
        provenance=Provenance(False, "<img onerror=x>.csv"),
    )
    plain = report.safe_labels(odd)
    assert set(plain.patients["gender"]) == {"_b___1__"}
    assert plain.patients["patient_id"].is_unique
    assert plain.patients["patient_id"].str.startswith("_nhs-").all()
    assert [m.label for m in plain.measures] == ["a _ b", "_"]
    assert plain.provenance.source == "_img onerror_x_.csv"
    twins = harmless_labels(["<a>", "(a)", "[a]", "_a_"], {})
    assert len(set(twins.values())) == 4


def test_turning_control_off_marks_the_page(open_run: Path, safe_run: Path) -> None:
    page = (open_run / "report.html").read_text(encoding="utf-8")
    assert page.count("Disclosure control is off") == 2
    assert "must not leave the service" in page
    assert json.loads((open_run / "results.json").read_text())["disclosure"]["active"] is False
    controlled = (safe_run / "report.html").read_text(encoding="utf-8")
    assert "Disclosure control is off" not in controlled
    assert "What was withheld" in controlled
    assert "Runs over nearly the same patients can be compared" in controlled


def test_page_is_one_file_that_asks_nobody(safe_run: Path) -> None:
    page = (safe_run / "report.html").read_text(encoding="utf-8")
    for tag, attributes in _tags(page):
        for name in ("src", "href"):
            value = attributes.get(name)
            own = value is None or value.startswith(("data:", "#"))
            assert own or (safe_run / str(value)).is_file(), (tag, value)
        if tag == "img":
            assert len(attributes.get("alt") or "") > 30
    assert "http://" not in page.replace("http://www.w3.org", "")
    headings = [tag for tag, _ in _tags(page) if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1"
    assert set(headings[1:]) == {"h2"}


def test_results_follow_the_packaged_schema(safe_run: Path, open_run: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(
        (files("pwp_report") / "schemas" / f"results-{report.SCHEMA_VERSION}.json").read_text()
    )
    for run in (safe_run, open_run):
        content = json.loads((run / "results.json").read_text(encoding="utf-8"))
        jsonschema.validate(content, schema)
        assert content["schema_version"] == report.SCHEMA_VERSION
        for table in content["tables"].values():
            assert all(len(row) == len(table["columns"]) for row in table["rows"])


def test_one_measure_and_few_therapists_still_give_a_report(tmp_path: Path) -> None:
    made = simulate_cohort(
        Truth.one_measure().with_therapists(4, caseload=30), seed=2, interviews=False
    )
    analysis = analyse(made, draws=200, sensitivity=False)
    run = report.write_run(analysis, Study(), DisclosurePolicy(active=False), tmp_path / "out")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "What could not be done" in page
    assert "Synthetic data" in page
    assert "other measure" not in (run / "methods.txt").read_text(encoding="utf-8")


def test_a_mark_is_explained_beneath_the_table_that_has_it() -> None:
    for entry, said in ((MARK, True), (5, False)):
        table = ReleasedTable("flow", "Flow", pd.DataFrame({"excluded": [entry, 10]}))
        note = report._for_page(table, POLICY)["note"]
        assert ("* withheld: fewer than 5" in note) == said


@pytest.mark.parametrize(
    ("rows", "folded", "cut"),
    [(1, False, False), (15, False, False), (60, True, False), (61, True, True)],
)
def test_a_long_table_is_folded_and_a_very_long_one_names_its_file(
    rows: int, folded: bool, cut: bool
) -> None:
    frame = pd.DataFrame({"therapist": [f"T-{i}" for i in range(rows)], "n": range(rows)})
    table = report._for_page(ReleasedTable("one_less", "Complete", frame, "A <note>."), POLICY)
    section = {"id": "missing", "title": "Missing", "text": [], "tables": [table]}
    page = render(
        "report.html.j2", title="T", synthetic=False, policy=POLICY, encode=None, first_page=[],
        sections=[section], software={}, seed=1,
    )  # fmt: skip
    assert (f"<summary>Complete ({rows} rows)</summary>" in page) == folded
    assert ('<a href="tables/one_less.csv">tables/one_less.csv</a> holds all' in page) == cut
    assert "A &lt;note&gt;." in page
    assert page.count("<tr>") == 1 + min(rows, 60) - 40 * cut


def test_without_is_not_said_to_be_impossible_twice(safe_analysis: Analysis) -> None:
    """With the case mix it is news only where it could be done without it."""
    reasons = {"dropout.": "drop.", "dropout..adjusted": "drop, adjusted.", "rcsi.adjusted": "mix."}
    released = release_results(safe_analysis, POLICY)
    sections = report._sections(replace(safe_analysis, not_done=reasons), released, {}, [])
    said = next(s["text"] for s in sections if s["id"] == "not-done")
    assert said == ["Drop.", "Mix."]


def test_words_in_a_picture_are_text_and_it_says_how_many_are_drawn(safe_run: Path) -> None:
    shown = pd.read_csv(safe_run / "tables" / "residuals_phq9.csv")["therapist"]
    for name in ("caterpillar", "rank_intervals_phq9"):
        picture = (safe_run / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        words = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
        named = [t for t in shown if any(w.startswith(t) for w in words)]
        assert len(named) == len(shown[shown != "others together"])
        caption = f"Drawn: {len(named)} of "
        assert caption in (safe_run / "report.html").read_text(encoding="utf-8")


#: How near the text of two cells of a line come to each other, at the nearest.
_NEAREST = """() => {
  const box = cell => { const r = document.createRange(); r.selectNodeContents(cell);
    return r.getBoundingClientRect(); };
  let least = 1e9;
  for (const row of document.querySelectorAll('table:not(.upright) tr'))
    for (let i = 1; i < row.cells.length; i++) {
      const a = box(row.cells[i - 1]), b = box(row.cells[i]);
      if (a.width && b.width) least = Math.min(least, b.left - a.right);
    }
  return least;
}"""


@pytest.mark.nightly
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000, 1200, 1440])
def test_the_report_fits_its_page_and_prints_whole(safe_run: Path, width: int, theme: str) -> None:
    chromium = os.environ.get("PWP_CHROMIUM") or "/usr/bin/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        page.goto((safe_run / "report.html").as_uri())
        wide = "document.documentElement.scrollWidth"
        assert page.evaluate(wide) == width
        boxes = "[...document.querySelectorAll('.scroll')].filter(e => e.offsetParent)"
        assert page.evaluate(f"{boxes}.filter(e => e.scrollWidth > e.clientWidth + 1).length") == 0
        page.emulate_media(media="print")
        flat = "[...document.querySelectorAll('table')].filter(e => e.offsetHeight < 10).length"
        assert page.evaluate(flat) == 0
        page.set_viewport_size({"width": 718, "height": 900})
        assert page.evaluate(_NEAREST) >= 5
        browser.close()


@pytest.mark.nightly
def test_an_upright_table_is_cards_on_a_telephone_and_columns_elsewhere(safe_run: Path) -> None:
    chromium = os.environ.get("PWP_CHROMIUM") or "/usr/bin/chromium"
    placed = """() => [...document.querySelectorAll('.upright')].filter(t => t.offsetParent).map(
        t => [...t.rows].slice(1).map(r => [...r.cells].slice(0, 3)
        .map(c => c.getBoundingClientRect()).map(b => [Math.round(b.x), Math.round(b.y)])))"""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, media in ((390, "screen"), (1300, "screen"), (718, "print")):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.emulate_media(media=media)
            page.goto((safe_run / "report.html").as_uri())
            tables = page.evaluate(placed)
            assert tables
            for rows in tables:
                # Either way a row's entries stand beneath each other; of two rows, the first
                # entries beside each other, or in cards one after the other.
                assert all(a[1] < b[1] for row in rows for a, b in pairwise(row))
                for one, two in pairwise(rows):
                    assert (one[0][1] == two[0][1]) == (width > 640)
                    assert (one[0][0] < two[0][0]) == (width > 640)
            page.close()
        browser.close()


def test_long_tables_are_cut_on_the_page_and_whole_in_the_file() -> None:
    frame = pd.DataFrame({"therapist": [f"T-{i}" for i in range(5_000)], "n": range(5_000)})
    shown = report._for_page(ReleasedTable("residuals_phq9", "Residuals", frame, "A note."), POLICY)
    assert len(shown["rows"]) == 20
    assert shown["rows"][0][0] == "T-0"
    assert shown["rows"][-1][0] == "T-4999"
    said = "10 of 5,000 rows, in the order of their ranks; tables/residuals_phq9.csv holds all."
    assert said in shown["note"]
    assert shown["note"].startswith("A note.")
    assert len(safe_csv(frame).splitlines()) == 5_001
    short = report._for_page(ReleasedTable("ranks", "Ranks", frame.head(60)), POLICY)
    assert len(short["rows"]) == 60
    assert "holds all" not in short["note"]


@pytest.mark.neighbours
@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("therapist", ["T{}", "Dr A. Featherstonehaugh-Smythe, the {}th"])
@pytest.mark.parametrize("label", ["M{}", "Work and Social Adjustment Scale (all) {}"])
def test_labels_of_measures_side_by_side_do_not_overlap(n: int, therapist: str, label: str) -> None:
    measures = [replace(PHQ9, name=f"m{i}", label=label.format(i)) for i in range(n)]
    names = [therapist.format(i) for i in range(12)]
    rows = pd.DataFrame({"residual": 0.5, "lower": -1.0, "upper": 2.0, "n": 100}, index=names)
    with known_measures(measures):
        axes = figures.caterpillar_plot({m.name: rows for m in measures}, order=names)
    axes[0].figure.canvas.draw()
    for texts in ([ax.xaxis.label for ax in axes], [ax._left_title for ax in axes]):
        boxes = [text.get_window_extent() for text in texts]
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
    plt.close(axes[0].figure)


def test_a_caption_says_first_where_the_order_is_hardly_more_than_chance(
    safe_analysis: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = next(iter(safe_analysis.measures.values()))
    released = release_results(safe_analysis, POLICY)
    hardly, mostly = "is hardly more than chance", "is mostly chance, although the share"
    for sure, share, said in ((False, "80", hardly), (True, "29", mostly), (True, "30", "")):
        found = {"label": "X", "sure": sure, "rankability": share}
        monkeypatch.setattr(report_figures, "how_sure", lambda *_, found=found: found)
        of_all = report_figures._caterpillar(safe_analysis, released)
        drawn = {d.name: d for d in (*of_all, *report_figures._of_measure(result, released))}
        for name in ("caterpillar", f"rank_intervals_{result.measure.name}"):
            caption = drawn[name].caption
            assert caption.startswith(f"The order of therapists on X {said}") or not said
            assert [w for w in (hardly, mostly) if w in caption] == [said] * bool(said)


@pytest.mark.parametrize("therapists", [1, 2, 4])
def test_a_picture_of_few_therapists_has_room_for_its_labels(
    safe_analysis: Analysis, monkeypatch: pytest.MonkeyPatch, therapists: int
) -> None:
    released = release_results(safe_analysis, POLICY)
    tables = dict(released.tables)
    for name in ("residuals_phq9", "residuals_gad7"):
        tables[name] = replace(tables[name], frame=tables[name].frame.head(therapists))
    seen = []
    monkeypatch.setattr(report_figures, "_drawn", lambda *words: seen.append(words))
    list(report_figures._caterpillar(safe_analysis, replace(released, tables=tables)))
    ((_, caption, axes),) = seen
    assert f"Drawn: {therapists} of 10 therapists" in caption
    figure = axes[0].figure
    figure.canvas.draw()
    box = axes[0].yaxis.label.get_window_extent()
    assert 0 <= box.y0 < box.y1 <= figure.bbox.height
    plt.close(figure)
    # Nor does that of the library leave it.
    rows = pd.DataFrame({"residual": 0.5, "lower": -1.0, "upper": 2.0, "n": 9}, index=["A"])
    ax = figures.caterpillar_plot(rows)[0]
    ax.figure.canvas.draw()
    box = ax.yaxis.label.get_window_extent()
    assert 0 <= box.y0 < box.y1 <= ax.figure.bbox.height
    plt.close(ax.figure)


@pytest.mark.parametrize("left", [("funnel_mean_phq9", "caterpillar"), ("caterpillar",), ()])
def test_no_words_are_of_a_picture_or_table_that_is_not_there(
    safe_analysis: Analysis, left: tuple[str, ...]
) -> None:
    released = release_results(safe_analysis, POLICY)
    drawn = {name: Drawn(name, "", "", b"") for name in left}
    tables = {n: t for n, t in released.tables.items() if n != "rates"}
    sections = report._sections(safe_analysis, replace(released, tables=tables), drawn, [])
    words = {s["id"]: " ".join(s["text"]) for s in sections}
    assert ("Funnel plots" in words.get("therapists", "")) == ("funnel_mean_phq9" in left)
    assert ("no league table" in words.get("therapists", "")) == bool(left)
    assert "Funnel plots" not in words["therapists-rates"]
    assert "no league table" in words["therapists-rates"]
    assert "how many of 100" not in words["effect"]
    whole = report._sections(safe_analysis, released, drawn, [])
    assert "how many of 100" in " ".join(next(s["text"] for s in whole if s["id"] == "effect"))


@pytest.mark.parametrize("there", [(), ("last_scores",), ("missing",), ("completeness",)])
def test_whatever_tables_there_are_a_referee_is_told_where_to_look(
    safe_analysis: Analysis, there: tuple[str, ...]
) -> None:
    tables = _Tables(safe_analysis, POLICY)
    tables.made = {name: ReleasedTable(name, "", pd.DataFrame()) for name in ("flow", *there)}
    _reporting(tables)
    found = tables.made["reporting"].frame.set_index("asked_by")["where"]
    assert (found.str.len() > 0).all()
    assert found["LEVEL 5c"].startswith("Missing last scores") == bool(there)


def test_that_therapists_are_too_few_for_groups_is_said_in_words(safe_analysis: Analysis) -> None:
    """Numbers in a reason become "some", and some cannot where nobody can."""
    with pytest.raises(InputError) as caught:
        cluster_size(4)
    reasons = {"groups": str(caught.value)}
    analysis = replace(safe_analysis, not_done=reasons)
    assert report._not_done(analysis, release_results(safe_analysis, POLICY)) == reasons
    assert str(caught.value).startswith("fewer than five therapists cannot")


def test_what_is_read_in_place_of_a_picture_is_rounded_once(safe_analysis: Analysis) -> None:
    result, released = safe_analysis.measures["phq9"], release_results(safe_analysis, POLICY)
    frame = pd.DataFrame({"therapist": ["all", "T-a", "T-b"], "vpc": [0.05, 0.02, 22.1]})
    tables = {"one_less_phq9": ReleasedTable("one_less_phq9", "", frame)}
    drawn = list(report_figures._of_measure(result, replace(released, tables=tables)))
    (alt,) = (d.alt for d in drawn if d.name == "one_less_phq9")
    assert "of under 0.1% with everybody, and from under 0.1% to 22.1% without" in alt


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("46+", "46+"),
        ("<25", "under 25"),
        ("≥ 65", "at least 65"),
        ("18–25", "18-25"),
        ("Black & Asian", "Black and Asian"),
        ("-1+1", "-1_1"),
        ("+cmd", "_cmd"),
        ("=2+5", "_2_5"),
    ],
)
def test_signs_in_labels_keep_their_meaning_and_make_no_formula(label: str, shown: str) -> None:
    assert plain_label(label, report._SIGNS) == shown
