"""Patients analysed of the five files of the report's tests, for `five_kinds.R`.

``python five_kinds_rows.py FOLDER`` writes them there as CSV.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "pwp_report"))

from claims import Asked
from five_kinds import MAKERS, read_alone

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, make in MAKERS.items():
        rows = Asked(read_alone(name, make(folder))).patients
        scores = [c for c in rows if str(c).endswith(("_pre", "_post"))]
        kept = ["t", *(c for c in ("service",) if c in rows), *scores]
        rows[kept].to_csv(folder / f"{name}.csv", index=False)
