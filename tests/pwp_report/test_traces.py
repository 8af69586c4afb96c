"""Whatever is written or printed is searched for identifiers, dates, ages and rows of patients."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from running import run

import pwp_lib as pwp
from pwp_lib.cohort import Cohort
from pwp_lib.truth import Truth
from pwp_report.analysis import Analysis, analyse

MARK = "Zzyzx"


@pytest.fixture(autouse=True)
def settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings, with the key."""
    place = tmp_path_factory.mktemp("settings")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place))
    monkeypatch.delenv("APPDATA", raising=False)
    monkeypatch.delenv("PWP_DEBUG", raising=False)
    return place


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(cohort: Cohort, **_: Any) -> Analysis:
        return analyse(cohort, draws=200, sensitivity=False)

    monkeypatch.setattr("pwp_report.analysis.analyse", short)


def _frame() -> pd.DataFrame:
    """Every cell that is text bears the mark; every age is known by its decimals.

    Categories of many patients are shown as the file has them, those of few never.
    """
    truth = Truth().with_therapists(9, caseload=24)
    people = pwp.simulate_cohort(truth, seed=4, interviews=False).patients
    return people.drop(columns="synthetic", errors="ignore").assign(
        patient_id=[f"{MARK}-nhs-{i}" for i in range(len(people))],
        therapist_id=f"{MARK} Dr " + people["therapist_id"].astype(str),
        service_id=f"{MARK} Trust",
        gender=[f"{MARK} gender" if i % 17 == 0 else "w" for i in range(len(people))],
        ethnicity=[f"{MARK} ethnicity" if i % 12 == 1 else "a" for i in range(len(people))],
        age=[round(20 + 40 * i / len(people) + 0.00417, 5) for i in range(len(people))],
        note=f"{MARK} said at home that",
        referred="2021-03-17",
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    _frame().to_csv(tmp_path / "own.csv", index=False)
    return tmp_path / "own.csv"


def _read(path: Path) -> str:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        return f"{table.schema.metadata} {table.to_pandas().to_csv()}"
    return path.read_bytes().decode("utf-8", "replace")


def _search(texts: dict[str, str], folder: Path, settings: Path) -> None:
    """Find no identifier, no free text, no date, no age of a person, no row, no path, no key."""
    frame = _frame()
    key = settings / "pwp" / "pseudonym.key"
    secrets = [MARK, "2021-03-17", str(folder), str(Path.home()) + "/", "Traceback"]
    secrets += [key.read_text().strip()] if key.exists() else []
    ages = {f"{a}" for a in frame["age"]}
    scores = frame[["phq9_pre", "phq9_post", "gad7_pre", "gad7_post"]].astype(str)
    rows = {",".join(r) for r in scores.to_numpy().tolist()}
    assert texts
    for name, text in texts.items():
        for secret in secrets:
            assert secret not in text, (name, secret)
        assert not ages & {*re.findall(r"\d+\.\d+", text)}, name
        assert not rows & {*re.findall(r"(?<![\d.,])\d+,\d+,\d+,\d+(?![\d.,])", text)}, name


def _written(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.is_file())


@pytest.mark.nightly
@pytest.mark.usefixtures("quick")
def test_analyse_leaves_no_trace(
    data: Path, tmp_path: Path, settings: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("analyse", data, "--out", out) == 0
    said = capfd.readouterr()
    texts = {str(p.relative_to(out)): _read(p) for p in _written(out)}
    assert len(texts) > 25
    _search({**texts, "out": said.out, "err": said.err}, tmp_path, settings)
    _search_pictures(out)


def _search_pictures(out: Path) -> None:
    """Find nothing of machine, day or person in what a picture says of itself."""
    from PIL import Image

    pictures = [p for p in _written(out / "latest") if p.suffix in (".svg",)]
    assert len(pictures) == 7
    for path in pictures:
        if path.suffix == ".png":
            with Image.open(io.BytesIO(path.read_bytes())) as image:
                assert {*image.info} <= {"Software", "dpi"}
                assert image.info["Software"] == "pwp_lib"
                assert not image.getexif()
        else:
            told = re.search(r"(?s)<metadata>.*?</metadata>", path.read_text("utf-8"))
            assert told is None or not re.search(r"dc:date|20\d\d-\d\d", told[0])


def test_check_and_the_study_file_leave_no_trace(
    data: Path, tmp_path: Path, settings: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.toml"
    assert run("check", data, "--write-study", study) == 0
    frame = _frame().astype(object)
    frame.loc[3, "phq9_pre"] = f"{MARK} eleven"
    frame.loc[5, "patient_id"] = frame.loc[6, "patient_id"]
    frame.loc[9, "status"] = f"{MARK} limbo"
    frame.to_csv(tmp_path / "bad.csv", index=False)
    assert run("check", tmp_path / "bad.csv", "--all") == 2
    said = capfd.readouterr()
    assert "row 5" in said.err
    texts = {"study": study.read_text("utf-8"), "out": said.out, "err": said.err}
    _search(texts, tmp_path, settings)


def test_summarise_and_pool_leave_no_trace(
    data: Path, tmp_path: Path, settings: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    half = len(_frame()) // 2
    for i, part in enumerate((_frame()[:half], _frame()[half:])):
        part.to_csv(tmp_path / f"{i}.csv", index=False)
        assert run("summarise", tmp_path / f"{i}.csv", "--out", out / f"{i}.parquet") == 0
    parts = [out / "0.parquet", out / "1.parquet"]
    assert run("pool", *parts, "--same-therapists", "--out", out / "sum.parquet") == 0
    said = capfd.readouterr()
    texts = {p.name: _read(p) for p in _written(out)}
    assert len(texts) == 3
    _search({**texts, "out": said.out, "err": said.err}, tmp_path, settings)


_INSIDE = {
    "check": "pwp_report.commands.check.check_study_data",
    "analyse": "pwp_report.report.write_run",
    "summarise": "multilevel.moments.Moments.for_formula",
    "pool": "multilevel.moments.Moments.read",
}


@pytest.mark.neighbours
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("command", _INSIDE)
@pytest.mark.parametrize("kind", [KeyError, ValueError, OSError, RuntimeWarning, AssertionError])
def test_no_error_inside_shows_what_it_holds(
    command: str,
    kind: Callable[[str], Exception],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise kind(f"{MARK} of row 7")

    monkeypatch.setattr("pwp_report.analysis.analyse", lambda *_, **__: None)
    monkeypatch.setattr(_INSIDE[command], broken)
    out = tmp_path / ("m.parquet" if command == "summarise" else "out")
    arguments: dict[str, list[str | Path]] = {
        "check": [data],
        "analyse": [data, "--out", out],
        "summarise": [data, "--out", out],
        "pool": [data, data],
    }
    assert run(command, *arguments[command]) == 1
    said = capfd.readouterr()
    assert MARK not in said.out + said.err
    assert "Traceback" not in said.err
    assert "went wrong inside" in said.err.splitlines()[-1]
    assert not out.exists()


@pytest.mark.parametrize("command", ["analyse", "summarise"])
def test_the_key_is_never_made_where_results_go(
    command: str, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    target = out / "m.parquet" if command == "summarise" else out
    (tmp_path / "link").symlink_to(out)
    for key in (out / "k.key", out / "deeper" / "k.key", tmp_path / "link" / "k.key"):
        assert run(command, data, "--out", target, "--key", key) == 2
        assert "the pseudonym key lies inside" in capfd.readouterr().err
    assert not list(out.iterdir())
