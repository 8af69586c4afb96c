"""The command ``pwp start``; `start` does the work."""

from __future__ import annotations

from pathlib import Path

from pwp_report.commands.terminal import say
from pwp_report.start import Request, start_folder


def start_notebooks(
    folder: Path, data: Path | None, study: Path | None, therapists: Path | None, measures: str
) -> None:
    """Write the folder, and say what was left out and why."""
    names = tuple(name.strip() for name in measures.split(","))
    started = start_folder(Request(folder, data, study, therapists, names))
    count = len(started.chapters)
    say(f"{folder.name} holds {count} chapters: README.md in it says how to run them.")
    for name, need in started.left_out.items():
        say(f"Left out: {name} needs {need}.")
    if data is not None:
        say("Outputs of these notebooks are not cleared for release.", stderr=True)
