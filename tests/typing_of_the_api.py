"""Calls of the API that mypy must accept, and calls that it must reject. An unused ignore is an error."""

from __future__ import annotations

import beam_job


def accepted() -> None:
    run = beam_job.extract("in", "out", image_size=224, input_range="0,1", layer=["default:avg"], decode="fast")
    beam_job.extract("in", "out", splits=beam_job.SplitFractions((("train", 1.0),)), beam_options=["--runner=X"])
    beam_job.train_head(run.output, hidden=0, watch=print)
    beam_job.plan("in", "out", model="efficientnet-lite0").total.bit_length()
    beam_job.inspect_model("m", image_size=beam_job.ImageSize(224, 224))
    beam_job.report("out", sample=100)
    beam_job.samples("photos", examples_per_class=3)


def rejected() -> None:
    beam_job.extract("in", "out", image_sise=224)  # type: ignore[call-arg]
    beam_job.extract("in", "out", batch_size="many")  # type: ignore[arg-type]
    beam_job.extract("in", "out", decode="quick")  # type: ignore[arg-type]
    beam_job.train_head("out", epochs=None)  # type: ignore[arg-type]
    beam_job.report("out", model="m")  # type: ignore[call-arg]
