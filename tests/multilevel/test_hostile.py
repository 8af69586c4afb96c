"""Arguments that cannot be used, by generated neighbours: nothing but an `InputError` comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from multilevel import DesignMoments, InputError, PosteriorInterval, fit_design, fit_many


def design() -> DesignMoments:
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(8), 9), rng.normal(size=72)
    columns = {"Intercept": np.ones(72), "x": x}
    y = x + rng.normal(size=8)[g] + rng.normal(size=72)
    return DesignMoments.from_arrays(y, columns, ["Intercept", "x"], g)


DESIGN = design()
FIT = fit_design(DESIGN)
CROSS = np.repeat(DESIGN.cross[None], 3, axis=0)
TEXTS: list[Any] = ["x", "", b"x", ["a", "b"], {"x": "a"}, [[1.0], [2.0, 3.0]], object()]
OUTSIDE: list[Any] = [-1.0, 0.0, 1.0, 2.0, float("nan"), float("inf"), "0.95", [0.95], None]

CALLS: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "cross": (lambda v: fit_many(DESIGN, v), [*TEXTS, [], CROSS[0], CROSS[..., :2], CROSS[:0]]),
    "rows": (lambda v: fit_many(DESIGN, CROSS, v), [*TEXTS, [], [1, 2], np.ones((2, 8))]),
    "method": (lambda v: fit_design(DESIGN, v), [*TEXTS, None, 1, 1.5]),
    "level of a profile": (FIT.profile_interval, OUTSIDE),
    "level of draws": (lambda v: PosteriorInterval.of(np.arange(9.0), v), OUTSIDE),
    "draws": (PosteriorInterval.of, [*TEXTS, [], np.zeros((0, 3)), np.zeros((2, 2, 2))]),
    "place": (FIT.vpc, ["x", "", 3, [1.0], {"z": 1.0}, *({"x": v} for v in [*TEXTS, np.nan])]),
    "values": (lambda v: FIT.vpc_curve("x", [v]), [*TEXTS, None, np.inf]),
    "term": (FIT.residuals, ["z", "", 1, 1.5, b"x"]),
    "columns": (
        lambda v: DesignMoments.from_arrays([1.0, 2.0, 4.0], {"x": v}, [], ["a", "a", "b"]),
        [*TEXTS, [1.0], [1.0, 2.0], np.zeros((2, 3, 1))],
    ),
}


@pytest.mark.parametrize(
    ("name", "i"), [(name, i) for name, (_, values) in CALLS.items() for i in range(len(values))]
)
def test_what_cannot_be_used_is_refused_in_words(name: str, i: int) -> None:
    call, values = CALLS[name]
    with pytest.raises(InputError):
        call(values[i])


@pytest.mark.parametrize("rows", [-1, 0, 1, np.nan])
def test_a_stack_in_which_nothing_can_be_fitted_has_no_number(rows: float) -> None:
    fits = fit_many(DESIGN, CROSS, np.full(8, rows) / 8)
    assert not fits.converged.any()
    assert np.isnan(fits.random_covariance).all()
    assert fits.beta_covariance.shape == (3, 2, 2)
    assert np.isnan(fits.vpc).all()
