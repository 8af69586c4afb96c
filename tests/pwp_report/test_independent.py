"""The computations that reports are held against are right themselves: they agree with lme4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from claims import SCALES, Asked
from five_kinds import MAKERS, read_alone
from independent import Logistic

pytestmark = pytest.mark.nightly
REFERENCE = pd.read_csv(Path(__file__).parents[1] / "reference" / "five_kinds.csv")


@pytest.fixture(scope="module", params=[*MAKERS])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    name = request.param
    rows = read_alone(name, MAKERS[name](tmp_path_factory.mktemp(name)))
    rows.attrs["file"] = name
    return Asked(rows)


def _by_r(asked: Asked, m: str) -> pd.Series:
    mine = (REFERENCE["file"] == asked.rows.attrs["file"]) & (REFERENCE["measure"] == m)
    return REFERENCE[mine].set_index("what")["value"]


def test_linear_models(asked: Asked) -> None:
    for m in asked.measures:
        r, fit = _by_r(asked, m), asked.fits[m]
        p = len(fit.beta)
        assert fit.deviance == pytest.approx(r["deviance"], abs=2e-4)
        assert fit.share() == pytest.approx(r["between"] / (r["between"] + r["within"]), abs=1e-4)
        assert fit.beta == pytest.approx(r[[f"fixed_{i + 1}" for i in range(p)]], abs=2e-4)
        assert fit.se == pytest.approx(r[[f"se_{i + 1}" for i in range(p)]], abs=2e-4)
        u, own, _ = fit.effects()
        if f"u_{fit.model.labels[0]}" in r or len(u) < 100:
            labels = [f"{t:g}" if isinstance(t, float) else str(t) for t in fit.model.labels]
            assert u == pytest.approx(r[[f"u_{t}" for t in labels]], abs=2e-3)
            assert np.sqrt(own) == pytest.approx(r[[f"se_u_{t}" for t in labels]], abs=2e-3)
        again = asked.model(asked.patients, m, reml=True).fit()
        share = r["reml_between"] / (r["reml_between"] + r["reml_within"])
        assert again.share() == pytest.approx(share, abs=1e-4)
        if "services" in r:
            three = asked.model(asked.patients, m, "nested").fit()
            assert 100 * three.share(0) == pytest.approx(r["services"], abs=0.01)
            assert 100 * three.share(1) == pytest.approx(r["within_services"], abs=0.01)


def test_logistic_models(asked: Asked) -> None:
    d = asked.patients
    for m in asked.measures:
        r, x = _by_r(asked, m), d[f"{m}_pre"] - d[f"{m}_pre"].mean()
        gain = SCALES[m][3] * (d[f"{m}_pre"] - d[f"{m}_post"]).round(6)
        fit = Logistic(gain >= SCALES[m][2], np.column_stack([np.ones(len(d)), x]), d["t"])
        assert fit.sd**2 == pytest.approx(r["logit_variance"], abs=2e-4)
        assert fit.beta == pytest.approx(r[["logit_fixed_1", "logit_fixed_2"]], abs=2e-4)
