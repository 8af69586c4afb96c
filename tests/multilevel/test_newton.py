"""The compiled search takes the same steps as the one in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from multilevel import newton as module
from multilevel.many import fit_many
from multilevel.mixed import fit_design
from pwp_lib.simulate import simulate_designs
from pwp_lib.truth import Truth


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("slope", [False, True])
def test_compiled_and_plain_search_agree(
    method: str, slope: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    simulated = simulate_designs(Truth.one_measure().with_vpc(0.01), replicates=60, seed=3)
    roles = simulated.design(slope=slope)

    def fitted() -> tuple[Any, Any]:
        return fit_many(roles, simulated.cross, method=method), fit_design(roles, method)

    many, single = fitted()
    monkeypatch.setattr(module, "_compiles", lambda stack: False)
    plain, plain_single = fitted()
    assert 2 < plain.singular.sum() < 58
    np.testing.assert_array_equal(many.singular, plain.singular)
    np.testing.assert_allclose(many.deviance, plain.deviance, rtol=0, atol=1e-10)
    np.testing.assert_allclose(many.vpc, plain.vpc, atol=1e-10)
    assert single.deviance == pytest.approx(plain_single.deviance, abs=1e-10)
    assert single.vpc() == pytest.approx(plain_single.vpc(), abs=1e-10)


def test_compiled_code_serves_only_where_numba_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = fit_design(simulate_designs(Truth.one_measure(), replicates=1, seed=1)[0]).stack
    monkeypatch.delitem(module.sys.modules, "numba", raising=False)
    assert not module._compiles(stack)
    monkeypatch.setitem(module.sys.modules, "numba", module)
    assert module._compiles(stack)
