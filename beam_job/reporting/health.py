"""The health of features: their norms, duplicates, outliers and doubtful labels. Pure functions of arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.labels import NO_LABEL
from beam_job.core.records import Float32Array
from beam_job.heads.neighbours import Neighbours, nearest

# How many neighbours must agree on another class for a label to be doubtful.
_AGREEING = 4
# Cosine above which two examples are near-duplicates; a photograph that is saved again as JPEG stays above it.
DUPLICATE_COSINE = 0.995
# A row is an outlier when its mean cosine to its neighbours is this many standard deviations below the mean.
_OUTLIER_DEVIATIONS = 3
_HISTOGRAM_BINS = 24
_MIN_ROWS_FOR_TSNE = 30
_TSNE_COMPONENTS = 50

Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class FeatureHealth:
    """The health of a set of features.

    Attributes:
      norms: Smallest, mean and largest norm.
      histogram: Numbers of norms in bins of equal width between the smallest and the largest.
      dead: Number of dimensions that are equal in all rows.
      not_finite: Number of rows with NaN or infinity.
      duplicates: Pairs of near-duplicate rows with their cosine, closest first.
      leaks: Those of them that are in different splits.
      outliers: Rows with the mean cosine to their neighbours, farthest first.
      doubtful: Rows whose neighbours have another label, with that label; most certain first.
    """

    norms: tuple[float, float, float]
    histogram: list[int]
    dead: int
    not_finite: int
    duplicates: list[tuple[int, int, float]]
    leaks: list[tuple[int, int, float]]
    outliers: list[tuple[int, float]]
    doubtful: list[tuple[int, int]]


def examine(features: Float32Array, labels: Integers, splits: Integers) -> FeatureHealth:
    """The health of features.

    Args:
      features: float32 [N, D], N at least 2.
      labels: int64 [N], -1 for none.
      splits: int64 [N], the split of each row.
    """
    finite: npt.NDArray[np.bool_] = np.all(np.isfinite(features), axis=1)
    usable = np.where(finite[:, np.newaxis], features, np.float32(0))
    norms = np.linalg.norm(usable[finite].astype(np.float64), axis=1) if finite.any() else np.zeros(1)
    near = nearest(usable)
    pairs = _pairs(near)
    closeness = near.cosines.mean(1)
    far = np.flatnonzero(closeness < closeness.mean() - _OUTLIER_DEVIATIONS * closeness.std())
    return FeatureHealth(
        norms=(float(norms.min()), float(norms.mean()), float(norms.max())),
        histogram=np.histogram(norms, _HISTOGRAM_BINS)[0].tolist(),
        dead=int((features == features[0]).all(0).sum()),
        not_finite=int((~finite).sum()),
        duplicates=pairs,
        leaks=[pair for pair in pairs if splits[pair[0]] != splits[pair[1]]],
        outliers=[(int(row), float(closeness[row])) for row in far[np.argsort(closeness[far], kind="stable")]],
        doubtful=_doubtful(near, labels),
    )


def _pairs(near: Neighbours) -> list[tuple[int, int, float]]:
    found = {}
    for row, place in np.argwhere(near.cosines >= DUPLICATE_COSINE).tolist():
        one, two = sorted((row, int(near.rows[row, place])))
        found[one, two] = min(1.0, float(near.cosines[row, place]))
    return sorted(((one, two, cosine) for (one, two), cosine in found.items()), key=lambda pair: (-pair[2], pair[:2]))


def _doubtful(near: Neighbours, labels: Integers) -> list[tuple[int, int]]:
    found = []
    for row, label in enumerate(labels.tolist()):
        values, counts = np.unique(labels[near.rows[row]], return_counts=True)
        other, votes = int(values[counts.argmax()]), int(counts.max())
        if NO_LABEL not in (label, other) and other != label and votes >= min(_AGREEING, near.rows.shape[1]):
            found.append((-votes, -float(near.cosines[row].mean()), row, other))
    return [(row, other) for _, _, row, other in sorted(found)]


def flat_maps(features: Float32Array, seed: int = 0) -> dict[str, Float32Array]:
    """Projections of features onto the plane: ``t-SNE``, with enough rows, and ``PCA``; float32 [N, 2] in [0, 1].

    Both are scikit-learn's; t-SNE works on the first 50 principal components.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    features = np.where(np.isfinite(features), features, np.float32(0))
    if not np.ptp(features, axis=0).any():  # all rows are equal: there is nothing to spread out
        return {"PCA": np.full((len(features), 2), 0.5, np.float32)}
    components = PCA(min(_TSNE_COMPONENTS, *features.shape), random_state=seed).fit_transform(features)
    if components.shape[1] < 2:
        components = np.pad(components, ((0, 0), (0, 1)))
    maps: dict[str, Any] = {}
    if len(features) >= _MIN_ROWS_FOR_TSNE:
        tsne = TSNE(perplexity=min(30, len(features) / 4), init="pca", random_state=seed)
        maps["t-SNE"] = tsne.fit_transform(components)
    maps["PCA"] = components[:, :2]
    return {name: _in_unit_square(points) for name, points in maps.items()}


def _in_unit_square(points: npt.NDArray[Any]) -> Float32Array:
    low, high = points.min(0), points.max(0)
    return np.asarray((points - low) / np.maximum(high - low, 1e-12), np.float32)
