"""``pwp cohort``: a cohort for every student."""

from __future__ import annotations

from pathlib import Path

from pwp_report.commands.terminal import progress, say

__all__ = ["make_class"]


def make_class(students: int, seed: int, out: Path) -> None:
    """Make the cohorts and the key, with progress."""
    from pwp_lib.classroom import KEY_FILE, make_classroom

    with progress(max(students, 1)) as step:
        make_classroom(students, seed, out, on_step=step)
    word = "cohort" if students == 1 else "cohorts"
    say(
        f"{students:,} {word} in {out.name}; {KEY_FILE} in it is yours: take it out before sharing."
    )
