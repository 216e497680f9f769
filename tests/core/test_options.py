import json
from typing import Any

import pytest

from beam_job.core.errors import UsageError
from beam_job.core.options import ExtractOptions, extract_fields
from beam_job.core.values import ImageSize, SplitFractions, ValueRange


def test_text_and_typed_values_are_equivalent() -> None:
    text = ExtractOptions.of(
        input="i", output="o", image_size="160", input_range="-1,1", splits="train=0.9,test=0.1", num_shards="3"
    )
    typed = ExtractOptions.of(
        input="i",
        output="o",
        image_size=ImageSize(160, 160),
        input_range=ValueRange(-1, 1),
        splits=SplitFractions((("train", 0.9), ("test", 0.1))),
        num_shards=3,
    )
    assert text == typed


def test_flat_values_round_trip_through_json() -> None:
    options = ExtractOptions.of(input="i", output="o", image_size="160x224", splits="a=0.5,b=0.5", overwrite="true")
    assert ExtractOptions.of(**json.loads(json.dumps(options.flat()))) == options


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"output": "o"}, "--input is required"),
        ({"input": "i"}, "--output is required"),
        ({"image_sise": "224"}, "no option 'image_sise'; did you mean 'image_size'?"),
        ({"image_size": "0"}, "--image_size is written 224|HxW, found '0' (height and width are at least 1)"),
        ({"image_size": "1x2x3"}, "one number, or two"),
        ({"image_size": "big"}, "--image_size is written 224|HxW, found 'big'"),
        ({"input_range": "1,0"}, "the lower one first"),
        ({"input_range": "0"}, "--input_range is written LOW,HIGH"),
        ({"splits": "train=0.8"}, "the shares sum to 0.8, not to 1"),
        ({"splits": "train=0.5,train=0.5"}, "named twice"),
        ({"splits": "all=1"}, "not a valid split name"),
        ({"splits": "a=1.5,b=-0.5"}, "every share is above 0"),
        ({"num_shards": "0"}, "--num_shards is at least 1, found '0'"),
        ({"num_shards": "many"}, "--num_shards is written N, found 'many'"),
        ({"num_shards": True}, "--num_shards is written N"),
        ({"batch_size": "-4"}, "--batch_size is at least 1"),
        ({"max_error_rate": "-0.1"}, "--max_error_rate is at least 0"),
        ({"max_error_rate": "1.5"}, "--max_error_rate is at most 1"),
        ({"max_error_rate": "nan"}, "--max_error_rate"),
        ({"overwrite": "perhaps"}, "--overwrite is written true or false"),
    ],
)
def test_a_wrong_value_is_reported_in_one_sentence(values: dict[str, Any], message: str) -> None:
    complete = (
        values if len(values) == 1 and set(values) <= {"input", "output"} else {"input": "i", "output": "o", **values}
    )
    with pytest.raises(UsageError) as caught:
        ExtractOptions.of(**complete)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_option_has_a_help_text() -> None:
    for _, field in extract_fields():
        assert field.metadata["help"].endswith("."), field.name
        assert field.name == field.name.lower()
        assert "-" not in field.name


def test_what_decides_nothing_in_the_dataset_is_not_recorded() -> None:
    options = ExtractOptions.of(input="in", output="out", read_threads=3, num_shards=4, log_level="info")
    assert options.recorded()["num_shards"] == 4
    assert not {"output", "resume", "read_threads", "log_level", "on"} & set(options.recorded())


def test_a_number_for_a_repeatable_option_is_its_text() -> None:
    """YAML reads ``layer: 5`` as a number."""
    options = ExtractOptions.of(input="in", output="out", layer=5, allowed_roots=[2024])
    assert [str(layer) for layer in options.model.layer] == ["5"]
    assert options.source.allowed_roots == ("2024",)
