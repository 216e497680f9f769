"""Measures the effect of the decode policy on the features and on a head trained on them.

python -m benchmarks.decode_policies classifies crops by the quarter of the photograph that they come from. These are 48
classes, hard enough that a linear probe makes mistakes. Crops are JPEGs of 1,200 x 900 pixels and quality 90. Each
policy is compared with ``exact`` by the cosine similarity of the features, by the accuracy of a probe that is trained
and tested on the policy, and by the accuracy of a probe that is trained on ``exact`` and tested on the policy.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.engines.base import EngineChoice
from beam_job.engines.selection import load_engine
from beam_job.modalities.image.samples import PHOTOGRAPHS
from beam_job.models.spec import describe_model

CROPS_PER_CLASS = 24
CROP_SIZE = (1200, 900)
# Decode policy and resize method, by the name in the table.
POLICIES = {
    "exact": ("exact", "bilinear"),
    "fast": ("fast", "bilinear"),
    "exact, antialias": ("exact", "antialias"),
    "fast, antialias": ("fast", "antialias"),
}


def crops() -> tuple[list[bytes], np.ndarray]:
    """The crops as JPEGs, and their labels."""
    images, labels = [], []
    for number, photograph in enumerate(PHOTOGRAPHS.values()):
        image = photograph.open()
        half = image.width // 2, image.height // 2
        for quarter in range(4):
            random = np.random.default_rng([number, quarter])
            for _ in range(CROPS_PER_CLASS):
                share = random.uniform(0.35, 0.6)
                side = int(half[0] * share), int(half[1] * share)
                left = (quarter % 2) * half[0] + int(random.integers(0, half[0] - side[0] + 1))
                top = (quarter // 2) * half[1] + int(random.integers(0, half[1] - side[1] + 1))
                crop = image.crop((left, top, left + side[0], top + side[1])).resize(
                    CROP_SIZE, Image.Resampling.BICUBIC
                )
                buffer = io.BytesIO()
                crop.save(buffer, "JPEG", quality=90)
                images.append(buffer.getvalue())
                labels.append(number * 4 + quarter)
    return images, np.array(labels)


def main() -> None:
    """Prints the table in Markdown."""
    images, labels = crops()
    engine = load_engine(EngineChoice("openvino"), describe_model(ModelOptions()), 2)

    def features_of(policy: str, resize: str) -> np.ndarray:
        modality = describe_model(ModelOptions(resize=resize), DecodeOptions(decode=policy)).modality

        def extract(data: bytes) -> np.ndarray:
            return engine.run(modality.prepare(data)[np.newaxis])["feature"][0]

        with ThreadPoolExecutor(2) as pool:
            return np.stack(list(pool.map(extract, images)))

    features = {name: features_of(*options) for name, options in POLICIES.items()}
    train = np.arange(len(labels)) % 2 == 0
    exact = features["exact"]
    exact_probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(exact[train], labels[train])
    print("| policy | mean cosine | minimum cosine | accuracy | accuracy, trained on exact |\n|---|---|---|---|---|")
    for name, values in features.items():
        cosines = (values * exact).sum(1) / np.linalg.norm(values, axis=1) / np.linalg.norm(exact, axis=1)
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(values[train], labels[train])
        accuracy = probe.score(values[~train], labels[~train])
        exact_accuracy = exact_probe.score(values[~train], labels[~train])
        print(f"| {name} | {cosines.mean():.4f} | {cosines.min():.4f} | {accuracy:.3f} | {exact_accuracy:.3f} |")


if __name__ == "__main__":
    main()
