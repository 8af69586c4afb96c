"""The deviance's derivatives, and what must not change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multilevel import search
from multilevel.design import DesignMoments
from multilevel.fit import fit_design
from multilevel.identify import Stack, standardise
from multilevel.likelihood import places
from multilevel.newton import minimise
from multilevel.search import solve

SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def three_column_design(seed: int, terms: int, groups: int = 9) -> DesignMoments:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), rng.integers(4, 20, size=groups))
    columns = {
        "Intercept": np.ones(len(g)),
        "x": rng.normal(4, 2, len(g)),
        "w": rng.normal(0, 5, len(g)),
    }
    u = rng.normal(size=(groups, 3)) * rng.choice([0.0, 0.3, 1.5], size=3)
    y = sum(u[g, t] * c for t, c in enumerate(columns.values())) + rng.normal(0, 2, len(g))
    return DesignMoments.from_arrays(y, columns, list(columns)[:terms], g)


def stacked(design: DesignMoments, reml: bool) -> Stack:
    return standardise(
        design.cross[None],
        np.array([float(design.n_total)]),
        design.fixed,
        design.random,
        design.response,
        reml,
    )


@SLOW
@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans())
def test_gradient_and_hessian_equal_finite_differences(seed: int, q: int, reml: bool) -> None:
    stack = stacked(three_column_design(seed, q), reml)
    k = q * (q + 1) // 2
    rng = np.random.default_rng(seed)
    theta, basis = rng.normal(size=k) * 0.5, np.linalg.qr(rng.normal(size=(q, q)))[0]

    def at(t: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """No step is taken: none promises an infinite gain."""
        same, free = np.zeros(1, dtype=np.intp), np.ones((1, k))
        ends, run = minimise(stack, same, basis, t[None], free, least=np.inf)
        np.testing.assert_array_equal(run.theta[0], t)
        return float(ends[0]), run.gradient[0], run.hessian[0]

    _, gradient, hessian = at(theta)
    h = 1e-5
    moves = [h * np.eye(k)[i] for i in range(k)]
    slope = [(at(theta + m)[0] - at(theta - m)[0]) / (2 * h) for m in moves]
    curve = [(at(theta + m)[1] - at(theta - m)[1]) / (2 * h) for m in moves]
    np.testing.assert_allclose(gradient, slope, atol=1e-5 * max(1.0, np.abs(gradient).max()))
    np.testing.assert_allclose(hessian, curve, atol=1e-5 * max(1.0, np.abs(hessian).max()))


@SLOW
@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans())
def test_no_start_ends_lower(seed: int, q: int, reml: bool) -> None:
    stack = stacked(three_column_design(seed, q, groups=5), reml)
    best = solve(stack)
    assert best.converged.all()
    rng = np.random.default_rng(seed)
    k = q * (q + 1) // 2
    theta = rng.normal(size=(20, k)) * rng.choice([0.1, 0.5, 2.0], size=(20, 1))
    same = np.zeros(20, dtype=np.intp)
    ends, _ = minimise(stack, same, np.eye(q), theta, np.ones_like(theta))
    assert ends.min() >= best.deviance[0] - 1e-9


@SLOW
@given(
    st.integers(0, 10_000),
    st.floats(-3, 3).map(lambda e: 10.0**e),
    st.floats(-50, 50),
    st.sampled_from(["ML", "REML"]),
)
def test_units_and_origin_of_a_predictor_change_nothing(
    seed: int, unit: float, origin: float, method: str
) -> None:
    design = three_column_design(seed, 2)
    change = np.eye(4)
    change[1, 1], change[0, 1] = unit, origin * unit
    moved = DesignMoments(
        design.groups,
        design.n,
        change.T @ design.cross @ change,
        design.names,
        design.fixed,
        design.random,
        design.response,
    )
    a, b = fit_design(design, method), fit_design(moved, method)
    # REML's criterion counts the units of the fixed terms; nothing else does.
    shift = 2 * np.log(unit) if method == "REML" else 0.0
    assert b.deviance - shift == pytest.approx(a.deviance, abs=1e-7)
    assert b.singular == a.singular
    assert b.residual_variance == pytest.approx(a.residual_variance, rel=1e-6)
    back = change[:2, :2] @ b.random_covariance.to_numpy() @ change[:2, :2].T
    size = np.abs(a.random_covariance.to_numpy()).max() + 1e-6 * a.residual_variance
    np.testing.assert_allclose(back, a.random_covariance, atol=2e-5 * size)
    np.testing.assert_allclose(
        b.residuals("x")["residual"] * unit, a.residuals("x")["residual"], atol=1e-4
    )


@SLOW
@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_order_of_therapists_changes_nothing(seed: int, random: object) -> None:
    design = three_column_design(seed, 2)
    order = np.random.default_rng(seed).permutation(len(design.groups))
    turned = DesignMoments(
        design.groups[order],
        design.n[order],
        design.cross[order],
        design.names,
        design.fixed,
        design.random,
        design.response,
    )
    a, b = fit_design(design), fit_design(turned)
    assert a.deviance == pytest.approx(b.deviance, abs=1e-9)
    np.testing.assert_allclose(
        a.residuals()["residual"], b.residuals()["residual"].reindex(design.groups), atol=1e-6
    )


@SLOW
@given(st.integers(0, 10_000))
def test_moments_of_two_files_add_up_to_the_fit_of_both(seed: int) -> None:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(8), 12)
    x = np.rint(rng.normal(10, 4, len(g)))
    y = np.rint(2 + x + rng.normal(size=8)[g] * 3 + rng.normal(0, 4, len(g)))
    columns = {"Intercept": np.ones(len(g)), "x": x}
    whole = DesignMoments.from_arrays(y, columns, ["Intercept", "x"], g)
    first = rng.random(len(g)) < 0.5
    # Every therapist in both files.
    first[::12], first[1::12] = True, False
    halves = [
        DesignMoments.from_arrays(y[k], {n: c[k] for n, c in columns.items()}, ["Intercept"], g[k])
        for k in (first, ~first)
    ]
    pooled = DesignMoments(
        whole.groups,
        halves[0].n + halves[1].n,
        halves[0].cross + halves[1].cross,
        whole.names,
        whole.fixed,
        whole.random,
        whole.response,
    )
    np.testing.assert_array_equal(pooled.cross, whole.cross)
    bare = replace(whole, centres=(), centred=None)
    assert fit_design(pooled).deviance == fit_design(bare).deviance


def test_a_face_that_is_no_minimum_is_left() -> None:
    """Start on the face without slope variance where the slopes do vary."""
    design = three_column_design(1, 2, groups=20)
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(20), 15)
    x = rng.normal(size=300)
    y = rng.normal(size=20)[g] + x * rng.normal(size=20)[g] + rng.normal(size=300)
    design = DesignMoments.from_arrays(
        y, {"Intercept": np.ones(300), "x": x}, ["Intercept", "x"], g
    )
    stack = stacked(design, False)
    best = solve(stack)
    for start in ([0.0, 0.0, 0.0], [0.4, 0.0, 0.0], [0.0, 0.0, 0.4]):
        theta = np.array([start])
        same = np.zeros(1, dtype=np.intp)
        ends, run = minimise(stack, same, np.eye(2), theta, np.ones_like(theta))
        assert ends[0] > best.deviance[0] + 1.0
        facts = np.array([[ends[0], *search._UNKNOWN[1:]]])
        g = run.factor @ run.factor.swapaxes(1, 2)
        found = g, facts, np.full((1, 3), np.nan), np.zeros((1, 0))
        faces = places(2), (*search._faces(2), False)
        search._search(stack.arrays, stack.z_root, found, np.zeros((0, 2, 2)), *faces)
        assert facts[0, 0] == pytest.approx(best.deviance[0], abs=1e-9)
        assert facts[0, 1] == 2


@pytest.mark.parametrize("covariance", [[[2.8, 0.1], [0.1, 0.013]], [[1.0, 0.1], [0.1, 0.01]]])
@pytest.mark.parametrize("method", ["ML", "REML"])
def test_many_therapists_are_searched_by_a_shorter_way_to_the_same_end(
    covariance: list[list[float]], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.replicate import replicate_moments

    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(700), 8)
    columns = {"Intercept": np.ones(len(g)), "x": np.rint(rng.normal(0, 6, len(g)))}
    empty = DesignMoments.from_arrays(np.zeros(len(g)), columns, ["Intercept", "x"], g)
    cross = replicate_moments(empty, [8.6, 0.5], covariance, 29.0, 1, rng)[0]
    design = DesignMoments(
        empty.groups, empty.n, cross, empty.names, empty.fixed, empty.random, empty.response
    )
    short = fit_design(design, method)
    monkeypatch.setattr(search, "MANY_GROUPS", 10**9)
    long = fit_design(design, method)
    assert short.deviance == pytest.approx(long.deviance, abs=1e-8)
    assert short.singular == long.singular
    assert short.converged
    assert short.certificate.screened < long.certificate.screened
