"""What a modality is."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import ModelError
from beam_job.core.options import DecodeOptions, ModelOptions
from beam_job.core.records import Box, Shape

# What an engine takes: an array whose first axis is the batch (numbers, or objects that are byte strings), or, for rows
# of different lengths, a list with one array per example.
Batch = npt.NDArray[Any] | list[npt.NDArray[Any]]


def as_batch(examples: Sequence[npt.NDArray[Any]], shape: Shape) -> Batch:
    """A batch of examples that :meth:`Modality.prepare` gave.

    Args:
      examples: At least one.
      shape: The shape of one example as the model has it; examples differ in length where it holds None.
    """
    return list(examples) if None in shape else np.stack(examples)


def save_examples(path: str, examples: Sequence[npt.NDArray[Any]]) -> None:
    """Writes examples that :meth:`Modality.prepare` gave, of one shape or of several, to a .npz file."""
    np.savez(path, *examples)


def load_examples(path: str) -> list[npt.NDArray[Any]]:
    """What :func:`save_examples` wrote; only for files of this process's own, since byte strings are pickled."""
    return list(np.load(path, allow_pickle=True).values())


@dataclasses.dataclass(frozen=True)
class ModelInput:
    """The one input of a model, as the model declares it.

    Attributes:
      name: The name of the argument.
      dtype: The name of its TensorFlow type, such as ``float32`` or ``string``.
      shape: Its shape, batch included, None for a length that is not fixed; None when the rank is unknown.
    """

    name: str
    dtype: str
    shape: Shape | None

    @property
    def is_integer(self) -> bool:
        """Whether it takes whole numbers."""
        return self.dtype.startswith(("int", "uint"))

    @property
    def is_number(self) -> bool:
        """Whether it takes numbers of any real type."""
        return self.is_integer or self.dtype.startswith(("float", "bfloat"))


@dataclasses.dataclass(frozen=True)
class Preview:
    """What a report shows of an example.

    Attributes:
      kind: ``image``, ``text`` or ``audio``.
      content: A data URL; for a text, its beginning.
    """

    kind: str
    content: str


@dataclasses.dataclass(frozen=True)
class FirstSteps:
    """The arithmetic that a model begins with: values * factor + offset, one of each, or one for each channel.

    Attributes:
      factor: What values are multiplied by.
      offset: What is added after that.
    """

    factor: tuple[float, ...]
    offset: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class InputRequest:
    """What the user and the publisher declare about a model's input, where the model does not fix it.

    Attributes:
      handle: What the user calls the model, for messages.
      size: Height and width of an image, or None.
      modality: The modality that the user names, or None.
      window: Seconds of sound that the model is given at a time, or None.
      rate: Samples of sound per second that the model takes, or None.
    """

    handle: str
    size: tuple[int, int] | None = None
    modality: str | None = None
    window: float | None = None
    rate: int | None = None


@dataclasses.dataclass(frozen=True)
class FrozenInput:
    """The input of a frozen model, and what is known about its values.

    Attributes:
      handle: What the user calls the model, for messages.
      shape: The shape of one example in the frozen graph.
      declared: The input of the model itself.
      convention: How its publisher maps examples to numbers, in the modality's own terms, or None.
      first_steps: The arithmetic that the model begins with, or None.
      rate: Samples of sound per second that the model or its publisher declares, or None.
    """

    handle: str
    shape: Shape
    declared: ModelInput
    convention: Any = None
    first_steps: FirstSteps | None = None
    rate: int | None = None


class Modality(abc.ABC):
    """What an example is, for one model: from its bytes to a batch. Small and immutable; travels to the workers.

    Attributes:
      name: Its name in the registry.
      takes: What its models take, for messages.
      suffixes: Suffixes, in lower case, of the files that are its examples.
      extras: Suffixes of files that would be, and what to install for them.
      input_dtype: The TensorFlow type of the frozen graph's input.
      fills_up: Whether models fill a batch up to its longest example, so that similar lengths go together.
      batch_size: Examples per call that suit its models on a CPU, or None for what the engine prefers.
      in_tables: Whether its examples are texts, which a table may hold itself.
      in_clips: Whether an example may be a part of a file, from one second to another.
      default_pool: How the positions of a model's output are pooled where the user does not say; an output without
        positions stays as it is.
      size_option: The option that chooses between the shapes that a model may have.
    """

    name: ClassVar[str]
    takes: ClassVar[str]
    suffixes: ClassVar[frozenset[str]]
    extras: ClassVar[Mapping[str, str]] = MappingProxyType({})
    input_dtype: ClassVar[str]
    fills_up: ClassVar[bool] = False
    batch_size: ClassVar[int | None] = None
    in_tables: ClassVar[bool] = False
    in_clips: ClassVar[bool] = False
    default_pool: ClassVar[str] = "none"
    size_option: ClassVar[str] = ""

    @classmethod
    @abc.abstractmethod
    def matches(cls, declared: ModelInput) -> bool:
        """Whether a model with this input takes this modality."""

    @classmethod
    def admits(cls, declared: ModelInput) -> bool:
        """Whether a model with this input may take this modality, when the user says that it does."""
        return cls.matches(declared)

    @classmethod
    @abc.abstractmethod
    def input_shape(cls, declared: ModelInput, request: InputRequest) -> Shape:
        """The shape of one example in the frozen graph; None for a length that differs between examples.

        Raises:
          FlagNeededError: the model does not fix the shape, and neither does the request.
          ModelError: the request contradicts the model.
        """

    @classmethod
    @abc.abstractmethod
    def of(cls, frozen: FrozenInput, model: ModelOptions, decode: DecodeOptions) -> Modality:
        """The modality for a frozen model, with the preprocessing that it needs.

        Raises:
          FlagNeededError: the preprocessing is not known, and a flag must give it.
          ModelError: a flag contradicts what is known.
        """

    @classmethod
    def arranged(cls, batch: Any, declared: ModelInput) -> Any:
        """The model's own input for a batch of the frozen graph's, in TensorFlow's operations; becomes a part of it."""
        return batch

    @classmethod
    def is_batched(cls, declared: ModelInput) -> bool:
        """Whether a model with this input takes batches, rather than one example at a time."""
        return True

    @classmethod
    def is_windowed(cls, shape: Shape) -> bool:
        """Whether an example is cut into windows of this shape, each of which is a row of the model's batch."""
        return False

    @classmethod
    def trials(cls, shape: Shape, count: int) -> list[Batch]:
        """Batches that a frozen graph with an input of this shape may get, to find out what it answers.

        No two examples are alike. If examples differ in length, those of different batches do.

        Args:
          shape: The shape of one example.
          count: How many examples are in a batch.
        """
        lengths = [length or 1 for length in shape]
        return [np.random.default_rng(0).random((count, *lengths)).astype(cls.input_dtype)]

    @classmethod
    def recognises(cls, start: bytes) -> bool:
        """Whether a file that begins with these bytes is an example, whatever its name."""
        return False

    @classmethod
    def preview(cls, content: bytes) -> Preview | None:
        """What a report shows of an example; None for nothing."""
        return None

    def prepare_part(self, content: bytes, box: Box) -> npt.NDArray[Any]:
        """As :meth:`prepare`, for a part of what the bytes hold; only of images.

        Raises:
          DecodeError: the bytes cannot be decoded.
          BadReferenceError: there is no such part.
        """
        raise NotImplementedError(f"{self.name} examples have no boxes")

    @classmethod
    def cut(cls, content: bytes, box: Box) -> bytes:
        """The part as a file of its own, for people and served models; errors as :meth:`prepare_part`."""
        raise NotImplementedError(f"{cls.name} examples have no boxes")

    @abc.abstractmethod
    def prepare(self, content: bytes) -> npt.NDArray[Any]:
        """The model's input for one example.

        Args:
          content: The bytes of the example.

        Returns:
          An array of the frozen graph's type and of the shape of one example; where examples are in windows, of
          [windows, ...] with at least one.

        Raises:
          DecodeError: the bytes cannot be decoded.
        """

    @abc.abstractmethod
    def probe(self) -> npt.NDArray[Any]:
        """A neutral example, to try the model on, as :meth:`prepare` would give it."""

    def notes(self) -> list[str]:
        """What the user should know of how the preprocessing was chosen."""
        return []

    @abc.abstractmethod
    def preprocessing(self) -> dict[str, Any]:
        """The field ``preprocessing`` of run.json: from a decoded example to the model's input."""

    @abc.abstractmethod
    def decode_policy(self) -> dict[str, Any]:
        """The field ``decode`` of run.json: from bytes to a decoded example."""

    def serve(self, contents: Any) -> Any:
        """The same as :meth:`prepare` in TensorFlow's operations, for a served model.

        Args:
          contents: Tensor of strings [B], the bytes of examples; of one example where they differ in shape.

        Returns:
          The input of the frozen graph for them.
        """
        raise ModelError(f"A model of {self.takes} cannot be served from bytes.")

    def as_served(self, content: bytes) -> bytes:
        """The bytes of an example in a form that :meth:`serve` takes.

        Raises:
          DecodeError: the bytes cannot be decoded.
        """
        return content
