"""How a model is run: a batch of pixels in, named float32 arrays out."""

from beam_job.engines.base import DEFAULT_ENGINE, Engine, load_engine

__all__ = ["DEFAULT_ENGINE", "Engine", "load_engine"]
