"""What a user may set: one frozen dataclass per group, one field per option, each defined once.

The command line, ``--config`` files, the Python API, ``run.json`` and the reference in docs/ are all made from these
fields. Names are spelled with underscores, as Beam's own options are.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from beam_job.core.errors import UsageError
from beam_job.core.sharding import DEFAULT_IMAGES_PER_SHARD, is_split_name

DEFAULT_MODEL = "efficientnet-lite0"
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSize:
    """Height and width in pixels, written ``224`` or ``HEIGHTxWIDTH``."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError("height and width are at least 1")

    @classmethod
    def parse(cls, text: str) -> ImageSize:
        parts = [int(part) for part in text.lower().split("x")]
        if len(parts) > 2:
            raise ValueError("one number, or two with an x between them")
        return cls(parts[0], parts[-1])

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


@dataclasses.dataclass(frozen=True, slots=True)
class ValueRange:
    """The values that black and white have in the model's input, written ``LOW,HIGH``, such as ``0,1`` or ``-1,1``."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError("two finite numbers, the lower one first")

    @classmethod
    def parse(cls, text: str) -> ValueRange:
        low, high = text.split(",")
        return cls(float(low), float(high))

    def __str__(self) -> str:
        return f"{self.low:g},{self.high:g}"


POOLS = ("avg", "max", "flatten", "none")
DEFAULT_LAYER = "default"


@dataclasses.dataclass(frozen=True, slots=True)
class LayerChoice:
    """A layer, an output or a tensor of a model, and how its positions are pooled, written ``NAME`` or ``NAME:POOL``.

    Attributes:
      name: The layer's name in the model; ``default`` is what the model gives when nobody asks.
      pool: ``avg`` or ``max`` over height and width, ``flatten`` to one axis, or ``none``.
    """

    name: str
    pool: str = "none"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a layer has a name")
        if self.pool not in POOLS:
            raise ValueError(f"POOL is one of {', '.join(POOLS)}")

    @classmethod
    def parse(cls, text: str) -> LayerChoice:
        """The choice in ``text``; a name may end with the number of a tensor, as TensorFlow writes it (``relu:0``).

        >>> LayerChoice.parse("top/relu:0:avg")
        LayerChoice(name='top/relu:0', pool='avg')
        """
        name, colon, pool = text.rpartition(":")
        return cls(text) if not colon or pool.isdigit() else cls(name, pool)

    def __str__(self) -> str:
        return self.name if self.pool == "none" else f"{self.name}:{self.pool}"


@dataclasses.dataclass(frozen=True, slots=True)
class SplitFractions:
    """Shares of the splits in their order, written ``train=0.8,validation=0.1,test=0.1``."""

    shares: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.shares]
        for name in names:
            if not is_split_name(name):
                raise ValueError(f"{name!r} is no name for a split (letters, digits, underscores; not 'all')")
        if len(set(names)) != len(names):
            raise ValueError("a split is named twice")
        if not all(share > 0 for _, share in self.shares):
            raise ValueError("every share is above 0")
        total = sum(share for _, share in self.shares)
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares sum to {total:g}, not to 1")

    @classmethod
    def parse(cls, text: str) -> SplitFractions:
        pairs = (pair.partition("=") for pair in text.split(","))
        return cls(tuple((name.strip(), float(share)) for name, _, share in pairs))

    def as_dict(self) -> dict[str, float]:
        return dict(self.shares)

    def __str__(self) -> str:
        return ",".join(f"{name}={share:g}" for name, share in self.shares)


def option(
    text: str,
    default: Any = dataclasses.MISSING,
    *,
    metavar: str | None = None,
    least: float = -math.inf,
    most: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field that is an option: its help text, its default, what its value is called, and what it may be."""
    metadata = {"help": text, "metavar": metavar, "least": least, "most": most, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Which images, which labels, which splits."""

    input: str = option(
        "The images: a directory with a folder per class, a glob, or a manifest (.csv or .jsonl with the columns uri, "
        "label, id, split, group; only uri is needed). Local paths and gs:// alike.",
        metavar="IN",
    )
    labels: str | None = option(
        "A file with one label per line; a label's line number, from 0, is what is stored. Without it the vocabulary "
        "is built from the input: sorted names, or the integers themselves when every label is one.",
        None,
        metavar="FILE",
    )
    splits: SplitFractions | None = option(
        "Divide the images by a stable hash of their group or id, such as train=0.8,validation=0.1,test=0.1. A split "
        "in the manifest wins. Without either, all images are in 'train'.",
        None,
        metavar="NAME=SHARE,...",
    )
    allowed_roots: tuple[str, ...] = option(
        "Read images below this directory only; others, links that lead out of it among them, become error rows. For "
        "manifests of others. Give it again for several.",
        (),
        metavar="DIR",
    )
    split_seed: int = option("Another seed divides differently.", 0, metavar="N")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and what it does not say of itself."""

    model: str = option(
        "An embedded model (efficientnet-lite0 to -lite2), a TF Hub or Kaggle handle (https://...), a SavedModel "
        "directory or .tar.gz, a .keras or .h5 file, or keras:NAME of Keras Applications. Files may be on any "
        "filesystem.",
        DEFAULT_MODEL,
        metavar="M",
    )
    weights: str | None = option(
        "For keras:NAME: a weights file of it without the top, imagenet (Keras downloads them; the default), or none "
        "(random, always the same).",
        None,
        metavar="FILE|imagenet|none",
    )
    layer: tuple[LayerChoice, ...] = option(
        "What to store: a layer of a Keras model, an output of a signature, a tensor of the graph, or 'default', with "
        "avg, max or flatten to pool its positions. Give it again to store several in one pass.",
        (),
        metavar="NAME[:POOL]",
    )
    image_size: ImageSize | None = option(
        "Height and width of the model's input in pixels, where the model does not fix them.",
        None,
        metavar="224|HxW",
    )
    input_range: ValueRange | None = option(
        "The values of black and white in the model's input, where the model does not tell: 0,1 or -1,1 or 0,255.",
        None,
        metavar="LOW,HIGH",
    )
    preprocess: str | None = option(
        "Instead of input_range, a convention of Keras: caffe (BGR less the ImageNet mean), tf (-1 to 1), torch (0 to "
        "1, less the ImageNet mean, by its deviation).",
        None,
        metavar="caffe|tf|torch",
        choices=("caffe", "tf", "torch"),
    )
    resize: str = option(
        "How images come to the model's size: bilinear (tf.image.resize), antialias (the same with antialias=True), or "
        "crop (the largest centred part of the model's proportions, then bilinear; Keras' smart_resize).",
        "bilinear",
        metavar="bilinear|antialias|crop",
        choices=("bilinear", "antialias", "crop"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What runs the model."""

    engine: str = option(
        "auto takes the fastest of those installed whose features agree with TensorFlow's on pictures of the input.",
        "auto",
        metavar="auto|tensorflow|openvino",
        choices=("auto", "tensorflow", "openvino"),
    )
    precision: str = option(
        "bf16 is about twice as fast where the processor has it, and changes the features by some percent; how much is "
        "measured and recorded.",
        "fp32",
        metavar="fp32|bf16",
        choices=("fp32", "bf16"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """How bytes become pixels."""

    decode: str = option(
        "exact gives the pixels of tf.io.decode_jpeg. fast decodes JPEGs of at least twice the model's size on each "
        "side at a fraction of their size, never below the model's: quicker for large photographs, slightly other "
        "pixels.",
        "exact",
        metavar="exact|fast",
        choices=("exact", "fast"),
    )

    max_image_pixels: int = option(
        "Images whose header announces more pixels become error rows before they are decoded.",
        89_478_485,  # Pillow's own bound (PIL.Image.MAX_IMAGE_PIXELS): a quarter of a gigabyte of RGB
        metavar="N",
        least=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """How the output is cut."""

    num_shards: int | None = option(
        "Shards of each split; by default from the number of images.", None, metavar="N", least=1
    )
    images_per_shard: int = option(
        "Images in a shard, about, when num_shards is not given.", DEFAULT_IMAGES_PER_SHARD, metavar="N", least=1
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """How the work is done; none of these changes a byte of the output but batch_size, by rounding."""

    on: str | None = option(
        "Where to run: stands for the options of Beam's that this place wants, and prints them; what is given beside "
        "it wins.",
        None,
        metavar="local|flink|spark|dataflow",
        choices=("local", "flink", "spark", "dataflow"),
    )
    batch_size: int | None = option(
        "Images in one call of the model; by default 1 for TensorFlow and 2 for OpenVINO (4 in bf16), which is "
        "best on a processor: in larger batches the last bits of a feature may depend on the image's place. A "
        "graphics card wants 32 or more.",
        None,
        metavar="N",
        least=1,
    )
    worker_threads: int | None = option(
        "Threads per worker process that decode and run the model; by default the processor cores that it may use "
        "where it runs, divided by the processes on the machine.",
        None,
        metavar="N",
        least=1,
    )
    read_threads: int = option("Reads in flight per process; fewer where images are large.", 32, metavar="N", least=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where the dataset goes and when it counts as done."""

    output: str = option("The dataset's directory, local or gs://.", metavar="OUT")
    overwrite: bool = option("Replace the dataset that is there; no stale file stays.", False)
    resume: bool = option(
        "Go on with the dataset that is there: shards that are committed are kept, features of images that have not "
        "changed are carried over, and the rest is extracted. The number of shards stays as it is unless it is given.",
        False,
    )
    retry_errors: bool = option("Like resume, and images that failed before are tried again.", False)
    report: bool = option("At the end, write the dataset's page beside it, as OUT-report.html.", False)
    max_error_rate: float = option(
        "The share of images that may become error rows before the job fails, from 0 to 1.",
        0.01,
        metavar="X",
        least=0,
        most=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """How a classifier head is trained on a dataset of features."""

    head: str | None = option(
        "Where the head goes; by default beside the dataset, as OUT-head. What is there is replaced.",
        None,
        metavar="DIR",
    )
    feature: str | None = option(
        "Which of several stored features to train on, by its layer's name.", None, metavar="NAME"
    )
    hidden: int = option("Width of the hidden layer, Dense(N, relu); 0 for a linear probe.", 128, metavar="N", least=0)
    multi_label: str | None = option(
        "An image has several labels, joined by this text in the dataset's label, such as '|' in 'cat|outdoors'; the "
        "head then ends in a sigmoid for each.",
        None,
        metavar="TEXT",
    )
    class_weights: str = option(
        "balanced: rare classes weigh as much in all as frequent ones; none: every image weighs the same.",
        "balanced",
        metavar="balanced|none",
        choices=("balanced", "none"),
    )
    epochs: int = option("Passes over the training split, at most.", 100, metavar="N", least=1)
    patience: int = option(
        "Passes without a better loss on the validation split after which training stops.", 8, metavar="N", least=1
    )
    head_batch_size: int = option("Features in a step of the training.", 128, metavar="N", least=1)
    learning_rate: float = option("Of Adam.", 0.001, metavar="X", least=0)
    seed: int = option("Of the weights, the order, and the splits that the dataset does not have.", 0, metavar="N")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """Everything that ``beam-job extract`` can be told, by group."""

    source: SourceOptions
    model: ModelOptions
    engine: EngineOptions
    decode: DecodeOptions
    shard: ShardOptions
    work: WorkOptions
    output: OutputOptions

    @classmethod
    def of(cls, **values: Any) -> ExtractOptions:
        """The options from flat values, typed or as text, as they stand on a command line or in a file.

        Raises:
          UsageError: an option is unknown, missing or has a value it cannot have; the sentence names it.
        """
        known = {field.name: (group, field) for group, field in extract_fields()}
        for name in values:
            if name not in known:
                raise UsageError(f"There is no option {name!r}{nearest(name, known)}")
        groups: dict[str, dict[str, Any]] = {group: {} for group, _ in known.values()}
        for name, (group, field) in known.items():
            if values.get(name) not in (None, (), []):
                groups[group][name] = coerce(name, field, values[name])
            elif field.default is dataclasses.MISSING:
                raise UsageError(f"--{name} is needed: {field.metadata['help']}")
        types_by_group = get_type_hints(cls)
        return cls(**{group: types_by_group[group](**fields) for group, fields in groups.items()})

    def flat(self) -> dict[str, Any]:
        """Option name to value, with the values that JSON does not know as the text that gives them back."""
        flat = {field.name: getattr(getattr(self, group), field.name) for group, field in extract_fields()}
        return {name: _plain(value) for name, value in flat.items()}


def model_options(**values: Any) -> ModelOptions:
    """The options of a model from values, typed or as text.

    Raises:
      UsageError: an option is unknown or has a value it cannot have.
    """
    return _group_of(ModelOptions, values)


def head_options(**values: Any) -> HeadOptions:
    """The options of a head from values, typed or as text.

    Raises:
      UsageError: an option is unknown or has a value it cannot have.
    """
    return _group_of(HeadOptions, values)


def _group_of(group: type[T], values: Mapping[str, Any]) -> T:
    fields = {field.name: field for field in group_fields(group)}
    for name in values:
        if name not in fields:
            raise UsageError(f"There is no option {name!r}{nearest(name, fields)}")
    return group(**{name: coerce(name, fields[name], value) for name, value in values.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return str(value) if isinstance(value, (ImageSize, ValueRange, SplitFractions)) else value


def extract_fields() -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every option of ``extract`` with the name of its group, in the order of the reference."""
    for group, group_type in get_type_hints(ExtractOptions).items():
        for field in group_fields(group_type):
            yield group, field


def group_fields(group_type: type[Any]) -> Iterator[dataclasses.Field[Any]]:
    """The options of one group, with their types resolved."""
    resolved = get_type_hints(group_type)
    for field in dataclasses.fields(group_type):
        field.type = resolved[field.name]
        yield field


def value_type(field: dataclasses.Field[Any]) -> Any:
    """The type of an option's value, without the None that stands for 'not given'."""
    if get_origin(field.type) in (Union, types.UnionType):
        (only,) = (part for part in get_args(field.type) if part is not type(None))
        return only
    return get_args(field.type)[0] if is_repeatable(field) else field.type


def is_repeatable(field: dataclasses.Field[Any]) -> bool:
    """Whether an option may be given several times; its value is a tuple then."""
    return get_origin(field.type) is tuple


def coerce(name: str, field: dataclasses.Field[Any], value: Any) -> Any:
    """``value`` as the option's type.

    Raises:
      UsageError: it is no such value.
    """
    if is_repeatable(field):
        items = [value] if isinstance(value, (str, value_type(field))) else list(value)
        found = tuple(_coerce_one(name, field, item) for item in items)
        if len(set(found)) != len(found):
            raise UsageError(f"--{name} names the same twice: {', '.join(map(str, found))}.")
        return found
    return _coerce_one(name, field, value)


def _coerce_one(name: str, field: dataclasses.Field[Any], value: Any) -> Any:
    wanted = value_type(field)
    try:
        if isinstance(value, wanted) and not (wanted is not bool and isinstance(value, bool)):
            result = value
        elif wanted is bool:
            result = {"true": True, "false": False}[str(value).lower()]
        else:
            parse: Callable[[str], Any] = getattr(wanted, "parse", wanted)
            result = parse(str(value))
    except (ValueError, KeyError) as error:
        form = field.metadata["metavar"] or "true or false"
        raise UsageError(f"--{name} is written {form}, found {value!r} ({error}).") from None
    choices = field.metadata["choices"]
    if choices and result not in choices:
        raise UsageError(
            f"--{name} is one of {', '.join(choices)}, found {value!r}{nearest(str(value), list(choices))}"
        )
    if isinstance(result, (int, float)):
        least, most = field.metadata["least"], field.metadata["most"]
        if not result >= least:  # so written, NaN is refused too
            raise UsageError(f"--{name} is at least {least:g}, found {value!r}.")
        if result > most:
            raise UsageError(f"--{name} is at most {most:g}, found {value!r}.")
    return result


def nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """``; did you mean 'x'?`` for the likeliest of the known names, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
