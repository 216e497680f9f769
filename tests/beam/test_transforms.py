"""ExtractFeatures in a user's own pipeline."""

from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that

import beam_job
from beam_job.core.options import ModelOptions
from beam_job.core.values import ValueRange
from tests.support.small_models import save_reusable


def _has_ids(expected: list[str]) -> object:
    def check(found: list[beam_job.FeatureRecord | beam_job.ErrorRow]) -> None:
        assert sorted(item.id for item in found) == sorted(expected), found

    return check


def test_refs_and_bytes_become_features_and_errors(few: Path, tmp_path: Path) -> None:
    model = ModelOptions(model=str(save_reusable(tmp_path / "model")), input_range=ValueRange(0, 1))
    paths = sorted(few.rglob("*.jpg"))
    inputs: list[object] = [(path.name, path.read_bytes()) for path in paths[:5]]
    inputs += [beam_job.ExampleRef(path.name, str(path), label=path.parent.name) for path in paths[5:20]]
    inputs += [("bad.jpg", b"not an image"), beam_job.ExampleRef("gone.jpg", str(tmp_path / "gone.jpg"))]
    with TestPipeline("FnApiRunner") as pipeline:
        labels = ["cat", "coffee", "coins", "rocket"]
        features, errors = pipeline | beam.Create(inputs) | beam_job.ExtractFeatures(model=model, labels=labels)
        assert_that(features, _has_ids([path.name for path in paths[:20]]), label="features")
        assert_that(errors, _has_ids(["bad.jpg", "gone.jpg"]), label="errors")
        labelled = features | beam.Filter(lambda record: record.id == paths[12].name)

        def check_one(found: list[beam_job.FeatureRecord]) -> None:
            (record,) = found
            assert record.label == labels.index(paths[12].parent.name)
            assert record.features["feature"].shape == (3,)
            assert record.features["feature"].dtype == np.float32

        assert_that(labelled, check_one, label="one record")
