"""Five files unlike each other: every figure that the command releases is claimed by another hand.

Each number of each table is found once more from the rows of the file (`claims`, `independent`);
one that nobody has claimed fails the test. The numbers of the JSON are those of the tables, and so
are the numbers of the page's sentences.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from claims import FIGURE, MARK, Asked, Claims
from five_kinds import COVARIATES, MAKERS, STUDIES, read_alone
from running import run
from sentences import prose, unknown

#: The smallest at every change; all five at night.
_SMALL = ("counselling",)
#: What the JSON holds beside tables, and why it is no figure of these data.
NOT_FIGURES = {
    "schema": "the form",
    "schema_version": "the form",
    "synthetic": "yes or no",
    "disclosure": "the rules, as asked for",
    "study": "how the file was read: columns, codes, rules, and the files' hashes",
    "software": "versions",
    "not_done": "what an analysis takes",
}


@dataclass
class Run:
    """What was asked, where the results are, and the claims made on them."""

    name: str
    folder: Path
    claims: Claims

    @property
    def json(self) -> Any:
        """The results."""
        return json.loads((self.folder / "results.json").read_text(encoding="utf-8"))


def _asked(name: str, file: Path) -> Asked:
    study: dict[str, Any] = tomllib.loads(STUDIES[name])
    mix, staff = study.get("case_mix", {}), file.with_name("therapists.csv")
    ((column, out),) = study.get("leave_out", {"": ()}).items()
    whole = pd.read_csv(file, sep="\t", encoding="utf-16") if out else pd.DataFrame()
    return Asked(
        rows=read_alone(name, file),
        covariates=COVARIATES.get(name, ()),
        drop=mix.get("missing_covariates") == "drop",
        therapist_mean=mix.get("therapist_mean", False),
        least=study.get("disclosure", {}).get("minimum_shown", 20),
        size=study.get("cluster_size"),
        therapists=pd.read_csv(staff) if staff.exists() else None,
        left_out=float(whole[column].isin(out).mean()) if out else 0.0,
    )


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=() if n in _SMALL else pytest.mark.nightly) for n in MAKERS],
)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one of the files, with all its figures claimed."""
    name, place = request.param, tmp_path_factory.mktemp(request.param)
    file, study = MAKERS[name](place), place / "study.toml"
    study.write_text(STUDIES[name], encoding="utf-8")
    staff = place / "therapists.csv"
    more = ("--therapists", staff) if staff.exists() else ()
    out = ("--out", place / "out", "--key", place / "a.key", "--study", study, *more)
    assert run("analyse", file, *out) == 0
    folder = place / "out" / "run-0001"
    claims = Claims.of(_asked(name, file), folder / "tables")
    claims.all()
    return Run(name, folder, claims)


def test_every_figure_is_claimed_and_right(found: Run) -> None:
    assert not found.claims.wrong
    assert not found.claims.open
    # Counts that are withheld for the sake of others are few.
    assert found.claims.small <= found.claims.withheld <= 2 * found.claims.small + 10


def test_a_figure_that_is_wrong_or_new_is_found(found: Run) -> None:
    tables = {name: table.copy() for name, table in found.claims.tables.items()}
    tables["therapist_effect"].loc[0, "vpc"] = "99.9"
    tables["sample"]["news"] = "12"
    again = Claims(found.claims.asked, tables)
    again.flow()
    again.sample()
    assert again.wrong == []
    assert ("sample", 0, "news") in again.open
    again.models(found.claims.asked.measures[0])
    assert [w.split(":")[0] for w in again.wrong] == ["therapist_effect 0 vpc"]


def test_between_them_the_files_ask_for_all_that_a_report_can_hold() -> None:
    asked = "".join(STUDIES.values())
    for key in ("gibbs", "adjust", "drop", "therapist_mean", "cluster_size", "= false"):
        assert key in asked


def test_the_json_holds_the_tables_and_no_other_figure(found: Run) -> None:
    content = found.json
    for name, table in found.claims.tables.items():
        frame = content["tables"].pop(name)
        assert frame["columns"] == list(table.columns)
        for there, here in zip(frame["rows"], table.to_numpy().tolist(), strict=True):
            for value, cell in zip(there, here, strict=True):
                text = "" if value is None else str(value)
                same = text == cell.removeprefix("'") or float(cell) == float(value)
                assert same, (name, value, cell)
    assert content.pop("tables") == {}
    a = found.claims.asked
    exact = content.pop("sample")
    assert exact == {
        "patients": f"{5 * ((len(a.patients) + 2) // 5):,}",
        "therapists": len(a.loads),
    }
    page = prose((found.folder / "report.html").read_text(encoding="utf-8"))
    said = content.pop("text") + content.pop("withheld")
    assert set(said) <= set(page)
    assert content.keys() == NOT_FIGURES.keys()


def test_numbers_in_sentences_are_those_of_the_tables(found: Run) -> None:
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    paragraphs = prose(page)
    assert unknown(paragraphs, found.claims) == []
    first = next(p for p in paragraphs if "lie between therapists" in p)
    assert unknown([first.replace("95% interval ", "95% interval 98.7 or ")], found.claims)
    words = [c for t in found.claims.tables.values() for c in t.to_numpy().ravel() if c == MARK]
    assert FIGURE.fullmatch(MARK)
    assert any(
        p.startswith(f"Cells that are withheld (marked *): {len(words):,}.") for p in paragraphs
    )
