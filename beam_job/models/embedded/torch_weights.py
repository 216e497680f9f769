"""Reads the tensors of a PyTorch weight file in the legacy format, without PyTorch and without trusting the file.

The format is a stream of pickles (a magic number, a protocol version, the writer's type sizes, the state dictionary,
the list of storage keys), followed by each storage as a little-endian int64 element count and its raw elements
(torch/serialization.py, ``_legacy_save``). A pickle can name any function; the unpickler here knows the four names that
tensors need and refuses all others.
"""

from __future__ import annotations

import collections
import dataclasses
import pickle
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import ModelError

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGE_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
_LARGEST_STORAGE = 1 << 31

Tensor = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class _StorageRef:
    key: str
    dtype: np.dtype[Any]
    size: int


@dataclasses.dataclass(frozen=True)
class _TensorRef:
    storage: _StorageRef
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(
    storage: _StorageRef, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _TensorRef:
    return _TensorRef(storage, offset, tuple(shape), tuple(strides))


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles dictionaries of tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        raise pickle.UnpicklingError(f"only tensors may be unpickled, found {module}.{name}")

    def persistent_load(self, pid: Any) -> _StorageRef:
        kind, dtype, key, _, size, view = pid
        if kind != "storage" or view is not None or not 0 <= size <= _LARGEST_STORAGE:
            raise pickle.UnpicklingError(f"expected a plain storage, found {pid!r}")
        return _StorageRef(str(key), dtype, size)


def read_torch_weights(path: Path) -> dict[str, Tensor]:
    """The tensors in a legacy PyTorch weight file.

    Args:
      path: A local file.

    Returns:
      Name to array, in the file's order.

    Raises:
      ModelError: the file is not of that format, is damaged, or asks for anything but tensors.
    """
    try:
        with open(path, "rb") as file:
            return _read(file)
    except (pickle.UnpicklingError, struct.error, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"Expected PyTorch weights in the legacy format at {path}, found: {error}") from None


def _read(file: BinaryIO) -> dict[str, Tensor]:
    header = [_TensorUnpickler(file).load() for _ in range(3)]
    if header[:2] != [MAGIC, _PROTOCOL] or header[2].get("little_endian") is not True:
        raise ValueError("a header of another format")
    state: dict[str, _TensorRef] = _TensorUnpickler(file).load()
    keys: list[str] = _TensorUnpickler(file).load()
    wanted = {ref.storage.key: ref.storage for ref in state.values()}
    storages: dict[str, Tensor] = {}
    for key in keys:
        ref = wanted[key]
        (size,) = struct.unpack("<q", file.read(8))
        data = file.read(ref.size * ref.dtype.itemsize)
        if size != ref.size or len(data) != ref.size * ref.dtype.itemsize:
            raise ValueError(f"storage {key} is truncated")
        storages[key] = np.frombuffer(data, ref.dtype)
    return {name: _view(storages[ref.storage.key], ref) for name, ref in state.items()}


def _view(storage: Tensor, ref: _TensorRef) -> Tensor:
    last = ref.offset + sum((length - 1) * stride for length, stride in zip(ref.shape, ref.strides, strict=True))
    if ref.offset < 0 or min(ref.strides, default=0) < 0 or min(ref.shape, default=1) < 1 or last >= storage.size:
        raise ValueError("a tensor reaches beyond its storage")
    strides = tuple(stride * storage.itemsize for stride in ref.strides)
    return np.lib.stride_tricks.as_strided(storage[ref.offset :], ref.shape, strides, writeable=False)
