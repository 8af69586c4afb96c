"""The command, run in this process."""

from __future__ import annotations

from pathlib import Path

from pwp_report.cli import main


def run(*arguments: str | Path) -> int:
    """Give the exit code of ``pwp`` with these arguments."""
    try:
        main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
