"""The visual language: apart for colour-blind readers, in one place, the same every time."""

from __future__ import annotations

import io
from itertools import combinations

import matplotlib
import numpy as np
import pytest

from pwp_lib.show import style

# Machado, Oliveira & Fernandes (2009), severity 1.0, on linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast_on_white(colour: str) -> float:
    return float(1.05 / (linear(colour) @ [0.2126, 0.7152, 0.0722] + 0.05))


@pytest.mark.parametrize("sight", SIGHT)
def test_clusters_and_measures_are_apart_for_every_sight(sight: str) -> None:
    clusters = style.CLUSTER_COLOURS.values()
    measures = [style.measure_colour(m) for m in ("phq9", "gad7")]
    for family in (list(clusters), measures):
        for a, b in combinations(family, 2):
            gap = np.linalg.norm(lab(SIGHT[sight] @ linear(a)) - lab(SIGHT[sight] @ linear(b)))
            assert gap > 15, (sight, a, b)


def test_colours_stand_out_from_the_card() -> None:
    graphics = [*style.CLUSTER_COLOURS.values(), style.measure_colour("phq9")]
    assert all(contrast_on_white(c) >= 3 for c in graphics)
    words = [style.INK, style.MUTED, style.measure_colour("phq9"), style.measure_colour("gad7")]
    assert all(contrast_on_white(c) >= 4.5 for c in words)


def test_context_leaves_the_users_settings() -> None:
    before = matplotlib.rcParams["font.size"]
    with style.context():
        assert matplotlib.rcParams["font.size"] == 11
    assert matplotlib.rcParams["font.size"] == before


def test_new_axes_belong_to_no_pyplot_figure() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    axes = style.new_axes(columns=2)
    assert len(axes) == 2
    assert plt.get_fignums() == before


def test_vector_pictures_are_the_same_every_time() -> None:
    def drawn() -> bytes:
        ax = style.new_axes()[0]
        ax.plot([0, 1], [0, 1])
        out = io.BytesIO()
        with style.context():
            ax.figure.savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()

    assert drawn() == drawn()


def test_labels_and_order() -> None:
    from pwp_lib.measures import GAD7, get_measure

    assert style.measure_label(GAD7) == style.measure_label("gad7") == "GAD-7"
    assert style.measure_label(get_measure("wsas")) == get_measure("wsas").label
    assert style.measure_label("core10") == "CORE-10"
    assert style.measure_order(["wsas", "gad7", "phq9"]) == ["phq9", "gad7", "wsas"]
    assert style.cluster_colour(None) == style.INK
