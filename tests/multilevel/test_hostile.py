"""Arguments that cannot be used, by generated neighbours: nothing but an `InputError` comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from multilevel import (
    DesignMoments,
    InputError,
    PosteriorInterval,
    Prior,
    fit_design,
    fit_many,
    fit_mixed,
)


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
#: What NumPy would take for a number, would lose a part of, or could not multiply.
NUMBERS: list[Any] = [
    ["1", "2", "3"], np.array(["1", "2", "3"]), np.array(["1", "2", "3"], dtype=object),
    [1, "2", 3], [b"1", b"2", b"3"], [1j, 2.0, 3.0], np.array([1, 2, 3], dtype=complex),
    np.array([1, 2, 3], dtype="datetime64[s]"), np.array([1, 2, 3], dtype="timedelta64[s]"),
    [1.0, 2.0, None], [1.0, 2.0, np.nan], [1.0, 2.0, np.inf], [1.0, 2.0, pd.NA],
    pd.array([1, 2, None], dtype="Int64"), [1e76, 2.0, 3.0], [1e-76, 2e-76, 5e-77],
    [1e200, 2e200, 3e200], [10**400, 1, 2],
]  # fmt: skip
OUTSIDE: list[Any] = [-1.0, 0.0, 1.0, 2.0, float("nan"), float("inf"), "0.95", [0.95], None]

UNITS = pd.DataFrame({"y": np.sin(np.arange(24.0)), "g": np.arange(24) // 4})

CALLS: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
    "cross": (lambda v: fit_many(DESIGN, v), [*TEXTS, [], CROSS[0], CROSS[..., :2], CROSS[:0]]),
    "rows": (lambda v: fit_many(DESIGN, CROSS, v), [*TEXTS, [], [1, 2], np.ones((2, 8))]),
    "method": (lambda v: fit_design(DESIGN, v), [*TEXTS, None, 1, 1.5]),
    "level of a profile": (FIT.profile_interval, OUTSIDE),
    "level of draws": (lambda v: PosteriorInterval.of(np.arange(9.0), v), OUTSIDE),
    "draws": (PosteriorInterval.of, [*TEXTS, [], np.zeros((0, 3)), np.zeros((2, 2, 2))]),
    "covariance of a prior": (
        lambda v: Prior("mlwin").resolve(DESIGN, v, 1.0),
        [*TEXTS, None, np.eye(3), np.eye(3)[:2]],
    ),
    "design of a prior": (lambda v: Prior("flat-sd").resolve(v, np.eye(1), 1.0), [*TEXTS, None]),
    "labels of units": (
        lambda v: fit_mixed("y ~ 1 + (1 | s/g)", UNITS.assign(s=v)),
        [np.repeat([1j, 2j, 3j], 8), np.repeat(np.array([1, 2, 3], dtype=complex), 8)],
    ),
    "place": (FIT.vpc, ["x", "", 3, [1.0], {"z": 1.0}, *({"x": v} for v in [*TEXTS, np.nan])]),
    "values": (lambda v: FIT.vpc_curve("x", [v]), [*TEXTS, None, np.inf]),
    "term": (FIT.residuals, ["z", "", 1, 1.5, b"x"]),
    "columns": (
        lambda v: DesignMoments.from_arrays([1.0, 2.0, 4.0], {"x": v}, [], ["a", "a", "b"]),
        [*TEXTS, *NUMBERS, [1.0], [1.0, 2.0], np.zeros((2, 3, 1))],
    ),
    "response": (
        lambda v: DesignMoments.from_arrays(v, {"x": [1.0, 3.0, 4.0]}, [], ["a", "a", "b"]),
        [*TEXTS, *NUMBERS],
    ),
    "groups": (
        lambda v: DesignMoments.from_arrays([1.0, 2.0, 4.0], {"x": [1.0, 3.0, 4.0]}, [], v),
        [
            "abc", {1, 2, 3}, {"a": 1}, None, 3, [1, 2], np.ones((3, 2)), [[1], [2], [3]],
            ["a", "b", None], ["a", "b", float("nan")], [1.0, 2.0, np.nan], ["a", "b", pd.NA],
            pd.to_datetime(["2014-01-01", "2014-01-02", None]), pd.Categorical(["a", None, "b"]),
            pd.array([1, 2, None], dtype="Int64"), pd.array(["a", None, "b"], dtype="string"),
        ],
    ),
    "names": (
        lambda v: DesignMoments.from_arrays([1.0, 2.0, 4.0], v, [], ["a", "a", "b"]),
        [{"y": [1, 3, 4]}, {"Intercept": [1, 2, 3]}, {"Intercept": [2, 2, 2]}, {"Intercept": 0}],
    ),
    "no row": (lambda v: DesignMoments.from_arrays([], {"x": v}, [], []), [[], (), np.zeros(0)]),
}  # fmt: skip


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


KEPT_APART: dict[str, list[Any]] = {
    "number and its text": [1, "1", 2],
    "above any float": [2**63, 2**63 + 1, -1],
    "whole beside halves": [2**53, 2**53 + 1, 0.5],
    "text with an end of its own": ["a", "a\0", "b"],
    "bytes": [b"a", b"a\0", b"b"],
    "tuples": [(1, "a"), (1, "b"), (2, "a")],
    "words for missing": ["nan", "None", "NA"],
}


@pytest.mark.parametrize("kind", KEPT_APART)
def test_labels_of_arrays_are_kept_apart(kind: str) -> None:
    labels = KEPT_APART[kind]
    g = np.repeat(np.arange(3), 6)
    x = np.random.default_rng(2).normal(size=18)
    y = x + g + np.random.default_rng(3).normal(size=18)
    columns = {"Intercept": np.ones(18), "x": x}
    made = DesignMoments.from_arrays(y, columns, ["Intercept"], [labels[i] for i in g])
    near = DesignMoments.from_arrays(y, columns, ["Intercept"], g)
    assert set(made.groups) == set(labels)
    assert made.n.tolist() == [6, 6, 6]
    assert fit_design(made).deviance == pytest.approx(fit_design(near).deviance, abs=1e-9)


@pytest.mark.parametrize(
    "kind", ["float16", "float32", "int8", "uint8", "bool", "object", "Int64", "int8[pyarrow]"]
)
def test_numbers_of_any_type_are_taken_as_they_are(kind: str) -> None:
    whole = np.random.default_rng(4).integers(0, 2, 24)
    x, g = np.arange(24) % 5, np.repeat(np.arange(4), 6)
    fits = [
        fit_design(DesignMoments.from_arrays(y, {"Intercept": [1] * 24, "x": x}, ["x"], g))
        for y in (pd.array(whole, dtype=kind), whole.astype(float))
    ]
    assert fits[0].deviance == fits[1].deviance
