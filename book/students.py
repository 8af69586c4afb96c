"""The students' edition: each chapter as a notebook in plain Markdown, without answers.

The chapters are written in MyST, which JupyterLab shows as it stands, and their solutions stand
open in it. Here directives and roles (those that the chapters use) become plain Markdown, and
solutions, what the book finds, glued numbers and the right choices go. The cells run from
``patients.csv`` and ``therapists.csv`` beside the notebook; those that call the book's own library
say so in their first line, and all others run without it.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "src" / "pwp_lib" / "packaged"
PACKAGES = (
    *("numpy", "pandas", "scipy", "statsmodels", "matplotlib", "seaborn", "pingouin"),
    *("bambi", "arviz", "pymc", "nutpie", "ipykernel"),
)
NEEDS_US = "# Needs pwp_lib: see the top of this notebook."
TOP = (
    "> **Student's edition.** Every row is invented. What the book finds, its solutions and the "
    "answers to its questions are left out: they stand on the chapter's page.\n>\n"
    "> The notebook runs from `patients.csv` and `therapists.csv`, which lie beside it, with the "
    "packages of `requirements.txt` (`python -m pip install -r requirements.txt`). Cells that "
    "begin with `# Needs pwp_lib` call the book's own library, or use what such a cell made: "
    "`python -m pip install ./library` installs it. Without it leave them out; all others run."
)
ASK = "*What do you find? Write it down here, then compare with the chapter's page.*"
READ = """import pandas as pd

patients = pd.read_csv("patients.csv").drop(columns="synthetic")
therapists = pd.read_csv("therapists.csv").drop(columns="synthetic")
first, second = "phq9", "gad7\""""
SEGMENTS = 'segments = pd.read_csv("segments.csv").drop(columns="synthetic")'
MEASURES = """
from types import SimpleNamespace

measures = {
    name: SimpleNamespace(
        name=name,
        label=label,
        pre=f"{name}_pre",
        post=f"{name}_post",
        cutoff=cutoff,  # a case at or above it
        reliable_change=change,  # points or more, either way
        higher_is_worse=True,
    )
    for name, label, cutoff, change in (("phq9", "PHQ-9", 10, 6), ("gad7", "GAD-7", 8, 4))
}"""
COHORT = """import pwp_lib as pwp

cohort = pwp.read_cohort(
    "patients.csv", therapists="therapists.csv", segments="segments.csv"
)"""
BLOCK = re.compile(r"^(?P<fence>:{3,}|`{3,})\{(?P<name>[a-z-]+)\}(?P<title>[^\n]*)\n", re.M)
CHOICE = re.compile(r"^- \[[ x]\] ", re.M)


class Book:
    """What one chapter says of another: titles, and numbers of figures, tables and exercises."""

    def __init__(self, files: list[Path]) -> None:
        self.titles: dict[str, str] = {}
        self.numbers: dict[str, str] = {}
        for file in files:
            self._read(file, str(int(file.name[:2])))
        self.cited = _cited((ROOT / "book" / "references.bib").read_text(encoding="utf-8"))

    def _read(self, file: Path, chapter: str) -> None:
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        self.titles[file.stem] = re.findall(r"^# (.+)$", text, flags=re.M)[0]
        figures = [c for c in cells if "name" in _figure(c)]
        labels = {
            "Figure": [_figure(c)["name"] for c in figures],
            "Table": re.findall(r"^:name: (\S+)$", text, flags=re.M),
            "Exercise": re.findall(r"\{exercise\}\n:label: (\S+)$", text, flags=re.M),
        }
        for kind, names in labels.items():
            for number, name in enumerate(names, 1):
                self.numbers[name] = f"{kind} {chapter}.{number}"

    def title(self, target: str) -> str:
        """Title of a page, or its name where it is none of the chapters."""
        name = target.split("#")[0].split("/")[-1].removesuffix(".md").removesuffix(".ipynb")
        return self.titles.get(name, name.replace("_", " "))


def _figure(cell: dict[str, Any]) -> dict[str, str]:
    return dict(cell["metadata"].get("mystnb", {}).get("figure", {}))


def _cited(bibliography: str) -> dict[str, tuple[str, str]]:
    """Names and year of each reference."""
    found = {}
    for key, entry in re.findall(r"@\w+\{(\w+),(.*?)(?=\n@|\Z)", bibliography, flags=re.S):
        names = re.search(r"(?:author|editor) = \{(.*?)\},\n", entry, flags=re.S)
        year = re.search(r"year = \{(\d+)\}", entry)
        if names is None or year is None:
            continue
        plain = re.sub(r'\\"(\w)', lambda m: f"{m[1]}\u0308", names[1]).replace("\\aa", "å")
        plain = unicodedata.normalize("NFC", re.sub(r"[{}]", "", plain))
        people = [name.split(",")[0].strip() for name in plain.split(" and ")]
        many = f"{people[0]} et al." if len(people) > 2 else " and ".join(people)
        found[key] = (many, year[1])
    return found


def plain(text: str, book: Book) -> str:
    """Turn the MyST of a chapter into plain Markdown.

    Parameters
    ----------
    text : str
        Without solutions and glued numbers.
    book : Book

    Returns
    -------
    str

    Raises
    ------
    ValueError
        At a directive or a role that is not known here.
    """
    start = BLOCK.search(text)
    while start is not None:
        end = re.compile(f"^{start['fence']}$", re.M).search(text, start.end())
        if end is None:
            raise ValueError(f"a directive without an end: {start[0]!r}")
        body = re.sub(r"\A(:[\w-]+:[^\n]*\n)*\n*", "", text[start.end() : end.start()])
        label = re.search(r"^:(?:label|name): (\S+)$", text[start.end() : end.start()], flags=re.M)
        number = book.numbers.get(label[1], "") if label else ""
        made = _block(start["name"], start["title"].strip(), body.rstrip(), number)
        text = text[: start.start()] + made + text[end.end() :]
        start = BLOCK.search(text)
    return _roles(text, book)


def _block(name: str, title: str, body: str, number: str) -> str:
    if name == "admonition":
        quoted = "\n".join(f"> {line}".rstrip() for line in body.splitlines())
        return f"> **{title}**\n>\n{quoted}"
    if name == "dropdown":
        return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"
    if name == "exercise":
        return f"**{number}.** {body}"
    if name == "quiz":
        return f"**{title}**\n\n" + "\n".join(_choices(body))
    if name == "list-table":
        return f"**{number}.** {title}\n\n{_table(body)}"
    raise ValueError(f"a directive that the students' edition does not know: {name}")


def _choices(body: str) -> list[str]:
    """Give the choices alone: what is said of them, and which is right, stay in the book."""
    kept: list[str] = []
    for line in body.splitlines():
        if CHOICE.match(line):
            kept.append(CHOICE.sub("- ( ) ", line))
        elif not line.startswith("  ") or line.strip().startswith(":"):
            if not line.strip():
                break
        elif not kept[-1].startswith("  :"):
            kept[-1] += f" {line.strip()}"
    return kept


def _table(body: str) -> str:
    rows = [
        [" ".join(cell.split()) for cell in re.split(r"^ {2}-", row, flags=re.M)]
        for row in re.split(r"^\* -", body, flags=re.M)[1:]
    ]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def _roles(text: str, book: Book) -> str:
    def role(found: re.Match[str]) -> str:
        name, inside = found["name"], found["inside"]
        shown, _, target = inside.partition(" <")
        target = target.rstrip(">") or shown
        if name == "term":
            return shown
        if name in ("numref", "ref"):
            return book.numbers[target]
        if name == "cite:t":
            return " and ".join("{} ({})".format(*book.cited[key]) for key in inside.split(","))
        if name == "cite:p":
            return f"({'; '.join(', '.join(book.cited[key]) for key in inside.split(','))})"
        raise ValueError(f"a role that the students' edition does not know: {name}")

    text = re.sub(r"\{(?P<name>[a-z:]+)\}`(?P<inside>[^`]+)`", role, text)
    text = re.sub(r"\[\]\(([^)]+)\)", lambda m: f"*{book.title(m[1])}*", text)
    return re.sub(r"\[([^\]]+)\]\((?!http)[^)]+\)", r"\1", text)


def without_answers(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out solutions, hidden cells and what the book finds; headings and questions stay."""
    kept: list[dict[str, Any]] = []
    in_solution = False
    for cell in cells:
        text = "".join(cell["source"])
        tags = set(cell["metadata"].get("tags", []))
        if cell["cell_type"] == "markdown":
            pieces = re.split(r"^:{3,}\{solution-(start|end)\}", text, flags=re.M)
            outside = [] if in_solution else [pieces[0]]
            for kind, piece in zip(pieces[1::2], pieces[2::2], strict=True):
                in_solution = kind == "start"
                if not in_solution:
                    outside.append(re.sub(r"\A[^\n]*\n:{3,}", "", piece))
            text = "\n\n".join(outside)
            if "finding" in tags or "{glue:" in text:
                heads = re.findall(r"^#+ .+$", text, flags=re.M)
                text = "\n\n".join([*heads, ASK]) if text.strip() else ""
        elif in_solution or tags & {"remove-cell", "finding"}:
            continue
        if text.strip():
            kept.append({**cell, "source": text.strip()})
    return kept


def marked(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read the tables instead of the packaged cohort, and mark the cells that need the library."""
    made: list[dict[str, Any]] = []
    ours = {"pwp"}  # names that exist with the library alone
    everything = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "code")
    styled = len(re.findall(r"\bstyle\.", everything)) > 1
    for cell in cells:
        if cell["cell_type"] != "code":
            made.append(cell)
            continue
        text = cell["source"]
        if "data" in cell["metadata"].get("tags", []):
            extra = [SEGMENTS] if "segments = cohort.segments" in everything else []
            extra += [MEASURES] if "cohort.measure(" in everything else []
            made.append({**cell, "source": "\n".join([READ, *extra])})
            made.append({**cell, "source": f"{NEEDS_US}\n{COHORT}"})
            ours.add("cohort")
            continue
        if not styled:
            text = re.sub(
                r"\n*^from pwp_lib\.show import style$|\n*^style\.use\(\)$", "", text, flags=re.M
            )
        text = re.sub(r"\bcohort\.(patients|therapists)\b", r"\1", text).strip()
        text = re.sub(r"\bcohort\.measure\((\w+)\)", r"measures[\1]", text)
        text = re.sub(r"^(patients|therapists)(, \w+)? = \1\2$\n?", "", text, flags=re.M)
        text = re.sub(r"^segments = cohort\.segments$\n?", "", text, flags=re.M)
        if not text:
            continue
        stored, _, imported = names_in(text)
        if used_from_before(text) & ours or any(
            name.split(".")[0] in ("pwp_lib", "multilevel") for name in imported
        ):
            ours |= stored
            text = f"{NEEDS_US}\n{text}"
        else:
            ours -= stored
        made.append({**cell, "source": text})
    return made


def names_in(code: str) -> tuple[set[str], set[str], set[str]]:
    """Give names that a cell makes or writes into, names that it uses, modules that it imports."""
    nodes = list(ast.walk(ast.parse(re.sub(r"^[%!].*$", "", code, flags=re.M))))
    stored, used, imported = set(), set(), set()
    for node in nodes:
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            inner: ast.expr = node
            while isinstance(inner, (ast.Subscript, ast.Attribute)):
                inner = inner.value
            stored |= {inner.id} if isinstance(inner, ast.Name) else set()
        elif isinstance(node, ast.FunctionDef):
            stored.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            imported.add(getattr(node, "module", None) or node.names[0].name)
            stored |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return stored, used, imported


def used_from_before(code: str) -> set[str]:
    """Give names that a cell takes from earlier cells, not those that it makes itself first."""
    needed: set[str] = set()
    made: set[str] = set()
    for statement in ast.parse(re.sub(r"^[%!].*$", "", code, flags=re.M)).body:
        stored, used, _ = names_in(ast.unparse(statement))
        own = set() if isinstance(statement, (ast.Assign, ast.AugAssign)) else stored
        if isinstance(statement, ast.AugAssign):
            used |= stored
        needed |= used - made - own
        made |= stored
    return needed


def edition(file: Path, book: Book) -> dict[str, Any]:
    """Make the student's notebook of a chapter."""
    source = json.loads(file.read_text(encoding="utf-8"))
    made = [_cell("markdown", TOP)]
    for cell in marked(without_answers(source["cells"])):
        if cell["cell_type"] == "code":
            made.append(_cell("code", cell["source"]))
            figure = _figure(cell)
            if "caption" in figure:
                number = book.numbers.get(figure.get("name", ""), "Figure")
                made.append(_cell("markdown", f"*{number}. {_roles(figure['caption'], book)}*"))
            continue
        pieces = re.split(r"(?=^:::\{exercise\}|^## )", cell["source"], flags=re.M)
        for piece in pieces:
            if piece.strip():
                made.append(_cell("markdown", plain(piece, book).strip()))
            if piece.startswith(":::{exercise}"):
                made.append(_cell("code", ""))
    for number, cell in enumerate(made):
        cell["id"] = f"s{number:03d}"
    kernel = {"kernelspec": source["metadata"]["kernelspec"]}
    return {"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def _cell(kind: str, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source}
    return cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []}


def write_edition(folder: Path) -> int:
    """Write all notebooks and the tables that they read, and return the number of notebooks."""
    files = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    book = Book(files)
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        text = json.dumps(edition(file, book), indent=1, ensure_ascii=False) + "\n"
        (folder / file.name).write_text(text, encoding="utf-8", newline="\n")
    for table in ("patients.csv", "therapists.csv", "segments.csv"):
        shutil.copy(DATA / table, folder / table)
    return len(files)


def write_library(folder: Path) -> None:
    """Add what `pip install` of the library needs, without the chapters and their solutions."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "notebooks/README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


def requirements() -> str:
    """Pin the packages that the chapters import, as the book was built with them."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return "".join(f"{pin}\n" for pin in lock if re.split("[=;[ ]", pin)[0] in PACKAGES)


def write_archive(html: Path) -> None:
    """Offer the edition as one file among the downloads."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "students"
        write_edition(folder)
        write_library(folder / "library")
        (folder / "requirements.txt").write_text(requirements(), encoding="utf-8")
        shutil.make_archive(str(html / "downloads" / "students"), "zip", home, "students")
