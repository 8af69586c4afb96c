"""Other software, timed on the same rows. What is not installed is said to be so."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from arviz_stats.base import array_stats

from benchmarks.timing import per_call, spent

SCRIPT = Path(__file__).with_name("peers.R")


def in_r(folder: Path, peer: str, *more: str) -> dict[str, Any]:
    """Run one of R's packages in a process of its own, which times itself."""
    if shutil.which("Rscript") is None:
        return {"left out": "R is not installed"}
    run = subprocess.run(
        ["Rscript", str(SCRIPT), str(folder), peer, *more], capture_output=True, text=True
    )
    if run.returncode:
        said = re.search(r"Error.*?:\s*(.*?)\s*(?:\nCalls|\nExecution|\Z)", run.stderr, re.DOTALL)
        return {"left out": " ".join((said[1] if said else run.stderr).split()) or "failed"}
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    for name in ("deviance", "vpc"):  # where one of the two fits failed R writes a number alone
        if isinstance(found.get(name), float):
            found[name] = [found[name]]
    return found


def jags(folder: Path, model: str, scale: list[list[float]]) -> dict[str, Any]:
    """JAGS with the prior that Gibbs sampling had."""
    numbers = [str(v) for row in scale for v in row] if model == "slope" else []
    found = in_r(folder, f"jags_{model}", "4000", *numbers)
    if "left out" in found:
        return found
    return found | _judged(np.fromfile(folder / f"jags_{model}.bin"), found["cpu"])


def _judged(vpc: np.ndarray, cpu: float) -> dict[str, float]:
    vpc = np.atleast_2d(vpc)
    ess = float(array_stats.ess(vpc))
    return {
        "ess": ess,
        "ess per cpu second": ess / cpu,
        "median": float(np.median(vpc)),
        "mcse": float(array_stats.mcse(vpc, method="quantile", prob=0.5)),
    }


def statsmodels(frame: pd.DataFrame) -> dict[str, Any]:
    """MixedLM with its defaults, maximum likelihood, both models."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    data = pd.DataFrame({"y": frame["y"].astype(float), "x": frame["x"] - frame["x"].mean()})
    fixed = np.column_stack([np.ones(len(data)), data["x"]])

    def work() -> list[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [
                MixedLM(data["y"], fixed, frame["g"], exog_re=fixed[:, :q]).fit(reml=False)
                for q in (1, 2)
            ]

    times, fits = spent(work)
    between = [float(np.asarray(f.cov_re)[0, 0]) for f in fits]
    return times | {
        "software": f"statsmodels {version('statsmodels')}",
        "deviance": [-2 * float(f.llf) for f in fits],
        "vpc": [b / (b + float(f.scale)) for b, f in zip(between, fits, strict=True)],
        "converged": [bool(f.converged) for f in fits],
    }


#: Packages of Python with a compiled search, by the name they install under.
COMPILED = ("glmm", "mixedlm", "mixedlm-rs")


def compiled(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    """Both models by one of the compiled packages, maximum likelihood, from the frame."""
    data = pd.DataFrame({"y": frame["y"].astype(float), "g": frame["g"]})
    data["a"] = frame["x"] - frame["x"].mean()
    try:
        fit = _compiled_fit(name)
    except ImportError:
        return {"left out": "not installed"}
    calls = max(1, 20_000 // len(frame))

    def work() -> list[float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [fit("(1 | g)", data), fit("(1 + a | g)", data)]

    work()
    times, deviance = per_call(work, calls, repeats=3 if len(frame) < 100_000 else 1)
    return times | {"software": f"{name} {version(name)}", "deviance": deviance, "vpc": []}


def _compiled_fit(name: str) -> Callable[[str, pd.DataFrame], float]:
    if name == "glmm":
        import glmm

        return lambda random, data: (
            -2 * float(glmm.fit(data, f"y ~ a + {random}", reml=False, satterthwaite=False).loglik)
        )
    if name == "mixedlm":
        import mixedlm

        return lambda random, data: (
            -2 * float(mixedlm.lmer(f"y ~ a + {random}", data, REML=False).logLik().value)
        )
    import mixedlm_rs

    def by_rs(random: str, data: pd.DataFrame) -> float:
        terms = "~a" if "a" in random else "~1"
        model = mixedlm_rs.MixedLM.from_formula("y ~ a", data, groups=data["g"], re_formula=terms)
        return -2 * float(model.fit(reml=False).llf)

    return by_rs


def _row_model(frame: pd.DataFrame) -> Any:
    """The correlated model on rows, as a PyMC user writes it."""
    import pymc as pm

    g, x = frame["g"].to_numpy(), frame["x"].to_numpy(float)
    x = x - x.mean()
    with pm.Model() as model:
        b = pm.Normal("b", 0, 100, shape=2)
        sigma = pm.HalfNormal("sigma", 10)
        chol, _, sd = pm.LKJCholeskyCov("chol", n=2, eta=1, sd_dist=pm.HalfNormal.dist(3, shape=2))
        u = pm.Deterministic("u", pm.Normal("z", shape=(g.max() + 1, 2)) @ chol.T)
        pm.Normal("y", b[0] + u[g, 0] + (b[1] + u[g, 1]) * x, sigma, observed=frame["y"])
        pm.Deterministic("vpc", sd[0] ** 2 / (sd[0] ** 2 + sigma**2))
    return model


def pymc(frame: pd.DataFrame, draws: int) -> dict[str, Any]:
    """PyMC's own NUTS; compiling is not counted, tuning is."""
    import pymc as pm

    model = _row_model(frame)
    with model:
        pm.sample(5, tune=5, chains=1, cores=1, random_seed=1, progressbar=False)  # compiles
        times, trace = spent(
            lambda: pm.sample(draws, tune=500, chains=2, cores=1, random_seed=1, progressbar=False)
        )
    software = f"PyMC {version('pymc')}"
    return times | {"software": software} | _judged(trace.posterior.vpc.to_numpy(), times["cpu"])


def nutpie(frame: pd.DataFrame, draws: int) -> dict[str, Any]:
    """The same PyMC model sampled by nutpie; compiling is not counted, tuning is."""
    import nutpie as sampler

    compiled = sampler.compile_pymc_model(_row_model(frame))
    times, trace = spent(
        lambda: sampler.sample(
            compiled, draws=draws, tune=500, chains=2, cores=1, seed=1, progress_bar=False
        )
    )
    software = f"nutpie {version('nutpie')}, PyMC {version('pymc')}"
    return times | {"software": software} | _judged(trace.posterior.vpc.to_numpy(), times["cpu"])


def bambi(frame: pd.DataFrame, draws: int) -> dict[str, Any]:
    """bambi as it is, slope uncorrelated, sampled by nutpie; its compiling cannot be left out."""
    import bambi as bmb

    data = frame.assign(x=frame["x"] - frame["x"].mean(), y=frame["y"].astype(float))
    data["g"] = pd.Categorical([f"T{v:05}" for v in frame["g"]])

    def work() -> Any:
        return bmb.Model("y ~ x + (1 + x | g)", data).fit(
            draws=draws, tune=500, chains=2, random_seed=1,
            inference_method="nutpie", progressbar=False,
        )  # fmt: skip

    times, trace = spent(work)
    post = trace.posterior
    b, s = post["1|g_sigma"].to_numpy() ** 2, post["sigma"].to_numpy() ** 2
    note = "bambi reads (1 + x | g) as an intercept and a slope that are independent."
    about = {"software": f"bambi {version('bambi')}", "note": note}
    return times | about | _judged(b / (b + s), times["cpu"])


def brms(folder: Path, draws: int) -> dict[str, Any]:
    """brms with its default priors; compiling is not counted, tuning is."""
    found = in_r(folder, "brms", str(draws))
    if "left out" in found:
        return found
    return found | _judged(np.fromfile(folder / "brms.bin").reshape(2, -1), found["cpu"])
