"""The job against its peers: python -m benchmarks.bench, or `make bench`.

Every contender extracts the same images with the same SavedModel to TFRecords, as a process of its own, at three counts
of images; rounds are interleaved, so that a machine that slows down slows all of them. One image is the start; the
middle count is the whole process that a user waits for; from it to the highest is the marginal rate, what more images
cost with the start taken out. Memory is the sum of all processes of a contender (proportional set size) at its peak, in
a run of its own, since whoever looks often enough not to miss the peak takes time from what is timed.
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
from beam_job.models.sources.base import fetch_model
from beam_job.runtime.cores import available_cores
from beam_job.runtime.versions import library_versions
from benchmarks.photographs import make_photographs, write_list

OURS = "beam_job"
PEERS = ("loop", "tf_data", "run_inference", "ray_data", "daft_frame")
COUNTS = {"small": (1, 1200, 3600), "large": (1, 300, 900)}
# What of /proc/cpuinfo decides how fast an engine computes, on x86-64 and on ARM.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
_SECONDS_BETWEEN_LOOKS = 0.03
_LONGEST_RUN = 900


@dataclasses.dataclass(frozen=True)
class Case:
    """What is compared: the photographs, the precision, the decode policy, and who takes part."""

    name: str
    title: str
    photographs: str
    precision: str
    decode: str
    contenders: tuple[str, ...]


CASES = (
    Case("small-fp32", "500x375 photographs, fp32", "small", "fp32", "exact", (OURS, *PEERS)),
    Case("small-bf16", "500x375 photographs, bf16", "small", "bf16", "exact", (OURS, *PEERS[1:])),
    Case("large-exact", "12-megapixel photographs, fp32", "large", "fp32", "exact", (OURS, *PEERS)),
    Case("large-fast", "12-megapixel photographs, fp32, scaled", "large", "fp32", "fast", (OURS, *PEERS[1:])),
)

TITLES = {case.name: case.title for case in CASES}


def command(contender: str, case: Case, images: Path, output: Path, model: str) -> list[str]:
    """The command line of a contender."""
    if contender == OURS:
        options = ["--model", model, "--input_range=0,1", f"--precision={case.precision}", f"--decode={case.decode}"]
        source = ["--input", str(images.with_suffix(".csv")), "--output", str(output)]
        return [sys.executable, "-m", "beam_job", "extract", *source, *options]
    options = [f"--precision={case.precision}", f"--decode={case.decode}"]
    source = ["--images", str(images), "--output", str(output), "--model", model]
    return [sys.executable, "-m", f"benchmarks.peers.{contender}", *source, *options]


def run(arguments: list[str]) -> float:
    """Seconds of a process, from its start to its end."""
    start = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=_LONGEST_RUN)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return seconds


def peak_megabytes(arguments: list[str]) -> float:
    """What a process with all its children takes of memory at its peak."""
    peak = 0
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, _memory(psutil.Process(process.pid)))
            time.sleep(_SECONDS_BETWEEN_LOOKS)
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


def agreement(output: Path, reference: dict[str, np.ndarray]) -> float:
    """The smallest cosine between a stored feature and a direct call of the model."""
    import tensorflow as tf

    least = 1.0
    for record in tf.data.TFRecordDataset([str(path) for path in sorted(output.glob("*.tfrecord"))]):
        fields = tf.train.Example.FromString(record.numpy()).features.feature
        found = np.array(fields["feature"].float_list.value)
        expected = reference[fields["id"].bytes_list.value[0].decode().rpartition(":")[2]]
        least = min(least, float(found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)))
    return least


def direct_features(model: str, images: list[tuple[Path, int]]) -> dict[str, np.ndarray]:
    """Path to the feature that a direct call gives on the tutorial's pixels."""
    import tensorflow as tf

    loaded: Any = tf.saved_model.load(model)
    features = {}
    for path, _ in images:
        pixels = tf.image.resize(tf.io.decode_jpeg(path.read_bytes(), channels=3), (224, 224)) / 255.0
        features[str(path)] = loaded(pixels[tf.newaxis], training=False).numpy()[0].astype(np.float64)
    return features


def measure(case: Case, model: str, work: Path, rounds: int) -> dict[str, Any]:
    """All contenders of a case, round by round."""
    images = make_photographs(work, case.photographs)
    counts = COUNTS[case.photographs]
    lists = {count: work / f"{case.photographs}-{count}.txt" for count in counts}
    for count, path in lists.items():
        write_list(path, images, count)
    middle, output = lists[counts[1]], work / "output"
    reference = direct_features(model, images)
    runs: dict[str, dict[int, list[float]]] = {name: {c: [] for c in counts} for name in case.contenders}
    megabytes, cosines, ceilings = {}, {}, []
    for name in case.contenders:
        arguments = command(name, case, middle, output, model)
        shutil.rmtree(output, ignore_errors=True)
        run(arguments)  # not counted: files into memory, models into caches, code into bytecode
        shutil.rmtree(output, ignore_errors=True)
        megabytes[name] = peak_megabytes(arguments)
        print(f"{case.name} {name}: {megabytes[name]:.0f} MB", flush=True)
    for number in range(rounds):
        ceilings.append(ceiling(case, middle))  # first, beside the job: the machine may have slowed down by the end
        for name in case.contenders:
            for count in counts:
                shutil.rmtree(output, ignore_errors=True)
                seconds = run(command(name, case, lists[count], output, model))
                runs[name][count].append(seconds)
                print(f"{case.name} round {number + 1} {name} {count}: {seconds:.1f} s", flush=True)
            cosines[name] = agreement(output, reference)
    return {
        "counts": counts,
        "rounds": rounds,
        "ceiling": statistics.median(ceilings),
        "contenders": {
            name: {**speed(found, counts), "peak_megabytes": megabytes[name], "min_cosine": cosines[name]}
            for name, found in runs.items()
        },
    }


def ceiling(case: Case, images: Path) -> float:
    """Images per second of decoding and engine alone."""
    options = [f"--precision={case.precision}", f"--decode={case.decode}"]
    arguments = [sys.executable, "-m", "benchmarks.ceiling", "--images", str(images), *options]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    rate: float = json.loads(done.stdout)["examples_per_second"]
    return rate


def speed(runs: dict[int, list[float]], counts: tuple[int, int, int]) -> dict[str, float | list[float]]:
    """What a contender's seconds come to: medians, and the span of the rates."""
    one, middle, high = counts
    rates = [(high - middle) / max(most - some, 1e-3) for some, most in zip(runs[middle], runs[high], strict=True)]
    typical = {count: statistics.median(seconds) for count, seconds in runs.items()}
    rate = (high - middle) / (typical[high] - typical[middle])
    return {
        "marginal_rate": rate,
        "marginal_rate_per_core": rate / available_cores(),
        "marginal_rate_span": [min(rates), max(rates)],
        "one_image_seconds": typical[one],
        "whole_seconds": typical[middle],
        "whole_rate": middle / typical[middle],
    }


def instructions() -> list[str]:
    """Those of this processor that decide how fast an engine computes; none where the system does not say."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except FileNotFoundError:
        return []
    return [name for name in _INSTRUCTIONS if name in words]


def main() -> None:
    """Measures, writes the results as JSON, and prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", default="build/bench", help="where photographs and outputs go")
    parser.add_argument("--results", default="docs/benchmarks.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="*", default=[case.name for case in CASES])
    given = parser.parse_args()
    work = Path(given.work).resolve()
    model = fetch_model(ModelOptions()).path
    known = instructions()
    results: dict[str, Any] = {
        "cores": available_cores(),
        "instructions": known,
        "versions": versions(),
        "cases": {},
    }
    for case in CASES:
        if case.precision == "bf16" and not any("bf16" in name for name in known):
            print(f"{case.name} is left out: this processor does not compute in bfloat16", flush=True)
        elif case.name in given.cases:
            results["cases"][case.name] = measure(case, model, work, given.rounds)
            Path(given.results).write_text(json.dumps(results, indent=1) + "\n")
    for name, found in results["cases"].items():
        print(f"\n{name} (ceiling {found['ceiling']:.0f} images/s)")
        for contender, row in found["contenders"].items():
            print(
                f"  {contender:14} {row['marginal_rate']:7.1f} images/s   "
                f"one image {row['one_image_seconds']:5.1f} s   whole {row['whole_seconds']:6.1f} s   "
                f"{row['peak_megabytes']:6.0f} MB   cosine {row['min_cosine']:.6f}"
            )


def versions() -> dict[str, str]:
    """Versions of everyone who takes part."""
    import importlib.metadata

    peers = ("apache-beam", "ray", "daft", "tensorflow", "openvino")
    return {**library_versions(), **{name: importlib.metadata.version(name) for name in peers}}


if __name__ == "__main__":
    main()
