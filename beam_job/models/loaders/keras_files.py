"""What a Keras file says of itself, before any of it is loaded: its version, its layers, the code that it needs."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from beam_job.core.errors import ModelError
from beam_job.runtime.isolation import ended_after

# Layers and functions whose configuration holds code, or names a file to run.
_FUNCTION = "__lambda__"
_CODE = frozenset(("Lambda", _FUNCTION, "TorchModuleWrapper", "TFSMLayer"))
# Packages whose classes Keras itself looks up.
_OWN_PACKAGES = frozenset(("keras", "tf_keras", "tensorflow", "builtins", "keras_hub", "keras_cv", "keras_nlp"))
# HDF5 goes round in circles on some damaged texts (HDFGroup/hdf5#1707); whole ones take milliseconds.
_HDF5_SECONDS = 10
_ZIP, _HDF5 = b"PK", b"\x89HDF"
_CONFIG, _METADATA = "config.json", "metadata.json"
# Arguments that Keras 2 wrote and Keras 3 no longer takes, with the value at which they say nothing; ``...`` stands for
# any value: random layers do nothing in inference mode.
_DROPPED = (
    ("groups", re.compile(r"DepthwiseConv\dD|Conv\dDTranspose|SeparableConv\dD"), 1),
    ("time_major", re.compile(r"LSTM|GRU|SimpleRNN|RNN"), False),
    ("rng_type", re.compile(r"Random\w+"), ...),
)
# What Keras 2 and Keras 3 compute differently: an activation by its slope, a layer by what it does in inference mode.
_CHANGED = ("hard_sigmoid", "RandomCrop")


@dataclasses.dataclass(frozen=True)
class KerasFile:
    """A Keras file.

    Attributes:
      path: Where it lies.
      hdf5: Whether it is an HDF5 file; otherwise it is a zip.
      version: The version of Keras that wrote it; empty where it does not say.
      config: What Keras rebuilds the model from.
    """

    path: Path
    hdf5: bool
    version: str
    config: Any

    @property
    def is_keras_2(self) -> bool:
        """Whether it was written by Keras 2 or before."""
        return self.version.startswith(("1.", "2.")) or (self.hdf5 and not self.version)

    def parts(self) -> Iterator[Mapping[str, Any]]:
        """Every object in the configuration that has a class."""
        waiting = [self.config]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Mapping) and isinstance(part.get("class_name"), str):
                yield part
            waiting.extend(part.values() if isinstance(part, Mapping) else part if isinstance(part, list) else ())

    def code(self) -> list[str]:
        """The names of the layers that hold code, or of the kinds of functions where no layer does."""
        found = {_name(part) for part in self.parts() if part["class_name"] in _CODE}
        return sorted(found - {_FUNCTION}) or sorted(found)

    def foreign_classes(self) -> dict[str, str]:
        """Classes that are not of Keras: the name under which they are registered, to their module ('' if unknown)."""
        found = {}
        for part in self.parts():
            module, registered = part.get("module"), part.get("registered_name")
            if registered and str(module).partition(".")[0] not in _OWN_PACKAGES:
                found[str(registered)] = str(module or "")
            elif ">" in part["class_name"]:
                found[part["class_name"]] = ""
        return found

    def changed_meaning(self) -> str:
        """What in a file of Keras 2 computes something else in Keras 3; empty for nothing that is known."""
        if not self.is_keras_2:
            return ""
        classes = {part["class_name"] for part in self.parts()}
        return next((name for name in _CHANGED if name in classes or f'"{name}"' in json.dumps(self.config)), "")

    def write_modernised(self, path: Path) -> None:
        """Writes an HDF5 file without the arguments that Keras 3 no longer takes, where they say nothing."""
        import h5py

        shutil.copyfile(self.path, path)
        with h5py.File(path, "r+") as copy:
            copy.attrs["model_config"] = json.dumps(_without_dropped(self.config))


def read_keras_file(path: str, handle: str) -> KerasFile:
    """Reads what a Keras file says of itself.

    Args:
      path: The file.
      handle: What the user calls it, for messages.

    Raises:
      ModelError: it is damaged, or holds no model.
    """
    with open(path, "rb") as file:
        start = file.read(len(_HDF5))
    try:
        if start.startswith(_ZIP):
            return _read_zip(Path(path), handle)
        if start == _HDF5:
            return _read_hdf5(Path(path), handle)
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise ModelError(f"The Keras file {handle} is damaged or cut short ({error}); copy it again.") from None
    raise ModelError(f"Expected a Keras file at {handle}, which begins with {_ZIP!r} or {_HDF5!r}, found {start!r}.")


def _read_zip(path: Path, handle: str) -> KerasFile:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if _CONFIG not in names:
            raise ModelError(f"Expected {_CONFIG} in the Keras file {handle}, found {', '.join(sorted(names)[:5])}.")
        version = json.loads(archive.read(_METADATA))["keras_version"] if _METADATA in names else ""
        return KerasFile(path, False, str(version), json.loads(archive.read(_CONFIG)))


def _read_hdf5(path: Path, handle: str) -> KerasFile:
    import h5py

    with ended_after(_HDF5_SECONDS), h5py.File(path) as file:
        if "model_config" not in file.attrs:
            raise ModelError(
                f"The Keras file {handle} holds weights without a model. Save the whole model (model.save), or give "
                f"the file as --weights with --model=keras:NAME."
            )
        version = _text(file.attrs.get("keras_version", ""))
        return KerasFile(path, True, version, json.loads(_text(file.attrs["model_config"])))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _name(part: Mapping[str, Any]) -> str:
    config = part.get("config")
    name = config.get("name") if isinstance(config, Mapping) else None
    return f"{name} ({part['class_name']})" if name else str(part["class_name"])


def _without_dropped(part: Any, owner: str = "") -> Any:
    if isinstance(part, list):
        return [_without_dropped(item, owner) for item in part]
    if not isinstance(part, Mapping):
        return part
    owner = part["class_name"] if isinstance(part.get("class_name"), str) else owner
    return {name: _without_dropped(value, owner) for name, value in part.items() if not _is_dropped(owner, name, value)}


def _is_dropped(owner: str, name: str, value: Any) -> bool:
    return any(
        name == argument and bool(classes.fullmatch(owner)) and (neutral is ... or value == neutral)
        for argument, classes, neutral in _DROPPED
    )


def imported_classes(classes: Mapping[str, str], handle: str) -> dict[str, Any]:
    """Imports classes by their modules, which runs the code of those.

    Args:
      classes: The name under which a class is registered, to its module.
      handle: What the user calls the model, for messages.

    Raises:
      ModelError: a module is not installed, or does not have the class.
    """
    found = {}
    for registered, module in classes.items():
        try:
            found[registered] = getattr(importlib.import_module(module), registered.rpartition(">")[2])
        except (ImportError, AttributeError, ValueError):
            where = f"the module {module!r}, which is not installed here or lacks it" if module else "a script"
            raise ModelError(
                f"The Keras file {handle} needs the class {registered}, defined in {where}. Where that class is at "
                f"hand, model.export(DIR) writes a SavedModel, which needs it no more."
            ) from None
    return found
