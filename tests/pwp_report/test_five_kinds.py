"""Five files unlike each other: what the command releases is what pandas and statsmodels find."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from five_kinds import MAKERS, SCALES, STUDIES, read_alone
from running import run
from statsmodels.regression.mixed_linear_model import MixedLM

COUNTS = ["n", "n_case_pre", "n_improved", "n_deteriorated", "n_recovered", "n_rcsi"]
LABELS = {"phq9": "PHQ-9", "gad7": "GAD-7", "core10": "CORE-10", "ors": "ORS"}
#: The smallest at every change; all five at night.
_SMALL = ("counselling",)


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=() if n in _SMALL else pytest.mark.nightly) for n in MAKERS],
)
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Patients as pandas reads them, and the tables that the command released."""
    place = tmp_path_factory.mktemp(request.param)
    file, study = MAKERS[request.param](place), place / "study.toml"
    text = "engines = ['ml']\n" + STUDIES.get(request.param, "")
    study.write_text(text, encoding="utf-8")
    out = ("--out", place / "out", "--key", place / "a.key", "--study", study)
    assert run("analyse", file, *out) == 0
    folder = place / "out" / "run-0001" / "tables"
    tables = {t.stem: pd.read_csv(t, keep_default_na=False) for t in folder.glob("*.csv")}
    return read_alone(request.param, file), tables


def _measures(rows: pd.DataFrame) -> list[str]:
    return [m for m in SCALES if f"{m}_pre" in rows]


def _counted(rows: pd.DataFrame, m: str) -> dict[str, int]:
    cutoff, reliable, sign = SCALES[m]
    pre, post = rows[f"{m}_pre"], rows[f"{m}_post"]
    # At the cut-off is a case where higher is worse, and no case where it is better.
    before, after = ((x >= cutoff) if sign == 1 else (x < cutoff) for x in (pre, post))
    gain = (sign * (pre - post)).round(6)
    well = before & ~after
    sums = [before, gain >= reliable, gain <= -reliable, well, well & (gain >= reliable)]
    return dict(zip(COUNTS, [len(rows), *(int(s.sum()) for s in sums)], strict=True))


def _agrees(shown: Any, exact: int) -> bool:
    """A count under five is withheld; another is the nearest five, or withheld for a neighbour."""
    return str(shown) == "*" or (exact >= 5 and int(float(shown)) == 5 * ((exact + 2) // 5))


def test_counts_of_all_and_of_each_therapist(found) -> None:
    rows, tables = found
    d = rows.dropna()
    for m in _measures(rows):
        (all_,) = tables["outcomes"].query("measure == @LABELS[@m]").to_dict("records")
        exact = _counted(d, m)
        assert all(_agrees(all_[c], exact[c]) for c in COUNTS), (m, exact)
        shown = tables["outcomes_by_therapist"].query("measure == @LABELS[@m]")
        alone = shown[shown["therapist"] != "others together"]
        # Pseudonyms tell nobody: therapists are known by all that is released of them.
        mine = {t: _counted(g, m) for t, g in d.groupby("t") if len(g) >= 20}
        means = {t: g[[f"{m}_pre", f"{m}_post"]].mean() for t, g in d.groupby("t")}
        taken = set()
        for row in alone.to_dict("records"):
            fits = [
                t for t, counts in mine.items()
                if all(_agrees(row[c], counts[c]) for c in COUNTS)
                and abs(float(row["mean_pre"]) - means[t].iloc[0]) < 0.051
                and abs(float(row["mean_post"]) - means[t].iloc[1]) < 0.051
            ]  # fmt: skip
            assert len(fits) == 1, (m, row)
            taken.add(fits[0])
        assert len(taken) == len(alone)
        withheld = sum(str(row[c]) == "*" for row in alone.to_dict("records") for c in COUNTS)
        small = sum(n < 5 for t in taken for n in mine[t].values())
        assert small <= withheld <= 2 * small + 10


def test_means_effect_sizes_flow_and_completeness(found) -> None:
    rows, tables = found
    d = rows.dropna()
    for m in _measures(rows):
        (row,) = tables["outcomes"].query("measure == @LABELS[@m]").to_dict("records")
        pre, post, sign = d[f"{m}_pre"], d[f"{m}_post"], SCALES[m][2]
        gain = sign * (pre - post)
        expected = {"mean_pre": pre.mean(), "sd_pre": pre.std(), "mean_post": post.mean(),
                    "mean_change": gain.mean(), "effect_size": gain.mean() / pre.std()}  # fmt: skip
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, abs=0.00501), name
    assert _agrees(tables["flow"]["patients"].iloc[-1], len(d))
    complete = tables["completeness"]
    alone = complete[complete["therapist"] != "others together"]
    sizes = sorted(5 * ((n + 2) // 5) for n in d.groupby("t").size() if n >= 20)
    assert sorted(alone["complete"].astype(int))[-len(sizes) // 2 :] == sizes[-len(sizes) // 2 :]


def test_models_and_the_therapist_effect(found) -> None:
    rows, tables = found
    d = rows.dropna()
    names = _measures(rows)
    for m in names:
        centred = {x: d[f"{x}_pre"] - d[f"{x}_pre"].mean() for x in names}
        own = centred[m]
        design = {"one": 1.0, "own": own} | {x: centred[x] for x in names if x != m}
        for x in [x for x in names if x != m]:
            design["product"] = own * centred[x]
        x = pd.DataFrame(design, index=d.index)
        deviances = []
        for random in (x[["one"]], x[["one", "own"]]):
            model = MixedLM(d[f"{m}_post"].to_numpy(float), x, groups=d["t"], exog_re=random)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on the boundary it warns
                fits = [model.fit(reml=False, method=how) for how in ("powell", "lbfgs")]
            best = max((f for f in fits if np.isfinite(f.llf)), key=lambda f: f.llf)
            deviances.append(-2 * best.llf)
        shown = tables[f"models_{m}"]["deviance"].astype(float)
        assert shown.iloc[1:].tolist() == pytest.approx(deviances, abs=0.02)
        # At the mean first score: of the random slope model, intercept over intercept and rest.
        between = float(np.asarray(best.cov_re)[0, 0])
        effect = tables["therapist_effect"].query("measure == @LABELS[@m]")["vpc"].iloc[0]
        assert float(effect) == pytest.approx(100 * between / (between + best.scale), abs=0.3)
