"""The checks of features, on features with known problems."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from beam_job.heads.neighbours import nearest
from beam_job.reporting.health import examine, flat_maps


@pytest.fixture
def clusters() -> tuple[np.ndarray, np.ndarray]:
    """Three classes of 100 rows each, far from each other, and their labels."""
    random = np.random.default_rng(0)
    centres = 10 * np.eye(3, 16)
    labels = np.repeat(np.arange(3), 100)
    return (centres[labels] + random.normal(size=(300, 16))).astype(np.float32), labels


def test_neighbours_match_scikit_learn() -> None:
    features = np.random.default_rng(1).normal(size=(1300, 12)).astype(np.float32)
    found = nearest(features)
    distances, rows = NearestNeighbors(n_neighbors=6, metric="cosine").fit(features).kneighbors(features)
    assert (found.rows == rows[:, 1:]).all()
    np.testing.assert_allclose(found.cosines, 1 - distances[:, 1:], atol=1e-5)


def test_healthy_features_have_no_findings(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = clusters
    health = examine(features, labels, np.zeros(300, np.int64))
    assert (health.dead, health.not_finite, health.duplicates, health.leaks, health.doubtful) == (0, 0, [], [], [])
    norms = np.linalg.norm(features, axis=1)
    assert health.norms == pytest.approx((norms.min(), norms.mean(), norms.max()), rel=1e-6)
    assert sum(health.histogram) == 300


def test_every_problem_is_found(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = (part.copy() for part in clusters)
    splits = np.arange(300) % 2
    features[7] = features[4] * 2  # the same image, brighter, in the other split
    features[20] = features[22]  # the same image in the same split
    labels[150] = 0  # lies among class 1
    features[250] = -20  # far from everything
    features[:, 3] = 0  # dead
    features[9, 2] = np.nan
    health = examine(features, labels, splits)
    assert [pair[:2] for pair in health.leaks] == [(4, 7)]
    assert {pair[:2] for pair in health.duplicates} == {(4, 7), (20, 22)}
    assert (150, 1) in health.doubtful
    assert health.outliers[0][0] in (250, 9)
    assert {250, 9} <= {row for row, _ in health.outliers}
    assert (health.dead, health.not_finite) == (1, 1)
    assert all(np.isfinite(points).all() for points in flat_maps(features).values())


def test_unlabelled_rows_give_no_doubtful_labels(clusters: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = clusters
    labels = np.where(np.arange(300) % 2 == 0, -1, labels)
    assert examine(features, labels, np.zeros(300, np.int64)).doubtful == []


def test_identical_features_share_one_point() -> None:
    features = np.zeros((50, 4), np.float32)
    assert (flat_maps(features)["PCA"] == 0.5).all()
    health = examine(features, np.zeros(50, np.int64), np.zeros(50, np.int64))
    assert (health.dead, health.norms, health.outliers) == (4, (0.0, 0.0, 0.0), [])


@pytest.mark.parametrize(("rows", "dimensions"), [(300, 16), (40, 1), (3, 16)], ids=str)
def test_maps_of_any_number_of_rows_and_dimensions(rows: int, dimensions: int) -> None:
    features = np.random.default_rng(2).normal(size=(rows, dimensions)).astype(np.float32)
    maps = flat_maps(features)
    assert list(maps) == (["t-SNE", "PCA"] if rows >= 30 else ["PCA"])
    for points in maps.values():
        assert points.shape == (rows, 2)
        assert points.min() >= 0
        assert points.max() <= 1
