"""Values of every kind to every parameter of every public function and method.

A result or an `InputError` comes out: no other error, no warning, nothing printed.
"""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import multilevel as ml
import pwp_lib as pwp
from multilevel.nested import NestedFit
from pwp_lib.grid import GridPosterior

FORMULA = "y ~ x + (1 | g)"
HOSTILE: list[Any] = [
    *(None, "text", "2", "", b"x", True, False, 0, 1, -1, -0.5, 0.5, 1e308, 10**400),
    *(math.nan, math.inf, -math.inf, pd.NA, pd.NaT, 1j, object(), len, int),
    *([], {}, (), set(), ["a", "b"], [1.0, 2.0], [[1.0], [2.0, 3.0]], [None, None], [math.nan]),
    *({"x": 0.5}, {"x": "1"}, {"x": math.nan}, {"x": math.inf}, {"x": 1e308}, {"x": None}),
    *({"x": [1, 2]}, {"z": 1.0}, {1: 2}, {1, 2}, range(3)),
    *(np.zeros((2, 2, 2)), np.zeros((0, 3)), np.array([object()]), np.float32(0.5), np.int8(2)),
    *(pd.DataFrame(), pd.DataFrame({"y": [], "x": [], "g": []}), pd.Series([1.0, 2.0])),
    *(Path("nowhere.parquet"), Path(".")),
]


@cache
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(8), 9), rng.normal(size=72)
    y = x + rng.normal(size=8)[g] + rng.normal(size=72)
    b = (rng.random(72) < 0.4 + 0.04 * g).astype(int)
    return pd.DataFrame({"y": y, "x": x, "g": g, "s": g // 2, "b": b})


@cache
def design(*random: str) -> ml.DesignMoments:
    columns = {"Intercept": np.ones(72), "x": rows()["x"]}
    return ml.DesignMoments.from_arrays(rows()["y"], columns, random, rows()["g"])


@cache
def moments() -> ml.Moments:
    return ml.Moments.for_formula(FORMULA, rows())


SLOPE = "y ~ x + (1 + x | g)"
#: How one of each kind of result that has methods is made.
RECORDS: dict[str, tuple[Any, Callable[[], Any]]] = {
    "MixedFit": (ml.MixedFit, lambda: ml.fit_mixed(SLOPE, rows())),
    "Spread": (ml.MixedFit, lambda: ml.fit_mixed(SLOPE, rows(), spread="exp(x)")),
    "NestedFit": (NestedFit, lambda: ml.fit_mixed("y ~ x + (1 | s/g)", rows())),
    "BinaryFit": (ml.BinaryFit, lambda: ml.fit_binary("b ~ x + (1 | g)", rows())),
    "Posterior": (ml.Posterior, lambda: ml.sample_posterior(design("Intercept", "x"), draws=20)),
    "GridPosterior": (GridPosterior, lambda: pwp.grid_posterior(design("Intercept"))),
    "Moments": (ml.Moments, moments),
    "DesignMoments": (ml.DesignMoments, lambda: design("Intercept")),
    "PosteriorInterval": (ml.PosteriorInterval, lambda: ml.PosteriorInterval.of([1.0, 2.0])),
}


@cache
def record(name: str) -> Any:
    return RECORDS[name][1]()


def posterior_of_prior(
    q: int,
    kind: Any = "mlwin",
    scale: Any = None,
    df: Any = None,
    lkj: Any = 1,
    residual: Any = None,
) -> None:
    made = ml.Prior(kind, scale, df, lkj, residual)
    ml.sample_posterior(design(*["Intercept", "x"][:q]), prior=made, draws=9)


#: What parameters without a default are given beside the one that is tried.
USUAL = {"level": "s", "variable": "x", "values": [0.1], "quantity": "vpc", "share": 0.1}
USUAL |= {"probs": [0.5], "formula": FORMULA, "moments": None, "design": None, "position": 0}
USUAL |= {"response": [1, 2, 4, 3], "fixed": {"Intercept": [1] * 4}, "random": ["Intercept"]}
USUAL |= {"group": [1, 1, 2, 2], "draws": 9, "path": "made.parquet"}


#: Functions, and what they are given beside the argument that is tried.
FUNCTIONS: dict[str, tuple[Any, Callable[[], dict[str, Any]]]] = {
    "fit_binary": (ml.fit_binary, lambda: {"formula": "b ~ x + (1 | g)", "data": rows()}),
    "fit_design": (ml.fit_design, lambda: {"design": design("Intercept")}),
    "fit_mixed": (ml.fit_mixed, lambda: {"formula": FORMULA, "data": rows()}),
    "spread": (ml.fit_mixed, lambda: {"formula": FORMULA, "data": rows(), "spread": "exp(x)"}),
    "from moments": (ml.fit_mixed, lambda: {"formula": FORMULA, "data": moments()}),
    "three levels": (ml.fit_mixed, lambda: {"formula": "y ~ x + (1 | s/g)", "data": rows()}),
    "grid_posterior": (pwp.grid_posterior, lambda: {"design": design("Intercept")}),
    "fit_many": (
        ml.fit_many,
        lambda: {"design": design("Intercept"), "cross": design("Intercept").cross[None]},
    ),
    "pool_moments": (ml.pool_moments, lambda: {"moments": [moments()]}),
    "sample_posterior": (
        ml.sample_posterior,
        lambda: {"formula": FORMULA, "data": rows(), "draws": 9},
    ),
    "likelihood_ratio_test": (
        ml.likelihood_ratio_test,
        lambda: {"smaller": ml.fit_mixed("y ~ x", rows()), "larger": ml.fit_mixed(FORMULA, rows())},
    ),
    "design_moments": (ml.design_moments, lambda: {"formula": FORMULA, "data": rows()}),
} | {
    f"{kind}, {q}": (posterior_of_prior, partial(dict, q=q, kind=kind, **further))
    for q in (1, 2)
    for kind, further in {
        "mlwin": {},
        "half-normal": {},
        "inverse-wishart": {"scale": np.eye(q), "df": 3},
    }.items()
}


def call_of(name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Find a function, or a method of a record, and what it is given as a rule."""
    if name in FUNCTIONS:
        return FUNCTIONS[name][0], FUNCTIONS[name][1]()
    owner, method = name.split(".")
    call = getattr(record(owner), method)
    about = inspect.signature(call).parameters.values()
    usual = USUAL | {"data": rows()}
    return call, {p.name: usual[p.name] for p in about if p.default in (p.empty, "")}


PLACES = [
    (name, parameter)
    for name, (function, _) in FUNCTIONS.items()
    for parameter in inspect.signature(function).parameters
    if parameter != "q"
] + [
    (f"{name}.{method}", parameter)
    for name, (kind, _) in RECORDS.items()
    for method, of in inspect.getmembers(kind, callable)
    if not method.startswith("_") and (name, method) != ("Spread", "profile_interval")
    for parameter in inspect.signature(of).parameters
    if parameter not in ("self", "total")
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(tmp_path)
    moments().write("made.parquet", share=False)
    yield
    os.chdir(before)


def test_every_public_function_and_class_is_tried() -> None:
    functions = {name for name in dir(ml) if inspect.isfunction(getattr(ml, name))}
    assert functions <= set(FUNCTIONS)
    classes = {name for name in dir(ml) if inspect.isclass(getattr(ml, name))}
    assert classes - set(RECORDS) == {"InputError", "Prior"}
    assert len(PLACES) * len(HOSTILE) > 4_000


@pytest.mark.neighbours
@pytest.mark.parametrize(("name", "parameter"), PLACES)
def test_a_value_of_any_kind_gives_a_result_or_is_refused_in_words(
    name: str, parameter: str, capfd: pytest.CaptureFixture[str]
) -> None:
    call, given = call_of(name)
    call(**given)
    sentences = []
    for value in HOSTILE:
        try:
            call(**given | {parameter: value})
        except ml.InputError as error:
            sentences.append(str(error))
    assert all(sentence.endswith((".", "?", "!")) for sentence in sentences)
    # A prior leaves what it has no use for alone.
    assert sentences or parameter in ("scale", "df", "lkj")
    assert capfd.readouterr() == ("", "")


FACTS = sorted({*vars(moments()), "keys", "blocks", "schema_version"} - {"groups", "n", "sums"})


@pytest.mark.parametrize("fact", FACTS)
def test_a_record_of_any_kind_is_read_or_is_refused_in_words(fact: str) -> None:
    table = pq.read_table("made.parquet")
    record = json.loads(table.schema.metadata[b"pwp_moments"])
    values = [None, "x", True, -1, 0.5, 1e308, [], [1], ["a"], [["x"]], [[1]], [None], {}]
    values += [{"x": "a"}, {"x": 1}, {"x": [1]}, {"x": None}, {"x": ["a", "b"]}, {"": []}]
    values += [{"x": 1e308}, {"y": []}, {"x": ["1", "2"]}]
    sentences = []
    for value in values:
        text = json.dumps(record | {fact: value}).encode()
        pq.write_table(table.replace_schema_metadata({b"pwp_moments": text}), "odd.parquet")
        try:
            found = ml.Moments.read("odd.parquet")
            repr(found), found.table(), ml.pool_moments([found, found], same_groups=True)
            ml.fit_mixed(FORMULA, found)
            found.write("again.parquet", share=True)
        except ml.InputError as error:
            sentences.append(str(error))
    assert sentences
    assert all(sentence.endswith((".", "?", "!")) for sentence in sentences)
