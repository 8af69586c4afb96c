"""A small simulation-based calibration of the Gibbs sampler; the full one is benchmarks/sbc.py."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def sbc() -> Any:
    spec = importlib.util.spec_from_file_location("sbc_of_the_samplers", BENCHMARKS / "sbc.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("number", "replicates"),
    [
        (2, 25),
        pytest.param(0, 200, marks=pytest.mark.nightly),
        pytest.param(1, 200, marks=pytest.mark.nightly),
        pytest.param(2, 200, marks=pytest.mark.nightly),
    ],
)
def test_ranks_are_uniform(sbc: Any, number: int, replicates: int) -> None:
    """Few replicates see a gross error only; under one in a thousand is not chance."""
    ranks, chains = sbc.ranks_among_draws(sbc.CASES[number], "gibbs", replicates, seed=5)
    assert chains["chains too short"] == 0
    bands = sbc.Bands(replicates, simulated=2_000)
    p_values = {name: bands.p_value(r) for name, r in ranks.items()}
    assert min(p_values.values()) > 1e-3 / len(p_values), p_values


def test_a_biased_sampler_would_be_noticed(sbc: Any) -> None:
    rng, bands = np.random.default_rng(1), sbc.Bands(1_000, simulated=400)
    kept = sbc.KEPT + 1
    assert bands.p_value(rng.integers(0, kept, 1_000)) > 0.05
    assert bands.p_value(np.floor(rng.beta(1.15, 1.0, 1_000) * kept)) < 0.01  # shifted
    assert bands.p_value(np.floor(rng.beta(1.25, 1.25, 1_000) * kept)) < 0.01  # too wide


def test_the_full_run_on_record_is_calibrated() -> None:
    found = json.loads((BENCHMARKS / "results" / "sbc_gibbs.json").read_text())
    assert found["replicates"] >= 1_000
    p_values = [q["p_value"] for c in found["cases"].values() for q in c["quantities"].values()]
    assert len(p_values) == 25
    # The smallest of 25 uniform numbers is below .0004 once in a hundred times.
    assert min(p_values) > 0.0004
    assert np.mean(np.array(p_values) < 0.05) < 0.16
