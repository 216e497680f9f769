import pytest

from beam_job.engines.base import ENGINES
from beam_job.errors import UsageError
from tests.engines.contract import EngineContract


class TestTensorFlow(EngineContract):
    name = "tensorflow"


def test_every_engine_keeps_the_contract() -> None:
    assert {member.name for member in EngineContract.__subclasses__()} == set(ENGINES)


def test_an_unknown_engine_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="found 'tensorflo'; did you mean 'tensorflow'"):
        ENGINES.get("tensorflo")
