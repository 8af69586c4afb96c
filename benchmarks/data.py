"""Invented integer scores of patients nested in therapists, at any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pwp_lib.truth import CASELOADS

#: Patients and therapists of the four sizes.
SIZES = {"1,122/21": (1_122, 21), "6,111/56": (6_111, 56), "1 million/5,000": (1_000_000, 5_000),
         "10 million/20,000": (10_000_000, 20_000)}  # fmt: skip
ONE = "y ~ center(x) + (1 | g)"
TWO = "y ~ center(x) + (1 + center(x) | g)"


def caseloads(patients: int, therapists: int, rng: np.random.Generator) -> np.ndarray:
    """Uneven caseloads that sum to the number of patients; the paper's at its own size."""
    if (patients, therapists) == (sum(CASELOADS), len(CASELOADS)):
        return np.array(CASELOADS)
    share = rng.gamma(1.5, size=therapists) + 0.1
    counts = np.maximum((share / share.sum() * patients).astype(int), 5)
    counts[np.argmax(counts)] += patients - counts.sum()
    return counts


def rows(patients: int, therapists: int, seed: int = 3) -> pd.DataFrame:
    """Coded rows, sorted by therapist: scores in one byte, therapists as whole numbers."""
    rng = np.random.default_rng(seed)
    counts = caseloads(patients, therapists, rng)
    g = np.repeat(np.arange(therapists, dtype=np.int32), counts)
    x = np.clip(np.round(rng.normal(13, 6.4, patients)), 0, 27)
    u = rng.multivariate_normal([0, 0], [[2.78, 0.095], [0.095, 0.013]], therapists)
    y = 8.66 + (0.55 + u[g, 1]) * (x - 13) + u[g, 0] + rng.normal(0, 5.4, patients)
    y = np.clip(np.round(y), -100, 100)
    return pd.DataFrame({"y": y.astype(np.int8), "x": x.astype(np.int8), "g": g})


def write_binary(frame: pd.DataFrame, folder: Path) -> None:
    """Columns as 32-bit integers, which R reads quickly."""
    for name in ("y", "x", "g"):
        frame[name].to_numpy().astype(np.int32).tofile(folder / f"{name}.bin")
