import json
from pathlib import Path

import pytest

import beam_job
from beam_job.cli.main import main
from beam_job.core.errors import ModelError, UsageError
from tests.support.small_models import save_signatures

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
        "size [160, 160]",
        "input_range [-1.0, 1.0]",
        "2,257,984",
        "feature [1280]",
        "out_relu  [5, 5, 1280]",
    ):
        assert expected in text
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["outputs"]["block_1_expand"] == [80, 80, 96]
    assert len(report["digest"]) == 64


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
