"""``pwp summarise`` in each service, ``pwp pool`` in the middle."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from multilevel.fit import fit_mixed
from multilevel.moments import Moments
from multilevel.pooling import kept as kept_groups
from multilevel.pooling import pool_moments, withhold_small
from pwp_lib.measures import MEASURES, Measure
from pwp_lib.models import model_formula
from pwp_report.check import check_study_data
from pwp_report.commands.terminal import say, show
from pwp_report.disclosure import DisclosurePolicy, aggregate_small
from pwp_report.pseudonyms import Pseudonyms, open_key, pseudonymise
from pwp_report.register import changes_by_therapist, compared, differ_by_few, joined, keep
from pwp_report.wording import listed, refusal, remark

#: What the file says of its measures, beside the moments.
_KEY = b"pwp_report"
#: Numbers of patients in the words of a rule: another number is no other rule.
_COUNTED = r" \([\w, ]+ who .*?\)| \((?:for|a|of two) .*?\)|(?<=as |ch ).+?(?= (?:patients )?had)"


def summarise_file(
    file: Path, out: Path, study: Path | None, key: Path, minimum_shown: int | None, despite: bool
) -> None:
    """Write the moments of a file, small caseloads withheld and therapists under pseudonyms."""
    if out.suffix.lower() != ".parquet":
        raise refusal("moments_not_parquet", file=out)
    _refuse_inputs(out, [file, *([study] if study else []), key])
    found = check_study_data(file, study)
    cohort, mark = found.required(), None
    # Of whom all scores are known, as sums are: a report may be of others as well.
    columns = [c for m in cohort.measures for c in (m.pre, m.post)]
    cohort = replace(cohort, patients=cohort.patients.dropna(subset=columns))
    least = minimum_shown or found.study.minimum_shown
    if least < 10:
        raise refusal("too_few_to_share")
    policy = replace(found.study, minimum_shown=least).policy(not cohort.provenance.synthetic)
    least = policy.smallest_caseload
    if policy.active:
        # Other names than a report's: joined to it, moments would tell what it rounds.
        own = sha256(b"moments" + open_key(key, outside=out.parent)).digest()
        cohort, mark = compared(cohort, key, policy, despite)
        cohort = pseudonymise(cohort, Pseudonyms(own))
    moments = Moments.for_formula(_formula(cohort.measures), cohort.patients)
    groups = cohort.patients.groupby("therapist_id")
    # Nearly all with one score: what the few others have follows from its sum and its squares.
    commonest = [groups[m].value_counts().groupby(level=0).max() for m in columns]
    few = groups.size() - pd.concat(commonest, axis=1).max(axis=1) < least / 2 * policy.active
    written = _shared(moments, policy, {*few.index[few], *joined(cohort, "together$")})
    changes = changes_by_therapist(cohort.patients)
    if any(differ_by_few(changes, [t], policy) for t in written.groups):
        raise refusal("moments_differ_by_few", threshold=policy.threshold)
    written.write(out, minimum_rows=least)
    scales = {m.name: [m.minimum, m.maximum, m.higher_is_worse] for m in cohort.measures}
    rules = [re.sub(_COUNTED, "", step.rule) for step in cohort.flow[1:]]
    _describe(out, {"scales": scales, "rules": rules})
    say(*found.understood, stderr=True)
    kept, patients = len(written.groups), policy.text(int(written.n.sum()))
    counts = {"kept": kept, "patients": patients, "withheld": written.withheld_groups}
    say(remark("moments_written", file=out.name, least=least, **counts))
    if mark is not None:
        keep(mark, key, out.name, despite)


def _shared(moments: Moments, policy: DisclosurePolicy, also: Collection[Any]) -> Moments:
    """Leave out small groups, others, and more of them until those left out are a safe group.

    How many patients they are is recorded, and their sums are what a total is more.
    """
    shown = withhold_small(moments, policy.smallest_caseload)
    loads = pd.Series(moments.n, moments.groups)
    alone, _ = aggregate_small(loads, policy, {*moments.groups} - {*shown.groups} | {*also})
    written = kept_groups(shown, np.isin(shown.groups, alone))
    rows = int(moments.n.sum() - written.n.sum())
    groups = len(moments.groups) - len(written.groups)
    return replace(written, withheld_groups=groups, withheld_rows=rows)


def _describe(path: Path, said: Mapping[str, Any]) -> None:
    """Keep with the moments which scales they have, and how the patients were chosen."""
    table = pq.read_table(path)
    metadata = {**table.schema.metadata, _KEY: json.dumps(said).encode()}
    part = path.with_name(f".{path.name}.part")
    pq.write_table(table.replace_schema_metadata(metadata), part)
    part.replace(path)


def _described(paths: Sequence[Path]) -> dict[str, Any]:
    """Bring together what files of moments say; refuse measures on different scales."""
    scales: dict[str, Any] = {}
    rules: list[list[str]] = []
    for path in paths:
        said = json.loads((pq.read_schema(path).metadata or {}).get(_KEY, b"{}"))
        for name, scale in said.get("scales", {}).items():
            if scales.setdefault(name, scale) != scale:
                raise refusal("scales_differ", file=path, column=name)
        rules.append(said.get("rules", []))
    if any(r != rules[0] for r in rules):
        say("The services chose their patients by different rules of inclusion.", stderr=True)
    return {"scales": scales, "rules": rules[0]}


def _refuse_inputs(out: Path, inputs: Sequence[Path]) -> None:
    """Refuse to write where no folder is, or over what is read, whatever the path to it."""
    if not out.parent.is_dir():
        raise refusal("no_such_folder", file=out.parent)
    if out.exists() and any(given.exists() and out.samefile(given) for given in inputs):
        raise refusal("would_replace_input", file=out)


def _formula(measures: Sequence[Measure]) -> str:
    """Scores and products of pre scores, so that the paper's models can be fitted to the sums."""
    first, *scores = [f"`{c}`" for m in measures for c in (m.post, m.pre)]
    products = [f"`{a.pre}`:`{b.pre}`" for a, b in combinations(measures, 2)]
    return f"{first} ~ {' + '.join([*scores, *products])} + (1 | therapist_id)"


def pool_files(files: Sequence[Path], out: Path | None, same_therapists: bool) -> None:
    """Add moments of several services, and fit the models to the sum."""
    if len(files) < 2:
        raise refusal("one_file_to_pool")
    if out is not None:
        _refuse_inputs(out, files)
    total = pool_moments([Moments.read(f) for f in files], same_groups=same_therapists)
    said = _described(files)
    table = pool_table(total)
    counts = {"therapists": len(total.groups), "withheld": total.withheld_groups}
    say(remark("moments_pooled", files=len(files), **counts))
    show("Random intercept and slope, by measure", table.round(3).astype(str).replace("nan", ""))
    if out is not None:
        total.write(out, share=False)
        _describe(out, said)
        say(f"The sum is written to {out.name}.")


def pool_table(moments: Moments) -> pd.DataFrame:
    """Fit both models of each measure that the moments hold, and list what they say."""
    there = moments.variables
    names = [n for v in there if (n := v.removesuffix("_post")) != v and f"{n}_pre" in there]
    measures = [MEASURES.get(n) or Measure(n, n, -1e9, 1e9, None, None) for n in names]
    if not measures:
        raise refusal("moments_without_measure")
    lines = []
    for m in measures:
        for level in ("intercept", "slope"):
            fit = fit_mixed(model_formula(m, measures, level), moments)
            between = float(fit.random_covariance.to_numpy()[0, 0])
            figures = fit.deviance, between, fit.residual_variance, *fit.profile_interval()[:3]
            lines.append((m.label, f"random {level}", *figures))
    return pd.DataFrame(lines, columns=listed("commands.toml")["pooled"])
