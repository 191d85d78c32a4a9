"""Every ``hal*`` column: who writes it, what it means. The documentation is made from this list."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of the particle table.

    Attributes
    ----------
    by : str
        The steps that write it. A step named alone owns the column and replaces it.
    kind : str
        ``text``, ``integer`` or ``number``.
    unit : str
        Empty for none.
    meaning : str
        One sentence for the reader of the table.
    empty : str
        What stands in rows where there is nothing to say.
    """

    by: str
    kind: str
    unit: str
    meaning: str
    empty: str = "none"


COLUMNS: dict[str, Column] = {
    "halParticleId": Column(
        "extract, simulate, first contact", "text", "", "Stable name: tomogram, slash, six digits."
    ),
    "halTomogram": Column("extract", "text", "", "Normalised name of the tomogram."),
    "halTomogramFile": Column("extract", "text", "", "The volume that the box was cut from."),
    "halTomogramPixelSize": Column("extract", "number", "A", "Voxel edge of that volume.", "nan"),
    "halPositionXAngst": Column(
        "extract", "number", "A", "Centre after shifts, from the centre of the first voxel.", "nan"
    ),
    "halPositionYAngst": Column("extract", "number", "A", "As halPositionXAngst, along y.", "nan"),
    "halPositionZAngst": Column("extract", "number", "A", "As halPositionXAngst, along z.", "nan"),
    "halShiftXAngst": Column(
        "extract", "number", "A", "Shift of the input that is part of halPositionXAngst.", "0.000"
    ),
    "halShiftYAngst": Column("extract", "number", "A", "As halShiftXAngst, along y.", "0.000"),
    "halShiftZAngst": Column("extract", "number", "A", "As halShiftXAngst, along z.", "0.000"),
    "halAngleRot": Column(
        "extract",
        "number",
        "degrees",
        "Orientation of the pick in its tomogram, RELION's rot, tilt, psi, whatever its format.",
        "nan",
    ),
    "halAngleTilt": Column("extract", "number", "degrees", "As halAngleRot: tilt.", "nan"),
    "halAnglePsi": Column("extract", "number", "degrees", "As halAngleRot: psi.", "nan"),
    "halBoxAxes": Column(
        "extract",
        "text",
        "",
        "particle where --apply-orientations has turned the box; else its axes are the tomogram's.",
        "tomogram",
    ),
    "halContrast": Column(
        "extract, simulate", "text", "", "Of the boxes as written: bright, dark or unknown."
    ),
    "halTiltMin": Column(
        "extract, simulate", "number", "degrees", "First tilt; beam along z, tilt axis y.", "nan"
    ),
    "halTiltMax": Column("extract, simulate", "number", "degrees", "Last tilt.", "nan"),
    "halPaddedFraction": Column(
        "extract", "number", "", "Share of the box that lies outside the tomogram.", "nan"
    ),
    "halImageName": Column(
        "extract, simulate, first contact",
        "text",
        "",
        "The box: number (from 1) @ volume stack, or one .mrc. Wins over rlnImageName.",
    ),
    "halImagePixelSize": Column("extract, simulate", "number", "A", "Voxel edge of the box."),
    "halImageSize": Column("extract, simulate", "integer", "px", "Edge of the box."),
    "halDropReason": Column("extract", "text", "", "In dropped.star: why there is no box."),
    "halLabel": Column(
        "label-import, extract",
        "text",
        "",
        "Class given by the annotator; junk = no particle, unknown = of no listed class, "
        "skip = cannot tell.",
        "unlabelled",
    ),
    "halLabelSource": Column("label-import, extract", "text", "", "Who, or which file."),
    "halLabelRound": Column("label-import, extract", "integer", "", "In which round.", "0"),
    "halLabelProbability": Column(
        "train",
        "number",
        "",
        "Calibrated probability of halLabel by networks that have not seen the particle.",
        "nan",
    ),
    "halSuspectedClass": Column(
        "train",
        "text",
        "",
        "The class that halLabel should perhaps be, by the same networks; none = not suspected.",
    ),
    "halSplit": Column(
        "simulate, extract, label-import", "text", "", "pool, or test: never trained on or asked."
    ),
    "halPredictedClass": Column("score", "text", "", "The likeliest class."),
    "halClassNumber": Column("score", "integer", "", "Its number in block hal_classes.", "0"),
    "halProbability": Column("score", "number", "", "Its calibrated probability.", "nan"),
    "halEntropy": Column("score", "number", "nat", "Entropy of the probabilities.", "nan"),
    "halMargin": Column("score", "number", "", "First minus second probability.", "nan"),
    "halUnfamiliar": Column(
        "score",
        "number",
        "",
        "Distance of the embedding to that of the nearest labelled particle, divided by its "
        "length; large = perhaps of no known class.",
        "nan",
    ),
    "halModel": Column("score", "text", "", "Hash of the model's tensors."),
    "halFeature": Column(
        "score", "integer", "", "Row (from 1) in embedding.npy and features.npy.", "0"
    ),
    "halUnlabelledProbability": Column(
        "query", "number", "", "Discriminator: probability to be of the unlabelled set.", "nan"
    ),
    "halScore": Column("query", "number", "", "What the strategy ranks by; larger first.", "nan"),
    "halQueryRank": Column("query", "integer", "", "Place in the query, from 1.", "0"),
    "halQuerySubset": Column(
        "query", "integer", "", "Subset of the query (hal, dal), from 1.", "0"
    ),
    "halQueryRound": Column("query", "integer", "", "Round in which it was asked last.", "0"),
    "halQueryStrategy": Column(
        "query", "text", "", "Strategy that asked for it last; relabel = a suspected label."
    ),
    "halParticleNumber": Column(
        "query (for ArtiaX)", "integer", "", "Stands for halParticleId where texts are lost.", "0"
    ),
    "halTomogramNumber": Column(
        "query (for ArtiaX)", "integer", "", "Stands for halTomogram where texts are lost.", "0"
    ),
    "halResamples": Column(
        "evaluate",
        "integer",
        "",
        "In evaluation.star: how many bootstrap resamples the intervals are of; 0 = no intervals.",
        "0",
    ),
    "halMostWrong": Column(
        "evaluate",
        "number",
        "",
        "In evaluation.star: share that may still be wrong where no error was seen, 3 / halCount.",
        "nan",
    ),
    "halMostRight": Column(
        "evaluate",
        "number",
        "",
        "In evaluation.star: share that may still be right where none was, 3 / halCount.",
        "nan",
    ),
    "halConfusionRank": Column(
        "evaluate",
        "integer",
        "",
        "In evaluation.star: place of the kind of error, from 1, the most frequent first.",
        "0",
    ),
}

PATTERNS: dict[str, Column] = {
    "halProbability_CLASS": Column(
        "score", "number", "", "Calibrated probability of each class.", "nan"
    ),
    "halSourceNAME": Column(
        "extract", "text", "", "Field NAME of an input that is no STAR file, as it stood there."
    ),
}


def owned_by(step: str, labels: Iterable[str]) -> list[str]:
    """Those of the labels that the step owns alone, so that it replaces them all."""
    prefixes = tuple(
        name.removesuffix("CLASS") for name, column in PATTERNS.items() if column.by == step
    )
    return [
        label
        for label in labels
        if (label in COLUMNS and COLUMNS[label].by == step)
        or (prefixes and label.startswith(prefixes))
    ]
