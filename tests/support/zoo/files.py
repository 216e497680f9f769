"""What people give as a model and is none, or is one in another wrapping."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tests.support.zoo.form import IMAGES, Call, Form, Network, save
from tests.support.zoo.keras_models import functional


def saved_model(path: Path) -> Call:
    network = Network()
    save(path, network, serving_default=(lambda images: {"feature": network.embed(images)}, [IMAGES]))
    return network.embed


def serving_folder(path: Path) -> Call:
    saved_model(path / "9")
    return saved_model(path / "10")


def without_variables(path: Path) -> None:
    saved_model(path)
    shutil.rmtree(path / "variables")


def part_of_saved_model(path: Path) -> None:
    saved_model(path.parent)


def checkpoint(path: Path) -> None:
    tf.train.Checkpoint(model=Network()).write(str(path / "weights"))


def of_bytes(content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return make


def file_in(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda path: of_bytes(content)(path / name)


def truncated(path: Path) -> None:
    model = functional()
    model.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def weights_only(path: Path) -> None:
    functional().save_weights(path)


_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"
_PAGE = b"<!DOCTYPE html>\n<html><body>Not found</body></html>"

FORMS = (
    Form("a directory of TensorFlow Serving, `DIR/9` and `DIR/10`", "serving", serving_folder),
    Form(
        "a SavedModel without its variables", "no_variables", without_variables, says="lacks its directory 'variables'"
    ),
    Form(
        "`saved_model.pb` of a SavedModel",
        "part/saved_model.pb",
        part_of_saved_model,
        says="give the directory that it is",
    ),
    Form("TensorFlow Lite", "model.tflite", of_bytes(b"TFL3"), says="a model of TensorFlow Lite; give the SavedModel"),
    Form("TensorFlow.js", "tfjs", file_in("model.json", b"{}"), says="a model of TensorFlow.js; give the SavedModel"),
    Form("a checkpoint", "checkpoint", checkpoint, says="a checkpoint: weights without a graph"),
    Form("a frozen graph of TensorFlow 1", "graph.pb", of_bytes(b"graph"), says="a frozen graph of TensorFlow 1; give"),
    Form("ONNX", "model.onnx", of_bytes(b"onnx"), says="a model of ONNX; convert it to a SavedModel"),
    Form("PyTorch", "model.pth", of_bytes(b"torch"), says="weights of PyTorch, without the model"),
    Form("a zip", "model.zip", of_bytes(b"PK"), says="a zip; unpack it"),
    Form("a Keras file that is cut short", "cut.keras", truncated, says="damaged or cut short"),
    Form("a Keras file of weights only", "only.weights.h5", weights_only, says="weights without a model"),
    Form("a pointer of Git LFS", "pointer.keras", of_bytes(_LFS), says="a pointer of Git LFS; .*git lfs pull"),
    Form("a page of the web", "page.h5", of_bytes(_PAGE), says="a page of the web; download the file itself"),
    Form("an empty file", "empty.h5", of_bytes(b""), says="an empty file; copy it again"),
)
