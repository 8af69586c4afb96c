"""Build the book, run the tests: `python3 tasks.py book`, `python3 tasks.py test`.

Uses the standard library alone. Each task makes its own environment in `.venv` from
`requirements.lock` when it is missing or out of date, so neither needs an activated one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BUILD = ROOT / "_build"
HTML = BUILD / "html"
LOCK = ROOT / "requirements.lock"
OLDEST = (3, 11)
# Mixed-model packages that the benchmarks alone need, and what is timed beside them.
PEERS = ("glmm==0.6.*", "mixedlm==1.3.*", "mixedlm-rs==0.2.*")
TIMED = ("lme4", "nlme", "statsmodels", "glmm", "mixedlm", "mixedlm-rs")
# Fits of each kind, compiled at once.
COMPILE = """
import pwp_lib as pwp
from multilevel import tiers
tiers.PATIENCE = -1.0
patients = pwp.load_cohort().patients.assign(well=lambda p: p["phq9_post"] < 10)
pwp.fit_mixed("phq9_post ~ phq9_pre + (1 | therapist_id)", patients).profile_interval()
pwp.sample_posterior("phq9_post ~ (1 | therapist_id)", patients, draws=9, burn_in=9, chains=1)
pwp.fit_binary("well ~ (1 | therapist_id)", patients)
"""
# What a page shows can change with these; the report over own data cannot.
SOURCES = (
    *("src/multilevel", "src/pwp_lib", "requirements.lock", "book/references.bib"),
    *("benchmarks/results.json", "benchmarks/results", "benchmarks/tables.py"),
    "calibration/narrowest.csv",
)


def main(arguments: list[str]) -> int:
    """Run one task and return its exit code."""
    named = (book, pdf, test, pages, check, nightly, benchmarks, clean)
    tasks = {task.__name__: task for task in named}
    name = arguments[0] if arguments else ""
    if name not in tasks:
        return complain("usage: python3 tasks.py " + "|".join(tasks))
    if sys.version_info < OLDEST:
        return complain(
            "Python 3.11 or later is needed, and this is "
            + platform.python_version()
            + f": install a newer one and run `make {name} PYTHON=python3.11`."
        )
    return tasks[name]()


def complain(sentence: str) -> int:
    """Say in one line what is wrong."""
    print(sentence, file=sys.stderr)
    return 2


def python() -> Path:
    """Path of the environment's interpreter."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(*command: str | Path, **environment: str) -> int:
    """Run a command in the environment, from the root, and return its exit code."""
    bin_folder = str(python().parent)
    # Hundreds of processes start here: without its bytecode each compiles every package anew.
    dropped = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
    inherited = {k: v for k, v in os.environ.items() if k not in dropped}
    variables = {
        **inherited,
        "PATH": bin_folder + os.pathsep + os.environ.get("PATH", ""),
        "VIRTUAL_ENV": str(VENV),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        **environment,
    }
    return subprocess.run([str(c) for c in command], cwd=ROOT, env=variables).returncode


def digest(*paths: Path, extra: str = "") -> str:
    """Hash of files and folders, the same on any machine."""
    total = hashlib.sha256(extra.encode())
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                total.update(file.relative_to(ROOT).as_posix().encode())
                total.update(file.read_bytes())
    return total.hexdigest()


def environment() -> int:
    """Create or refresh `.venv` from the lock; nothing is done when it is up to date."""
    stamp = VENV / "installed-from"
    wanted = digest(LOCK, ROOT / "pyproject.toml", extra=sys.version + str(ROOT))
    if python().exists() and stamp.exists() and stamp.read_text() == wanted:
        return 0
    try:
        import ensurepip  # noqa: F401  (Debian splits it from venv)
        import venv
    except ImportError:
        return complain(
            "Python's venv module is missing: install it first, on Debian and Ubuntu with "
            "`sudo apt install python3-venv`."
        )
    print("Setting up the environment in .venv (once, some minutes at most) ...", flush=True)
    if VENV.exists():
        shutil.rmtree(VENV)
    venv.create(VENV, with_pip=True)
    code = install()
    if code:
        return complain("The packages of requirements.lock could not be installed: see above.")
    stamp.write_text(wanted)
    return 0


def install() -> int:
    """Install the lock with uv, which takes seconds, or with pip where uv cannot run."""
    pins = [line.split(" ")[0] for line in LOCK.read_text().splitlines()]
    uv = next((pin for pin in pins if pin.startswith("uv==")), "uv")
    quiet_pip = (python(), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    if run(*quiet_pip, uv) == 0:
        installer: tuple[str | Path, ...] = (python(), "-m", "uv", "pip", "install", "--quiet")
    else:
        installer = quiet_pip
    return run(*installer, "-r", LOCK) or run(*installer, "--no-deps", "-e", ".")


def book() -> int:
    """Render the book into _build/html, warnings as errors, and say where it is."""
    code = environment()
    if code:
        return code
    drop_stale_caches()
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a page has one core
    run(python(), ROOT / "book" / "execute.py", BUILD / ".jupyter_cache", **single)
    code = run(
        *(python(), "-c", "from jupyter_book.cli.main import main; main()", "build", "."),
        *("--config", "_config.yml", "--toc", "book/_toc.yml", "-W", "--keep-going", "-q"),
    ) or run(python(), ROOT / "book" / "finish.py", HTML)
    if code:
        # Sphinx forgets the warnings of pages that it believes unchanged: make it read them again.
        shutil.rmtree(BUILD / ".doctrees", ignore_errors=True)
        return complain("The book was not built: see the messages above.") and code
    print("The book is at " + (HTML / "index.html").as_uri())
    return 0


def pdf() -> int:
    """Render the book, and print it into one PDF beside the notebooks to download."""
    return book() or run(python(), ROOT / "book" / "printed.py", HTML)


def drop_stale_caches() -> None:
    """Forget executed notebooks when the library, the data or the lock has changed.

    A notebook's cache knows its own code alone, and Sphinx skips pages that it thinks unchanged:
    both must go together, or an old number stays on a page.
    """
    stamp = BUILD / "made-from"
    wanted = digest(*(ROOT / s for s in SOURCES if (ROOT / s).exists()), extra=sys.version)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    for cache in (".jupyter_cache", ".doctrees"):
        shutil.rmtree(BUILD / cache, ignore_errors=True)
    BUILD.mkdir(exist_ok=True)
    stamp.write_text(wanted)


def check() -> int:
    """Lint, format, types and who imports whom, without the tests."""
    code = environment()
    if code:
        return code
    tools = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",))
    codes = [run(python(), "-m", *tool) for tool in tools]
    return max(*codes, run(python().with_name("lint-imports"), "--no-logo", "--no-cache"))


def test() -> int:
    """Lint, types, then every test of the default tier."""
    if code := environment():
        return code
    # What most tests call is compiled meanwhile, once and not by each of their processes.
    with ThreadPoolExecutor() as other:
        compiled = other.submit(run, python(), "-c", COMPILE)
        code = check()
    code = code or compiled.result()
    # Long tests come late, so that a process that is done takes work from the other's list.
    processes = ("-n", str(min(os.cpu_count() or 1, 8)), "--dist", "worksteal")
    chosen = ("-m", "not nightly and not pages")
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return run(python(), "-m", "pytest", *processes, *chosen, **single) or code


def pages() -> int:
    """Look at the built book, page by page, in a browser."""
    return environment() or run(python(), "-m", "pytest", "tests/book", "-m", "pages")


def nightly() -> int:
    """Run the long checks, and look at every page of the built book in all widths and themes."""
    chosen = ("-m", "nightly or pages")
    return environment() or run(python(), "-m", "pytest", *chosen, PWP_PAGES="full")


def benchmarks() -> int:
    """Time fits beside the main peers, which are installed for it; the machine should be idle."""
    return (
        environment()
        or run(python(), "-m", "uv", "pip", "install", "--quiet", *PEERS)
        or run(python(), "-m", "benchmarks", "--peers", *TIMED)
    )


def clean() -> int:
    """Delete what was built; the environment stays."""
    shutil.rmtree(BUILD, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
