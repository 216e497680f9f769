"""Log messages of the local runner's worker processes, which Beam logs here as the text of protocol buffers."""

from __future__ import annotations

import logging

_PACKAGE = "beam_job"
# What BeamFnLoggingServicer in apache_beam/runners/portability/local_job_service.py logs to, and how it begins.
_BEAM_LOGGER = logging.getLogger("apache_beam.runners.portability.local_job_service")
_BEAM_PREFIX = "Worker: "
logger = logging.getLogger(f"{_PACKAGE}.worker")


class _WorkerMessages(logging.Filter):
    """Takes the log entries of workers out of Beam's log, and logs those of this package as its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        from apache_beam.portability.api import beam_fn_api_pb2
        from google.protobuf import text_format

        if not record.getMessage().startswith(_BEAM_PREFIX):
            return True
        try:
            entry = text_format.Parse(record.getMessage().removeprefix(_BEAM_PREFIX), beam_fn_api_pb2.LogEntry())
        except text_format.ParseError:
            return True
        if f"/{_PACKAGE}/" in entry.log_location:
            logger.log(record.levelno, "%s", "\n".join(filter(None, (entry.message, entry.trace))))
        return False


def forward_worker_logs() -> None:
    """Logs the messages of the local runner's worker processes as those of this process, at the same level."""
    if not any(isinstance(found, _WorkerMessages) for found in _BEAM_LOGGER.filters):
        _BEAM_LOGGER.addFilter(_WorkerMessages())
    _BEAM_LOGGER.setLevel(logger.getEffectiveLevel())
