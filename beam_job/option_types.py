"""The types of the options of the Python API. Made from the options by `make docs`; do not edit.

A value may be given as its own type or as text, as on the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from beam_job.core.values import ImageSize, LabelPattern, LayerChoice, Names, SplitFractions, TagSet, ValueRange


class ExtractArguments(TypedDict, total=False):
    """Options of extract and plan."""

    text_column: str | None
    image_column: str | None
    label_column: str | None
    id_column: str | None
    label_key: str | None
    label_pattern: LabelPattern | str | None
    label_type: Literal["auto", "class", "multi", "target"]
    label_map: str | None
    classes: Names | str | None
    max_per_class: int | None
    root: str | None
    crops: bool
    keep_columns: Names | str | None
    labels: str | None
    splits: SplitFractions | str | None
    allowed_roots: Sequence[str] | str
    split_seed: int
    model: str
    modality: str | None
    text_preprocessor: str | None
    weights: str | None
    layer: Sequence[LayerChoice | str] | LayerChoice | str
    signature: str | None
    tags: TagSet | str | None
    trust_model_code: bool
    sample_rate: int | None
    audio_window: float | None
    audio_hop: float | None
    normalize_audio: Literal["none", "peak", "standard"]
    image_size: ImageSize | int | str | None
    input_range: ValueRange | str | None
    preprocess: Literal["caffe", "tf", "torch"] | None
    resize: Literal["bilinear", "antialias", "crop"]
    engine: str
    precision: Literal["fp32", "bf16"]
    decode: Literal["exact", "fast"]
    max_image_pixels: int
    max_text_bytes: int
    max_audio_seconds: float
    float_range: ValueRange | str | None
    format: Sequence[str] | str
    num_shards: int | None
    examples_per_shard: int
    on: str | None
    batch_size: int | None
    worker_threads: int | None
    read_threads: int
    log_level: Literal["debug", "info", "warning", "error"]
    overwrite: bool
    resume: bool
    retry_errors: bool
    report: bool
    max_error_rate: float


class ModelArguments(TypedDict, total=False):
    """Options of inspect_model."""

    modality: str | None
    text_preprocessor: str | None
    weights: str | None
    layer: Sequence[LayerChoice | str] | LayerChoice | str
    signature: str | None
    tags: TagSet | str | None
    trust_model_code: bool
    sample_rate: int | None
    audio_window: float | None
    audio_hop: float | None
    normalize_audio: Literal["none", "peak", "standard"]
    image_size: ImageSize | int | str | None
    input_range: ValueRange | str | None
    preprocess: Literal["caffe", "tf", "torch"] | None
    resize: Literal["bilinear", "antialias", "crop"]


class HeadArguments(TypedDict, total=False):
    """Options of train_head."""

    head: str | None
    feature: str | None
    hidden: int
    multi_label: str | None
    class_weights: Literal["balanced", "none"]
    epochs: int
    patience: int
    head_batch_size: int
    learning_rate: float
    seed: int


class ReportArguments(TypedDict, total=False):
    """Options of report."""

    report: str | None
    head: str | None
    sample: int


class SampleArguments(TypedDict, total=False):
    """Options of samples."""

    modality: str | None
    set: Literal["photographs", "digits", "docstrings", "instruments"] | None
    examples_per_class: int
    seed: int
