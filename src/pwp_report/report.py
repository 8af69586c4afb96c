"""The results of ``pwp analyse``: report, tables, figures, JSON and text, in a folder per run.

How a run is written is `runs`' business. No date is written anywhere, so that a second run gives
the same bytes.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pwp_lib.cohort import Cohort
from pwp_lib.numbers import bare_p, decimals
from pwp_lib.show.labels import harmless_labels, plain_label, plain_text, safe_csv
from pwp_lib.show.show import intervals_joined
from pwp_report.analysis import Analysis
from pwp_report.disclosure import MARK, DisclosurePolicy
from pwp_report.methods import first_page, methods_and_results, software
from pwp_report.pseudonyms import all_values, renamed, tables_of
from pwp_report.release import release_results
from pwp_report.released import ReleasedResults, ReleasedTable
from pwp_report.report_figures import Drawn, draw_all
from pwp_report.runs import publish
from pwp_report.study import Study
from pwp_report.table_words import for_page, headings, phrase, places_of, written
from pwp_report.wording import listed, render

SCHEMA_VERSION = 2
#: Parts whose absence is no news: what the file has no ground for, or nobody asked for.
_UNASKED = r"national|predictors|groups_before.*|(services|together|bounds|sensitivity)\..*"
#: What the names of the two bounds of an estimate begin with, where not with its own name.
_STARTS = {"residual": ("",), "median": ("",), "vpc": ("profile_", "")}
_COUNT = r"(?<!fewer than )(?<!takes )(?<![\w-])\d[\d,]*"
_JSON: Any = {"indent": 1, "ensure_ascii": False, "allow_nan": False, "default": np.generic.item}
_SIGNS: Mapping[str, str] = listed("names.toml")["signs"]
_MEANS = "^(mean|sd)_"

#: Sections of the report: id, title, text, and the names of tables and figures.
_SECTIONS: Sequence[Mapping[str, Any]] = listed("sections.toml")["section"]


def safe_labels(cohort: Cohort) -> Cohort:
    """Give everything that was read as text a form that does no harm in a page, a file or a plot.

    Identifiers and other words are data of unknown origin: markup, formulas, mathematics and
    endless names are replaced before anything is computed, and labels stay different from each
    other. So are the measures' labels, which the chapters' code holds, and the file's name.
    """
    tables, maps = tables_of(cohort).values(), dict[str, Mapping[str, str]]()
    for column in {c for f in tables for c in f.select_dtypes(["object", "str"])}:
        if harmless := harmless_labels([*map(str, all_values(column, cohort))], _SIGNS):
            maps[column] = harmless
    plain = {m: plain_label(m.label.replace("'", " "), _SIGNS) for m in cohort.measures}
    measures = tuple(replace(m, label=label or m.name) for m, label in plain.items())
    source = replace(cohort.provenance, source=plain_text(cohort.provenance.source)[:200])
    return replace(renamed(cohort, maps), measures=measures, provenance=source)


def write_run(
    analysis: Analysis,
    study: Study,
    policy: DisclosurePolicy,
    out: Path,
    step: Callable[[str], None] = lambda _: None,
    names: Mapping[str, str] | None = None,
) -> Path:
    """Write everything that may be published of an analysis, and point to it.

    Parameters
    ----------
    analysis : Analysis
    study : Study
    policy : DisclosurePolicy
    out : Path
        Folder of runs; made if it does not exist.
    step : callable, optional
    names : mapping of str to str, optional
        What therapists and services are called in what is written, by their labels.

    Returns
    -------
    Path
        The folder of this run, ``run-0001`` or the next number.

    Raises
    ------
    InputError
        If nothing can be written there.
    """
    step("disclosure control")
    released = release_results(analysis, policy).renamed(names or {})
    step("figures")
    drawn = draw_all(analysis, released)
    step("report")
    text = methods_and_results(analysis, study, released)
    written = {f"tables/{name}.csv": safe_csv(t.frame) for name, t in released.tables.items()}
    written |= {f"figures/{name}.svg": figure.svg.decode() for name, figure in drawn.items()}
    written["methods.txt"] = "\n\n".join(text) + "\n"
    written["results.json"] = json.dumps(results(analysis, study, released, text), **_JSON) + "\n"
    written["report.html"] = render(
        "report.html.j2",
        title=study.title or "Therapist effects: report",
        synthetic=analysis.cohort.provenance.synthetic,
        policy=policy,
        encode=base64.b64encode,
        first_page=first_page(analysis, study, released),
        sections=_sections(analysis, released, drawn, text),
        software=software(),
        seed=study.seed,
    )

    def fill(work: Path) -> None:
        for folder in ("tables", "figures"):
            (work / folder).mkdir()
        for name, words in written.items():
            (work / name).write_text(words, encoding="utf-8", newline="\n")

    step("writing")
    return publish(out, fill)


# --- Results as JSON -----------------------------------------------------------------------


def results(
    analysis: Analysis, study: Study, released: ReleasedResults, text: Sequence[str]
) -> dict[str, Any]:
    """Gather the results in the form that ``schemas/results-2.json`` describes.

    Parameters
    ----------
    analysis, study, released, text
        The analysis, and what `release_results` and `methods_and_results` made of it.
    """
    policy = released.policy
    # How the file was read: files, columns, codes and rules.
    record = {k: dict(v) if isinstance(v, Mapping) else v for k, v in vars(study).items()}
    keys = ("pre", "post", "score", "required")
    scores = {s.measure.name: {k: getattr(s, k) for k in keys} for s in study.measures}
    record |= {"score_columns": scores, "measures": [asdict(m) for m in analysis.cohort.measures]}
    if policy.active:
        # What is kept or left out may name a service or a person: its columns alone.
        record |= {name: list(record[name]) for name in ("keep", "leave_out")}
    return {
        "schema": "pwp_lib/results",
        "schema_version": SCHEMA_VERSION,
        "synthetic": analysis.cohort.provenance.synthetic,
        "disclosure": asdict(policy) | {"mark": MARK},
        "study": record,
        "software": software(),
        "sample": {"patients": released.patients, "therapists": released.therapists},
        "tables": {name: _as_json(table) for name, table in released.tables.items()},
        "text": list(text),
        "not_done": _not_done(analysis, released),
        "withheld": list(released.withheld),
    }


def _as_json(table: ReleasedTable) -> dict[str, Any]:
    cells = table.frame.replace([float("inf"), float("-inf")], None).astype(object)
    return {
        "title": table.title,
        "note": table.note,
        "columns": [str(c) for c in table.frame.columns],
        "rows": cells.where(cells.notna(), None).to_numpy().tolist(),
    }


def _not_done(analysis: Analysis, released: ReleasedResults) -> dict[str, str]:
    """Say what could not be done, without the exact counts that a reason may hold.

    What a step needs is no count of these data, and the number in a measure's name is none.
    """
    if not released.policy.active:
        return dict(analysis.not_done)
    return {k: re.sub(_COUNT, "some", reason) for k, reason in analysis.not_done.items()}


# --- The page -------------------------------------------------------------------------------------


def _sections(
    analysis: Analysis, released: ReleasedResults, drawn: Mapping[str, Drawn], text: Sequence[str]
) -> list[dict[str, Any]]:
    measures = [m.name for m in analysis.cohort.measures]
    reasons = _not_done(analysis, released)
    not_done = {
        part: why[:1].upper() + why[1:]
        for part, why in reasons.items()
        # With the case mix is no news where it could not be done without it either.
        if not re.fullmatch(_UNASKED, part)
        and part.removesuffix(".adjusted") not in reasons.keys() - {part}
    }
    texts: dict[str, Sequence[str]] = {"methods": text, "withheld": released.withheld}
    texts["not-done"] = [*dict.fromkeys(not_done.values())]
    # Why there are none, or by some measures alone, is looked for where they would be.
    texts["groups"] = [why for part, why in not_done.items() if part.startswith("groups")]

    def named(patterns: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(p.replace("{m}", m) for p in patterns for m in measures))

    out = []
    for part in _SECTIONS:
        tables = [released.tables[n] for n in named(part.get("tables", ())) if n in released.tables]
        figures = [drawn[n] for n in named(part.get("figures", ())) if n in drawn]
        mine = texts.get(part["id"], ())
        there = [t.name for t in tables] + [f.name for f in figures]
        said = [w for of, w in part.get("text", {}).items() if any(n.startswith(of) for n in there)]
        words = [" ".join(said)] * bool(said) + [*mine]
        if tables or figures or mine:
            shown = [_for_page(t, released.policy, released.beside) for t in tables]
            out.append({**part, "text": words, "tables": shown, "figures": figures})
    return out


def _for_page(table: ReleasedTable, policy: DisclosurePolicy, beside: str = "") -> dict[str, Any]:
    frame, note = for_page(table, f"tables/{table.name}.csv")
    if (frame.astype(object) == MARK).to_numpy().any():
        key = "mark" + "_rates" * (table.name == "rates")
        note += phrase("notes", key, mark=MARK, threshold=policy.threshold, beside=beside)

    def places(name: str, rows: list[list[float]]) -> list[int]:
        # Of the case mix a term of few patients is released with fewer than another.
        if table.name == "case_mix":
            return [decimals(three) for three in rows]
        return [places_of(name, [v for three in rows for v in three], table.name)] * len(rows)

    frame = intervals_joined(frame, places, _STARTS)
    names = list(headings(replace(table, frame=frame)).values())
    means, kinds = frame.filter(regex=_MEANS).astype(object), frame.get("measure", frame.index * 0)
    alike = [decimals(means[kinds == kind].to_numpy().ravel()) for kind in kinds]
    columns = [_written(frame[c].astype(object), str(c), alike, table.name) for c in frame]
    word = [any(isinstance(v, str) and v != MARK for v in frame[c]) for c in frame]
    return {
        "title": table.title,
        "file": table.name,
        "note": note,
        "head": [{"name": n, "word": w} for n, w in zip(names, word, strict=True)],
        "rows": [list(row) for row in zip(*columns, strict=True)],
        "count": len(table.frame),
    }


def _written(column: pd.Series, name: str, means: list[int], table: str) -> list[str]:
    """Write the cells of a column: numbers with as many decimals each, p-values as everywhere."""
    p = name.startswith(("p_value", "p_holm", "p_directed"))
    alike = means if re.match(_MEANS, name) else [places_of(name, column, table)] * len(column)
    cells = zip(column, alike, strict=True)
    return [bare_p(v, "") if p and isinstance(v, float) else written(v, k) for v, k in cells]
