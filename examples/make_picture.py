"""The pictures of the documentation, from a run of quickstart.sh: particles and what is learnt.

python examples/make_picture.py quickstart docs/images/quickstart.png
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from halcmd.formats.star import read_star
from halcmd.subtomograms import open_boxes
from halcmd.tables import read_particles

CLASSES, BOX, PIXEL_SIZE, SNR = 6, 24, 12, 0.05
SAME = f"--classes {CLASSES} --per-class 2 --box {BOX} --angpix {PIXEL_SIZE} --seed 3"


def main(run: Path, picture: Path) -> None:
    """Draw particles and the learning curve; copy the last confusion matrix."""
    figure = plt.figure(figsize=(11, 2.9), layout="constrained")
    tiles, curve = figure.subfigures(1, 2, width_ratios=(1.75, 1))
    draw_particles(tiles)
    draw_curve(curve, run)
    figure.savefig(picture, dpi=110, metadata={"Software": None})
    rounds = len(list(run.glob("Evaluate*")))
    shutil.copy(run / f"Evaluate{rounds}/confusion.png", picture.with_name("confusion.png"))


def draw_particles(figure: plt.Figure) -> None:
    """The same particle of each class without noise and with it."""
    rows = {"without noise": "inf", f"as halcmd sees it\nSNR {SNR:g}": str(SNR)}
    axes = figure.subplots(len(rows), CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        for line, (title, snr) in enumerate(rows.items()):
            out = Path(folder) / snr
            command = f"halcmd simulate {SAME} --snr {snr} --quiet --o {out}"
            subprocess.run(command.split(), check=True)
            truth = read_particles([out / "truth.star"])
            names = sorted(set(truth.labels))
            first = np.array([list(truth.labels).index(name) for name in names])
            boxes = open_boxes(read_particles([out / "particles.star"])).read(first)
            for column, (name, box) in enumerate(zip(names, boxes, strict=True)):
                one = axes[line, column]
                one.imshow(box[BOX // 2], cmap="gray", interpolation="nearest")
                one.set(xticks=[], yticks=[])
                one.set_title(name if line == 0 else "", fontsize=10)
            axes[line, 0].set_ylabel(title, fontsize=10)


def draw_curve(figure: plt.Figure, run: Path) -> None:
    """Accuracy on the test particles against the number of labels, with 95 % intervals."""
    labels, values, low, high = [], [], [], []
    for number in range(1, len(list(run.glob("Evaluate*"))) + 1):
        particles = read_particles([run / f"Label{number}/particles.star"])
        labels.append(int(particles.is_answered.sum()))
        summary = read_star(run / f"Evaluate{number}/evaluation.star").table("summary")
        assert summary is not None
        row = summary.column("halMetric").index("accuracy")
        for target, name in ((values, "halValue"), (low, "halLow"), (high, "halHigh")):
            target.append(float(summary.column(name)[row]))
    axes = figure.subplots()
    spread = [np.subtract(values, low), np.subtract(high, values)]
    axes.errorbar(labels, values, yerr=spread, marker="o", capsize=3, color="#4878a8")
    axes.set(xlabel="labels", ylabel="accuracy on test particles", xlim=(0, None), ylim=(0.6, 1.02))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
