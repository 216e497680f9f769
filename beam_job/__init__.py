"""Image features, computed once: an Apache Beam job from images to TFRecords that classifier heads train on.

Importing the package loads neither Beam nor TensorFlow; its functions do when they are called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_job.api import extract, inspect_model, plan, report, train_head, verify
    from beam_job.errors import BeamJobError
    from beam_job.forecast import Forecast
    from beam_job.head_training import HeadResult
    from beam_job.inspection import ModelReport
    from beam_job.pipeline import RunResult
    from beam_job.reading import load_features
    from beam_job.records import Failure, FeatureRecord, ImageRef
    from beam_job.reporting import ReportResult
    from beam_job.transforms import ExtractFeatures
    from beam_job.verification import Verification

__version__ = "0.1.0"

_PUBLIC = {
    "BeamJobError": "beam_job.errors",
    "ExtractFeatures": "beam_job.transforms",
    "Failure": "beam_job.records",
    "FeatureRecord": "beam_job.records",
    "Forecast": "beam_job.forecast",
    "HeadResult": "beam_job.head_training",
    "ImageRef": "beam_job.records",
    "ModelReport": "beam_job.inspection",
    "ReportResult": "beam_job.reporting",
    "RunResult": "beam_job.pipeline",
    "Verification": "beam_job.verification",
    "extract": "beam_job.api",
    "inspect_model": "beam_job.api",
    "load_features": "beam_job.reading",
    "plan": "beam_job.api",
    "report": "beam_job.api",
    "train_head": "beam_job.api",
    "verify": "beam_job.api",
}

__all__ = [
    "BeamJobError",
    "ExtractFeatures",
    "Failure",
    "FeatureRecord",
    "Forecast",
    "HeadResult",
    "ImageRef",
    "ModelReport",
    "ReportResult",
    "RunResult",
    "Verification",
    "__version__",
    "extract",
    "inspect_model",
    "load_features",
    "plan",
    "report",
    "train_head",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'beam_job' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
