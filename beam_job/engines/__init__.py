"""How a model is run: a batch of pixels in, named float32 arrays out."""

from beam_job.engines.base import BATCH_SIZES, Engine, EngineChoice, load_engine
from beam_job.engines.selection import choose_engine

__all__ = ["BATCH_SIZES", "Engine", "EngineChoice", "choose_engine", "load_engine"]
