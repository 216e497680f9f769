"""What a head is said to be worth, beside what scikit-learn says of the same answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
from sklearn.neighbors import KNeighborsClassifier

from beam_job.heads.evaluation import decide, evaluate, nearest_neighbours
from beam_job.heads.neighbours import NEIGHBOURS


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(2, 6), st.booleans(), st.integers(0, 2**32 - 1))
def test_the_figures_are_those_of_scikit_learn(images: int, classes: int, multi_label: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), images).astype(np.float32)
    truth = (
        random.random((images, classes)) < 0.4
        if multi_label
        else np.eye(classes, dtype=bool)[random.integers(0, classes, images)]
    )
    names = [f"class {number}" for number in range(classes)]
    found = evaluate(probabilities, truth, names, multi_label)
    said = decide(probabilities, multi_label)
    assert found.accuracy == pytest.approx(accuracy_score(truth, said))
    precision, recall, f1, support = precision_recall_fscore_support(truth, said, zero_division=np.nan)
    for place, name in enumerate(names):
        row = found.classes[name]
        for value, expected in ((row["precision"], precision[place]), (row["recall"], recall[place])):
            assert np.isnan(expected) if value is None else value == pytest.approx(expected)
        assert row["examples"] == support[place]
        if row["f1"] is not None:
            assert row["f1"] == pytest.approx(f1[place])
    if multi_label:
        assert found.confusion is None
    else:
        expected_confusion = confusion_matrix(truth.argmax(1), said.argmax(1), labels=range(classes))
        assert found.confusion == expected_confusion.tolist()
    assert sum(count for _, _, count in found.calibration) == (truth.size if multi_label else images)
    assert 0 <= found.calibration_error <= 1


def test_a_head_that_is_as_sure_as_it_is_right_is_calibrated() -> None:
    truth = np.array([[True, False]] * 3 + [[False, True]])
    sure, right = np.tile(np.float32([0.75, 0.25]), (4, 1)), np.tile(np.float32([1, 0]), (4, 1))
    assert evaluate(sure, truth, ["a", "b"], False).calibration_error == pytest.approx(0)
    assert evaluate(right, truth, ["a", "b"], False).calibration_error == pytest.approx(0.25)


def test_the_nearest_neighbours_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    known, asked = random.normal(size=(300, 8)).astype(np.float32), random.normal(size=(2500, 8)).astype(np.float32)
    labels = random.integers(0, 2, 300)
    reference = KNeighborsClassifier(NEIGHBOURS, metric="cosine").fit(known, labels)
    shares = nearest_neighbours(known, np.eye(2, dtype=bool)[labels], asked)
    assert (shares.argmax(1) == reference.predict(asked)).all()
    np.testing.assert_allclose(shares, reference.predict_proba(asked), atol=2e-3)
