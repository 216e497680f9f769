"""Damages models at random and loads them: every one is a model, or is refused by a sentence; none is a traceback.

    python -m tests.support.fuzz_models --count 1000 --seed 0

Each one is loaded in a process of its own, as the job does it, which damaged files may kill. The processes are forked
from this one, which has imported TensorFlow and run nothing of it: that takes a fraction of the time.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from beam_job.core.errors import BeamJobError
from beam_job.core.options import ModelOptions
from beam_job.core.values import ValueRange
from beam_job.runtime.tensorflow import import_keras

_SECONDS = 120
MODEL, SENTENCE, BUG, DIED, HANGS = "a model", "a sentence", "a bug", "died", "hangs"


def seeds(folder: Path) -> Mapping[str, Path]:
    """Whole models, written in a process of their own."""
    from tests.support.zoo import files, keras_models

    models: Mapping[str, Callable[[Path], object]] = {
        "model.keras": keras_models.written(keras_models.functional),
        "model.h5": keras_models.written(keras_models.functional),
        "saved": files.saved_model,
    }
    process = os.fork()
    if not process:
        for name, make in models.items():
            make(folder / name)
        os._exit(0)
    os.waitpid(process, 0)
    return {name: folder / name for name in models}


def damage(model: Path, chance: random.Random) -> str:
    """Damages a model in place; says what was done."""
    files = sorted(path for path in model.rglob("*") if path.is_file()) if model.is_dir() else [model]
    path = chance.choice(files)
    data = bytearray(path.read_bytes())
    kind = chance.choice(("flip", "flip", "zero", "cut", "delete", "empty", "insert"))
    at = chance.randrange(len(data) or 1)
    if kind == "flip":
        for _ in range(chance.choice((1, 1, 4, 32))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == "zero":
        data[at : at + chance.randrange(1, 200)] = b""
    elif kind == "cut":
        del data[at:]
    elif kind == "insert":
        data[at:at] = chance.randbytes(chance.randrange(1, 50))
    elif kind == "delete" and model.is_dir():
        path.unlink()
        return f"{path.name} deleted"
    else:
        data = bytearray()
    path.write_bytes(data)
    return f"{path.name} {kind} at {at}"


def load(model: Path, answer: Path) -> None:
    """Loads and freezes a model, and writes what came of it; runs in a process of its own."""
    from beam_job.models.freezing import freeze_into
    from beam_job.models.frozen import _load_request
    from beam_job.models.sources.selection import fetch_model

    options = ModelOptions(model=str(model), input_range=ValueRange(0, 1))
    try:
        request = _load_request(fetch_model(options), options).to_json()
        freeze_into(str(answer.parent), request, [], ["feature"])
        found = (MODEL, "")
    except BeamJobError as error:
        found = (SENTENCE if "\n" not in str(error) else BUG, str(error))
    except BaseException as error:
        found = (BUG, f"{type(error).__name__}: {error}")
    answer.write_text(json.dumps(found))


def outcome(model: Path, folder: Path) -> tuple[str, str]:
    """What comes of loading a model, and the words."""
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    process = os.fork()
    if not process:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        load(model, answer)
        os._exit(0)
    deadline = time.monotonic() + _SECONDS
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return HANGS, f"longer than {_SECONDS} s"
        time.sleep(0.01)
    if os.WIFSIGNALED(status):
        return DIED, signal.Signals(os.WTERMSIG(status)).name
    kind, words = json.loads(answer.read_text())
    return kind, words


def search(count: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """Damages models and loads them.

    Yields:
      What was damaged, what came of it, and the words.
    """
    import_keras()
    from tensorflow.python.framework import convert_to_constants  # noqa: F401 - before the forks, for their speed

    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = seeds(folder)
        for _ in range(count):
            kind, path = chance.choice(sorted(whole.items()))
            copy = folder / f"damaged_{kind}"
            if path.is_dir():
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(path, copy)
            else:
                shutil.copyfile(path, copy)
            what = damage(copy, chance)
            yield (f"{kind}: {what}", *outcome(copy, folder))


def main() -> int:
    """Searches, and prints every outcome that is neither a model nor a sentence."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    for what, found, words in search(arguments.count, arguments.seed):
        counts[found] += 1
        if found not in (MODEL, SENTENCE):
            print(f"{found}: {what}: {words}", flush=True)
    print(dict(counts))
    return int(counts[BUG] + counts[HANGS] > 0)


if __name__ == "__main__":
    sys.exit(main())
