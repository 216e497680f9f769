"""Where images come from: each source lists refs, never pixels, in units that can be listed side by side."""

from beam_job.sources.base import Source, all_refs, open_source

__all__ = ["Source", "all_refs", "open_source"]
