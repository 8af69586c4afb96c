"""The proof that an optimum is one, for the reader of a fit."""

from __future__ import annotations

from dataclasses import dataclass

from multilevel.search import Optimum


@dataclass(frozen=True)
class Certificate:
    """Why the optimum is believed to be one.

    Derivatives are by the elements of the relative covariance factor, in standardised random
    terms turned to their principal axes, so that they mean the same in all units.

    Attributes
    ----------
    deviance : float
        At the optimum.
    gradient_norm : float
        Largest absolute derivative of the deviance by a free element.
    curvature : tuple of float
        Eigenvalues of the Hessian by the free elements; all positive at a minimum.
    rank, terms : int
        Rank of the covariance of the random terms, and how many there are.
    inward : float
        On the boundary, the least derivative of the deviance in any direction that leads inside;
        not negative at a minimum. NaN where the optimum is inside.
    steps : int
        Newton steps of the start that won.
    starts : tuple of float
        Deviance that each start which was followed reached.
    screened : int
        Starts whose deviance was looked at.
    on_boundary : float
        Lowest deviance found on the boundary when the optimum is inside, NaN otherwise.
    """

    deviance: float
    gradient_norm: float
    curvature: tuple[float, ...]
    rank: int
    terms: int
    inward: float
    steps: int
    starts: tuple[float, ...]
    screened: int
    on_boundary: float

    @property
    def best_other(self) -> float:
        """Lowest deviance above the optimum at which a start that was followed stopped, or NaN."""
        # Those that differ by less are one optimum.
        return min((v for v in self.starts if v > self.deviance + 1e-6), default=float("nan"))

    @property
    def boundary(self) -> str:
        """How the boundary was examined, in a sentence."""
        if not self.terms:
            return "There is no random term, so there is no boundary."
        if self.rank == self.terms:
            return (
                "The optimum lies inside: the covariance of the random terms has full rank. The "
                f"lowest deviance found on the boundary is {self.on_boundary:.3f}, higher by "
                f"{self.on_boundary - self.deviance:.3g}."
            )
        return (
            f"The optimum lies on the boundary (rank {self.rank} of {self.terms}): it was polished "
            "there, and in every direction that leads inside the deviance rises (least derivative "
            f"{self.inward:.3g})."
        )


def certify(found: Optimum) -> Certificate:
    """Certificate of the optimum of one design, alone in its stack."""
    facts = {name: values[0].tolist() for name, values in found._asdict().items()}
    terms, screened, _ = len(facts.pop("g")), len(facts["starts"]), facts.pop("converged")
    for name in ("curvature", "starts"):
        facts[name] = tuple([value for value in facts[name] if value == value])
    return Certificate(**facts, terms=terms, screened=screened)
