"""What a decode policy does to the features, and to a head that is trained on them.

python -m benchmarks.decode_policies: the task is to tell from which quarter of which photograph a crop comes, 48
classes, so that a linear probe has something to get wrong. Crops are 1,200 x 900, JPEG of quality 90. Each policy is
compared with ``exact``: cosine of the features, and the probe's accuracy when it is trained and tested on the same
policy, and when it is trained on ``exact`` and tested on the other.
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
from beam_job.engines.base import EngineChoice, load_engine
from beam_job.modalities.image.samples import PHOTOGRAPHS
from beam_job.models.spec import describe_model

EACH = 24
SIZE = (1200, 900)
# Policy and way of resizing, by the name in the table.
POLICIES = {
    "exact": ("exact", "bilinear"),
    "fast": ("fast", "bilinear"),
    "exact, antialias": ("exact", "antialias"),
    "fast, antialias": ("fast", "antialias"),
}


def crops() -> tuple[list[bytes], np.ndarray]:
    """JPEGs and labels."""
    pictures, labels = [], []
    for number, photograph in enumerate(PHOTOGRAPHS.values()):
        picture = photograph.open()
        half = picture.width // 2, picture.height // 2
        for quarter in range(4):
            random = np.random.default_rng([number, quarter])
            for _ in range(EACH):
                share = random.uniform(0.35, 0.6)
                side = int(half[0] * share), int(half[1] * share)
                left = (quarter % 2) * half[0] + int(random.integers(0, half[0] - side[0] + 1))
                top = (quarter // 2) * half[1] + int(random.integers(0, half[1] - side[1] + 1))
                crop = picture.crop((left, top, left + side[0], top + side[1])).resize(SIZE, Image.Resampling.BICUBIC)
                buffer = io.BytesIO()
                crop.save(buffer, "JPEG", quality=90)
                pictures.append(buffer.getvalue())
                labels.append(number * 4 + quarter)
    return pictures, np.array(labels)


def main() -> None:
    """Prints the table in Markdown."""
    pictures, labels = crops()
    engine = load_engine(EngineChoice("openvino"), describe_model(ModelOptions()), 1, 2)

    def features(policy: str, resize: str) -> np.ndarray:
        modality = describe_model(ModelOptions(resize=resize), DecodeOptions(decode=policy)).modality

        def one(data: bytes) -> np.ndarray:
            return engine.run(modality.prepare(data)[np.newaxis])["feature"][0]

        with ThreadPoolExecutor(2) as pool:
            return np.stack(list(pool.map(one, pictures)))

    found = {name: features(*how) for name, how in POLICIES.items()}
    trained = np.arange(len(labels)) % 2 == 0
    exact = found["exact"]
    on_exact = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(exact[trained], labels[trained])
    print("| policy | cosine, mean | cosine, least | accuracy | trained on exact |\n|---|---|---|---|---|")
    for name, values in found.items():
        cosines = (values * exact).sum(1) / np.linalg.norm(values, axis=1) / np.linalg.norm(exact, axis=1)
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(values[trained], labels[trained])
        own = probe.score(values[~trained], labels[~trained])
        skewed = on_exact.score(values[~trained], labels[~trained])
        print(f"| {name} | {cosines.mean():.4f} | {cosines.min():.4f} | {own:.3f} | {skewed:.3f} |")


if __name__ == "__main__":
    main()
