"""Compares the job with its peers: python -m benchmarks.bench, or `make bench`.

Every contender extracts the same examples with the same SavedModel to TFRecords, in a separate process, at three
numbers of examples. Rounds are interleaved, so a slowdown of the machine affects all. The time for one example is the
startup time. The time for the middle number is the end-to-end time that a user waits for. The difference between the
middle and the highest number gives the marginal rate, which excludes startup. Memory is the peak proportional set size
of all processes of a contender. It is measured in a separate run, because frequent sampling slows down a timed run.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from beam_job.core.options import ModelOptions
from beam_job.models.sources.selection import fetch_model
from beam_job.runtime.cores import available_cores
from beam_job.runtime.versions import library_versions
from benchmarks.clips import MODEL_RATE, make_clips, make_model
from benchmarks.peers.clips import decode as decode_clip
from benchmarks.photographs import SIZES, make_photographs, write_list
from benchmarks.texts import make_texts, write_table

OURS = "beam_job"
PEERS = ("loop", "tf_data", "run_inference", "ray_data", "daft_frame")
COUNTS = {"small": (1, 1200, 3600), "large": (1, 300, 900), "texts": (1, 2000, 6000), "clips": (1, 200, 600)}
# The flags in /proc/cpuinfo, on x86-64 and on ARM, that determine how fast an engine computes.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
_MEMORY_SAMPLING_SECONDS = 0.03
_TIMEOUT_SECONDS = 900


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of the comparison: kind of examples, precision, decode policy and contenders."""

    name: str
    title: str
    examples: str
    precision: str
    decode: str
    contenders: tuple[str, ...]

    @property
    def is_photographs(self) -> bool:
        return self.examples in SIZES


CASES = (
    Case("small-fp32", "500x375 photographs, fp32", "small", "fp32", "exact", (OURS, *PEERS)),
    Case("small-bf16", "500x375 photographs, bf16", "small", "bf16", "exact", (OURS, *PEERS[1:])),
    Case("large-exact", "12-megapixel photographs, fp32", "large", "fp32", "exact", (OURS, *PEERS)),
    Case("large-fast", "12-megapixel photographs, fp32, scaled", "large", "fp32", "fast", (OURS, *PEERS[1:])),
    Case(
        "texts", "texts of 4 to 48 words, all-minilm-l6-v2", "texts", "fp32", "exact", (OURS, *PEERS[:3], "mltransform")
    ),
    Case("clips", "clips of 10 s, YAMNet's architecture", "clips", "fp32", "exact", (OURS, *PEERS[:3])),
)

TITLES = {case.name: case.title for case in CASES}


def command(contender: str, case: Case, images: Path, output: Path, model: str) -> list[str]:
    """The command line of a contender."""
    if contender == OURS:
        options = ["--model", model, f"--precision={case.precision}"]
        if case.is_photographs:
            options += ["--input_range=0,1", f"--decode={case.decode}"]
        elif case.examples == "clips":
            options.append(f"--sample_rate={MODEL_RATE}")
        source = ["--input", str(images.with_suffix(".csv")), "--output", str(output)]
        return [sys.executable, "-m", "beam_job", "extract", *source, *options]
    options = [f"--precision={case.precision}", f"--decode={case.decode}"]
    source = ["--images", str(images), "--output", str(output), "--model", model]
    module = [contender] if case.is_photographs else [case.examples, contender]
    return [sys.executable, "-m", f"benchmarks.peers.{module[0]}", *module[1:], *source, *options]


def run(arguments: list[str]) -> float:
    """The wall time of a process, in seconds."""
    start = time.perf_counter()
    process = subprocess.run(arguments, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}:\n{process.stderr[-3000:]}")
    return seconds


def peak_megabytes(arguments: list[str]) -> float:
    """The peak memory of a process and all its children, in megabytes."""
    peak = 0
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, _memory(psutil.Process(process.pid)))
            time.sleep(_MEMORY_SAMPLING_SECONDS)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}")
    return peak / 1e6


def _memory(root: psutil.Process) -> int:
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().pss
    return total


def min_cosine(output: Path, reference: dict[str, np.ndarray]) -> float:
    """The minimum cosine similarity between a stored feature vector and that of a direct call of the model."""
    import tensorflow as tf

    smallest = 1.0
    for record in tf.data.TFRecordDataset([str(path) for path in sorted(output.glob("*.tfrecord"))]):
        fields = tf.train.Example.FromString(record.numpy()).features.feature
        stored = np.array(fields["feature"].float_list.value)
        expected = reference[_example(fields["id"].bytes_list.value[0].decode())]
        cosine = float(stored @ expected / np.linalg.norm(stored) / np.linalg.norm(expected))
        smallest = min(smallest, cosine)
    return smallest


def _example(example_id: str) -> str:
    """The path or the text in an id, which may begin with a number and a colon."""
    number, colon, rest = example_id.partition(":")
    return rest if colon and number.isdigit() else example_id


def direct_features(kind: str, model: str, examples: list[tuple[Any, int]]) -> dict[str, np.ndarray]:
    """The feature vector of each path or text, by a direct call of the model, as a tutorial does it."""
    import tensorflow as tf

    if kind == "texts":
        import tensorflow_text  # noqa: F401 - the model has its operations

    loaded: Any = tf.saved_model.load(model)

    def direct(example: Any) -> Any:
        if kind == "texts":
            return loaded(tf.constant([example]))[0]
        if kind == "clips":
            return tf.reduce_mean(loaded(decode_clip(str(example))), axis=0)
        pixels = tf.image.resize(tf.io.decode_jpeg(example.read_bytes(), channels=3), (224, 224)) / 255.0
        return loaded(pixels[tf.newaxis], training=False)[0]

    return {str(example): direct(example).numpy().astype(np.float64) for example, _ in examples}


def make_examples(kind: str, work: Path) -> list[tuple[Any, int]]:
    """The examples of a kind, a path or a text with its label."""
    if kind == "texts":
        return list(make_texts(work))
    return list(make_clips(work) if kind == "clips" else make_photographs(work, kind))


def model_for(kind: str, work: Path) -> str:
    """The SavedModel for a kind of examples."""
    if kind == "clips":
        return make_model(work)
    return fetch_model(ModelOptions(modality="text" if kind == "texts" else None)).path


def measure(case: Case, work: Path, rounds: int) -> dict[str, Any]:
    """Measures all contenders of a case, round by round."""
    model, examples = model_for(case.examples, work), make_examples(case.examples, work)
    counts = COUNTS[case.examples]
    is_texts = case.examples == "texts"
    lists = {count: work / f"{case.examples}-{count}.{'csv' if is_texts else 'txt'}" for count in counts}
    for count, path in lists.items():
        (write_table if is_texts else write_list)(path, examples, count)
    middle, output = lists[counts[1]], work / "output"
    reference = direct_features(case.examples, model, examples)
    runs: dict[str, dict[int, list[float]]] = {name: {c: [] for c in counts} for name in case.contenders}
    megabytes, cosines, ceilings = {}, {}, []
    for name in case.contenders:
        arguments = command(name, case, middle, output, model)
        shutil.rmtree(output, ignore_errors=True)
        run(arguments)  # warm-up: fills the page cache, the model caches and the bytecode cache
        shutil.rmtree(output, ignore_errors=True)
        megabytes[name] = peak_megabytes(arguments)
        print(f"{case.name} {name}: {megabytes[name]:.0f} MB", flush=True)
    for number in range(rounds):
        if case.is_photographs:  # right before the job, since the speed of the machine may change later
            ceilings.append(ceiling(case, middle))
        for name in case.contenders:
            for count in counts:
                shutil.rmtree(output, ignore_errors=True)
                seconds = run(command(name, case, lists[count], output, model))
                runs[name][count].append(seconds)
                print(f"{case.name} round {number + 1} {name} {count}: {seconds:.1f} s", flush=True)
            cosines[name] = min_cosine(output, reference)
    return {
        "counts": counts,
        "rounds": rounds,
        "ceiling": statistics.median(ceilings) if ceilings else None,
        "contenders": {
            name: {**speed(times, counts), "peak_megabytes": megabytes[name], "min_cosine": cosines[name]}
            for name, times in runs.items()
        },
    }


def ceiling(case: Case, images: Path) -> float:
    """Images per second of decoding and the engine alone."""
    options = [f"--precision={case.precision}", f"--decode={case.decode}"]
    arguments = [sys.executable, "-m", "benchmarks.ceiling", "--images", str(images), *options]
    process = subprocess.run(arguments, capture_output=True, text=True, check=True)
    rate: float = json.loads(process.stdout)["examples_per_second"]
    return rate


def speed(runs: dict[int, list[float]], counts: tuple[int, int, int]) -> dict[str, float | list[float]]:
    """The speed of a contender from its times in seconds: medians, and the range of the rates."""
    one, middle, high = counts
    rates = [(high - middle) / max(long - short, 1e-3) for short, long in zip(runs[middle], runs[high], strict=True)]
    medians = {count: statistics.median(seconds) for count, seconds in runs.items()}
    rate = (high - middle) / (medians[high] - medians[middle])
    return {
        "marginal_rate": rate,
        "marginal_rate_per_core": rate / available_cores(),
        "marginal_rate_span": [min(rates), max(rates)],
        "one_image_seconds": medians[one],
        "whole_seconds": medians[middle],
        "whole_rate": middle / medians[middle],
    }


def instructions() -> list[str]:
    """The vector instruction sets of this CPU; empty where there is no /proc/cpuinfo."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except FileNotFoundError:
        return []
    return [name for name in _INSTRUCTIONS if name in flags]


def main() -> None:
    """Measures the cases, writes the results as JSON and prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", default="build/bench", help="directory for photographs and outputs")
    parser.add_argument("--results", default="docs/benchmarks.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="*", default=[case.name for case in CASES])
    args = parser.parse_args()
    work = Path(args.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    cpu_flags = instructions()
    results: dict[str, Any] = {
        "cores": available_cores(),
        "instructions": cpu_flags,
        "versions": versions(),
        "cases": {},
    }
    for case in CASES:
        if case.precision == "bf16" and not any("bf16" in name for name in cpu_flags):
            print(f"{case.name} is skipped: this CPU does not support bfloat16", flush=True)
        elif case.name in args.cases:
            results["cases"][case.name] = measure(case, work, args.rounds)
            Path(args.results).write_text(json.dumps(results, indent=1) + "\n")
    for name, result in results["cases"].items():
        bound = f" (ceiling {result['ceiling']:.0f} examples/s)" if result["ceiling"] else ""
        print(f"\n{name}{bound}")
        for contender, row in result["contenders"].items():
            print(
                f"  {contender:14} {row['marginal_rate']:7.1f} examples/s   "
                f"one example {row['one_image_seconds']:5.1f} s   end to end {row['whole_seconds']:6.1f} s   "
                f"{row['peak_megabytes']:6.0f} MB   min cosine {row['min_cosine']:.6f}"
            )


def versions() -> dict[str, str]:
    """The versions of the libraries of all contenders."""
    import importlib.metadata

    peers = ("apache-beam", "ray", "daft", "tensorflow", "openvino")
    return {**library_versions(), **{name: importlib.metadata.version(name) for name in peers}}


if __name__ == "__main__":
    main()
