"""Image features, computed once: an Apache Beam job from images to TFRecords that classifier heads train on.

Importing the package loads neither Beam nor TensorFlow; its functions do when they are called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_job.api import extract, inspect_model, plan, report, train_head, verify
    from beam_job.beam.launch import RunResult
    from beam_job.beam.transforms import ExtractFeatures
    from beam_job.core.errors import BeamJobError
    from beam_job.core.records import Failure, FeatureRecord, ImageRef
    from beam_job.dataset.reading import load_features
    from beam_job.dataset.verification import Verification
    from beam_job.extract.inspection import ModelReport
    from beam_job.extract.plan import Forecast
    from beam_job.heads.training import HeadResult
    from beam_job.report.page import ReportResult

__version__ = "0.1.0"

_PUBLIC = {
    "BeamJobError": "beam_job.core.errors",
    "ExtractFeatures": "beam_job.beam.transforms",
    "Failure": "beam_job.core.records",
    "FeatureRecord": "beam_job.core.records",
    "Forecast": "beam_job.extract.plan",
    "HeadResult": "beam_job.heads.training",
    "ImageRef": "beam_job.core.records",
    "ModelReport": "beam_job.extract.inspection",
    "ReportResult": "beam_job.report.page",
    "RunResult": "beam_job.beam.launch",
    "Verification": "beam_job.dataset.verification",
    "extract": "beam_job.api",
    "inspect_model": "beam_job.api",
    "load_features": "beam_job.dataset.reading",
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
