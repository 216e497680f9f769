"""Writes golden.npz, the features of four photographs: python -m tests.support.golden."""

from pathlib import Path

import numpy as np

from beam_job.core.options import ModelOptions
from beam_job.core.records import Float32Array
from beam_job.engines.base import EngineChoice
from beam_job.engines.selection import load_engine
from beam_job.modalities.image.decoding import decode_image
from beam_job.modalities.image.policy import DecodePolicy
from beam_job.modalities.image.samples import PHOTOGRAPHS
from beam_job.models.spec import describe_model
from beam_job.runtime.wheels import package_directory

NAMES = ("cat", "coffee", "rocket", "flower")
FILE = Path(__file__).parent / "golden.npz"


def golden_features(choice: EngineChoice = EngineChoice()) -> dict[str, Float32Array]:  # noqa: B008 - frozen
    """Features of the original photographs in the wheels, with our decoding and an engine."""
    spec = describe_model(ModelOptions())
    features = {}
    engine = load_engine(choice, spec, 1)
    for name in NAMES:
        directory = package_directory(PHOTOGRAPHS[name].package)
        assert directory is not None
        pixels = decode_image(
            (directory / PHOTOGRAPHS[name].path).read_bytes(), spec.modality.input.size, DecodePolicy()
        )
        features[name] = engine.run(spec.modality.input.convention.scale(pixels)[np.newaxis])["feature"][0]
    return features


if __name__ == "__main__":
    np.savez_compressed(FILE, **golden_features())
