"""The proof, kept with every fit, that its optimum is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from multilevel.boundary import Optimum, boundary_deviance
from multilevel.likelihood import Stack

__all__ = ["Certificate", "certify"]

#: Optima whose deviances differ by less are one optimum.
_SAME = 1e-6


@dataclass(frozen=True)
class Certificate:
    """Why the optimum is believed to be one.

    Derivatives are by the elements of the relative covariance factor, in standardised random
    terms turned to their principal axes, so that they mean the same in all units.

    Attributes
    ----------
    gradient_norm : float
        Largest absolute derivative of the deviance by a free element.
    curvature : tuple of float
        Eigenvalues of the Hessian by the free elements; all positive at a minimum.
    rank, terms : int
        Rank of the covariance of the random terms, and how many there are.
    inward : float
        On the boundary, the least derivative of the deviance in any direction that leads inside;
        not negative at a minimum. NaN where the optimum is inside.
    iterations : int
        Newton steps of the start that won.
    starts : tuple of float
        Deviance that each start reached.
    best_other : float
        Lowest deviance of another stationary point that a start ended in; NaN if all agree.
    on_boundary : float
        Lowest deviance found on the boundary when the optimum is inside, NaN otherwise.
    """

    gradient_norm: float
    curvature: tuple[float, ...]
    rank: int
    terms: int
    inward: float
    iterations: int
    starts: tuple[float, ...]
    best_other: float
    on_boundary: float

    @property
    def boundary(self) -> str:
        """How the boundary was examined, in a sentence."""
        if not self.terms:
            return "There is no random term, so there is no boundary."
        if self.rank == self.terms:
            return (
                "The optimum lies inside: the covariance of the random terms has full rank. The "
                f"lowest deviance on the boundary is {self.on_boundary:.3f}, which is higher."
            )
        return (
            f"The optimum lies on the boundary (rank {self.rank} of {self.terms}): it was polished "
            "there, and in every direction that leads inside the deviance rises (least derivative "
            f"{self.inward:.3g})."
        )

    def table(self) -> pd.DataFrame:
        """Return the certificate as a table with one row for each check."""
        rows = {
            "largest derivative": self.gradient_norm,
            "least curvature": min(self.curvature, default=np.nan),
            "rank": float(self.rank),
            "random terms": float(self.terms),
            "least derivative inward": self.inward,
            "Newton steps": float(self.iterations),
            "starts": float(len(self.starts)),
            "next stationary deviance": self.best_other,
            "lowest deviance on the boundary": self.on_boundary,
        }
        return pd.DataFrame({"value": rows}).rename_axis("check")


def certify(stack: Stack, found: Optimum) -> Certificate:
    """Certificate of the optimum of one design, alone in its stack.

    Parameters
    ----------
    stack : Stack
    found : Optimum
    """
    deviance, starts = float(found.deviance[0]), found.starts[0]
    others = starts[starts > deviance + _SAME]
    curvature = found.curvature[0]
    inside = stack.q > 0 and int(found.rank[0]) == stack.q
    return Certificate(
        gradient_norm=float(found.gradient_norm[0]),
        curvature=tuple(float(v) for v in curvature[~np.isnan(curvature)]),
        rank=int(found.rank[0]),
        terms=stack.q,
        inward=float(found.inward[0]),
        iterations=int(found.iterations[0]),
        starts=tuple(float(v) for v in starts),
        best_other=float(others.min()) if len(others) else float("nan"),
        on_boundary=boundary_deviance(stack, found.g) if inside else float("nan"),
    )
