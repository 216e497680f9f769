"""The evaluation of a head, compared with that of scikit-learn on the same predictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
from sklearn.neighbors import KNeighborsClassifier

from beam_job.heads.evaluation import evaluate, nearest_neighbours
from beam_job.heads.neighbours import NEIGHBOURS


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(2, 6), st.booleans(), st.integers(0, 2**32 - 1))
def test_the_metrics_match_scikit_learn(examples: int, classes: int, multi_label: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), examples).astype(np.float32)
    truth = (
        random.random((examples, classes)) < 0.4
        if multi_label
        else np.eye(classes, dtype=bool)[random.integers(0, classes, examples)]
    )
    names = [f"class {number}" for number in range(classes)]
    places = truth if multi_label else truth.argmax(1)
    cut = examples // 2
    found = evaluate([probabilities[:cut], probabilities[cut:]] if cut else [probabilities], places, names)
    predicted = probabilities > 0.5 if multi_label else np.eye(classes, dtype=bool)[probabilities.argmax(1)]
    assert found.accuracy == pytest.approx(accuracy_score(truth, predicted))
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, zero_division=np.nan)
    for index, name in enumerate(names):
        row = found.classes[name]
        for value, expected in ((row["precision"], precision[index]), (row["recall"], recall[index])):
            assert np.isnan(expected) if value is None else value == pytest.approx(expected)
        assert row["examples"] == support[index]
        if row["f1"] is not None:
            assert row["f1"] == pytest.approx(f1[index])
    if multi_label:
        assert found.confusion is None
    else:
        expected_confusion = confusion_matrix(truth.argmax(1), predicted.argmax(1), labels=range(classes))
        confusion = np.zeros((classes, classes), int)
        for true, guess, count in found.confusion or ():
            confusion[true, guess] = count
        assert (confusion == expected_confusion).all()
        assert all(count for _, _, count in found.confusion or ())
    assert sum(count for _, _, count in found.calibration) == (truth.size if multi_label else examples)
    assert 0 <= found.calibration_error <= 1


def test_the_calibration_error_is_zero_if_confidence_equals_accuracy() -> None:
    truth = np.array([0, 0, 0, 1])
    calibrated, overconfident = np.tile(np.float32([0.75, 0.25]), (4, 1)), np.tile(np.float32([1, 0]), (4, 1))
    assert evaluate([calibrated], truth, ["a", "b"]).calibration_error == pytest.approx(0)
    assert evaluate([overconfident], truth, ["a", "b"]).calibration_error == pytest.approx(0.25)


def test_the_nearest_neighbours_match_scikit_learn() -> None:
    random = np.random.default_rng(0)
    train, queries = random.normal(size=(300, 8)).astype(np.float32), random.normal(size=(2500, 8)).astype(np.float32)
    labels = random.integers(0, 2, 300)
    reference = KNeighborsClassifier(NEIGHBOURS, metric="cosine").fit(train, labels)
    shares = np.concatenate(list(nearest_neighbours(train, labels, queries, 2)))
    of_sets = np.concatenate(list(nearest_neighbours(train, np.eye(2, dtype=bool)[labels], queries, 2)))
    np.testing.assert_array_equal(of_sets, shares)
    assert (shares.argmax(1) == reference.predict(queries)).all()
    np.testing.assert_allclose(shares, reference.predict_proba(queries), atol=2e-3)
