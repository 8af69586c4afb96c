"""Makes gibbs_data.csv and gibbs_three.csv: invented scores of patients nested in therapists.

For gibbs_jags.R and, with three random terms, gibbs_three.R. Run as ``python
tests/reference/gibbs_data.py`` (made with NumPy 2.4.6).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

CASELOADS = [134, 58, 39, 36, 11, 56, 51, 39, 30, 29, 25, 20, 19, 10, 9, 8, 197, 163, 90, 72, 26]


def main() -> None:
    rng = np.random.default_rng(20)
    g = np.repeat(np.arange(21), CASELOADS)
    x = np.clip(np.round(rng.normal(14, 6.4, len(g))), 0, 27)
    u = rng.multivariate_normal([0, 0], [[2.8, 0.1], [0.1, 0.013]], 21)
    y = np.round(8.7 + 0.55 * (x - 14) + u[g, 0] + u[g, 1] * (x - 14) + rng.normal(0, 5.4, len(g)))
    rows = "\n".join(f"{a:.0f},{b:.0f},{c + 1}" for a, b, c in zip(y, x, g, strict=True))
    Path(__file__).with_suffix(".csv").write_text(f"y,x,g\n{rows}\n")
    three()


def three() -> None:
    """Intercepts and two slopes, each correlated with the others."""
    rng = np.random.default_rng(33)
    g = np.repeat(np.arange(24), rng.integers(12, 60, 24))
    x, z = np.round(rng.normal(14, 6, len(g))), np.round(rng.normal(40, 12, len(g)))
    cov = [[3.0, 0.15, -0.06], [0.15, 0.04, 0.004], [-0.06, 0.004, 0.01]]
    u = rng.multivariate_normal([0, 0, 0], cov, 24)
    line = 9 + 0.5 * (x - 14) - 0.05 * (z - 40)
    own = u[g, 0] + u[g, 1] * (x - 14) + u[g, 2] * (z - 40)
    y = np.round(line + own + rng.normal(0, 5, len(g)), 1)
    rows = "\n".join(
        f"{a:.1f},{b:.0f},{c:.0f},{d + 1}" for a, b, c, d in zip(y, x, z, g, strict=True)
    )
    Path(__file__).with_name("gibbs_three.csv").write_text(f"y,x,z,g\n{rows}\n")


if __name__ == "__main__":
    main()
