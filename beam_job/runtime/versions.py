"""Versions of the libraries that decide the values of features."""

from __future__ import annotations

import importlib.metadata

NOT_INSTALLED = "not installed"
_LIBRARIES = (
    "keras",
    "numpy",
    "openvino",
    "pillow",
    "simplejpeg",
    "soundfile",
    "soxr",
    "tensorflow",
    "tensorflow-text",
)
# TensorFlow is published under several names (https://www.tensorflow.org/install/pip).
_DISTRIBUTIONS = {"tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-intel", "tensorflow-macos", "tf-nightly")}


def library_version(name: str) -> str:
    """The installed version of a library, whichever distribution it comes from, or ``not installed``."""
    for distribution in _DISTRIBUTIONS.get(name, (name,)):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return NOT_INSTALLED


def library_versions() -> dict[str, str]:
    """Library name to installed version, for the libraries that decide the values of features."""
    return {name: library_version(name) for name in _LIBRARIES}
