from __future__ import annotations

from pathlib import Path


def test_methods_name_what_the_reporting_guidance_asks_for(safe_run: Path) -> None:
    text = (safe_run / "methods.txt").read_text(encoding="utf-8")
    for words in (
        "two levels", "10 therapists", "complete cases", "y_ij =", "maximum likelihood",
        "95% profile-likelihood interval", "pwp_lib", "seed 1", "not allocated",
    ):  # fmt: skip
        assert words in text
    assert "rounded to the nearest 5" in text
    assert "nan" not in text
