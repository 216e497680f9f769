"""What a user may set: one frozen dataclass per group of options, one field per option.

Names are spelled with underscores, as Beam's own options are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, get_type_hints

from beam_job.core.errors import UsageError
from beam_job.core.option_fields import Field, MembersOf, check_known, coerce, group_fields, option
from beam_job.core.sharding import DEFAULT_EXAMPLES_PER_SHARD
from beam_job.core.values import ImageSize, LabelPattern, LayerChoice, Names, SplitFractions, TagSet, ValueRange

DEFAULT_MODEL, DEFAULT_MODALITY = "efficientnet-lite0", "image"
# By the modality that the user names.
DEFAULT_MODELS = {DEFAULT_MODALITY: DEFAULT_MODEL, "text": "all-minilm-l6-v2", "audio": "log-mel"}
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Which examples, which labels, which splits."""

    input: str = option(
        "The examples: a directory with a folder per class, a glob, a manifest (.csv or .jsonl with the columns uri or "
        "text, and label, id, split, group; only one of the first two is required; or a .json of COCO), a .txt file "
        "with a text per line, or tar, zip, Parquet or TFRecord files. Local paths, and URLs of gs:// and https://.",
        metavar="IN",
    )
    text_column: str | None = option(
        "The column of a manifest with the texts, for models of texts; by default text.",
        None,
        metavar="NAME",
        modality="text",
    )
    image_column: str | None = option(
        "The column of Parquet files, or feature of TFRecords, with the images or other examples; by default the one "
        "that holds bytes, or is called so. In a manifest, the column with their paths, by default uri.",
        None,
        metavar="NAME",
    )
    label_column: str | None = option(
        "The column of a manifest or of Parquet files, or feature of TFRecords, with the labels; by default label, or "
        "the one that is called alike.",
        None,
        metavar="NAME",
    )
    id_column: str | None = option(
        "The column of a manifest or of Parquet files, or feature of TFRecords, with the ids; by default id in a "
        "manifest, and otherwise the file's name and the number of the row.",
        None,
        metavar="NAME",
    )
    label_key: str | None = option(
        "Which member of a sample in a tar file is the label: a suffix such as txt, or a dotted path in its .json. By "
        "default .cls, or a .txt with a name where there is no .json, or the folder.",
        None,
        metavar="KEY",
    )
    label_pattern: LabelPattern | None = option(
        "Take the labels from the ids: the first group of this regular expression, where it is found in an id. It goes "
        "before what the input says.",
        None,
        metavar="REGEX",
    )
    label_type: str = option(
        "class: an example has one class. multi: it has any number of them, from lists of labels. target: the label is "
        "a number, for regression. auto: multi, if the first labels are lists; target, if they are numbers and not all "
        "whole; class otherwise.",
        "auto",
        choices=("auto", "class", "multi", "target"),
    )
    label_map: str | None = option(
        "What labels are called in the dataset: a file with a label and its name in each line, separated by a tab or "
        "the first blank, or a .csv, or a .json object. Several labels may have one name; an example whose label has "
        "none becomes an error row.",
        None,
        metavar="FILE",
    )
    classes: Names | None = option(
        "Take only examples of these classes, by their names in the dataset; others are passed over.",
        None,
        metavar="NAME,...",
    )
    max_per_class: int | None = option(
        "Take at most so many examples of each class in each split, chosen by a stable hash of their ids. Containers "
        "are read a second time for it.",
        None,
        metavar="N",
        minimum=1,
    )
    root: str | None = option(
        "The directory that relative paths in a manifest are relative to; by default that of the manifest.",
        None,
        metavar="DIR",
    )
    crops: bool = option(
        "For annotations of COCO: every box is an example, with one class, instead of every image with its list of "
        "classes.",
        False,
        modality="image",
    )
    keep_columns: Names | None = option(
        "Columns of a manifest, of Parquet files or of TFRecords, or dotted paths in the .json of the samples in a tar "
        "file, that are carried to the output, as text.",
        None,
        metavar="NAME,...",
    )
    labels: str | None = option(
        "A file with one label per line; the line number of a label, from 0, is stored. Without it the vocabulary is "
        "built from the input: sorted names, or the integers themselves when every label is an integer.",
        None,
        metavar="FILE",
    )
    splits: SplitFractions | None = option(
        "Split the examples by a stable hash of their group or id, such as train=0.8,validation=0.1,test=0.1. A split "
        "in the manifest wins. Without either, all examples are in 'train'.",
        None,
        metavar="NAME=SHARE,...",
    )
    allowed_roots: tuple[str, ...] = option(
        "Read only files below this directory; all others, also those behind links that lead out of it, become error "
        "rows. For manifests from an untrusted source. Repeat the option for several directories.",
        (),
        metavar="DIR",
    )
    split_seed: int = option("Seed of the hash that assigns splits.", 0, metavar="N")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and what it does not declare itself."""

    model: str = option(
        "An embedded model (efficientnet-lite0 to -lite2, all-minilm-l6-v2 for texts, log-mel for sounds), a TF Hub or "
        "Kaggle handle (https://...), a SavedModel directory or .tar.gz, a .keras or .h5 file, or keras:NAME for Keras "
        "Applications. Files may be on any filesystem. By default efficientnet-lite0, or with modality the embedded "
        "model for it.",
        "",
        metavar="M",
    )
    modality: str | None = option(
        "What the model takes, where its input does not tell; without model, the examples for which an embedded model "
        "is wanted.",
        None,
        choices=MembersOf("beam_job.modalities.registry:MODALITIES"),
    )
    text_preprocessor: str | None = option(
        "For an encoder of texts that takes the numbers of tokens: the model that makes these from texts, named as "
        "model is.",
        None,
        metavar="M",
        modality="text",
    )
    weights: str | None = option(
        "For keras:NAME: a weights file without the top, imagenet (downloaded by Keras; the default), or none (random, "
        "always the same).",
        None,
        metavar="FILE|imagenet|none",
    )
    layer: tuple[LayerChoice, ...] = option(
        "What to store: a layer of a Keras model, an output of a signature, a tensor of the graph, or 'default'; with "
        "avg, max or flatten to pool its positions. Repeat the option to store several in one pass. Without it, the "
        "default output; of sounds, with its frames averaged.",
        (),
        metavar="NAME[:POOL]",
    )
    signature: str | None = option(
        "The signature to call a SavedModel through. Without it, its own call, or the signature that takes examples, "
        "serving_default first.",
        None,
        metavar="NAME",
    )
    tags: TagSet | None = option(
        "The tags of the graph to load from a SavedModel that holds several.", None, metavar="TAG[,TAG...]"
    )
    trust_model_code: bool = option(
        "Run the code that a Keras file holds or names: Lambda layers, and classes of installed packages. It may do "
        "anything that you may. Only for files from a source that you trust.",
        False,
    )
    sample_rate: int | None = option(
        "Samples per second of the sound that the model takes, where neither the model nor its publisher declares it.",
        None,
        metavar="16000",
        minimum=1000,
        maximum=384_000,
        modality="audio",
    )
    audio_window: float | None = option(
        "Seconds of sound that the model is given at a time; by default what the model fixes, or the whole recording.",
        None,
        metavar="SECONDS",
        minimum=0.01,
        modality="audio",
    )
    audio_hop: float | None = option(
        "Seconds from the start of one window to that of the next; by default the length of a window.",
        None,
        metavar="SECONDS",
        minimum=0.001,
        modality="audio",
    )
    normalize_audio: str = option(
        "none; peak: a recording is scaled until its largest sample is 1; standard: it has mean 0 and standard "
        "deviation 1, as wav2vec2 takes it.",
        "none",
        choices=("none", "peak", "standard"),
        modality="audio",
    )
    image_size: ImageSize | None = option(
        "Height and width of the model's input in pixels, where the model does not fix them.",
        None,
        metavar="224|HxW",
        modality="image",
    )
    input_range: ValueRange | None = option(
        "The values of black and white in the model's input, if the model does not declare them: 0,1 or -1,1 or 0,255.",
        None,
        metavar="LOW,HIGH",
        modality="image",
    )
    preprocess: str | None = option(
        "Instead of input_range, a convention of Keras: caffe (BGR minus the ImageNet mean), tf (-1 to 1), torch (0 to "
        "1, minus the ImageNet mean, divided by its standard deviation).",
        None,
        choices=("caffe", "tf", "torch"),
        modality="image",
    )
    resize: str = option(
        "How images are resized to the model's input: bilinear (tf.image.resize), antialias (the same with "
        "antialias=True), or crop (the largest centred part with the model's proportions, then bilinear; Keras' "
        "smart_resize).",
        "bilinear",
        choices=("bilinear", "antialias", "crop"),
        modality="image",
    )

    def __post_init__(self) -> None:
        if not self.model:
            object.__setattr__(self, "model", DEFAULT_MODELS.get(self.modality or DEFAULT_MODALITY, DEFAULT_MODEL))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What runs the model."""

    engine: str = option(
        "auto takes the fastest installed engine whose features agree with TensorFlow's on examples of the input.",
        "auto",
        choices=MembersOf("beam_job.engines.registry:ENGINES", also=("auto",)),
    )
    precision: str = option(
        "bf16 is about twice as fast on processors that support it, and changes the features by a few percent; the "
        "change is measured and recorded.",
        "fp32",
        choices=("fp32", "bf16"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """How bytes become what the model takes."""

    decode: str = option(
        "exact gives the pixels of tf.io.decode_jpeg. fast decodes a JPEG of at least twice the model's size on each "
        "side at a fraction of its size, never below the model's: faster for large photographs, slightly different "
        "pixels.",
        "exact",
        choices=("exact", "fast"),
        modality="image",
    )
    max_image_pixels: int = option(
        "An image whose header announces more pixels becomes an error row before it is decoded.",
        89_478_485,  # Pillow's own limit (PIL.Image.MAX_IMAGE_PIXELS): a quarter of a gigabyte of RGB
        metavar="N",
        minimum=1,
        modality="image",
    )
    max_text_bytes: int = option(
        "A text of more bytes becomes an error row.", 1_000_000, metavar="N", minimum=1, modality="text"
    )
    max_audio_seconds: float = option(
        "A recording that lasts longer becomes an error row.", 600.0, metavar="N", minimum=0.01, modality="audio"
    )
    float_range: ValueRange | None = option(
        "The values of black and white in images of floating-point pixels (TIFF, PFM), such as 0,1. Without it, and "
        "for values outside of it, such an image becomes an error row.",
        None,
        metavar="LOW,HIGH",
        modality="image",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """How the output is cut into files."""

    format: tuple[str, ...] = option(
        "The format of the shards. Repeat the option to write several in one pass.",
        (),
        choices=MembersOf("beam_job.outputs.registry:SHARD_FORMATS"),
    )
    num_shards: int | None = option(
        "Shards per split; by default from the number of examples.", None, metavar="N", minimum=1
    )
    examples_per_shard: int = option(
        "Approximate number of examples per shard, when num_shards is not given.",
        DEFAULT_EXAMPLES_PER_SHARD,
        metavar="N",
        minimum=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """How the work is done. None of these changes a byte of the output, except batch_size, by rounding."""

    on: str | None = option(
        "Where to run: a preset of Beam options for this runner, which are printed. Beam options on the command line "
        "win over the preset.",
        None,
        choices=MembersOf("beam_job.beam.presets:PRESETS"),
        recorded=False,
    )
    batch_size: int | None = option(
        "Examples per call of the model; by default 1 for TensorFlow and 2 for OpenVINO (4 in bf16), which is best on "
        "a CPU: in larger batches the last bits of a feature may depend on the place of the example. A GPU wants 32 or "
        "more.",
        None,
        metavar="N",
        minimum=1,
    )
    worker_threads: int | None = option(
        "Threads per worker process that decode and run the model; by default the CPU cores that the process may use, "
        "divided by the worker processes on the machine.",
        None,
        metavar="N",
        minimum=1,
        recorded=False,
    )
    read_threads: int = option(
        "Concurrent reads per process; fewer for large files.", 32, metavar="N", minimum=1, recorded=False
    )
    log_level: str = option(
        "The lowest level of log messages that this process and its workers write.",
        "warning",
        choices=LOG_LEVELS,
        recorded=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where the dataset goes and when it is complete."""

    output: str = option("The dataset's directory, local or gs://.", metavar="OUT", recorded=False)
    overwrite: bool = option(
        "Replace an existing dataset, without leaving any of its files behind.", False, recorded=False
    )
    resume: bool = option(
        "Continue an existing dataset: committed shards are kept, features of unchanged examples are carried over, and "
        "the rest is extracted. The number of shards stays the same unless it is given.",
        False,
        recorded=False,
    )
    retry_errors: bool = option("Like resume, and examples that failed before are tried again.", False, recorded=False)
    report: bool = option(
        "At the end, write an HTML report beside the dataset, as OUT-report.html.", False, recorded=False
    )
    max_error_rate: float = option(
        "The share of examples that may become error rows before the job fails, from 0 to 1.",
        0.01,
        metavar="X",
        minimum=0,
        maximum=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """How a classifier head is trained on a dataset of features."""

    head: str | None = option(
        "Where the head goes; by default beside the dataset, as OUT-head. An existing head is replaced.",
        None,
        metavar="DIR",
    )
    feature: str | None = option(
        "Which of several stored features to train on, by the name of its layer.", None, metavar="NAME"
    )
    hidden: int = option(
        "Width of the hidden layer, Dense(N, relu); 0 for a linear probe.", 128, metavar="N", minimum=0
    )
    multi_label: str | None = option(
        "An example has several labels, joined by this text in the dataset's label, such as '|' in 'cat|outdoors'; the "
        "head then ends in a sigmoid per class.",
        None,
        metavar="TEXT",
    )
    class_weights: str = option(
        "balanced: rare classes have the same total weight as frequent ones; none: every example has the same weight.",
        "balanced",
        choices=("balanced", "none"),
    )
    epochs: int = option("Maximum number of epochs.", 100, metavar="N", minimum=1)
    patience: int = option(
        "Epochs without a better validation loss after which training stops.", 8, metavar="N", minimum=1
    )
    head_batch_size: int = option("Features per training step.", 128, metavar="N", minimum=1)
    learning_rate: float = option("Learning rate of Adam.", 0.001, metavar="X", minimum=0)
    seed: int = option(
        "Seed of the weights, of the order, and of the splits that the dataset does not have.", 0, metavar="N"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What the report of a dataset shows."""

    report: str | None = option(
        "Where the page goes; by default beside the dataset, as OUT-report.html.", None, metavar="FILE"
    )
    head: str | None = option(
        "A head that was trained on the dataset; by default OUT-head, if it exists.", None, metavar="DIR"
    )
    sample: int = option("Maximum number of examples whose features are analysed.", 2000, metavar="N", minimum=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How a small labelled set of examples is made."""

    modality: str | None = option(
        "What the examples are; by default image.",
        None,
        choices=MembersOf("beam_job.modalities.registry:MODALITIES"),
    )
    set: str | None = option(
        "photographs: crops of twelve photographs, the splits from different parts of each. digits: 5,000 handwritten "
        "digits, 500 of each at most. docstrings: what scikit-learn's documentation says of its functions, by topic. "
        "instruments: synthetic sounds. By default the first one of the modality.",
        None,
        choices=("photographs", "digits", "docstrings", "instruments"),
    )
    examples_per_class: int = option(
        "Crops of each photograph, images of each digit, texts of each topic at most, or sounds of each instrument.",
        50,
        metavar="N",
        minimum=1,
    )
    seed: int = option("Seed of what is drawn.", 0, metavar="N", minimum=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """All options of ``beam-job extract``, by group."""

    source: SourceOptions
    model: ModelOptions
    engine: EngineOptions
    decode: DecodeOptions
    shard: ShardOptions
    work: WorkOptions
    output: OutputOptions

    @classmethod
    def of(cls, **values: Any) -> ExtractOptions:
        """The options from flat values, typed or as text, as on a command line or in a file.

        Raises:
          UsageError: an option is unknown, missing or has an illegal value; the message names it.
        """
        known = {field.name: (group, field) for group, field in extract_fields()}
        check_known(values, known)
        groups: dict[str, dict[str, Any]] = {group: {} for group, _ in known.values()}
        for name, (group, field) in known.items():
            if values.get(name) not in (None, (), []):
                groups[group][name] = coerce(name, field, values[name])
            elif field.default is dataclasses.MISSING:
                raise UsageError(f"--{name} is required: {field.metadata['help']}")
        types_by_group = get_type_hints(cls)
        return cls(**{group: types_by_group[group](**fields) for group, fields in groups.items()})

    def flat(self) -> dict[str, Any]:
        """Option name to value; values that JSON cannot hold become the text that parses to them."""
        flat = {field.name: getattr(getattr(self, group), field.name) for group, field in extract_fields()}
        return {name: _plain(value) for name, value in flat.items()}

    def recorded(self) -> dict[str, Any]:
        """Those of :meth:`flat` that run.json records: they decide what is in the dataset."""
        names = {field.name for _, field in extract_fields() if field.metadata["recorded"]}
        return {name: value for name, value in self.flat().items() if name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def extract_fields() -> Iterator[tuple[str, Field]]:
    """Every option of ``extract`` with the name of its group, in the order of the reference."""
    for group, group_type in get_type_hints(ExtractOptions).items():
        for field in group_fields(group_type):
            yield group, field
