from __future__ import annotations

import os
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import bad_files
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import run

from multilevel.errors import InputError
from pwp_lib.cohort import PACKAGED
from pwp_report.commands.check import check_file

CATALOGUE = bad_files.CATALOGUE


def _tree(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*"))}


@pytest.fixture(autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    home = tmp_path_factory.mktemp("settings")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.delenv("APPDATA", raising=False)
    monkeypatch.delenv("PWP_DEBUG", raising=False)


def test_counts_that_are_not_known_are_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whom a rule on a status excludes is not known while its words are not."""
    lines = [f"p{i},t{i % 8},{10 + i % 9},{5 + i % 7},somehow" for i in range(80)]
    file = tmp_path / "own.csv"
    file.write_text("\n".join(["patient,therapist,phq9_pre,phq9_post,status", *lines]))
    with pytest.raises(InputError, match="another word"):
        check_file(file, None, None, None, False)
    said = capsys.readouterr().out
    assert "80 places" in said
    assert "Rules of inclusion" not in said


def test_catalogue_is_large_and_names_each_case_once() -> None:
    names = [case.name for case in CATALOGUE]
    assert len(names) == len(set(names)) >= 120


@pytest.mark.neighbours
@pytest.mark.parametrize("case", CATALOGUE, ids=lambda c: c.name)
def test_bad_file_gives_one_sentence_and_writes_nothing(case, tmp_path: Path, capsys) -> None:
    place = tmp_path / "in"
    place.mkdir()
    path = case.build(place)
    command: list[str | Path] = ["analyse", path, "--out", tmp_path / "out"]
    if case.study:
        (place / "study.toml").write_text(case.study, encoding="utf-8")
        command += ["--study", place / "study.toml"]
    before = _tree(tmp_path)
    assert run(*command) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, said.err
    sentence = lines[0]
    assert sentence.startswith("pwp: ")
    assert sentence[-1] in ".?!"
    assert case.says.lower() in sentence.lower()
    assert "Traceback" not in sentence
    assert len(sentence) < 400
    assert sentence.isprintable()
    assert bad_files.SECRET not in sentence
    assert str(tmp_path) not in sentence
    assert _tree(tmp_path) == before


PLAIN = [c for c in CATALOGUE if not c.study]


@pytest.mark.neighbours
@pytest.mark.parametrize("case", PLAIN[::12], ids=lambda c: c.name)
def test_check_refuses_what_analyse_refuses(case, tmp_path: Path, capsys) -> None:
    path = case.build(tmp_path)
    before = _tree(tmp_path)
    assert run("check", path) == 2
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) == 1
    assert bad_files.SECRET not in said.out + said.err
    assert _tree(tmp_path) == before


def test_links_that_lead_nowhere_are_one_sentence(tmp_path: Path, capsys) -> None:
    for link, to in (("a.csv", "b.csv"), ("b.csv", "a.csv"), ("c.csv", "none.csv")):
        (tmp_path / link).symlink_to(tmp_path / to)
    for link, says in (("a.csv", "cannot be opened"), ("c.csv", "no such file")):
        assert run("check", tmp_path / link) == 2
        assert says in capsys.readouterr().err


@pytest.mark.neighbours
@pytest.mark.skipif(sys.platform != "linux", reason="needs ulimit and /proc")
@pytest.mark.parametrize("out", ["full", "/proc/none/out"])
def test_where_nothing_can_be_written_it_is_said(out: str, tmp_path: Path) -> None:
    import subprocess

    script = (
        "import resource, sys; from pathlib import Path; from pwp_report.runs import publish\n"
        "from pwp_report.cli import main, app\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))\n"
        "import pwp_report.analysis as a, pwp_report.report as r\n"
        "a.analyse = lambda *_, **__: None\n"
        "r.write_run = lambda *x: publish(x[3], lambda w: (w / 'f').write_bytes(b'x' * 9_000))\n"
        "main(sys.argv[1:])\n"
    )
    data = _write(tmp_path, bad_files.good_frame())
    place = out if out.startswith("/") else str(tmp_path / out)
    done = subprocess.run(
        [sys.executable, "-c", script, "analyse", str(data), "--out", place],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert re.search("nothing can be written|cannot be written", said)
    assert "Traceback" not in done.stderr
    assert not Path(place).exists()


def _write(folder: Path, frame: pd.DataFrame, name: str = "own.csv") -> Path:
    path = folder / name
    frame.to_csv(path, index=False)
    return path


def test_check_lists_every_problem_at_once(tmp_path: Path, capsys) -> None:
    frame = bad_files.good_frame().astype(object)
    frame.loc[3, "phq9_pre"] = "45%"
    frame.loc[4, "phq9_pre"] = 99
    frame.loc[5, "gad7_post"] = bad_files.SECRET
    frame.loc[6, "age"] = -4
    assert run("check", _write(tmp_path, frame)) == 2
    said = capsys.readouterr()
    assert "4 kinds of problem in 4 places" in said.out
    assert "row 5, column phq9_pre" in said.err
    assert "pwp check lists 3 more" in said.err
    assert bad_files.SECRET not in said.out + said.err
    assert "45%" not in said.out + said.err


@pytest.mark.parametrize("kinds", [0, 1, 2])
def test_check_ends_with_the_questions_that_are_open(kinds: int, tmp_path: Path, capsys) -> None:
    frame = bad_files.good_frame()
    if kinds:
        frame = frame.assign(core_om_pre=frame["phq9_pre"] / 7, core_om_post=frame["phq9_post"] / 7)
    if kinds > 1:
        frame = frame.rename(columns={"gad7_pre": "gad7_post", "gad7_post": "gad7_pre"})
    assert run("check", _write(tmp_path, frame)) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    if not kinds:
        assert lines[-1] == "Nothing has to be corrected."
        return
    at = lines.index(
        "Nothing has to be corrected, but questions are open whose answers may change the"
        f" results ({kinds}):"
    )
    assert len(lines) == at + 2 + kinds
    keys = '["worse_on_average", "means_of_items"]' if kinds > 1 else '["means_of_items"]'
    assert lines[-1].endswith(f"that it was asked and answered: answered = {keys}")
    assert sum("a quarter of its scale, 0 to 40: are these means" in n for n in lines[at:]) == 1
    assert sum("got worse on average on GAD-7" in n for n in lines[at:]) == kinds - 1
    assert "Nothing has to be corrected." not in lines


def test_text_for_a_score_is_told_how_to_call_it_missing(tmp_path: Path, capsys) -> None:
    frame = bad_files.good_frame().astype({"phq9_post": object})
    frame.loc[[3, 7], "phq9_post"] = ["Not done", "-"]
    assert run("check", _write(tmp_path, frame)) == 2
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Not done" not in said
    assert "missing = [...]" in said
    (tmp_path / "study.toml").write_text('[file]\nmissing = ["Not done", "-"]\n')
    assert run("check", tmp_path / "own.csv", "--study", tmp_path / "study.toml") == 0


def test_check_of_a_good_file_prints_no_identifier(tmp_path: Path, capsys) -> None:
    frame = bad_files.good_frame()
    frame["therapist_id"] = "Dr-" + frame["therapist_id"]
    frame["patient_id"] = "nhs-" + frame["patient_id"]
    assert run("check", _write(tmp_path, frame)) == 0
    said = capsys.readouterr()
    assert "Nothing has to be corrected" in said.out
    assert "Dr-" not in said.out + said.err
    assert "nhs-" not in said.out + said.err


def test_a_database_of_several_tables_is_read_as_the_advice_says(tmp_path: Path, capsys) -> None:
    path, study = tmp_path / "own.db", tmp_path / "study.toml"
    with closing(sqlite3.connect(path)) as base:
        bad_files.good_frame().to_sql("outcomes", base, index=False)
        pd.DataFrame({"code": [1]}).to_sql("lookup", base, index=False)
    assert run("check", path, "--write-study", study) == 2
    assert "name one as table under [file] in a study file" in capsys.readouterr().err
    text = study.read_text(encoding="utf-8").replace('table = ""', 'table = "outcomes"')
    study.write_text(text, encoding="utf-8")
    assert run("check", path, "--study", study) == 0


def test_check_says_how_to_list_every_row(tmp_path: Path, capsys) -> None:
    frame = bad_files.good_frame().astype(object)
    frame.loc[:6, "phq9_pre"] = "n.d."
    path = _write(tmp_path, frame)
    assert run("check", path) == 2
    out = capsys.readouterr().out
    assert "1 kind of problem in 7 places" in out
    assert "--all lists every row." in out
    assert run("check", path, "--all") == 2
    out = capsys.readouterr().out
    assert "7, 8" in out
    assert "--all" not in out


def test_check_writes_a_study_that_reads_back(tmp_path: Path, capsys) -> None:
    path = _write(tmp_path, bad_files.session_frame())
    study = tmp_path / "study.toml"
    assert run("check", path, "--write-study", study) == 0
    text = study.read_text(encoding="utf-8")
    assert 'therapist_id = "CarePersLocalId"  # who treated; guessed' in text
    assert run("check", path, "--study", study) == 0
    assert "as the study file says" in capsys.readouterr().out
    assert run("check", path, "--write-study", study) == 2
    told = (
        "there already; to use it as it is, give it with --study alone; to have one written, name"
    )
    assert told in capsys.readouterr().err
    assert study.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ({"CarePersLocalId": "somebody"}, "# therapist_id = "),
        ({"PHQ9": "p", "GAD7": "g"}, "# [measures.phq9]"),
    ],
)
def test_check_writes_what_it_recognised_where_that_is_not_enough(
    tmp_path: Path, capsys, names: dict[str, str], left: str
) -> None:
    frame = bad_files.session_frame()
    assert set(names) <= set(frame)
    path, study = _write(tmp_path, frame.rename(columns=names)), tmp_path / "study.toml"
    assert run("check", path, "--write-study", study) == 2
    said = capsys.readouterr().err
    assert "fill in what it could not guess, and give it with --study; where another is" in said
    text = study.read_text(encoding="utf-8")
    assert left in text
    if "therapist_id" in left:
        study.write_text(text.replace('# therapist_id = "?"', 'therapist_id = "somebody"'))
        assert run("check", path, "--study", study) == 0


def test_summarise_and_pool_equal_the_fit_on_all(tmp_path: Path, capsys) -> None:
    from multilevel.fit import fit_mixed
    from pwp_lib.cohort import load_cohort
    from pwp_lib.models import model_formula

    cohort = load_cohort()
    people = cohort.patients.assign(synthetic="TRUE")
    services = sorted(people["service_id"].unique())
    parts = []
    for half in (services[:3], services[3:]):
        mine = people[people["service_id"].isin(half)]
        path = _write(tmp_path, mine, f"{half[0]}.csv")
        parts.append(tmp_path / f"{half[0]}.parquet")
        assert run("summarise", path, "--out", parts[-1]) == 0
    assert run("pool", *parts, "--out", tmp_path / "sum.parquet") == 0
    loads = people.groupby("therapist_id")["therapist_id"].transform("size")
    formula = model_formula("phq9", ["phq9", "gad7"], "intercept")
    fit = fit_mixed(formula, people[loads >= 20])
    out = capsys.readouterr().out
    assert f"{fit.deviance:.3f}" in out
    assert f"{fit.vpc():.3f}" in out
    assert "aggregated, not anonymous" in out


def test_summarise_of_own_data_holds_no_identifier(tmp_path: Path, capsys) -> None:
    frame = bad_files.good_frame(6, 30)
    frame["therapist_id"] = "Dr-" + frame["therapist_id"]
    path = _write(tmp_path, frame)
    out = tmp_path / "out"
    out.mkdir()
    assert run("summarise", path, "--out", out / "m.parquet") == 0
    assert b"Dr-" not in (out / "m.parquet").read_bytes()
    assert "Dr-" not in capsys.readouterr().out
    assert run("summarise", path, "--out", out / "m.parquet", "--key", out / "k.key") == 2
    assert "outside" in capsys.readouterr().err or not (out / "k.key").exists()
    assert run("summarise", path, "--out", out / "m.csv") == 2
    assert run("summarise", path, "--out", tmp_path / "none" / "m.parquet") == 2
    assert run("summarise", path, "--out", out / "n.parquet", "--caseload", "3") == 2


def test_pool_refuses_what_is_no_moments(tmp_path: Path, capsys) -> None:
    path = _write(tmp_path, bad_files.good_frame())
    assert run("pool", path) == 2
    assert run("pool", path, path) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_cohort_makes_a_class_and_refuses_bad_arguments(tmp_path: Path, capsys) -> None:
    assert run("cohort", "--students", "1", "--seed", "3", "--out", tmp_path / "class") == 0
    assert (tmp_path / "class" / "marking_key.csv").is_file()
    assert run("cohort", "--students", "0", "--seed", "3", "--out", tmp_path / "b") == 2
    assert "from 1 to 1,000" in capsys.readouterr().err
    assert run("cohort", "--students", "1", "--seed", "3", "--out", tmp_path / "class") == 2
    assert run("cohort", "--students", "many", "--seed", "3", "--out", tmp_path / "b") == 2
    assert not (tmp_path / "b").exists()


def test_unexpected_errors_show_no_data(tmp_path: Path, capsys, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError(bad_files.SECRET)

    monkeypatch.setattr("pwp_report.commands.check.check_study_data", broken)
    path = _write(tmp_path, bad_files.good_frame())
    assert run("check", path) == 1
    said = capsys.readouterr().err
    assert "KeyError" in said
    assert bad_files.SECRET not in said
    monkeypatch.setenv("PWP_DEBUG", "1")
    with pytest.raises(KeyError):
        run("check", path)


def test_help_explains_every_command(capsys) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    for command in ("check", "analyse", "summarise", "pool", "cohort"):
        assert command in out
        assert run(command, "--help") == 0


def test_names_that_command_a_terminal_are_disarmed(tmp_path: Path, capsys) -> None:
    assert run("check", tmp_path / "a\x1b[31mb.csv") == 2
    frame = bad_files.good_frame().astype(object)
    frame.loc[0, "phq9_pre"] = "x"
    named = frame.rename(columns={"phq9_pre": "phq9_pre\x07"})
    (tmp_path / "study.toml").write_text(
        '[measures.phq9]\npre = "phq9_pre\\u0007"\npost = "phq9_post"\n'
    )
    assert run("check", _write(tmp_path, named), "--study", tmp_path / "study.toml") == 2
    said = capsys.readouterr()
    assert not {"\x1b", "\x07"} & set(said.out + said.err)


def test_packaged_cohort_passes(capsys) -> None:
    arguments = (PACKAGED / "patients.csv", "--therapists", PACKAGED / "therapists.csv")
    assert run("check", *arguments) == 0
    assert "21" in capsys.readouterr().out


# --- Fuzz: whatever is done to a file, an answer and not a traceback -----------------------------

_GOOD = bad_files.good_frame().to_csv(index=False).encode()
_edits = st.lists(
    st.tuples(
        st.integers(0, len(_GOOD) - 1),
        st.sampled_from(["set", "cut", "add", "swap"]),
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=6,
)


def _edited(edits: list[tuple[int, str, bytes]]) -> bytes:
    data = bytearray(_GOOD)
    for place, kind, piece in edits:
        at = min(place, len(data))
        if kind == "set":
            data[at : at + len(piece)] = piece
        elif kind == "cut":
            del data[at : at + 40 * len(piece)]
        elif kind == "add":
            data[at:at] = piece
        else:
            data = data[at:] + data[:at]
    return bytes(data)


def _check_survives(content: bytes, folder: Path, capsys) -> None:
    path = folder / "fuzz.csv"
    path.write_bytes(content)
    code = run("check", path)
    said = capsys.readouterr()
    assert code in (0, 2), said.err
    assert re.search("Traceback|went wrong", said.err) is None
    assert len(said.err.strip().splitlines()) == (1 if code else 0)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(_edits)
def test_fuzzed_files_get_an_answer(tmp_path_factory, capsys, edits) -> None:
    _check_survives(_edited(edits), tmp_path_factory.mktemp("fuzz"), capsys)


@pytest.mark.nightly
@settings(max_examples=3_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(_edits)
def test_fuzzed_files_get_an_answer_long(tmp_path_factory, capsys, edits) -> None:
    _check_survives(_edited(edits), tmp_path_factory.mktemp("fuzz"), capsys)


@pytest.mark.nightly
@settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=3_000))
def test_any_bytes_get_an_answer(tmp_path_factory, capsys, content) -> None:
    _check_survives(content, tmp_path_factory.mktemp("fuzz"), capsys)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=40), st.integers(0, 79), st.integers(0, 8))
def test_any_cell_gets_an_answer(tmp_path_factory, capsys, text, row, column) -> None:
    frame = bad_files.good_frame().astype(object)
    frame.iloc[row, column] = text
    content = frame.to_csv(index=False).encode("utf-8", "surrogatepass")
    _check_survives(content, tmp_path_factory.mktemp("fuzz"), capsys)


def test_module_runs_as_a_command() -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "pwp_report", "check", "none.csv"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "error"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip() == "pwp: none.csv: there is no such file; check its name and folder."
    assert np.all(done.stdout == "")


COMMANDS = ["check", "analyse", "start", "summarise", "pool", "cohort"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example_and_names_no_other_option(command: str, capsys) -> None:
    assert run(command, "--help") == 0
    text = re.sub(r"-\s+", "-", capsys.readouterr().out)
    example = text[text.index("Example: pwp " + command) :]
    everywhere = {"--write-study", "--help"}
    listed = set(re.findall(r"^  (--[\w-]+)", text, re.MULTILINE))
    assert set(re.findall(r"--[a-z-]+\w", example)) <= listed
    assert set(re.findall(r"--[a-z-]+\w", text)) <= listed | everywhere | {"--caseload"}


def test_the_version_is_that_of_the_distribution(capsys) -> None:
    from importlib.metadata import version

    assert run("--version") == 0
    assert capsys.readouterr().out == f"pwp {version('pwp-lib')}\n"


def test_the_list_of_commands_fits_a_narrow_terminal_and_is_not_cut(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    mine = [line for line in lines if line.split()[:1] and line.split()[0] in COMMANDS]
    assert len(mine) == len(COMMANDS)
    for line in lines:
        assert len(line) <= 80
        assert "..." not in line or "Usage" in line or "ARGS" in line


@pytest.mark.parametrize("wrong", ["abc", "1.5", "", "1e3", "ten", "0x1F", "9" * 5_000])
@pytest.mark.parametrize("option", ["--seed", "--students"])
def test_what_is_no_whole_number_is_said_in_words(
    option: str, wrong: str, tmp_path: Path, capsys
) -> None:
    given = {"--seed": "3", "--students": "1", option: wrong}
    assert run("cohort", "--out", tmp_path / "c", *(x for kv in given.items() for x in kv)) == 2
    said = capsys.readouterr().err
    assert "integer" in said
    assert len(said) < 400  # the entry itself is not said again
    assert not (tmp_path / "c").exists()
