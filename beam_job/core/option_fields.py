"""The schema of options: a frozen dataclass is a group of options, and each of its fields is one option.

A field says what the option is for, what its value is called, and which values are legal. The command line,
``--config`` files, the Python API, ``run.json`` and the reference in docs/ are all made from these fields.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from beam_job.core.errors import UsageError
from beam_job.core.suggestions import did_you_mean

Field = dataclasses.Field[Any]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class MembersOf:
    """The choices of an option that names a member of an open set, looked up when they are needed.

    Attributes:
      path: The registry, or any other collection of names, as ``package.module:NAME``.
      also: Choices beside the members, which come first.
    """

    path: str
    also: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        module, _, name = self.path.partition(":")
        members: Iterable[str] = getattr(importlib.import_module(module), name)
        return (*self.also, *members)


def option(
    text: str,
    default: Any = dataclasses.MISSING,
    *,
    metavar: str | None = None,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    choices: tuple[str, ...] | MembersOf = (),
    recorded: bool = True,
    modality: str | None = None,
) -> Any:
    """A field that is an option.

    Args:
      text: The help text.
      default: The default value; without one the option is required.
      metavar: What the value is called; by default its choices.
      minimum: The smallest legal number.
      maximum: The largest legal number.
      choices: The legal texts, if they are a list.
      recorded: Whether run.json records it; not if it decides nothing in the dataset, or is the dataset's path.
      modality: The only modality that it is for, by its name; None for all of them.
    """
    metadata = {
        "help": text,
        "metavar": metavar,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "recorded": recorded,
        "modality": modality,
    }
    return dataclasses.field(default=default, metadata=metadata)


def group_fields(group_type: type[Any]) -> Iterator[Field]:
    """The options of one group, with their types resolved."""
    resolved = get_type_hints(group_type)
    for field in dataclasses.fields(group_type):
        field.type = resolved[field.name]
        yield field


def check_modality(group: Any, modality: str) -> None:
    """Checks that no option of a group is set that is only for examples of another modality.

    Raises:
      UsageError: one is; the message names it.
    """
    for field in group_fields(type(group)):
        wanted = field.metadata["modality"]
        if wanted not in (None, modality) and getattr(group, field.name) != field.default:
            raise UsageError(f"--{field.name} is for {wanted} examples, and the model takes {modality} examples.")


def choices_of(field: Field) -> tuple[str, ...]:
    """The legal texts of an option; empty when it takes other values."""
    choices = field.metadata["choices"]
    return choices.names() if isinstance(choices, MembersOf) else choices


def metavar_of(field: Field) -> str:
    """What the value of an option is called."""
    if value_type(field) is bool:
        return "true|false"
    return field.metadata["metavar"] or "|".join(choices_of(field))


def value_type(field: Field) -> Any:
    """The type of an option's value, without the None that stands for 'not given'."""
    if get_origin(field.type) in (Union, types.UnionType):
        (only,) = (part for part in get_args(field.type) if part is not type(None))
        return only
    return get_args(field.type)[0] if is_repeatable(field) else field.type


def is_repeatable(field: Field) -> bool:
    """Whether an option may be given several times; its value is a tuple then."""
    return get_origin(field.type) is tuple


def group_of(group: type[T], values: Mapping[str, Any]) -> T:
    """A group of options from values, typed or as text.

    Raises:
      UsageError: an option is unknown or has an illegal value.
    """
    fields = {field.name: field for field in group_fields(group)}
    check_known(values, fields)
    return group(**{name: coerce(name, fields[name], value) for name, value in values.items()})


def check_known(names: Iterable[str], known: Iterable[str]) -> None:
    """Checks that all names are known.

    Raises:
      UsageError: one is not; the message suggests the most similar one.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise UsageError(f"There is no option {name!r}{did_you_mean(name, known)}")


def coerce(name: str, field: Field, value: Any) -> Any:
    """``value`` as the option's type.

    Raises:
      UsageError: the value is illegal.
    """
    if not is_repeatable(field):
        return _coerce_one(name, field, value)
    items = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    found = tuple(_coerce_one(name, field, item) for item in items)
    if len(set(found)) != len(found):
        raise UsageError(f"--{name} names the same value twice: {', '.join(map(str, found))}.")
    return found


def _coerce_one(name: str, field: Field, value: Any) -> Any:
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
        form = "true or false" if wanted is bool else metavar_of(field)
        raise UsageError(f"--{name} is written {form}, found {value!r} ({error}).") from None
    choices = choices_of(field)
    if choices and result not in choices:
        raise UsageError(f"--{name} is one of {', '.join(choices)}, found {value!r}{did_you_mean(str(value), choices)}")
    if isinstance(result, (int, float)):
        minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
        if not result >= minimum:  # written so that NaN is refused too
            raise UsageError(f"--{name} is at least {minimum:g}, found {value!r}.")
        if result > maximum:
            raise UsageError(f"--{name} is at most {maximum:g}, found {value!r}.")
    return result
