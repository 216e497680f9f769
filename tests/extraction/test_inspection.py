import json
import re
from pathlib import Path

import pytest

import beam_job
from beam_job.cli.main import main
from beam_job.core.errors import InputError, ModelError, UsageError
from tests.support.small_models import save_signatures
from tests.support.zoo import keras_models

pytestmark = pytest.mark.usefixtures("in_this_process")


def test_the_report_on_the_built_in_model() -> None:
    report = beam_job.inspect_model("efficientnet-lite0")
    assert report.parameters == 3_413_024 + 1280 * 1000 + 1000
    assert report.features == {"feature": (1280,)}
    assert report.modality == "image"
    assert report.preprocessing is not None
    assert report.preprocessing["size"] == [224, 224]
    assert report.outputs["logits"] == (1000,)
    assert report.milliseconds is not None
    assert 0.1 < report.milliseconds < 10_000
    assert report.needed == ()
    assert any(shape == (7, 7, 1280) for shape in report.tensors.values())


def test_the_options_that_are_still_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(save_signatures(tmp_path / "model", size=None, outputs=2))
    assert main(["inspect-model", path]) == 0
    assert "still needed: The model" in " ".join(capsys.readouterr().out.split())
    assert "--image_size=224" in " ".join(beam_job.inspect_model(path).needed)
    (several,) = beam_job.inspect_model(path, image_size=32).needed
    assert several == "The model has several outputs; choose with --layer: largest, means."
    (input_range,) = beam_job.inspect_model(path, image_size=32, layer="means").needed
    assert "--input_range=0,1" in input_range
    assert beam_job.inspect_model(path, image_size=32, layer="means", input_range="0,1").needed == ()


def test_text_and_json_output(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["inspect-model", "keras:MobileNetV2", "--weights=none", "--image_size=160", "--layer=out_relu:avg"]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    for expected in (
        r"size \[160, 160\]",
        r"input_range \[-1.0, 1.0\]",
        "2,257,984",
        r"feature \[1280\]",
        r"outputs, for --layer\n  name +shape\n  default +\[5, 5, 1280\]\n",
        r"layers, for --layer\n\.\.\. 123 before these; --json lists all\n  name +kind +shape +parameters +share\n",
        r"  Conv_1 +Conv2D +\[5, 5, 1280\] +409,600 +18\.1%\n",
        r"  out_relu +ReLU +\[5, 5, 1280\] +0 +0\.0%\n",
    ):
        assert re.search(expected, text), expected
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    layers = {layer["name"]: layer for layer in report["layers"]}
    assert layers["block_1_expand"]["shape"] == [80, 80, 96]
    assert sum(layer["parameters"] for layer in layers.values()) == report["parameters"]
    assert sum(layer["share"] for layer in layers.values()) == pytest.approx(1)
    assert len(report["digest"]) == 64


def test_a_nested_model_is_shown_as_a_tree_with_times(few: Path, tmp_path: Path) -> None:
    keras_models.written(lambda: keras_models.nested(2))(tmp_path / "nested.keras")
    report = beam_job.inspect_model(str(tmp_path / "nested.keras"), input=str(few))
    names = [layer.name for layer in report.layers]
    assert names[:3] == ["backbone_1", "backbone_1/rescaling", "backbone_1/backbone_0"]
    assert names[-2:] == ["backbone_1/backbone_0/inner_depthwise", "pooled"]
    assert report.layers[0].parameters == report.parameters
    assert all(layer.shape is not None for layer in report.layers)
    assert set(report.milliseconds_until) == {"default", *names}
    assert all(0 < milliseconds < 1000 for milliseconds in report.milliseconds_until.values())
    assert report.notes == ("the model itself begins with a scaling from pixels in 0,1, so it is given these",)


def test_a_model_without_layers_is_timed_at_its_tensors(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(save_signatures(tmp_path / "model", outputs=2))
    assert main(["inspect-model", path, f"--input={few}", "--input_range=0,1", "--layer=means"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"outputs, for --layer\n  name +shape +ms up to here\n", text)
    assert re.search(r"  means +\[3\] +\d+\.\d\d\n", text)
    assert re.search(r"  Max +\[3\] +\d+\.\d\d\n", text)


def test_examples_to_time_on_that_cannot_be_decoded(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(b"no image")
    path = str(save_signatures(tmp_path / "model"))
    with pytest.raises(InputError, match="Expected examples to time the model on"):
        beam_job.inspect_model(path, input=str(tmp_path / "images/*.png"), input_range="0,1")


def test_mistakes_are_reported_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect-model", "/no/where"]) == 2
    assert main(["inspect-model", "keras:MobileNetV2", "--weights=none", "--layer=nothing"]) == 2
    assert main(["inspect-model", "efficientnet-lite0", "--imag_size=3"]) == 2
    assert main(["inspect-model", "efficientnet-lite0", "--layer=a:b"]) == 2
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith("beam-job: ")
    with pytest.raises(UsageError, match="did you mean 'image_size'"):
        beam_job.inspect_model("efficientnet-lite0", image_sise=3)
    with pytest.raises(ModelError):
        beam_job.inspect_model("/no/where")
