"""Figures of posterior draws: density, trace, autocorrelation, and what the prior does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from multilevel.draws import PosteriorInterval
from multilevel.errors import InputError
from pwp_lib.numbers import certain_percent, count, percent, plain
from pwp_lib.show import style
from pwp_lib.show._drawing import axes_or_new, need, styled
from pwp_lib.show.alt import remember

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["autocorrelation_plot", "posterior_density", "prior_comparison", "trace_plot"]


def _chains(draws: ArrayLike) -> NDArray[np.float64]:
    """Draws as (chains, draws), finite."""
    array = np.atleast_2d(np.asarray(draws, dtype=float))
    if array.ndim != 2 or array.shape[1] < 2 or not np.isfinite(array).all():
        raise InputError("draws must be finite numbers, of shape (draws,) or (chains, draws)")
    return array


def _density(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kernel density of positive draws, from the logarithm, so that none lies below zero."""
    from scipy.stats import gaussian_kde

    kept = values[values > 0][:: max(1, len(values) // 20_000)]
    log = np.log(kept)
    if len(kept) < 2 or np.ptp(kept) == 0:
        raise InputError("the draws do not vary, so that they have no density")
    grid = np.linspace(log.min(), log.max(), 240)
    return np.exp(grid), gaussian_kde(log)(grid) / np.exp(grid)


@styled
def posterior_density(
    draws: ArrayLike,
    *,
    measure: str = "",
    published: tuple[float, float, float] | None = None,
    estimate: float | None = None,
) -> Axes:
    """Draw the posterior density of the therapist effect, with median, interval and the paper's.

    Parameters
    ----------
    draws : array_like of shape (draws,) or (chains, draws)
        Proportions: `Posterior.vpc`.
    measure : str
        Short name, for colour and title.
    published : tuple of float, optional
        The paper's median, lower and upper bound, as proportions.
    estimate : float, optional
        The maximum likelihood estimate, as proportion.

    Returns
    -------
    Axes
    """
    values = _chains(draws).ravel()
    known = PosteriorInterval.of(_chains(draws))
    low, mid, high = known.lower, known.median, known.upper
    x, density = _density(values)
    (ax,), colour = style.new_axes(), style.measure_colour(measure)
    keep = x <= np.quantile(values, 0.999)
    x, density = x[keep], density[keep]
    ax.plot(x, density, color=colour)
    ax.fill_between(
        x, density, where=((x >= low) & (x <= high)).tolist(), color=colour, alpha=0.2, lw=0
    )
    step = density.max() * 0.085
    _interval(ax, -step, low, mid, high, colour, f"ours {' '.join(_certain(known))}")
    if published is not None:
        _interval(
            ax, -2 * step, published[1], published[0], published[2], style.INK, _printed(published)
        )
    if estimate is not None:
        ax.axvline(estimate, color=colour, linestyle=":", linewidth=1.4)
        ax.annotate(
            "maximum likelihood", (estimate, density.max()), (5, 4), textcoords="offset points",
            fontsize=9.5,
        )  # fmt: skip
    ax.xaxis.set_major_formatter(lambda v, _: f"{100 * v:g}%")
    ax.set_yticks([])
    ax.set(xlabel="Therapist effect", ylim=(-2.9 * step, density.max() * 1.14))
    ax.spines["left"].set_visible(False)
    if measure:
        ax.set_title(style.measure_label(measure))
    return remember(ax, _posterior_sentence(measure, known, published))


def _interval(
    ax: Axes, y: float, low: float, mid: float, high: float, colour: str, name: str
) -> None:
    ax.hlines(y, low, high, color=colour, linewidth=2.4)
    ax.plot(mid, y, "o", color=colour, markersize=7)
    ax.annotate(
        name, (high, y), (7, 0), textcoords="offset points", va="center", fontsize=9.5,
        color=style.INK,
    )  # fmt: skip


def _certain(known: PosteriorInterval) -> tuple[str, str]:
    """Median and interval, each number with no more decimals than its Monte Carlo error allows."""
    mid = certain_percent(known.median, known.mcse)
    low = certain_percent(known.lower, known.mcse_lower)
    high = certain_percent(known.upper, known.mcse_upper)
    return mid, f"({low} to {high})"


def _printed(published: tuple[float, float, float]) -> str:
    mid, low, high = (percent(v) for v in published)
    return f"paper {mid} ({low} to {high})"


def _posterior_sentence(
    measure: str,
    known: PosteriorInterval,
    published: tuple[float, float, float] | None,
) -> str:
    on = f" on {style.measure_label(measure)}" if measure else ""
    mid, ends = _certain(known)
    sentence = (
        f"Posterior density of the therapist effect{on}: median {mid}, "
        f"{100 * known.level:g}% interval {ends.strip('()')}"
    )
    if published is not None:
        sentence += f"; the {_printed(published).replace('paper', 'paper prints', 1)}"
    return f"{sentence}."


@styled
def trace_plot(
    draws: ArrayLike,
    ax: Axes | None = None,
    *,
    measure: str = "",
) -> Axes:
    """Draw the path of the therapist effect in each chain.

    Parameters
    ----------
    draws : array_like of shape (draws,) or (chains, draws)
    ax : Axes, optional
    measure : str
        Short name, for the colour.

    Returns
    -------
    Axes
    """
    chains = _chains(draws)
    ax = axes_or_new(ax, style.PAGE_WIDTH, 2.8)
    step = max(1, chains.shape[1] // 2_000)
    at = np.arange(chains.shape[1])[::step]
    shades = [style.measure_colour(measure), style.MUTED, "#7AA6C2", "#B9A27A"]
    for i, chain in enumerate(chains):
        ax.plot(at, chain[::step], linewidth=0.5, color=shades[i % len(shades)], alpha=0.9)
    ax.set(xlabel="Iteration after burn-in", ylabel="Therapist effect")
    ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g}%")
    halves = np.array_split(chains, 2, axis=1)
    first, second = (f"{plain(100 * float(np.median(h)), 1)}%" for h in halves)
    return remember(
        ax,
        f"Trace of {count(chains.shape[0], 'chain')} of {chains.shape[1]:,} iterations: the median "
        f"of the first half is {first}, of the second half {second}.",
    )


@styled
def autocorrelation_plot(
    draws: ArrayLike, ax: Axes | None = None, *, lags: int = 40, measure: str = ""
) -> Axes:
    """Draw how strongly a draw resembles those before it.

    Parameters
    ----------
    draws : array_like of shape (draws,) or (chains, draws)
    ax : Axes, optional
    lags : int
        How far back.
    measure : str
        Short name, for the colour.

    Returns
    -------
    Axes
    """
    chains = _chains(draws)
    lags = min(lags, chains.shape[1] - 1)
    off = chains - chains.mean(axis=1, keepdims=True)
    variance = float((off**2).mean())
    if np.ptp(chains) == 0:
        raise InputError("the draws do not vary, so that they have no autocorrelation")
    length = chains.shape[1]
    rho = np.array([(off[:, : length - k] * off[:, k:]).sum() for k in range(lags + 1)])
    rho = rho / (variance * off.size)
    ax = axes_or_new(ax, style.PAGE_WIDTH, 2.8)
    ax.bar(np.arange(lags + 1), rho, color=style.measure_colour(measure), width=0.7)
    ax.axhline(0, color=style.INK, linewidth=1)
    ax.set(xlabel="Iterations apart", ylabel="Autocorrelation", ylim=(min(-0.1, rho.min()), 1.03))
    ax.grid(visible=False, axis="x")
    small = np.flatnonzero(np.abs(rho) < 0.05)
    until = f"below 0.05 from lag {small[0]}" if len(small) else "above 0.05 at every lag shown"
    return remember(ax, f"Autocorrelation of the draws: {rho[1]:.2f} between neighbours, {until}.")


@styled
def prior_comparison(
    posteriors: Mapping[str, ArrayLike] | pd.DataFrame,
    *,
    measure: str = "",
    published: tuple[float, float, float] | None = None,
) -> Axes:
    """Draw median and 95% interval of the therapist effect under several priors, one below another.

    Parameters
    ----------
    posteriors : mapping of str to array_like, or DataFrame
        Draws by the prior's name; or a frame by the prior's name with ``median, lower, upper``.
    measure : str
        Short name, for the colour.
    published : tuple of float, optional
        The paper's median, lower and upper bound.

    Returns
    -------
    Axes
    """
    if isinstance(posteriors, pd.DataFrame):
        need(posteriors, ["median", "lower", "upper"], "a comparison of priors")
        rows = [(str(k), r["median"], r["lower"], r["upper"]) for k, r in posteriors.iterrows()]
    else:
        rows = []
        for name, draws in posteriors.items():
            known = PosteriorInterval.of(_chains(draws))
            rows.append((name, known.median, known.lower, known.upper))
    colour = style.measure_colour(measure)
    if published is not None:
        rows.append(("the paper", *published))
    (ax,) = style.new_axes(style.PAGE_WIDTH, 1.1 + 0.42 * len(rows))
    for y, (_, mid, low, high) in enumerate(rows):
        ink = style.INK if published is not None and y == len(rows) - 1 else colour
        ax.hlines(y, low, high, color=ink, linewidth=2.6)
        ax.plot(mid, y, "o", color=ink, markersize=8)
        ax.annotate(
            f"{100 * mid:.1f}%", (mid, y), (0, 7), textcoords="offset points", ha="center",
            fontsize=9.5,
        )  # fmt: skip
    ax.set_yticks(np.arange(len(rows)), [r[0] for r in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.7))
    # Long names of priors leave little room: the label is set from the right, within the card.
    ax.set_xlabel("Therapist effect, median and 95% interval", loc="right")
    ax.set_xlim(left=0)
    ax.xaxis.set_major_formatter(lambda v, _: f"{100 * v:g}%")
    ax.grid(visible=False, axis="y")
    told = "; ".join(
        f"{name} {100 * mid:.1f}% ({100 * low:.1f}% to {100 * high:.1f}%)"
        for name, mid, low, high in rows
    )
    return remember(ax, f"Therapist effect, median and 95% interval, by prior: {told}.")
