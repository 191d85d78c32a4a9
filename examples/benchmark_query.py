"""How long each strategy takes to choose 800 particles, and how much memory, beside a reference.

python examples/benchmark_query.py [--selection] [--hal] [--files] [--reference] [--small]

Selection: every strategy that looks at probabilities and embeddings, on arrays of 10^6 candidates
(256-dimensional embeddings, 23 classes, 800 answers), each in a process of its own that may take 8
GB. Hal: 10^5 candidates with maps of 128 x 3^3 in 20 subsets, none explored, with and without the
bound on what can be chosen, and 10^6 with it; then both as `halcmd query` does by default. Files:
the whole command halcmd query, from STAR file to STAR file. Reference: scikit-activeml (pip install
scikit-activeml) at the largest number of candidates that it can do within the same memory and ten
minutes. --strategies and --candidates choose less. All of it takes about an hour on 2 cores, and 10
GB of disk in --folder; --small shows that it runs.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from benchmark_files import HALCMD, measure

CLASSES, DIMENSIONS, ANSWERS, ASKED = 23, 256, 800, 800
MAP_SHAPE, SUBSETS = (128, 3, 3, 3), 20
LIMIT_GB, PATIENCE = 8, 600
STRATEGIES = (
    "random",
    "entropy",
    "margin",
    "least-confidence",
    "power-margin",
    "bald",
    "coreset",
    "badge",
    "typiclust",
    "cluster-margin",
    "direct",
    "dropquery",
    "ee-bmal",
    "dal",
)
OPTIONS = {"bald": ["samples=20"]}
REFERENCES = ("margin", "coreset", "badge", "typiclust", "dropquery")


def main() -> None:
    """Run the parts asked for, all where none is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts: dict[str, Callable[[Path, argparse.Namespace], None]] = {
        "selection": selection,
        "hal": hal,
        "files": files,
        "reference": reference,
    }
    for name in parts:
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--strategies", nargs="+", default=[*STRATEGIES])
    parser.add_argument("--candidates", type=int, help="default: 10^6, of hal 10^5 and 10^6")
    parser.add_argument("--small", action="store_true", help="show that it runs; no useful numbers")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        what, strategy, count, folder = given.one
        one(what, strategy, int(count), Path(folder))
        return
    wanted = [name for name in parts if getattr(given, name)] or list(parts)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for name in wanted:
            print(f"\n### {name}\n", flush=True)
            parts[name](Path(folder), given)


def selection(folder: Path, given: argparse.Namespace) -> None:
    """Seconds and peak memory of each strategy on arrays."""
    count = given.candidates or (2_000 if given.small else 1_000_000)
    print(f"{count:,} candidates\n\n| strategy | seconds | peak memory, GB |\n|---|---|---|")
    for strategy in given.strategies:
        print(row(strategy, child("select", strategy, count, folder)), flush=True)


def hal(folder: Path, given: argparse.Namespace) -> None:
    """Seconds and peak memory of HAL with and without the bound, and as it is by default."""
    few, many = (1_000, 2_000) if given.small else (100_000, 1_000_000)
    print("| hal | candidates | seconds | peak memory, GB |\n|---|---|---|---|")
    asked = []
    for title, what, count in (
        ("with the bound", "bound", given.candidates or few),
        ("without", "unbound", given.candidates or few),
        ("with the bound", "bound", given.candidates or many),
        ("half explored, 4 subsets (default)", "explore", given.candidates or few),
        ("half explored, 4 subsets (default)", "explore", given.candidates or many),
    ):
        found = child(what, "hal", count, folder)
        asked.append(found.get("asked"))
        print(row(f"{title} | {count:,}", found), flush=True)
    print(f"\nwith and without the bound: the {'same' if asked[0] == asked[1] else 'NOT THE SAME'}")


def files(folder: Path, given: argparse.Namespace) -> None:
    """The whole command, whose time is that of the files where the choice is quick."""
    count = given.candidates or (2_000 if given.small else 1_000_000)
    write_table(folder, count)
    print(f"{count:,} particles\n\n| strategy | seconds of the whole command |\n|---|---|")
    for strategy in ("random", "margin", "coreset"):
        text = f"query --i particles.star --o Query --strategy {strategy} --n {ASKED}"
        cost = measure([*HALCMD, *text.split(), "--overwrite"], folder)
        print(f"| {strategy} | {cost.seconds:.1f} |", flush=True)


def reference(folder: Path, given: argparse.Namespace) -> None:
    """The largest number of candidates that scikit-activeml can do, and its seconds there."""
    sizes = (500, 1_000) if given.small else (1_000, 10_000, 100_000, 1_000_000)
    print("| scikit-activeml | candidates | seconds | peak memory, GB | ten times as many |")
    print("|---|---|---|---|---|")
    for strategy in (name for name in given.strategies if name in REFERENCES):
        best, why = (0, {}), "not tried"
        for count in sizes:
            found = child("reference", strategy, count, folder)
            if "why" in found:
                why = str(found["why"])
                break
            best = count, found
        print(f"{row(f'{strategy} | {best[0]:,}', best[1])} {why} |", flush=True)


def row(title: str, found: dict[str, object]) -> str:
    """A line of a table."""
    if "why" in found:
        return f"| {title} | {found['why']} | |"
    return f"| {title} | {found.get('seconds', 0):.1f} | {found.get('gigabytes', 0):.2f} |"


def child(what: str, strategy: str, count: int, folder: Path) -> dict[str, object]:
    """Seconds, memory and choice of a process of its own, or why there are none."""
    command = [sys.executable, __file__, "--one", what, strategy, str(count), str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {"why": f"more than {PATIENCE / 60:g} min"}
    if done.returncode:
        if "MemoryError" in done.stderr or "allocate" in done.stderr or done.returncode < 0:
            return {"why": f"more than {LIMIT_GB} GB"}
        sys.exit(done.stderr)
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(what: str, strategy: str, count: int, folder: Path) -> None:
    """Measure one choice in this process; its numbers go to standard output."""
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_GB * 10**9, LIMIT_GB * 10**9))
    choose = {"select": by_halcmd, "reference": by_reference}.get(what, by_hal)
    run = choose(strategy, count, folder, what)
    start = time.perf_counter()
    asked = run()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    facts = {"seconds": seconds, "gigabytes": peak, "asked": sorted(map(int, asked))}
    print(json.dumps(facts))


def vectors_of(count: int) -> np.ndarray:
    """Embeddings in 200 groups of different size and spread, float16."""
    rng = np.random.default_rng(0)
    centres = 3.0 * np.abs(rng.normal(size=(200, DIMENSIONS))).astype(np.float32)
    sizes = rng.dirichlet(np.full(200, 0.7))
    groups = rng.choice(200, count, p=sizes)
    vectors = np.empty((count, DIMENSIONS), dtype=np.float16)
    for start in range(0, count, 2**16):
        part = groups[start : start + 2**16]
        noise = rng.standard_normal((len(part), DIMENSIONS), dtype=np.float32)
        vectors[start : start + len(part)] = np.maximum(centres[part] + noise, 0.0)
    return vectors


def head() -> np.ndarray:
    """Weights of a linear classifier, shape (d, classes)."""
    return np.random.default_rng(1).normal(0, 0.12, (DIMENSIONS, CLASSES)).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits."""
    logits = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits / logits.sum(axis=1, keepdims=True)


def probabilities_of(vectors: np.ndarray) -> np.ndarray:
    """What the linear classifier says, float64, in pieces."""
    found = np.empty((len(vectors), CLASSES))
    for start in range(0, len(vectors), 2**16):
        part = vectors[start : start + 2**16].astype(np.float32)
        found[start : start + len(part)] = softmax(part @ head())
    return found


def by_halcmd(strategy: str, count: int, folder: Path, what: str) -> Callable[[], np.ndarray]:
    """A strategy on arrays of ``count`` candidates and 800 answered particles."""
    from halcmd.registry import load
    from halcmd.strategies import STRATEGIES as REGISTRY
    from halcmd.strategies.options import parse
    from halcmd.strategies.pool import Pool, QuerySettings

    vectors = vectors_of(count + ANSWERS)
    probabilities = probabilities_of(vectors)
    weights = head()

    def passes(rows: np.ndarray, samples: int, rate: float | None) -> Iterator[np.ndarray]:
        part = vectors[rows].astype(np.float32)
        share = 0.5 if rate is None else rate
        for sample in range(samples):
            kept = np.random.default_rng(sample).random(DIMENSIONS) >= share
            yield softmax(part @ (weights * (kept / (1 - share))[:, None].astype(np.float32)))

    pool = Pool(
        ids=ids_of(count + ANSWERS),
        candidates=np.arange(ANSWERS, ANSWERS + count),
        answered=np.arange(ANSWERS),
        probabilities=probabilities[ANSWERS:],
        labels=probabilities[:ANSWERS].argmax(axis=1),
        answered_probabilities=probabilities[:ANSWERS],
        embeddings=lambda rows: vectors[rows],
        passes=passes,
    )
    module = load(REGISTRY, strategy, "strategy")
    options = parse(module, strategy, OPTIONS.get(strategy, []))
    settings = QuerySettings(options=options, subsets=SUBSETS if count > 10_000 else 2)
    return lambda: module.select(pool, min(ASKED, count), settings).chosen


def by_hal(strategy: str, count: int, folder: Path, what: str) -> Callable[[], np.ndarray]:
    """HAL with maps in a memory-mapped file."""
    from halcmd.registry import load
    from halcmd.strategies import STRATEGIES as REGISTRY
    from halcmd.strategies.pool import Pool, QuerySettings

    module = load(REGISTRY, strategy, "strategy")
    if what == "unbound":
        module.could_be_chosen = lambda uncertainty, n: np.ones(len(uncertainty), dtype=bool)
    maps, total = map_file(folder, count), count + ANSWERS
    probabilities = probabilities_of(vectors_of(total))
    pool = Pool(
        ids=ids_of(total),
        candidates=np.arange(ANSWERS, total),
        answered=np.arange(ANSWERS),
        probabilities=probabilities[ANSWERS:],
        features=lambda rows: maps[rows],
    )
    settings = QuerySettings()
    if what != "explore":
        plain = module.Options(explore=0.0)
        settings = QuerySettings(subsets=SUBSETS if count > 10_000 else 2, options=plain)
    return lambda: module.select(pool, min(ASKED, count), settings).chosen


def map_file(folder: Path, count: int) -> np.ndarray:
    """Maps as ReLU leaves them, float16, of two kinds: the answered ones lack a tenth of them."""
    path, total = folder / f"maps_{count}.npy", count + ANSWERS
    if not path.exists():
        rng = np.random.default_rng(2)
        shape = (total, *MAP_SHAPE)
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for start in range(0, total, 2**13):
            part = rng.standard_normal((min(2**13, total - start), *MAP_SHAPE), dtype=np.float32)
            other = rng.random(len(part)) < (0.1 if start else 0.0)
            part[other] += 0.5
            array[start : start + len(part)] = np.maximum(part, 0.0)
        array.flush()
    return np.load(path, mmap_mode="r")


def ids_of(count: int) -> np.ndarray:
    """Names of particles."""
    return np.array([f"TS_01/{number:06d}" for number in range(count)], dtype=object)


def write_table(folder: Path, count: int) -> None:
    """A scored table of so many particles, and embedding.npy beside it."""
    from halcmd.formats.star import text_of
    from halcmd.particles import new_particles
    from halcmd.tables import write_particles

    vectors = vectors_of(count)
    np.save(folder / "embedding.npy", vectors)
    probabilities = probabilities_of(vectors)
    names = np.array([f"class_{number:02d}" for number in range(CLASSES)], dtype=object)
    labels = np.full(count, "unlabelled", dtype=object)
    best = probabilities.argmax(axis=1)
    labels[:ANSWERS] = names[best[:ANSWERS]]
    columns = {
        "halParticleId": ids_of(count),
        "halTomogram": np.full(count, "TS_01", dtype=object),
        "halLabel": labels,
        "halPredictedClass": names[best],
        "halModel": np.full(count, "0123456789ab", dtype=object),
        "halFeature": np.arange(1, count + 1).astype(str).astype(object),
    }
    for name, values in zip(names, probabilities.T, strict=True):
        columns[f"halProbability_{name}"] = text_of(values, 6)
    write_particles(folder / "particles.star", new_particles(columns))


def by_reference(strategy: str, count: int, folder: Path, what: str) -> Callable[[], np.ndarray]:
    """The same of scikit-activeml, with a fitted linear classifier where it wants one."""
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import Badge, CoreSet, DropQuery, TypiClust, UncertaintySampling
    from sklearn.linear_model import LogisticRegression

    vectors = vectors_of(count + ANSWERS).astype(np.float32)
    labels = np.full(len(vectors), np.nan)
    labels[:ANSWERS] = probabilities_of(vectors[:ANSWERS]).argmax(axis=1)
    classifier = SklearnClassifier(LogisticRegression(max_iter=20), classes=range(CLASSES))
    classifier.fit(vectors[:ANSWERS], labels[:ANSWERS])
    made = {
        "margin": UncertaintySampling(method="margin_sampling", random_state=0),
        "coreset": CoreSet(random_state=0),
        "badge": Badge(random_state=0),
        "typiclust": TypiClust(random_state=0),
        "dropquery": DropQuery(random_state=0),
    }[strategy]
    more = {}
    if strategy in {"margin", "badge", "dropquery"}:
        more = {"clf": classifier, "fit_clf": False}
    wanted = min(ASKED, count)
    return lambda: made.query(X=vectors, y=labels, batch_size=wanted, **more)


if __name__ == "__main__":
    main()
