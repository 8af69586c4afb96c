"""The command ``pwp``: check, analyse, start, summarise, pool and cohort."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from multilevel.errors import InputError
from pwp_report.pseudonyms import default_key_file

__all__ = ["app", "main"]

app = typer.Typer(
    name="pwp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Therapist effects in routine outcome data. Begin with: pwp check FILE",
)

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DATA = "CSV, Excel, SPSS, Stata, Parquet, DuckDB or SQLite; a row is a patient or a session."
File = Annotated[Path, typer.Argument(help=_DATA, show_default=False)]
StudyFile = Annotated[
    Path | None, typer.Option("--study", help="A study file (TOML); see --write-study.")
]
Therapists = Annotated[
    Path | None, typer.Option("--therapists", help="A table of therapists and their scales.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key",
        help="The key of the pseudonyms, made on first use [~/.config/pwp/pseudonym.key, on "
        "Windows in %APPDATA%]; never inside the results.",
    ),
]
NoControl = Annotated[
    bool, typer.Option("--no-disclosure-control", help="Show everything; every page says so.")
]


@app.command()
def check(
    file: File,
    study: StudyFile = None,
    therapists: Therapists = None,
    write_study: Annotated[
        Path | None, typer.Option("--write-study", help="Write a commented study file here.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every row of a problem.")] = False,
) -> None:
    """Say what a file holds, all that has to be corrected, and what it is enough for."""
    from pwp_report.commands.check import check_file

    check_file(file, study, therapists, write_study, every)


@app.command()
def analyse(
    file: File,
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    study: StudyFile = None,
    therapists: Therapists = None,
    key: KeyFile = None,
    adjust: Annotated[
        str, typer.Option("--adjust", help="Case mix: columns, as in age,gender,deprivation.")
    ] = "",
    no_disclosure_control: NoControl = False,
) -> None:
    """Run the whole analysis: a report, tables, figures, results as JSON, a methods paragraph."""
    from pwp_report.commands.analyse import Request, analyse_file

    place = key or default_key_file()
    analyse_file(Request(file, out, study, therapists, place, no_disclosure_control, adjust))


@app.command()
def start(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)
    ],
    data: Annotated[
        Path | None, typer.Option("--data", help=f"{_DATA} [the packaged cohort]")
    ] = None,
    study: StudyFile = None,
    therapists: Therapists = None,
    measures: Annotated[
        str, typer.Option("--measures", help="Two measures that the data hold.")
    ] = "phq9,gad7",
) -> None:
    """Make a folder of your own with the chapters' notebooks, to edit and run."""
    from pwp_report.commands.start import start_notebooks

    start_notebooks(folder, data, study, therapists, measures)


@app.command()
def summarise(
    file: File,
    out: Annotated[Path, typer.Option("--out", help="The Parquet file to write.")],
    study: StudyFile = None,
    key: KeyFile = None,
    minimum_shown: Annotated[
        int | None,
        typer.Option(
            "--minimum-shown",
            "--caseload",
            help="Therapists with fewer patients are withheld (20).",
        ),
    ] = None,
) -> None:
    """Write what a service can share for pooling: sums by therapist, no patient's row."""
    from pwp_report.commands.pooling import summarise_file

    summarise_file(file, out, study, key or default_key_file(), minimum_shown)


@app.command()
def pool(
    files: Annotated[list[Path], typer.Argument(help="Files that pwp summarise wrote.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the sum here.")] = None,
    same_therapists: Annotated[
        bool,
        typer.Option("--same-therapists", help="A label in two files is one therapist."),
    ] = False,
) -> None:
    """Add the sums of several services and fit the models: the exact pooled answer."""
    from pwp_report.commands.pooling import pool_files

    pool_files(files, out, same_therapists)


@app.command()
def cohort(
    out: Annotated[Path, typer.Option("--out", help="A new or empty folder.")],
    seed: Annotated[
        int,
        typer.Option(
            prompt="A number that only you know",
            help="A number of your own: the same one makes the same cohorts and the same key.",
        ),
    ],
    students: Annotated[int, typer.Option(help="How many cohorts to make.")] = 1,
) -> None:
    """Make a cohort with a known truth for every student, and one marking key."""
    from pwp_lib.classroom import KEY_FILE, make_classroom
    from pwp_report.commands.terminal import progress, say

    make_classroom(students, seed, out, on_step=progress)
    word = "cohort" if students == 1 else "cohorts"
    say(
        f"{students:,} {word} in {out.name}; {KEY_FILE} in it is yours: take it out before sharing."
    )


def _fail(sentence: str, code: int) -> NoReturn:
    # A file's own name may hold what would command the terminal.
    print("".join(c if c.isprintable() else "?" for c in sentence), file=sys.stderr)
    raise SystemExit(code)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input is one sentence on standard error and exit code 2.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the process if not given.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character gets a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(arguments)
    except InputError as error:
        _fail(f"pwp: {error}", 2)
    except KeyboardInterrupt:
        _fail("pwp: stopped; nothing was replaced.", 130)
    except (MemoryError, RecursionError):
        _fail("pwp: the file needs more memory than there is.", 1)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
            _fail(
                "pwp: nothing can be written there; name a folder that you may write to, on a disk "
                "with room.",
                2,
            )
        if os.environ.get("PWP_DEBUG") == "1":
            raise
        # The error's own text may hold a value of the file: only its kind is said.
        _fail(
            f"pwp: something went wrong inside ({type(error).__name__}); this is a fault of pwp, "
            "not of your file. PWP_DEBUG=1 shows the details, which may hold patients' data.",
            1,
        )


if __name__ == "__main__":
    main()
