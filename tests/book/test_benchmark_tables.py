"""The tables of the page on speed, from results made up here and from the true ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest

from multilevel.many import fit_many

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import promises, tables  # noqa: E402

MADE_UP: dict[str, Any] = {
    "sizes": {
        "1,122/21": {
            "patients": 1_122,
            "therapists": 21,
            "date": "2030-01-01",
            "on": {"python": "3.11.9", "cores": "2"},
            "floor": {"cpu": 1e-5},
            "pwp_lib": {
                "from rows": {"cpu": 2e-3, "wall": 2e-3},
                "from moments": {"cpu": 1e-3, "wall": 1e-3},
                "from rows over floor": 200.0,
            },
            "fits": {
                "lme4": {
                    "software": "lme4 1.1",
                    "cpu": 0.06,
                    "ratio, from rows": 30.0,
                    "ratio, from moments": 60.0,
                    "deviance above ours": [1e-9, -2e-7],
                    "therapist effect, difference": [1e-8, 3e-5],
                },
                "nlme": {"left out": "not installed"},
            },
            "samplers": {
                "jags, slope": {
                    "software": "rjags",
                    "ratio": 12.0,
                    "median, difference": -0.001,
                    "error of the difference": 0.0007,
                },
                "brms, slope": {"left out": "not timed"},
            },
        },
        "1 million/5,000": {
            "floor": {"cpu": 1e-3},
            "pwp_lib": {
                "from rows": {"cpu": 0.1},
                "from moments": {"cpu": 0.05},
                "from rows over floor": 100.0,
            },
            "fits": {"lme4": {"ratio, from rows": 200.0, "ratio, from moments": 400.0}},
        },
    }
}


def test_ratios_hold_every_comparison_made_and_no_other() -> None:
    table = tables.ratios(MADE_UP).set_index(["size", "task", "peer"])["ratio"]
    assert dict(table) == {
        ("1,122/21", "fit from rows", "lme4"): 30.0,
        ("1,122/21", "fit from moments", "lme4"): 60.0,
        ("1,122/21", "posterior", "JAGS, slope"): 12.0,
        ("1 million/5,000", "fit from rows", "lme4"): 200.0,
        ("1 million/5,000", "fit from moments", "lme4"): 400.0,
    }


def test_the_figure_takes_the_ratios_of_one_size() -> None:
    import matplotlib.pyplot as plt

    from pwp_lib.show import figures

    chart = tables.for_figure(MADE_UP, "1,122/21")
    assert list(chart["ratio"]) == [60.0, 30.0, 12.0]
    told = figures.describe(figures.benchmark_ratios(chart))
    assert "lme4 60 times" in told
    plt.close("all")


def test_agreement_has_the_larger_difference_and_points_of_per_cent() -> None:
    table = tables.agreement(MADE_UP).set_index("peer")
    assert table.loc["lme4", "deviance above ours"] == -2e-7
    assert table.loc["lme4", "therapist effect"] == pytest.approx(0.003)
    assert table.loc["JAGS, slope", "therapist effect"] == pytest.approx(-0.1)
    assert table.loc["JAGS, slope", "Monte Carlo error"] == pytest.approx(0.07)
    assert pd.isna(table.loc["JAGS, slope", "deviance above ours"])
    assert "nlme" not in table.index


def test_what_was_left_out_is_said_with_its_reason() -> None:
    table = tables.left_out(MADE_UP)
    assert table.to_numpy().tolist() == [
        ["nlme", "1,122/21", "not installed"],
        ["brms, slope", "1,122/21", "not timed"],
    ]


def test_a_peer_that_failed_in_part_is_named() -> None:
    fits = {"nlme": {"cpu": 1.0, "ratio, from rows": 2.0, "failed": 1}}
    table = tables.left_out({"sizes": {"10 million/20,000": {"fits": fits}}})
    assert table["reason"].tolist() == ["one of the two models failed; its time is counted"]
    fits["nlme"]["failed"] = 0
    assert tables.left_out({"sizes": {"10 million/20,000": {"fits": fits}}}).empty


def test_versions_machine_and_times() -> None:
    assert dict(tables.peer_versions(MADE_UP).to_numpy()) == {
        "lme4": "lme4 1.1",
        "JAGS, slope": "rjags",
    }
    assert tables.made_with(MADE_UP).loc["date", "1,122/21"] == "2030-01-01"
    assert tables.own_times(MADE_UP).loc["1 million/5,000", "from rows, over one pass"] == 100.0


def test_sentences_are_of_what_was_measured() -> None:
    assert tables.more_sentences(MADE_UP) == []
    large = {"parquet": {"cpu": 1.25, "peak MiB": 1_300}}
    more = {"sizes": {"7 million/9": large}, "a thousand cohorts": {"cpu": 0.7, "converged": 0.999}}
    file, thousand = tables.more_sentences(more)
    assert "7 million patients of 9 therapists" in file
    assert "1,300 MiB" in file
    assert "99.9%" in thousand


def test_promises() -> None:
    kept = {"shares": {"boundary test": {"share": 0.027, "se": 0.0016}}}
    assert tables.promises(kept).loc["boundary test"].tolist() == pytest.approx([2.7, 0.16])


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("effect", [0.0, 0.087])
def test_the_deviance_with_the_effect_held_is_the_fits_at_its_estimate(
    method: Literal["ML", "REML"], effect: float
) -> None:
    simulated = promises.cohorts(effect, 8, 3)
    fits = fit_many(simulated.design(slope=False), simulated.cross, method=method)
    for k, vpc in enumerate(fits.vpc):
        found = promises.deviance_at(simulated.cross[k : k + 1], vpc, method)
        assert found == pytest.approx(fits.deviance[k], abs=1e-7)


def test_coverage_and_calibration() -> None:
    held = {"effects": {"0.020": {"intervals": {"profile": {"coverage": 0.94}}}}}
    assert tables.coverage(held).loc["profile", "truth 2%"] == pytest.approx(94.0)
    case = {
        "quantities": {"a": {"inside_bands": True}, "b": {"inside_bands": False}},
        "smallest p_value, times the number of quantities": 0.3,
        "divergent draws": 4,
    }
    row = tables.calibration({"engine": "gibbs", "cases": {"one": case}}).loc["one"]
    assert list(row) == [2, 1, 0.3]
    assert tables.calibration({"engine": "nuts", "cases": {"one": case}}).loc["one"].iloc[3] == 4


def test_a_file_that_is_not_there_is_none() -> None:
    assert tables.read("no such file.json") is None


def test_the_true_results_fit_the_tables() -> None:
    speed = tables.read("results.json")
    assert speed is not None, "run python -m benchmarks"
    assert (tables.ratios(speed)["ratio"] > 0).all()
    assert len(tables.agreement(speed))
    assert len(tables.own_times(speed)) == len(speed["sizes"])
    for engine in ("gibbs", "nuts"):
        found = tables.read(f"results/sbc_{engine}.json")
        if found is not None:
            assert tables.calibration(found)["p_value"].between(0, 1).all()


def test_effects_held_are_shares_in_per_cent() -> None:
    found = json.loads((Path(tables.__file__).parent / "results" / "coverage.json").read_text())
    held = tables.effects_held(found)
    assert held.loc["Gibbs, flat on SDs"].min() > 93
    assert held.loc["conditional SE"].max() < 91


@pytest.mark.parametrize("start", ["rows", "the frame"])
def test_where_a_peer_becomes_the_slower_one_is_said(start: str) -> None:
    sizes = {
        f"{n}/9": {"patients": n, "fits": {"glmm": {f"ratio, from {start}": r}}}
        for n, r in ((1_000, 0.5), (100_000, 5.0))
    }
    (said,) = tables.more_sentences({"sizes": sizes})
    assert f"Counting a fit from {start}, glmm is quicker than this library on few" in said
    assert "about 4,000 patients" in said
    sizes["1000/9"]["fits"]["glmm"][f"ratio, from {start}"] = 1.5
    assert tables.more_sentences({"sizes": sizes}) == []


def test_every_peer_that_was_timed_is_compared_from_the_frame() -> None:
    speed = tables.read("results.json")
    assert speed is not None
    rows = tables.ratios(speed).set_index(["task", "size", "peer"])["ratio"]
    compared = 0
    for size, found in speed["sizes"].items():
        own = found["pwp_lib"].get("from the frame")
        for peer, got in found["fits"].items():
            if own and "cpu" in got:
                assert got["software"]
                assert rows["fit from the frame", size, peer] > 0
                compared += 1
    assert compared >= 12


def test_whole_jobs_are_told_in_seconds_and_megabytes() -> None:
    took = {"wall": 194.2, "cpu": 251.0, "memory, MB": 1_204, "cores": 2, "load before": 0.1}
    table = tables.jobs({"tests": {**took, "date": "2030-01-01"}})
    assert table.loc["tests"].to_dict() == {
        "seconds": 194.2,
        "processor seconds": 251.0,
        "MB": 1_204,
        "cores": 2,
        "date": "2030-01-01",
    }


def test_intervals_of_two_models_hold_the_truth_by_design() -> None:
    results = [tables.read(f"results/{name}.json") for name in ("binary", "services")]
    binary, services = results
    assert binary is not None
    assert services is not None
    held = tables.designs_held(binary, services)
    assert len(held) == 16
    assert held.groupby("therapists").size().to_dict() == {"21": 8, "30": 8}
    row = held[(held["interval"] == "share of a service, ML") & (held["therapists"] == "30")]
    wanted = services["coverage"]["designs"]["30 therapists of 40 in ten services"]
    assert row["held"].item() == pytest.approx(100 * wanted["coverage"]["service, ML"])
    # An interval that is right holds 95; one Monte Carlo error is allowed beyond 97.
    assert held["held"].between(90.0, 97.0 + held["error"]).all()
