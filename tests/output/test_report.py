from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pwp_lib.analysis import Analysis, analyse
from pwp_lib.cli import main
from pwp_lib.commands.analyse import run_analysis
from pwp_lib.data.cohort import Cohort, Provenance
from pwp_lib.data.disclosure import MARK, DisclosurePolicy
from pwp_lib.data.pseudonyms import Pseudonyms, pseudonymise
from pwp_lib.data.study import Study
from pwp_lib.engine.posterior import PosteriorInterval
from pwp_lib.engine.simulate import simulate_cohort
from pwp_lib.engine.truth import Truth
from pwp_lib.errors import InputError
from pwp_lib.output import report, runs
from pwp_lib.output.joint import OTHERS
from pwp_lib.output.methods import methods_and_results
from pwp_lib.output.release import Published, release
from pwp_lib.output.release_parts import band

HOSTILE = [
    "<script>alert(1)</script>",
    '=HYPERLINK("http://x","y")',
    "../../x",
    "x" * 10_000,
    "$\\frac{1}{2}$",
    "@sum(1)",
    '"quoted", and so on',
    "\x1b[31mred\x07",
    "-1+1",
    "Zoë O'Neill",
]
_INTERVAL = PosteriorInterval(0.12, 0.05, 0.2, 0.95, 1e-3, 1e-3, 1e-3, 4_000.0, 1.0)
STUDY = Study(title="Report <b>&</b> title")


def _cohort() -> Cohort:
    truth = Truth().with_therapists(10, caseload=None)
    truth = replace(truth, caseloads=(60, 45, 40, 40, 35, 30, 30, 25, 9, 8))
    made = simulate_cohort(truth, seed=4, interviews=False)
    names = dict(zip(sorted(made.patients["therapist_id"].unique()), HOSTILE, strict=True))
    patients = made.patients.assign(
        therapist_id=made.patients["therapist_id"].map(names),
        patient_id=["nhs-" + p for p in made.patients["patient_id"]],
        service_id="leeds<i>",
    )
    assert made.therapists is not None
    therapists = made.therapists.assign(
        therapist_id=made.therapists["therapist_id"].map(names), service_id="leeds<i>"
    )
    return replace(
        made,
        patients=patients,
        therapists=therapists,
        provenance=Provenance(False, "own.csv"),
    )


def _analysed(cohort: Cohort) -> Analysis:
    return analyse(report.safe_labels(cohort), draws=200, repeats=1, sensitivity=False)


@pytest.fixture(scope="module")
def open_analysis() -> Analysis:
    return _analysed(_cohort())


@pytest.fixture(scope="module")
def safe_analysis() -> Analysis:
    return _analysed(pseudonymise(_cohort(), Pseudonyms(b"k" * 32)))


@pytest.fixture(scope="module")
def safe_run(safe_analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("safe") / "out"
    return report.write_run(safe_analysis, STUDY, DisclosurePolicy(), home)


@pytest.fixture(scope="module")
def open_run(open_analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("open") / "out"
    return report.write_run(open_analysis, STUDY, DisclosurePolicy(active=False), home)


def _texts(run: Path) -> dict[str, str]:
    found = {}
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.suffix != ".png":
            found[str(path.relative_to(run))] = path.read_text(encoding="utf-8")
    return found


def _hashes(run: Path) -> dict[str, str]:
    return {
        str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(run.rglob("*"))
        if p.is_file()
    }


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
    names = set(_hashes(safe_run))
    assert {"report.html", "results.json", "methods.txt"} <= names
    assert {"tables/outcomes.csv", "tables/residuals_phq9.csv", "tables/flow.csv"} <= names
    assert {"figures/caterpillar.svg", "figures/caterpillar.png"} <= names
    assert safe_run.name == "run-0001"
    assert (safe_run.parent / "latest").resolve() == safe_run.resolve()


def test_second_run_gives_the_same_bytes(safe_analysis: Analysis, safe_run: Path) -> None:
    again = report.write_run(safe_analysis, STUDY, DisclosurePolicy(), safe_run.parent)
    assert again.name == "run-0002"
    assert _hashes(again) == _hashes(safe_run)
    assert (safe_run.parent / "latest").resolve() == again.resolve()


def test_no_identifier_and_no_patient_anywhere(safe_run: Path) -> None:
    for name, text in _texts(safe_run).items():
        for word in ("nhs-", "leeds", "alert(1)", "HYPERLINK", "O'Neill", "own.csv"):
            assert word not in text, (name, word)
    for path in safe_run.rglob("*.png"):
        assert b"leeds" not in path.read_bytes()


def test_small_caseloads_appear_only_together(safe_run: Path, safe_analysis: Analysis) -> None:
    loads = safe_analysis.cohort.caseloads()
    small = [str(t) for t in loads.index[loads < 20]]
    assert len(small) == 2
    everything = "".join(_texts(safe_run).values())
    assert not any(t in everything for t in small)
    residuals = pd.read_csv(safe_run / "tables" / "residuals_phq9.csv")
    assert OTHERS in set(residuals["therapist"])
    # The two have 17 patients together: a third joins them, so that the aggregate has 20.
    assert len(residuals) == 7 + 1


def test_width_of_an_interval_tells_only_the_rounded_caseload(safe_analysis: Analysis) -> None:
    released = release(safe_analysis, DisclosurePolicy())
    frame = released.frame("residuals_phq9")
    assert frame is not None
    result = safe_analysis.measures["phq9"]
    between = float(result.fit.random_covariance.to_numpy()[0, 0])
    within = result.fit.residual_variance
    exact = result.residuals["se"] * (result.residuals["n"] * between + within) ** 0.5
    for row in frame[frame["therapist"] != OTHERS].itertuples():
        n = float(row.n)
        expected = exact[row.therapist] / (n * between + within) ** 0.5
        assert row.se == pytest.approx(expected, abs=0.006)
        assert n % 5 == 0


def test_published_counts_are_multiples_of_five_or_withheld(safe_run: Path) -> None:
    seen = 0
    for path in (safe_run / "tables").glob("outcomes*.csv"):
        table = pd.read_csv(path, dtype=str)
        for column in [c for c in table if c == "n" or c.startswith("n_")]:
            for value in table[column].dropna():
                seen += 1
                assert value == MARK or (float(value) % 5 == 0 and float(value) >= 5)
    assert seen > 50


def test_percentages_follow_from_released_counts(safe_run: Path) -> None:
    table = pd.read_csv(safe_run / "tables" / "outcomes_by_therapist_phq9.csv", dtype=str)
    for row in table.itertuples():
        if MARK in (row.n_improved, row.n):
            assert row.improvement == MARK
        else:
            share = 100 * float(row.n_improved) / float(row.n)
            assert abs(float(row.improvement) - share) <= 0.5


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


def test_labels_stay_different() -> None:
    cohort = _cohort()
    safe = report.safe_labels(cohort)
    assert safe.patients["therapist_id"].nunique() == 10
    assert safe.patients["therapist_id"].str.len().max() <= 40
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
            assert value is None or value.startswith(("data:", "#")), (tag, value)
        if tag == "img":
            assert len(attributes.get("alt") or "") > 30
    assert "http://" not in page.replace("http://www.w3.org", "")
    headings = [tag for tag, _ in _tags(page) if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1"
    assert set(headings[1:]) == {"h2"}


def test_results_follow_the_packaged_schema(safe_run: Path, open_run: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(
        (files("pwp_lib.output") / "schemas" / f"results-{report.SCHEMA_VERSION}.json").read_text()
    )
    for run in (safe_run, open_run):
        content = json.loads((run / "results.json").read_text(encoding="utf-8"))
        jsonschema.validate(content, schema)
        assert content["schema_version"] == report.SCHEMA_VERSION
        for table in content["tables"].values():
            assert all(len(row) == len(table["columns"]) for row in table["rows"])


def test_methods_name_what_the_reporting_guidance_asks_for(safe_run: Path) -> None:
    text = (safe_run / "methods.txt").read_text(encoding="utf-8")
    for words in (
        "two levels", "10 therapists", "complete cases", "y_ij =", "maximum likelihood",
        "95% profile-likelihood interval", "pwp_lib", "seed 1", "not allocated",
    ):  # fmt: skip
        assert words in text
    assert "rounded to the nearest 5" in text
    assert "nan" not in text


def test_a_killed_run_leaves_the_old_results(
    safe_analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "out"
    monkeypatch.setattr(report, "draw_all", lambda *_: {})
    first = report.write_run(safe_analysis, STUDY, DisclosurePolicy(), home)
    before = _hashes(first)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for module, name in ((report, "_write_files"), (runs, "_move"), (runs, "_point")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, killed)
            with pytest.raises(KeyboardInterrupt):
                report.write_run(safe_analysis, STUDY, DisclosurePolicy(), home)
        assert (home / "latest").resolve() == first.resolve()
        assert _hashes(first) == before
    assert not list(home.glob(".run-*"))


def test_pointer_is_a_file_where_links_are_not_allowed(
    safe_analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("links are not allowed")

    monkeypatch.setattr(Path, "symlink_to", refused)
    (tmp_path / "run-0007").mkdir()
    runs._point(tmp_path, tmp_path / "run-0007")
    assert (tmp_path / "latest.txt").read_text() == "run-0007\n"


def test_a_folder_that_cannot_be_used_is_one_sentence(
    safe_analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "draw_all", lambda *_: {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="nothing can be written"):
        report.write_run(safe_analysis, STUDY, DisclosurePolicy(), tmp_path / "file" / "out")


def test_p_values_are_banded() -> None:
    assert [band(p) for p in (0.0001, 0.005, 0.03, 0.4)] == [
        "below 0.001", "below 0.01", "below 0.05", "0.05 or more",
    ]  # fmt: skip


def test_command_analyses_own_data_without_a_trace_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(cohort: Cohort, **options: object) -> Analysis:
        return analyse(cohort, draws=200, repeats=1, sensitivity=False)

    monkeypatch.setattr("pwp_lib.analysis.analyse", quick)
    monkeypatch.setattr(report, "draw_all", lambda *_: {})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv("APPDATA", raising=False)
    cohort = _cohort()
    cohort.patients.to_csv(tmp_path / "own.csv", index=False)
    main_out = tmp_path / "results"
    for _ in range(2):
        with pytest.raises(SystemExit) as stop:
            main(["analyse", str(tmp_path / "own.csv"), "--out", str(main_out)])
        assert not stop.value.code
    said = capsys.readouterr()
    assert "report.html" in said.out
    assert "models, ranks and comparisons" in said.err
    for word in ("nhs-", "leeds", "alert", str(tmp_path)):
        assert word not in said.out + said.err
    one, two = main_out / "run-0001", main_out / "run-0002"
    assert _hashes(one) == _hashes(two)
    for text in _texts(one).values():
        assert "nhs-" not in text
        assert "alert(1)" not in text
    key = tmp_path / "settings" / "pwp" / "pseudonym.key"
    secret = key.read_text().strip()
    assert not any(secret in text for text in _texts(one).values())
    assert os.path.realpath(main_out / "latest") == os.path.realpath(two)


def test_one_measure_and_few_therapists_still_give_a_report(tmp_path: Path) -> None:
    made = simulate_cohort(
        Truth.one_measure().with_therapists(4, caseload=30), seed=2, interviews=False
    )
    analysis = analyse(made, draws=200, repeats=1, sensitivity=False)
    run = report.write_run(analysis, Study(), DisclosurePolicy(active=False), tmp_path / "out")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "What could not be done" in page
    assert "Synthetic data" in page
    assert "other measure" not in (run / "methods.txt").read_text(encoding="utf-8")


def _small() -> Cohort:
    truth = Truth.one_measure().with_therapists(9, caseload=15)
    return simulate_cohort(truth, seed=2, interviews=False)


def test_what_a_study_asks_for_is_done_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwp_lib.findings.measured._nuts", lambda *_: _INTERVAL)
    study = Study(cluster_size=3, engines=("ml", "reml", "nuts"))
    analysis = run_analysis(_small(), study, lambda _: None)
    result = analysis.measures["phq9"]
    assert result.posterior is None
    assert result.rank_uncertainty["p_upper"].sum() == pytest.approx(3)
    assert analysis.ranks is not None
    assert analysis.ranks["cluster"].value_counts().to_dict() == dict.fromkeys(
        ("upper", "middle", "lower"), 3
    )
    assert analysis.composite_uncertainty is not None
    assert analysis.composite_uncertainty["p_lower"].sum() == pytest.approx(3)
    assert analysis.comparison is not None
    upper = analysis.ranks.index[:3]
    patients = analysis.cohort.patients
    compared = analysis.comparison.effect_sizes.loc[("phq9", "upper"), "n"]
    assert compared == patients["therapist_id"].isin(upper).sum()
    assert result.sensitivity is not None
    assert result.sensitivity.rows["upper_shared"].max() == 3
    released = release(analysis, DisclosurePolicy(active=False))
    effect = released.frame("therapist_effect")
    assert effect is not None
    assert {"reml", "nuts_median", "nuts_lower", "nuts_upper"} <= set(effect)
    assert "median" not in effect
    text = " ".join(methods_and_results(analysis, study, released))
    assert "first and the last 3 of 9" in text
    assert "NUTS in PyMC" in text
    assert "posterior median by NUTS was 12.0% (5.0% to 20.0%)" in text
    assert "Gibbs" not in text


def test_nuts_without_pymc_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pwp_lib.findings.measured.find_spec", lambda name: None if name == "pymc" else name
    )
    with pytest.raises(InputError, match=r"the engine nuts needs pymc.*extra bayes"):
        run_analysis(_small(), Study(engines=("ml", "nuts")), lambda _: None)


@pytest.mark.nightly
def test_nuts_agrees_with_gibbs() -> None:
    pytest.importorskip("nutpie")
    row = (
        analyse(_small(), sensitivity=False, repeats=0, engines=("gibbs", "nuts"))
        .table()
        .loc["phq9"]
    )
    for name in ("median", "lower", "upper"):
        assert row[f"nuts_{name}"] == pytest.approx(row[name], rel=0.15)


_WRITER = """
import sys
from pathlib import Path
from pwp_lib.analysis import analyse
from pwp_lib.data.disclosure import DisclosurePolicy
from pwp_lib.data.study import Study
from pwp_lib.engine.simulate import simulate_cohort
from pwp_lib.engine.truth import Truth
from pwp_lib.output import report

cohort = simulate_cohort(Truth.one_measure().with_therapists(8, caseload=25), interviews=False)
analysis = analyse(cohort, draws=100, repeats=0, sensitivity=False)
released = report.release(analysis, DisclosurePolicy())
report.release = lambda *_: released
report.draw_all = lambda *_: {}
while True:
    report.write_run(analysis, Study(), DisclosurePolicy(), Path(sys.argv[1]))
"""


def _whole(home: Path) -> dict[str, str]:
    """The results that the pointer leads to, after a kill: complete, as every run beside them."""
    pointed = (home / "latest").resolve()
    assert re.fullmatch(r"run-\d{4}", pointed.name)
    found = _hashes(pointed)
    assert {"report.html", "results.json", "methods.txt", "tables/outcomes.csv"} <= set(found)
    assert json.loads((pointed / "results.json").read_text())["schema_version"] == 1
    assert (pointed / "report.html").read_text().rstrip().endswith("</html>")
    for run in home.glob("run-*"):
        assert _hashes(run) == found
    return found


def test_killed_while_writing_the_results_are_old_or_new(tmp_path: Path) -> None:
    home = tmp_path / "out"
    child = subprocess.Popen([sys.executable, "-c", _WRITER, str(home)])
    try:
        for _ in range(1_200):
            if len(list(home.glob("run-*"))) >= 3 or child.poll() is not None:
                break
            time.sleep(0.05)
        time.sleep(random.Random(home.as_posix()).uniform(0, 0.2))
    finally:
        child.kill()
        child.wait()
    assert len(list(home.glob("run-*"))) >= 3
    _whole(home)


@pytest.mark.nightly
def test_the_command_killed_at_random_moments_leaves_old_or_new(tmp_path: Path) -> None:
    _cohort().patients.to_csv(tmp_path / "own.csv", index=False)
    home = tmp_path / "out"
    command = [
        sys.executable, "-m", "pwp_lib", "analyse", str(tmp_path / "own.csv"), "--out", str(home),
        "--key", str(tmp_path / "key"),
    ]  # fmt: skip
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    lasted = time.monotonic() - began
    old = _whole(home)
    moments = random.Random(5)
    for part in range(8):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(lasted * (part + moments.random()) / 8)
        child.kill()
        child.wait()
        # A second run gives the same bytes, so that old and new cannot be told apart.
        assert _whole(home) == old
    subprocess.run(command, check=True, capture_output=True)
    assert _whole(home) == old


def test_long_tables_are_cut_on_the_page_and_whole_in_the_file() -> None:
    frame = pd.DataFrame({"therapist": [f"T-{i}" for i in range(5_000)], "n": range(5_000)})
    shown = report._for_page(Published("residuals_phq9", "Residuals", frame, "A note."))
    assert len(shown["rows"]) == 200
    assert shown["rows"][0][0] == "T-0"
    assert shown["rows"][-1][0] == "T-4999"
    assert "100 of 5,000 rows; tables/residuals_phq9.csv holds all." in shown["note"]
    assert shown["note"].startswith("A note.")
    assert len(report._csv(frame).splitlines()) == 5_001
    short = report._for_page(Published("ranks", "Ranks", frame.head(400)))
    assert len(short["rows"]) == 400
    assert "holds all" not in short["note"]


@pytest.mark.nightly
def test_a_million_patients_and_5000_therapists(tmp_path: Path) -> None:
    loads = np.random.default_rng(1).negative_binomial(4, 4 / 204, 5_000) + 1
    truth = replace(Truth().with_therapists(5_000, caseload=None), caseloads=tuple(loads.tolist()))
    cohort = simulate_cohort(truth, seed=1, interviews=False)
    assert len(cohort.patients) > 950_000
    cohort.patients.to_csv(tmp_path / "own.csv", index=False)
    home, peak = tmp_path / "out", tmp_path / "peak"
    script = (
        "import resource, sys; from pathlib import Path; from pwp_lib.cli import app; "
        "app(sys.argv[2:], standalone_mode=False); "
        "Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
    )
    arguments = ["analyse", str(tmp_path / "own.csv"), "--out", str(home), "--key"]
    command = [sys.executable, "-c", script, str(peak), *arguments, str(tmp_path / "key")]
    subprocess.run(command, check=True, capture_output=True)
    page = home / "latest" / "report.html"
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert page.stat().st_size < 5e6
    assert len(pd.read_csv(home / "latest" / "tables" / "ranks.csv")) > 4_500
    assert int(peak.read_text()) < 4 * 1024**2  # kilobytes on Linux
