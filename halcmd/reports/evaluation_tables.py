"""All numbers of an evaluation, as the tables of evaluation.star."""

from typing import Any

import numpy as np

from halcmd.assessment.metrics import Assessment
from halcmd.assessment.stopping import Slope, Stability
from halcmd.assessment.unanimous import Unanimous, all_right, none_right
from halcmd.formats.star import Table, text_of
from halcmd.reports.evaluation import (
    THRESHOLDS,
    UNKNOWN,
    Evaluation,
    PoolEstimate,
    overall_of,
    rounds_of,
    tomogram_columns,
)

_NO_SLOPE = Slope(np.nan, np.nan, np.nan)


def tables_of(found: Evaluation) -> list[Table]:
    """The tables of evaluation.star; ``nan`` for what cannot be told."""
    tables = [_summary(found.assessment), _per_class(found.assessment)]
    tables.append(_confusion(found.assessment))
    tables += _unanimous("no_error", "halMostWrong", all_right(found.assessment))
    tables += _unanimous("none_right", "halMostRight", none_right(found.assessment))
    tables += [] if found.worst is None else [found.worst]
    tables += [_left_out(found.left_out)] if found.left_out else []
    if found.by == "tomogram":
        columns = tomogram_columns(found)
        texts = {_title(name): text_of(values, 4) for name, values in columns.items()}
        texts |= {"halCount": text_of(columns["count"], 0)}
        names = {"halTomogram": list(found.tomograms)}
        tables.append(Table.from_columns("per_tomogram", names | texts))
    if found.reliability:
        bins = {_title(name): text_of(values, 4) for name, values in found.reliability.items()}
        bins["halCount"] = text_of(found.reliability["count"], 0)
        tables.append(Table.from_columns("calibration", bins))
    if found.pool is not None:
        tables.append(_pool(found.pool))
    if found.stability is not None:
        tables += [_rounds(found), _advice(found, found.stability)]
    if found.doubts is not None and len(found.doubts):
        tables.append(found.doubts)
    return tables


def _summary(found: Assessment) -> Table:
    overall = overall_of(found)
    return Table.from_columns(
        "summary",
        {"halMetric": list(overall)}
        | _columns("", list(overall.values()))
        | {
            "halCount": [int(found.confusion.sum())] * len(overall),
            "halResampledBy": [found.resampled_by] * len(overall),
            "halResamples": [found.resamples] * len(overall),
        },
    )


def _per_class(found: Assessment) -> Table:
    columns: dict[str, Any] = {
        "halClassName": list(found.classes),
        "halCount": list(found.support),
    }
    for name, it in (found.per_class | {"average_precision": found.average_precision}).items():
        columns[_title(name)] = text_of(it.value, 4)
        columns[f"{_title(name)}Low"] = text_of(it.low, 4)
        columns[f"{_title(name)}High"] = text_of(it.high, 4)
    columns["halResampledBy"] = list(found.class_resampled_by)
    return Table.from_columns("per_class", columns)


def _confusion(found: Assessment) -> Table:
    names = np.array(found.classes, dtype=object)
    return Table.from_columns(
        "confusion",
        {
            "halTrueClass": list(np.repeat(names, len(names))),
            "halPredictedClass": list(np.tile(names, len(names))),
            "halCount": list(found.confusion.ravel()),
        },
    )


def _unanimous(name: str, most: str, shares: list[Unanimous]) -> list[Table]:
    """Numbers first, so that ``awk '$1 == "accuracy"'`` finds the row of the summary alone."""
    columns: dict[str, Any] = {
        "halCount": [share.particles for share in shares],
        most: text_of([share.most_others for share in shares], 4),
        "halMetric": [share.measure for share in shares],
        "halClassName": [share.class_name or "none" for share in shares],
    }
    return [Table.from_columns(name, columns)] if shares else []


def _left_out(left_out: dict[str, int]) -> Table:
    columns: dict[str, Any] = {"halReason": list(left_out), "halCount": list(left_out.values())}
    return Table.from_columns("left_out", columns)


def _pool(pool: PoolEstimate) -> Table:
    rows = {"estimated_accuracy": pool.estimated, "corrected_accuracy": pool.corrected or UNKNOWN}
    return Table.from_columns(
        "pool",
        {"halMetric": list(rows)}
        | _columns("", list(rows.values()))
        | {"halCount": [pool.particles] * 2, "halHeldOut": [pool.held] * 2},
    )


def _rounds(found: Evaluation) -> Table:
    rows = rounds_of(found)
    columns: dict[str, Any] = {"halLabels": [labels for labels, _ in rows]}
    for name in rows[0][1]:
        columns |= _columns(name, [row[name] for _, row in rows])
    return Table.from_columns("rounds", columns)


def _advice(found: Evaluation, stability: Stability) -> Table:
    held = found.held_out.slope if found.held_out else _NO_SLOPE
    columns: dict[str, Any] = {
        "halAdvice": [stability.advice.verdict],
        "halReason": [stability.advice.reason],
        "halCount": [stability.particles],
    }
    columns |= _columns("gain_estimated", [stability.curve.slope], 5)
    columns |= _columns("gain", [held], 5)
    columns |= {_title(f"threshold_{name}"): [value] for name, value in THRESHOLDS.items()}
    return Table.from_columns("advice", columns)


def _columns(name: str, its: list[Any], decimals: int = 4) -> dict[str, list[str]]:
    """Columns of the values, lower and upper ends of intervals or slopes."""
    title = _title(name)
    return {
        title if name else "halValue": text_of([float(it.value) for it in its], decimals),
        f"{title}Low": text_of([float(it.low) for it in its], decimals),
        f"{title}High": text_of([float(it.high) for it in its], decimals),
    }


def _title(name: str) -> str:
    return "hal" + "".join(word[:1].upper() + word[1:] for word in name.split("_"))
