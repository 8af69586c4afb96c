"""The command ``pwp``: check, analyse, start, summarise, pool and cohort."""

import errno
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from multilevel.errors import InputError
from pwp_report.wording import listed, remark

_WORDS = listed("commands.toml")
_HELP, _EXAMPLE = _WORDS["options"], _WORDS["examples"]


def _option(flag: str, word: str, *others: str, **how: Any) -> Any:
    return typer.Option(flag, *others, help=_HELP[word], **how)


def _argument(word: str, **how: Any) -> Any:
    return typer.Argument(help=_HELP[word], show_default=False, **how)


app = typer.Typer(
    name="pwp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Therapist effects in routine outcome data. Begin with: pwp check FILE",
)

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
File = Annotated[Path, _argument("file", metavar="FILE")]
StudyFile = Annotated[Path | None, _option("--study", "study")]
Therapists = Annotated[Path | None, _option("--therapists", "therapists")]
KeyFile = Annotated[Path | None, _option("--key", "key")]
Despite = Annotated[bool, _option("--despite-earlier-run", "despite")]
Caseload = Annotated[int | None, _option("--minimum-shown", "minimum_shown", "--caseload")]
NoControl = Annotated[bool, _option("--no-disclosure-control", "no_control")]


def default_key_file() -> Path:
    """Where the key is kept unless told otherwise: the user's own settings folder."""
    base = os.environ.get("APPDATA") or os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "pwp" / "pseudonym.key"


@app.callback(invoke_without_command=True)
def options(asked: Annotated[bool, _option("--version", "version")] = False) -> None:
    """Take the options that belong to no command."""
    if asked:
        print(f"pwp {version('pwp-lib')}")
        raise typer.Exit


@app.command(epilog=_EXAMPLE["check"])
def check(
    file: File,
    study: StudyFile = None,
    therapists: Therapists = None,
    write_study: Annotated[Path | None, _option("--write-study", "write_study")] = None,
    every: Annotated[bool, _option("--all", "all")] = False,
) -> None:
    """Say what a file holds and what has to be corrected.

    All of it at once, and for which steps of the analysis the file is enough.
    """
    from pwp_report.commands.check import check_file

    check_file(file, study, therapists, write_study, every)


@app.command(epilog=_EXAMPLE["analyse"])
def analyse(
    file: File,
    out: Annotated[Path, _option("--out", "results")],
    study: StudyFile = None,
    therapists: Therapists = None,
    key: KeyFile = None,
    adjust: Annotated[str, _option("--adjust", "adjust")] = "",
    despite_earlier_run: Despite = False,
    no_disclosure_control: NoControl = False,
) -> None:
    """Write the report, with tables, figures, JSON and methods.

    The whole analysis, in a folder of its own for each run; through disclosure control, unless
    every row says that it is synthetic.
    """
    from pwp_report.commands.analyse import analyse_file

    flags = despite_earlier_run, no_disclosure_control
    analyse_file(file, out, study, therapists, key or default_key_file(), adjust, *flags)


@app.command(epilog=_EXAMPLE["start"])
def start(
    folder: Annotated[Path, _argument("folder", metavar="DIR")],
    data: Annotated[Path | None, _option("--data", "data")] = None,
    study: StudyFile = None,
    therapists: Therapists = None,
    measures: Annotated[str, _option("--measures", "measures")] = "phq9,gad7",
) -> None:
    """Make a folder with the chapters' notebooks, to edit and run."""
    from pwp_report.commands.terminal import say
    from pwp_report.start import Request, start_folder

    names = tuple(name.strip() for name in measures.split(","))
    started = start_folder(Request(folder, data, study, therapists, names))
    say(f"{folder.name} holds {len(started.chapters)} chapters; README.md says how to run them.")
    say(*(f"Left out: {name} needs {need}." for name, need in started.left_out.items()))
    if data is not None:
        say("Outputs of these notebooks are not cleared for release.", stderr=True)


@app.command(epilog=_EXAMPLE["summarise"])
def summarise(
    file: File,
    out: Annotated[Path, _option("--out", "moments")],
    study: StudyFile = None,
    key: KeyFile = None,
    minimum_shown: Caseload = None,
    despite_earlier_run: Despite = False,
) -> None:
    """Write sums by therapist for pooling, and no patient's row."""
    from pwp_report.commands.pooling import summarise_file

    summarise_file(file, out, study, key or default_key_file(), minimum_shown, despite_earlier_run)


@app.command(epilog=_EXAMPLE["pool"])
def pool(
    files: Annotated[list[Path], _argument("summaries", metavar="FILES")],
    out: Annotated[Path | None, _option("--out", "sum")] = None,
    same_therapists: Annotated[bool, _option("--same-therapists", "same_therapists")] = False,
) -> None:
    """Add several services' sums and fit the models to them.

    The answer is exactly that of all their patients together.
    """
    from pwp_report.commands.pooling import pool_files

    pool_files(files, out, same_therapists)


@app.command(epilog=_EXAMPLE["cohort"])
def cohort(
    out: Annotated[Path, _option("--out", "folder")],
    seed: Annotated[int, _option("--seed", "seed", prompt="A number that only you know")],
    students: Annotated[int, _option("--students", "students")] = 1,
) -> None:
    """Make cohorts with a known truth, and one marking key."""
    from pwp_lib.classroom import KEY_FILE, make_classroom
    from pwp_report.commands.terminal import progress, say

    make_classroom(students, seed, out, on_step=progress)
    word = "cohort" if students == 1 else "cohorts"
    say(f"{students:,} {word} in {out.name}. Its {KEY_FILE} is the key: move it before you share.")


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
            _fail(remark("not_writable"), 2)
        if os.environ.get("PWP_DEBUG") == "1":
            raise
        # The error's own text may hold a value of the file: only its kind is said.
        _fail(remark("fault_of_ours", kind=type(error).__name__), 1)
