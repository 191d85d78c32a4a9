"""How fast halcmd trains and scores, beside the machine's matrix products and beside Keras.

python examples/benchmark_speed.py [--rates] [--keras] [--loader] [--memory] [--gpu 0] [--small]

Rates: `halcmd train` and `halcmd score`, from the stack file to the STAR file, as a share of the
rate at which this machine multiplies matrices. Keras: the network of Du et al. 2021 in TensorFlow,
in an environment of its own that is thrown away. Loader: how fast boxes are read and normalised,
and how many particles a second reach a network that takes no time. Memory: scoring 10^5 and 10^6
particles. What counts are ratios within one run; other work on the machine disturbs them. All of it
takes about an hour on 2 cores, and 3 GB of disk in --folder; --small shows that it runs. With --gpu
rates, loader and memory are those of a GPU, and the matrices are bf16 where it has that; Keras is
compared on CPUs alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from benchmark_files import HALCMD, Cost, measure
from torch.utils.flop_counter import FlopCounterMode

from halcmd.compute.device import autocast, describe, forward_batch, use
from halcmd.compute.threads import default_threads
from halcmd.formats.mrc_writing import write_stack
from halcmd.networks.classifier import new_network
from halcmd.particles import new_particles
from halcmd.subtomograms import open_boxes
from halcmd.tables import read_particles, write_particles

CLASSES = "abcdef"
PIXEL_SIZE = 10.0
LABELLED = 400
DATA_LIMIT_KB = 2_000_000
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes
    ----------
    networks : tuple of str
    boxes : tuple of int
        Edges of the boxes.
    seconds : float
        About how long each measurement shall take.
    batch : int
        Of training.
    voxels : int
        Of each stack.
    particles : tuple of int
        Tables whose memory is measured.
    augment : dict of str to str
        What is said of training, and its option.
    gpu : str
        As for ``halcmd``.
    """

    networks: tuple[str, ...]
    boxes: tuple[int, ...]
    seconds: float
    batch: int
    voxels: int
    particles: tuple[int, ...]
    augment: dict[str, str]
    gpu: str = "cpu"


FULL = Scale(
    networks=("hal2021", "compact"),
    boxes=(28, 40),
    seconds=20.0,
    batch=32,
    voxels=2**26,
    particles=(100_000, 1_000_000),
    augment={"train": "--augment none", "train, with rotations": "--augment full"},
)
SMALL = Scale(("compact",), (16,), 0.01, 8, 2**17, (100, 200), {"train": "--augment none"})


@dataclass(frozen=True)
class Rate:
    """Particles a second once a command runs, the seconds before that, and those of a whole run."""

    particles: float
    start: float
    whole: float


def main() -> None:
    """Run the parts asked for, all where none is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts: dict[str, Callable[[Path, Scale], None]] = {
        "rates": rates,
        "keras": keras,
        "loader": loader,
        "memory": memory,
    }
    for name in parts:
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--small", action="store_true", help="show that it runs; no useful numbers")
    parser.add_argument("--gpu", default="cpu", help="as for halcmd; default: cpu")
    parser.add_argument("--boxes", type=int, nargs="+", help="edges; default: 28 and 40")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    given = parser.parse_args()
    torch.set_num_threads(default_threads())
    wanted = [name for name in parts if getattr(given, name)] or list(parts)
    scale = replace(SMALL if given.small else FULL, gpu=given.gpu)
    scale = replace(scale, boxes=tuple(given.boxes or scale.boxes))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for name in wanted:
            print(f"\n### {name}\n", flush=True)
            parts[name](Path(folder), scale)


def rates(folder: Path, scale: Scale) -> None:
    """Particles and floating-point operations a second of both networks, end to end."""
    where = describe(use(scale.gpu, 0))
    print(f"{where}, {torch.get_num_threads()} CPU threads, batches of {scale.batch} in training\n")
    print("| network | box | | particles/s | GFLOP/s | of the matrix rate | start, s | whole, s |")
    print("|---|---|---|---|---|---|---|---|")
    found: dict[tuple[str, int, str], float] = {}
    for box in scale.boxes:
        for network in scale.networks:
            work = operations(network, box)
            for name, factor, run in jobs(folder, network, box, scale):
                before = matrix_rate(scale)
                rate = run()
                machine = (before + matrix_rate(scale)) / 2
                done = rate.particles * work * factor
                found[network, box, name] = rate.particles
                print(
                    f"| {network} | {box} | {name} | {rate.particles:.1f} | {done / 1e9:.0f} "
                    f"| {done / machine:.2f} of {machine / 1e9:.0f} | {rate.start:.1f} "
                    f"| {rate.whole:.1f} |",
                    flush=True,
                )
    compared = [(box, name) for network, box, name in found if network == "hal2021"]
    if compared:
        print("\n| box | | compact, times hal2021 |\n|---|---|---|")
    for box, name in compared:
        times = found["compact", box, name] / found["hal2021", box, name]
        print(f"| {box} | {name} | {times:.1f} |")


def jobs(
    folder: Path, network: str, box: int, scale: Scale
) -> Iterator[tuple[str, float, Callable[[], Rate]]]:
    """What is timed of a network: name, operations in units of a forward pass, how to time it."""
    for name, option in scale.augment.items():
        yield name, 3, partial(train_rate, folder, network, box, scale, option)
    yield "score", 1, partial(score_rate, folder, network, box, scale)


def operations(network: str, box: int) -> float:
    """Floating-point operations of one particle on its way forward; a multiply-add is two."""
    made = new_network(network, box=box, n_classes=len(CLASSES)).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        made(torch.zeros(1, 1, box, box, box))
    return float(counter.get_total_flops())


def matrix_rate(scale: Scale) -> float:
    """Floating-point operations a second of products of large matrices, in the precision used."""
    device = use(scale.gpu, 0)
    size = 2048 if device.type == "cpu" else 8192
    left, right = torch.randn(2, size, size, device=device)
    with autocast(device, "auto"):
        float(torch.mm(left, right)[0, 0])
        count, start = 0, time.perf_counter()
        while (seconds := time.perf_counter() - start) < scale.seconds / 5 or count < 2:
            float(torch.mm(left, right)[0, 0])  # a GPU is waited for
            count += 1
    return count * 2 * size**3 / seconds


def train_rate(folder: Path, network: str, box: int, scale: Scale, option: str) -> Rate:
    """Of ``halcmd train``: runs of few and of more steps; their difference is free of the start."""
    table = particles(folder, box, scale, LABELLED)
    text = f"train --i {table} --o {folder}/Train --network {network} --validation 0 {option}"
    more = enough(scale, 3 * operations(network, box) * scale.batch)

    def run(steps: int) -> Cost:
        return halcmd(f"{text} --batch-size {scale.batch} --steps {steps}", scale)

    return difference(run, 2, 2 + more, scale.batch)


def score_rate(folder: Path, network: str, box: int, scale: Scale) -> Rate:
    """Of ``halcmd score``: runs over few and over more particles."""
    model = trained(folder, network, box, scale)
    few = forward_batch(box, use(scale.gpu, 0))
    more = few * (1 + enough(scale, operations(network, box) * few, on_gpu=1.0))

    def run(count: int) -> Cost:
        table = particles(folder, box, scale, count)
        return halcmd(f"score --i {table} --model {model} --o {folder}/Score", scale)

    return difference(run, few, more, 1)


def difference(run: Callable[[int], Cost], few: int, more: int, unit: int) -> Rate:
    """The rate from two runs of different length; of the long one alone where they took as long."""
    short, long = run(few).seconds, run(more).seconds
    rate = (more - few) / (long - short) if long > 1.02 * short else more / long
    return Rate(rate * unit, max(short - few / rate, 0.0), long)


def enough(scale: Scale, work: float, *, on_gpu: float = 20.0) -> int:
    """How many pieces of such work take about the time that a measurement shall take.

    On a GPU the arithmetic does not tell; there it is ``on_gpu`` pieces a second.
    """
    if scale.gpu != "cpu":
        return max(round(scale.seconds * on_gpu), 1)
    return max(round(scale.seconds * matrix_rate(SMALL) / 2 / work), 1)


def halcmd(text: str, scale: Scale, limit: int | None = None) -> Cost:
    """Time and memory of one command, under a limit on its data segment (kB) where given."""
    command = [*HALCMD, *text.split(), "--overwrite", "--gpu", scale.gpu, "-q"]
    if limit:
        command = ["bash", "-c", f'ulimit -d {limit}; exec "$@"', "bash", *command]
    return measure(command)


def particles(folder: Path, box: int, scale: Scale, count: int) -> Path:
    """A table of so many labelled particles; they share the boxes of a stack of noise."""
    stack, held = folder / f"noise_{box}.mrcs", max(scale.voxels // box**3, 8)
    names = [f"{number:06d}@{stack}" for number in range(1, held + 1)]
    if not stack.exists():
        rng = np.random.default_rng(box)
        boxes = (rng.standard_normal((1, box, box, box), dtype=np.float32) for _ in range(held))
        write_stack(stack, boxes, held, box, pixel_size=PIXEL_SIZE)
    columns = {
        "halParticleId": [f"TS_01/{row:07d}" for row in range(count)],
        "halImageName": [names[row % held] for row in range(count)],
        "halContrast": ["bright"] * count,
        "halTiltMin": ["-60.00"] * count,
        "halTiltMax": ["60.00"] * count,
        "halLabel": [CLASSES[row % len(CLASSES)] for row in range(count)],
    }
    table = folder / f"particles_{box}_{count}.star"
    write_particles(table, new_particles(columns))
    return table


def trained(folder: Path, network: str, box: int, scale: Scale) -> Path:
    """A model of two steps."""
    job = folder / f"Train_{network}_{box}"
    if not job.exists():
        table = particles(folder, box, scale, LABELLED)
        text = f"train --i {table} --o {job} --network {network} --validation 0 --augment none"
        halcmd(f"{text} --batch-size {scale.batch} --steps 2", scale)
    return job / "model.safetensors"


def keras(folder: Path, scale: Scale) -> None:
    """The network of Du et al. 2021 in halcmd, end to end, and in Keras, from memory."""
    scale = replace(scale, gpu="cpu")
    python = with_tensorflow(folder / "tensorflow")
    if python is None:
        print("left out: TensorFlow cannot be installed here")
        return
    print("| box | | halcmd, particles/s | Keras, particles/s | halcmd, times Keras |")
    print("|---|---|---|---|---|")
    for box in scale.boxes:
        settings = {
            "box": box,
            "classes": len(CLASSES),
            "threads": torch.get_num_threads(),
            "train_batch": scale.batch,
            "train_steps": enough(scale, 3 * operations("hal2021", box) * scale.batch),
            "score_batch": forward_batch(box, CPU),
            "score_steps": enough(scale, operations("hal2021", box) * forward_batch(box, CPU)),
        }
        done = subprocess.run(
            [python, "-c", KERAS, json.dumps(settings)],
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        theirs = json.loads(done.stdout.splitlines()[-1])
        ours = {
            "train": train_rate(folder, "hal2021", box, scale, "--augment none"),
            "score": score_rate(folder, "hal2021", box, scale),
        }
        for name, rate in ours.items():
            times = rate.particles / theirs[name]
            print(
                f"| {box} | {name} | {rate.particles:.1f} | {theirs[name]:.1f} | {times:.1f} |",
                flush=True,
            )


def with_tensorflow(folder: Path) -> Path | None:
    """The Python of a new environment with TensorFlow; None where that cannot be had."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    command = [python, "-m", "pip", "install", "--quiet", "tensorflow-cpu"]
    return python if subprocess.run(command, check=False).returncode == 0 else None


KERAS = """
import json, sys, time
import numpy as np
import tensorflow as tf
from tensorflow.keras import Input, Sequential, layers

settings = json.loads(sys.argv[1])
tf.config.threading.set_intra_op_parallelism_threads(settings["threads"])
tf.config.threading.set_inter_op_parallelism_threads(1)
box, rng = settings["box"], np.random.default_rng(1)
stack = [Input((box, box, box, 1))]
for width in (32, 64, 128):
    stack += [layers.Conv3D(width, 3, padding="same", activation="relu") for _ in range(2)]
    stack += [layers.MaxPooling3D(2)]
stack += [layers.Flatten()]
for width in (1024, 256):
    stack += [layers.Dense(width, activation="relu"), layers.Dropout(0.7)]
model = Sequential([*stack, layers.Dense(settings["classes"], activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy")


def rate(batch, steps, run):
    boxes = rng.standard_normal((batch * steps, box, box, box, 1), dtype=np.float32)
    run(boxes[:batch], batch)
    start = time.perf_counter()
    run(boxes, batch)
    return len(boxes) / (time.perf_counter() - start)


def train(boxes, batch):
    classes = rng.integers(0, settings["classes"], len(boxes))
    model.fit(boxes, classes, batch_size=batch, epochs=1, verbose=0)


def score(boxes, batch):
    model.predict(boxes, batch_size=batch, verbose=0)


print(json.dumps({
    name: rate(settings[name + "_batch"], settings[name + "_steps"], run)
    for name, run in {"train": train, "score": score}.items()
}))
"""


def loader(folder: Path, scale: Scale) -> None:
    """Boxes read and normalised, without a network and with one that takes no time."""
    threads = torch.get_num_threads()
    print(f"| box | a plain read, GB/s | 1 thread, GB/s | {threads} threads, GB/s |")
    print("|---|---|---|---|")
    for box in scale.boxes:
        held = max(scale.voxels // box**3, 8)
        read = open_boxes(read_particles([particles(folder, box, scale, held)])).read
        batch = forward_batch(box, use(scale.gpu, 0))
        parts = np.split(np.arange(held), np.arange(0, held, batch)[1:])
        ways = [
            partial(plain_read, folder / f"noise_{box}.mrcs", batch * box**3 * 4),
            *(partial(in_threads, read, parts, count) for count in (1, threads)),
        ]
        speeds = " | ".join(f"{held * box**3 * 4 / best(way) / 1e9:.2f}" for way in ways)
        print(f"| {box} | {speeds} |", flush=True)
    print("\n| box | network | particles/s | share of the time that it would wait for boxes |")
    print("|---|---|---|---|")
    for box in scale.boxes:
        instant = instant_rate(folder, box, scale).particles
        print(f"| {box} | one that takes no time | {instant:.0f} | |", flush=True)
        for network in scale.networks:
            real = score_rate(folder, network, box, scale).particles
            print(f"| {box} | {network} | {real:.1f} | {real / instant:.3f} |", flush=True)


def plain_read(path: Path, chunk: int) -> None:
    """Read a file from start to end into one piece of memory."""
    target = bytearray(chunk)
    with path.open("rb", buffering=0) as file:
        while file.readinto(target):
            pass


def in_threads(read: Callable[[np.ndarray], np.ndarray], parts: list[np.ndarray], n: int) -> None:
    """Read all parts; what was read is dropped."""
    with ThreadPoolExecutor(n) as pool:
        for _ in pool.map(lambda rows: read(rows).shape, parts):
            pass


def best(function: Callable[[], None]) -> float:
    """The fewest seconds of three calls."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def instant_rate(folder: Path, box: int, scale: Scale) -> Rate:
    """Particles a second of ``halcmd score`` with a network that looks at one voxel."""
    model = trained(folder, "compact", box, scale)

    def run(count: int) -> Cost:
        table = particles(folder, box, scale, count)
        text = (
            f"score --i {table} --model {model} --o {folder}/Score --overwrite --gpu {scale.gpu} -q"
        )
        return measure([sys.executable, "-c", INSTANT, *text.split()])

    few = forward_batch(box, use(scale.gpu, 0))
    more = max(round(scale.seconds * 2**28 / box**3), 1)
    return difference(run, few, few + more, 1)


INSTANT = """
import os
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
from torch import nn
from halcmd.cli.app import main
from halcmd.networks.classifier import Classifier
from halcmd.steps import score

real = score.load_model


class Corner(nn.Module):
    def forward(self, particles):
        return particles[..., :1, :1, :1]


def load_model(path, *, device):
    loaded = real(path, device=device)
    head = nn.Linear(1, len(loaded.info.classes)).eval()
    network = Classifier(Corner(), neck=nn.Flatten(), head=head, widths=(1,), dropout=0.0)
    return type(loaded)(network, loaded.info, loaded.hash)


score.load_model = load_model
main()
"""


def memory(folder: Path, scale: Scale) -> None:
    """Peak of the memory of ``halcmd score`` over many particles of 24^3."""
    box = 24
    model = trained(folder, "compact", box, scale)
    print(f"| particles of {box}^3 | seconds | anonymous memory, GB | with pages of files, GB |")
    print("|---|---|---|---|")
    for count in scale.particles:
        table = particles(folder, box, scale, count)
        text = f"score --i {table} --model {model} --o {folder}/Score"
        cost = halcmd(text, scale, limit=None if scale.gpu != "cpu" else DATA_LIMIT_KB)
        print(
            f"| {count:,} | {cost.seconds:.0f} | {cost.anonymous:.2f} | {cost.resident:.2f} |",
            flush=True,
        )
    if scale.gpu == "cpu":
        print(f"\nAll under `ulimit -d {DATA_LIMIT_KB}` (2 GB), which the kernel enforces.")


if __name__ == "__main__":
    main()
