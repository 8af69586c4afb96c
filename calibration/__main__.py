"""``python -m calibration --out DIR`` makes the packaged cohort again."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# One thread: sums in one order, so the same bytes on every run.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m calibration", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the cohort's files")
    parser.add_argument("--seed", type=int, default=None, help="another seed, another cohort")
    parser.add_argument("--short", action="store_true", help="seconds, not minutes; fits little")
    parser.add_argument("--tiny", action="store_true", help="shows that everything runs")
    parser.add_argument("--board", action="store_true", help="print the scoreboard at the end")
    return parser.parse_args()


def main() -> None:
    """Search, write the files, say what was reached."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from pwp_lib.cohort import load_cohort
    from pwp_lib.write import write_cohort

    from .extracts import make_extracts
    from .search import FULL, SEED, SHORT, TINY, find

    given = _arguments()
    seed = SEED if given.seed is None else given.seed
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
               TextColumn("{task.fields[left]}"))  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("starting", total=1.0, left="")
        found = find(
            seed,
            TINY if given.tiny else SHORT if given.short else FULL,
            lambda what, share, left: progress.update(
                bar, description=what, completed=share, left=left
            ),
        )
    options = [f"--{name}" for name in ("tiny", "short") if getattr(given, name)]
    command = " ".join(["python -m calibration", *options])
    made_by = {"command": command, "seed": seed}
    folder = write_cohort(found.cohort, given.out, made_by=made_by)
    make_extracts(load_cohort(folder), folder / "extracts")
    left = ", ".join(f"{x:.3g}" for x in found.loss)
    console.print(f"{folder}: {found.rounds} rounds; loss of PHQ-9, GAD-7: {left}")
    if given.board:
        from pwp_lib.scoreboard import scoreboard

        board = scoreboard(load_cohort(given.out))
        console.print(board["state"].value_counts().to_string())
        console.print(board.loc[board["state"] == "no match", ["id", "published", "computed"]])


if __name__ == "__main__":
    main()
