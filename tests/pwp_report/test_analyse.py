from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from running import run

from multilevel.errors import InputError
from pwp_lib.cohort import Cohort, load_cohort
from pwp_lib.simulate import simulate_cohort
from pwp_lib.truth import Truth
from pwp_report import report
from pwp_report.analysis import Analysis, analyse
from pwp_report.cli import main
from pwp_report.disclosure import DisclosurePolicy
from pwp_report.methods import methods_and_results
from pwp_report.pseudonyms import Pseudonyms, open_key
from pwp_report.release import release_results
from pwp_report.study import Study


def test_command_analyses_own_data_without_a_trace_of_it(
    hostile: Cohort,
    texts,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def quick(cohort: Cohort, **options: object) -> Analysis:
        return analyse(cohort, draws=200, sensitivity=False)

    monkeypatch.setattr("pwp_report.analysis.analyse", quick)
    monkeypatch.setattr(report, "draw_all", lambda *_: {})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv("APPDATA", raising=False)
    hostile.patients.to_csv(tmp_path / "own.csv", index=False)
    main_out = tmp_path / "results"
    for _ in range(2):
        with pytest.raises(SystemExit) as stop:
            main(["analyse", str(tmp_path / "own.csv"), "--out", str(main_out)])
        assert not stop.value.code
    said = capsys.readouterr()
    assert "report.html" in said.out
    assert "only the key pseudonym.key tells: it is where --key says" in said.out
    assert "models, ranks and comparisons" in said.err
    for word in ("nhs-", "leeds", "alert", str(tmp_path)):
        assert word not in said.out + said.err
    one, two = main_out / "run-0001", main_out / "run-0002"
    assert texts(one) == texts(two)
    for text in texts(one).values():
        assert "nhs-" not in text
        assert "alert(1)" not in text
    key = tmp_path / "settings" / "pwp" / "pseudonym.key"
    secret = key.read_text().strip()
    assert not any(secret in text for text in texts(one).values())
    # Nobody without the key can try out what a study file may have named.
    own = (tmp_path / "own.csv").read_bytes()
    recorded = json.loads((one / "results.json").read_text(encoding="utf-8"))
    of_key = sha256(bytes.fromhex(secret) + own).hexdigest()
    assert recorded["study"]["files"] == {"own.csv": of_key}
    assert os.path.realpath(main_out / "latest") == os.path.realpath(two)


@pytest.mark.nightly
def test_the_same_seed_gives_the_same_tables_under_any_key(
    texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(cohort: Cohort, **options: object) -> Analysis:
        return analyse(cohort, seed=3, draws=500)

    monkeypatch.setattr("pwp_report.analysis.analyse", quick)
    monkeypatch.setattr(report, "draw_all", lambda *_: {})
    people = load_cohort().patients
    people.to_csv(tmp_path / "own.csv", index=False)
    staff = sorted(people["therapist_id"].unique())
    found = []
    for i in range(2):
        key, out = tmp_path / f"key{i}", tmp_path / f"out{i}"
        assert not run("analyse", tmp_path / "own.csv", "--out", out, "--key", key)
        assert not any(re.search(r"\b[TS]-\d{6}\b", t) for t in texts(out / "run-0001").values())
        names = Pseudonyms(open_key(key)).names(staff, "T")
        names |= Pseudonyms(open_key(key)).names(sorted(people["service_id"].unique()), "S")
        real = {name: str(t) for t, name in names.items()}
        tables = sorted((out / "run-0001" / "tables").glob("*.csv"))
        found.append({t.name: pd.read_csv(t).replace(real) for t in tables})
    assert "therapist" in found[0]["residuals_phq9.csv"]
    for name, table in found[0].items():
        pd.testing.assert_frame_equal(table, found[1][name])


def _small() -> Cohort:
    truth = Truth.one_measure().with_therapists(9, caseload=15)
    return simulate_cohort(truth, seed=2, interviews=False)


def test_what_a_study_asks_for_is_done_everywhere() -> None:
    study = Study(cluster_size=3, engines=("ml",))
    analysis = analyse(_small(), cluster_size=study.cluster_size, engines=study.engines)
    result = analysis.measures["phq9"]
    assert result.posterior is None
    assert result.rank_uncertainty["p_upper"].sum() == pytest.approx(3)
    assert result.sensitivity is not None
    assert result.sensitivity.rows["upper_shared"].max() == 3
    released = release_results(analysis, DisclosurePolicy(active=False))
    effect = released.frame("therapist_effect")
    assert effect is not None
    assert "median" not in effect
    text = " ".join(methods_and_results(analysis, study, released))
    assert "Gibbs" not in text


@pytest.mark.parametrize("engine", ["nuts", "ML", ""])
def test_an_engine_that_there_is_not_is_refused_in_words(engine: str) -> None:
    with pytest.raises(InputError, match=r"no engine .*engines are ml, gibbs"):
        analyse(_small(), engines=("ml", engine))


@pytest.mark.nightly
def test_a_million_patients_and_5000_therapists(tmp_path: Path) -> None:
    loads = np.random.default_rng(1).negative_binomial(4, 4 / 204, 5_000) + 1
    truth = replace(Truth().with_therapists(5_000, caseload=None), caseloads=tuple(loads.tolist()))
    cohort = simulate_cohort(truth, seed=1, interviews=False)
    assert len(cohort.patients) > 950_000
    cohort.patients.to_csv(tmp_path / "own.csv", index=False)
    home, peak = tmp_path / "out", tmp_path / "peak"
    script = (
        "import resource, sys; from pathlib import Path; from pwp_report.cli import app; "
        "app(sys.argv[2:], standalone_mode=False); "
        "Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
    )
    arguments = ["analyse", str(tmp_path / "own.csv"), "--out", str(home), "--key"]
    command = [sys.executable, "-c", script, str(peak), *arguments, str(tmp_path / "key")]
    subprocess.run(command, check=True, capture_output=True)
    page = home / "latest" / "report.html"
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert page.stat().st_size < 5e6
    assert len(pd.read_csv(home / "latest" / "tables" / "residuals_phq9.csv")) > 4_500
    assert int(peak.read_text()) < 4 * 1024**2  # kilobytes on Linux
