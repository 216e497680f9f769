"""Imports TensorFlow and Keras, here and nowhere else, so that their settings are made before they start."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from beam_job.core.errors import UsageError

# Keras has other backends, and the user's environment may name one; it wins over Keras' own settings file.
TENSORFLOW_BACKEND = {"KERAS_BACKEND": "tensorflow"}
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_QUIET = {_LOG_LEVEL: "3", "GRPC_VERBOSITY": "ERROR"}


def import_tensorflow() -> Any:
    """The tensorflow module, imported without its start-up messages unless the environment asks for them."""
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    if "keras" not in sys.modules:
        os.environ.update(TENSORFLOW_BACKEND)
    verbose = os.environ.get(_LOG_LEVEL, _QUIET[_LOG_LEVEL]) != _QUIET[_LOG_LEVEL]  # workers inherit the quiet one
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with contextlib.nullcontext() if verbose else _silent_stderr():
        return importlib.import_module("tensorflow")


TEXT_OPERATIONS = "tensorflow_text"


def import_operations(package: str) -> None:
    """Makes the operations of a package known to TensorFlow.

    Raises:
      UsageError: it is not installed, or not for this TensorFlow.
    """
    try:
        importlib.import_module(package)
    except Exception as error:  # its libraries fail as they like where they were built for another TensorFlow
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            words = "is not installed"
        else:
            words = f"cannot be imported ({' '.join(str(error).split())[:200]})"
        raise UsageError(
            f"The model needs operations of {package.replace('_', '-')}, which {words}; its version must be that of "
            f'TensorFlow. Install it with: pip install "beam_job[text]"'
        ) from None


def import_keras() -> Any:
    """The keras module with its default settings, whatever the user's keras.json says of types and layouts.

    Raises:
      UsageError: this process has imported Keras with another backend.
    """
    import_tensorflow()
    import keras

    backend = keras.config.backend()
    if backend != TENSORFLOW_BACKEND["KERAS_BACKEND"]:
        raise UsageError(f"Expected Keras with its backend 'tensorflow', found it imported with {backend!r}.")
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)
    module: Any = keras
    return module


def died_of(signal_name: str, handle: str) -> str:
    """Why a process ended by a signal while it loaded or ran a model, as far as that can be told.

    Args:
      signal_name: Such as ``SIGSEGV``.
      handle: What the user calls the model.
    """
    if signal_name == "SIGKILL":
        return (
            f"The process that loads the model {handle} was killed (SIGKILL), which the system does when memory runs "
            f"out. Give the machine or container more memory."
        )
    if signal_name == "SIGVTALRM":
        return f"The model {handle} is damaged: reading what it says of itself never ends. Copy it again."
    return (
        f"TensorFlow itself crashed on the model {handle} ({signal_name}). If the model is whole, try "
        f"TF_ENABLE_ONEDNN_OPTS=0 in the environment, which turns off oneDNN, the cause of some such crashes."
    )


@contextlib.contextmanager
def keras_defaults() -> Iterator[None]:
    """Keras has its default settings in this block, and those of the user afterwards."""
    import_tensorflow()
    from keras import config

    floatx, layout, epsilon = config.floatx(), config.image_data_format(), config.epsilon()
    import_keras()
    try:
        yield
    finally:
        config.set_floatx(floatx)
        config.set_image_data_format(layout)
        config.set_epsilon(epsilon)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drops what native code writes to stderr; no variable silences TensorFlow's first messages."""
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
