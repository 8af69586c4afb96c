from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from running import run

import pwp_lib as pwp
from pwp_lib.analysis import Analysis
from pwp_lib.commands import book
from pwp_lib.data.cohort import PACKAGED, Cohort, Provenance
from pwp_lib.data.disclosure import DisclosurePolicy
from pwp_lib.data.study import Study
from pwp_lib.output.chapters import CHAPTERS, Cell, Facts, facts_of, own_notebook
from pwp_lib.output.chapters_build import read_chapter
from pwp_lib.output.chapters_run import WITHHELD, Gate, run_chapter
from pwp_lib.output.release import release
from pwp_lib.output.report_figures import draw_all


@pytest.fixture(autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
    monkeypatch.delenv("APPDATA", raising=False)


def _named(cohort: Cohort, mark: str) -> Cohort:
    """The cohort under names that can be searched for."""
    patients = cohort.patients.assign(
        patient_id=[f"{mark}-patient-{i:05d}" for i in range(len(cohort.patients))],
        therapist_id=f"{mark} Dr " + cohort.patients["therapist_id"].astype(str),
        service_id=f"{mark} Trust " + cohort.patients["service_id"].astype(str),
    )
    therapists = cohort.therapists
    if therapists is not None:
        therapists = therapists.assign(
            therapist_id=f"{mark} Dr " + therapists["therapist_id"].astype(str),
            service_id=f"{mark} Trust " + therapists["service_id"].astype(str),
        )
    return replace(
        cohort, patients=patients, therapists=therapists, provenance=Provenance(False, "own.csv")
    )


#: Nine patients.
SMALL = "Zzyzx Dr T05"


def _eight() -> Cohort:
    truth = pwp.Truth(caseloads=(31, 119, 36, 83, 9, 60, 44, 41))
    return _named(pwp.simulate_cohort(truth, seed=4, interviews=False), "Zzyzx")


@pytest.fixture(scope="module")
def eight() -> Analysis:
    return pwp.analyse(_eight(), draws=500, repeats=1, sensitivity=False)


@pytest.mark.nightly
@pytest.mark.parametrize("control", [True, False])
def test_two_chapters_over_eight_therapists(eight: Analysis, control: bool) -> None:
    released = release(eight, DisclosurePolicy(active=control))
    gate = Gate(released, draw_all(eight, released))
    facts = facts_of(eight, Study(), control)
    assert "11_would_another_analysis_say_the_same" not in facts.pages
    cells: list[Cell] = []
    for name in ("01_data_preparation", "05_ranking_practitioners"):
        cells += run_chapter(own_notebook(read_chapter(name), facts), eight.cohort, gate, name)
    shown = str([c.get("outputs") for c in cells])
    assert (SMALL in shown) is not control
    assert (WITHHELD.strip("*") in shown) is control
    assert ("423" in re.sub(r"base64,[^\"']*", "", shown)) is not control  # patients, exactly
    assert "Composite ranks" in shown if control else "Ranks, their mean" in shown


def test_without_the_extra_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "jupyter_book" else found(n, *a)
    )
    out = tmp_path / "out"
    assert run("book", "--data", PACKAGED / "patients.csv", "--out", out) == 2
    assert 'python -m pip install "pwp-lib[book]"' in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_cannot_be_used_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("patient,therapist,phq9_pre,phq9_post\n1,A,5,99\n2,B,4,3\n")
    assert run("book", "--data", file, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("pwp: bad.csv")
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_chapter_that_stops_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopping(name: str) -> list[Cell]:
        source = "### Step 2: go on" if name else ""
        tags = {"tags": ["open"]}
        code = {"cell_type": "code", "metadata": tags, "source": "raise KeyError('Zzyzx')"}
        return [{"cell_type": "markdown", "metadata": {}, "source": source}, code]

    monkeypatch.setattr(book, "read_chapter", stopping)
    monkeypatch.setattr(book, "run_analysis", lambda *_: None)
    kept_back = SimpleNamespace(policy=SimpleNamespace(active=True))
    monkeypatch.setattr(book, "release", lambda *_: kept_back)
    monkeypatch.setattr(book, "draw_all", lambda *_: {})
    facts = Facts(_eight().measures, ["phq9", "gad7"], pages=["01_data_preparation"])
    monkeypatch.setattr(book, "facts_of", lambda *_: facts)
    monkeypatch.setattr(book, "_MANY", 100)
    data = tmp_path / "data.csv"
    _eight().patients.to_csv(data, index=False)
    assert run("book", "--data", data, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("With so many patients this takes minutes")
    assert '"Step 1: go on": KeyError' in said
    assert "Zzyzx" not in said
    assert not (tmp_path / "out").exists()


# --- All chapters, as pages -----------------------------------------------------------------------


def _loads(therapists: int, seed: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.random.default_rng(seed).integers(8, 110, therapists))


def _cohorts() -> dict[str, Cohort]:
    truth = pwp.Truth()
    nothing = truth.with_vpc(0.0)
    return {
        "no effect": pwp.simulate_cohort(replace(nothing, caseloads=_loads(18, 1)), seed=11),
        "one measure": pwp.simulate_cohort(pwp.Truth.one_measure(), seed=3),
        "eight": pwp.simulate_cohort(replace(truth, caseloads=_loads(8, 2)), seed=4),
        "fifty-six": pwp.simulate_cohort(replace(truth, caseloads=_loads(56, 3)), seed=6),
    }


def _text(html: str, between: str = " ") -> str:
    """What a page says; with a line break between cells, which are no sentence."""
    plain = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]+>", between, html)
    return re.sub(r"[ \t]+" if between == "\n" else r"\s+", " ", plain)


def _telling(cohort: Cohort) -> set[str]:
    """Exact counts of all patients that no page may hold; smaller ones meet others by chance."""
    found = [len(cohort.patients)]
    for m in cohort.measures:
        row = pwp.summarise_outcomes(cohort.patients, m).iloc[0]
        found += [int(row[c]) for c in row.index if str(c).startswith("n_") and row[c] > 200]
    telling = {str(n) for n in found if n % 5}
    assert str(found[0]) in telling
    return telling


def _pages(run: Path) -> list[Path]:
    return [p for where in ("book", "notebooks") for p in (run / where).glob("*.html")]


@pytest.mark.nightly
@pytest.mark.parametrize("way", ["no effect", "one measure", "eight", "fifty-six"])
def test_pages_over_own_data(
    way: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    cohort = _named(_cohorts()[way], "Zzyzx")
    data, therapists = tmp_path / "Hush-hush.csv", tmp_path / "therapists.csv"
    cohort.patients.drop(columns="synthetic", errors="ignore").to_csv(data, index=False)
    assert cohort.therapists is not None
    cohort.therapists.to_csv(therapists, index=False)
    monkeypatch.setenv("PWP_DEBUG", "1")
    out = tmp_path / "out"
    assert run("book", "--data", data, "--therapists", therapists, "--out", out) == 0
    assert "WARNING" not in capfd.readouterr().err
    written = _pages(out / "latest")
    pages = {p.name: _text(p.read_text("utf-8")) for p in written}
    assert len(pages) > 10
    for page in written:
        for to in re.findall(r'(?:href|src)="([^"#?:]+)["#?]', page.read_text("utf-8")):
            assert (page.parent / to).exists(), (page.name, to)
    for file in (out / "latest").rglob("*"):
        if file.is_file():
            content = file.read_bytes().decode("utf-8", "ignore")
            for secret in ("Zzyzx", "Hush-hush", str(tmp_path), "Traceback"):
                assert secret not in content, (file.name, secret)
    said = {p.name: _text(p.read_text("utf-8"), "\n") for p in written}
    telling = _telling(cohort)
    for name, text in pages.items():
        numbers = {n.replace(",", "") for n in re.findall(r"(?<![\d.,])\d[\d,]*(?![.,]?\d)", text)}
        assert not telling & numbers, name
        if not name.startswith("12_"):  # whose designs are the reader's own
            for n in re.findall(r"(?<![\d.,])(\d[\d,]*) (?:patients|cases)\b", said[name]):
                assert int(n.replace(",", "")) % 5 == 0, (name, n)
        assert "under disclosure control" in text, name
        if name != "index.html":  # which says that comparisons with the paper are left out
            assert not re.search(r"\bthe paper\b|synthetic|[Ee]xercise \d", text), name
        if way == "one measure":
            assert "GAD-7" not in text or name == "glossary.html", name
    if way == "no effect":
        model = pages["03_multilevel_modelling.html"]
        assert "improves the fit" not in model
        assert not re.search(r"The therapist effect on \S+ is [1-9]", model)


#: What a cell may hold, and what each does where it is taken for more than text.
HOSTILE = (
    "<script>alert(1)</script>", '=HYPERLINK("http://x","y")', "../../x", "{{7*7}}",
    "$$\\href{javascript:alert(1)}{x}$$ $\\input{x}$", "`tick` {raw}`x`", "x" * 10_000,
    "```{eval-rst}\n.. raw:: html\n\n   <b id=owned>x</b>\n```",
    "<img src=x onerror=alert(1)> | a | b", "\\(\\input{x}\\)",
)  # fmt: skip
_HOSTILE_STUDY = """
title = "<script>alert(1)</script>{{7*7}}"
[measures.class]
label = "x', __import__('os').system('exit'), '<b id=owned>{{7*7}}`$"
minimum = 0
maximum = 27
cutoff = 10
reliable_change = 6
pre = "{{7*7}}"
post = "<b id=owned>"
[measures.gad7]
pre = "gad7_pre"
post = "gad7_post"
"""


def _write_hostile(folder: Path) -> Path:
    """Everything that is text is hostile: names, columns, labels, and the file's own name."""
    cohort = pwp.simulate_cohort(pwp.Truth().with_therapists(10, caseload=30), seed=4)
    patients = cohort.patients
    codes = patients["therapist_id"].astype("category").cat.codes
    named = patients.assign(
        therapist_id=[HOSTILE[i] for i in codes],
        service_id=[HOSTILE[i // 2] for i in codes],
        patient_id=[f"{HOSTILE[i % 10][:60]}{i}" for i in range(len(patients))],
        gender=[HOSTILE[i % 10] for i in range(len(patients))],
    )
    named = named.rename(columns={"phq9_pre": "{{7*7}}", "phq9_post": "<b id=owned>"})
    (folder / "study.toml").write_text(_HOSTILE_STUDY, encoding="utf-8")
    data = folder / "<img src=x onerror=alert(2)> {{7*7}}.csv"
    named.drop(columns="synthetic", errors="ignore").to_csv(data, index=False)
    return data


@pytest.mark.nightly
def test_hostile_cells_do_no_harm_in_the_pages(tmp_path: Path) -> None:
    data, out = _write_hostile(tmp_path), tmp_path / "out"
    some = [f for f in CHAPTERS if f[:2] in ("01", "05", "06")]
    asked = book.Request(data, out, tmp_path / "study.toml", None, tmp_path / "key", True)
    book.book_of(asked, some)
    pages = _pages(out / "latest")
    for page in pages:
        html = page.read_text("utf-8")
        for harm in (
            "<script>alert",
            "javascript:alert",
            "owned>",
            "onerror=",
            "=HYPERLINK",
            "{{7",
        ):
            assert harm not in html, (page.name, harm)
        text = _text(re.sub(r"(?s)<svg.*?</svg>", " ", html))
        assert "\\input" not in text
        assert max(map(len, text.split())) < 200
    assert any("_script_alert(1)_" in p.read_text("utf-8") for p in pages)


_ONE_CHAPTER = """
import sys
from pathlib import Path
from pwp_lib.commands.book import Request, book_of

data, out, key = map(Path, sys.argv[1:])
book_of(Request(data, out, None, None, key), ["01_data_preparation"])
"""


@pytest.mark.nightly
def test_killed_at_random_moments_the_book_is_the_old_one_or_the_new(tmp_path: Path) -> None:
    truth = pwp.Truth.one_measure().with_therapists(8, caseload=25)
    cohort = pwp.simulate_cohort(truth, seed=2, interviews=False)
    data, out = tmp_path / "own.csv", tmp_path / "out"
    cohort.patients.drop(columns="synthetic", errors="ignore").to_csv(data, index=False)
    command = [sys.executable, "-c", _ONE_CHAPTER, str(data), str(out), str(tmp_path / "key")]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    env = {**os.environ, "TMPDIR": str(temporary)}
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, env=env)
    lasted = time.monotonic() - began
    moments = random.Random(7)
    # Pages are copied into their place at the very end: half the kills fall there.
    parts = [moments.random() for _ in range(3)] + [moments.uniform(0.9, 1.05) for _ in range(3)]
    for part in parts:
        child = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=env,
        )
        time.sleep(lasted * part)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        whole = {str(p.relative_to(out / "run-0001")) for p in (out / "run-0001").rglob("*.html")}
        assert {"index.html", "notebooks/01_data_preparation.html", "book/glossary.html"} <= whole
        for made in out.glob("run-*"):
            assert {str(p.relative_to(made)) for p in made.rglob("*.html")} == whole
            pages = [p.read_text("utf-8").rstrip() for p in _pages(made)]
            assert all(page.endswith("</html>") for page in pages)
        assert (out / "latest").resolve().name.startswith("run-")
    assert not list(temporary.iterdir())
    subprocess.run(command, check=True, capture_output=True, env=env)
    assert not list(out.glob(".run-*"))
    assert not list(temporary.iterdir())


def test_every_data_set_is_what_its_name_says() -> None:
    cohorts = _cohorts()
    assert {w: c.patients["therapist_id"].nunique() for w, c in cohorts.items()} == {
        "no effect": 18, "one measure": 21, "eight": 8, "fifty-six": 56,
    }  # fmt: skip
    assert [m.name for m in cohorts["one measure"].measures] == ["phq9"]
    nothing = cohorts["no effect"]
    for m in nothing.measures:
        fit = pwp.fit_mixed(pwp.model_formula(m, nothing.measures), nothing.patients)
        assert fit.singular
        assert fit.vpc() < 0.03
