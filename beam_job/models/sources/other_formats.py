"""What people give as a model and is none that can be run here: named, with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.models.sources.base import Artefact
from beam_job.runtime import storage

_TENSORFLOW = "give the SavedModel or the Keras file that it was made from"
_PYTORCH = "weights of PyTorch, without the model; export the model to a SavedModel where its code is"
# Endings of files to what they are, with what to do; the first that fits.
_FILES: Mapping[str, str] = MappingProxyType(
    {
        "saved_model.pb": "a part of a SavedModel; give the directory that it is in",
        "saved_model.pbtxt": "a part of a SavedModel; give the directory that it is in",
        ".pb": f"a frozen graph of TensorFlow 1; {_TENSORFLOW}",
        ".pbtxt": f"a graph of TensorFlow 1, without weights; {_TENSORFLOW}",
        ".tflite": f"a model of TensorFlow Lite; {_TENSORFLOW}",
        ".lite": f"a model of TensorFlow Lite; {_TENSORFLOW}",
        "model.json": f"a model of TensorFlow.js; {_TENSORFLOW}",
        ".onnx": "a model of ONNX; convert it to a SavedModel, for example with onnx2tf",
        ".pt": _PYTORCH,
        ".pth": _PYTORCH,
        ".bin": _PYTORCH,
        ".safetensors": "weights in the format safetensors, without the model; export the model to a SavedModel where "
        "its code is",
        ".ckpt": f"a checkpoint: weights without a graph; {_TENSORFLOW}",
        ".index": f"a part of a checkpoint: weights without a graph; {_TENSORFLOW}",
        ".zip": "a zip; unpack it, and give what is in it",
        ".mlmodel": f"a model of Core ML; {_TENSORFLOW}",
        ".xml": f"a model of OpenVINO; {_TENSORFLOW}",
        ".pkl": "a pickle, which is code; export the model to a SavedModel where its code is",
        ".joblib": "a pickle, which is code; export the model to a SavedModel where its code is",
    }
)
# Names of files in a directory to what the directory is; the first that is there.
_DIRECTORIES: Mapping[str, str] = MappingProxyType(
    {
        "model.json": f"a model of TensorFlow.js; {_TENSORFLOW}",
        "*.index": f"a checkpoint: weights without a graph; {_TENSORFLOW}",
        "checkpoint": f"a checkpoint: weights without a graph; {_TENSORFLOW}",
        "model.weights.h5": "an unpacked Keras file; give the .keras file itself",
        "*.keras": "a directory with Keras files; give one of them",
        "*.h5": "a directory with Keras files; give one of them",
        "*.safetensors": "a model of Hugging Face; export it to a SavedModel (save_pretrained with saved_model=True)",
        "pytorch_model.bin": _PYTORCH,
        "*.tflite": f"a model of TensorFlow Lite; {_TENSORFLOW}",
        "*.onnx": "a model of ONNX; convert it to a SavedModel, for example with onnx2tf",
    }
)
_LFS = b"version https://git-lfs"


class OtherFormat:
    """A file of another tool, by its suffix: refused with its name."""

    @staticmethod
    def matches(handle: str) -> bool:
        return _of_file(handle) is not None and not storage.is_directory(storage.absolute(handle))

    @staticmethod
    def fetch(options: ModelOptions) -> Artefact:
        handle = options.model
        if not storage.exists(storage.absolute(handle)):
            raise ModelError(f"There is no file at {handle}.")
        raise ModelError(f"Expected a model that TensorFlow runs, found {_of_file(handle)}: {handle}.")


def _of_file(handle: str) -> str | None:
    name = handle.rstrip("/").lower()
    return next((what for ending, what in _FILES.items() if name.endswith(ending)), None)


def of_directory(path: Path) -> str | None:
    """What a directory without a SavedModel is, or None if that cannot be told."""
    return next((what for pattern, what in _DIRECTORIES.items() if any(path.glob(pattern))), None)


def of_content(start: bytes) -> str | None:
    """What a file that begins with these bytes is instead of a model, with what to do; None for anything else."""
    text = start.lstrip().lower()
    if not start:
        return "an empty file; copy it again"
    if start.startswith(_LFS):
        return "a pointer of Git LFS; fetch the file itself with 'git lfs pull'"
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a page of the web; download the file itself"
    return None
