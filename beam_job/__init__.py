"""Features of examples, computed once: an Apache Beam job from images to TFRecords that classifier heads train on.

Importing the package loads neither Beam nor TensorFlow; its functions do when they are called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_job.api import extract, inspect_model, plan, report, samples, train_head, verify
    from beam_job.beam.launch import RunResult
    from beam_job.beam.transforms import ExtractFeatures
    from beam_job.core.errors import BeamJobError
    from beam_job.core.options import DecodeOptions, EngineOptions, ModelOptions, WorkOptions
    from beam_job.core.records import ErrorRow, ExampleRef, FeatureRecord
    from beam_job.core.values import ImageSize, LabelPattern, LayerChoice, Names, SplitFractions, TagSet, ValueRange
    from beam_job.dataset.reading import load_features
    from beam_job.dataset.verification import Verification
    from beam_job.extraction.inspection import ModelReport
    from beam_job.extraction.plan import Plan
    from beam_job.heads.training import HeadResult
    from beam_job.reporting.page import ReportResult

__version__ = "0.1.0"

_PUBLIC = {
    "BeamJobError": "core.errors",
    "DecodeOptions": "core.options",
    "EngineOptions": "core.options",
    "ErrorRow": "core.records",
    "ExampleRef": "core.records",
    "ExtractFeatures": "beam.transforms",
    "FeatureRecord": "core.records",
    "HeadResult": "heads.training",
    "ImageSize": "core.values",
    "LabelPattern": "core.values",
    "LayerChoice": "core.values",
    "ModelOptions": "core.options",
    "ModelReport": "extraction.inspection",
    "Names": "core.values",
    "Plan": "extraction.plan",
    "ReportResult": "reporting.page",
    "RunResult": "beam.launch",
    "SplitFractions": "core.values",
    "TagSet": "core.values",
    "ValueRange": "core.values",
    "Verification": "dataset.verification",
    "WorkOptions": "core.options",
    "extract": "api",
    "inspect_model": "api",
    "load_features": "dataset.reading",
    "plan": "api",
    "report": "api",
    "samples": "api",
    "train_head": "api",
    "verify": "api",
}

__all__ = [
    "BeamJobError",
    "DecodeOptions",
    "EngineOptions",
    "ErrorRow",
    "ExampleRef",
    "ExtractFeatures",
    "FeatureRecord",
    "HeadResult",
    "ImageSize",
    "LabelPattern",
    "LayerChoice",
    "ModelOptions",
    "ModelReport",
    "Names",
    "Plan",
    "ReportResult",
    "RunResult",
    "SplitFractions",
    "TagSet",
    "ValueRange",
    "Verification",
    "WorkOptions",
    "__version__",
    "extract",
    "inspect_model",
    "load_features",
    "plan",
    "report",
    "samples",
    "train_head",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'beam_job' has no attribute {name!r}")
    return getattr(importlib.import_module(f"beam_job.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return __all__
