from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest

from pwp_lib.cohort import Cohort, Provenance
from pwp_lib.measures import GAD7, PHQ9
from pwp_lib.simulate import simulate_cohort
from pwp_lib.truth import Truth
from pwp_report import report
from pwp_report.analysis import analyse
from pwp_report.disclosure import MARK, DisclosurePolicy
from pwp_report.released import ReleasedTable
from pwp_report.study import Study

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
    assert report.guarded("=1+1") == "'=1+1"
    assert report.guarded("@x") == "'@x"
    assert report.guarded(-3.5) == -3.5
    frame = pd.DataFrame({"=a": ["+b", "plain"]})
    assert report._csv(frame) == "'=a\n'+b\nplain\n"


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
    assert [m.label for m in plain.measures] == ["a  _  b", "_"]
    assert plain.provenance.source == "_img onerror_x_.csv"
    twins = report._labels(["<a>", "(a)", "[a]", "_a_"])
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


def test_long_tables_are_cut_on_the_page_and_whole_in_the_file() -> None:
    frame = pd.DataFrame({"therapist": [f"T-{i}" for i in range(5_000)], "n": range(5_000)})
    shown = report._for_page(ReleasedTable("residuals_phq9", "Residuals", frame, "A note."), POLICY)
    assert len(shown["rows"]) == 20
    assert shown["rows"][0][0] == "T-0"
    assert shown["rows"][-1][0] == "T-4999"
    assert "10 of 5,000 rows; tables/residuals_phq9.csv holds all." in shown["note"]
    assert shown["note"].startswith("A note.")
    assert len(report._csv(frame).splitlines()) == 5_001
    short = report._for_page(ReleasedTable("ranks", "Ranks", frame.head(60)), POLICY)
    assert len(short["rows"]) == 60
    assert "holds all" not in short["note"]
