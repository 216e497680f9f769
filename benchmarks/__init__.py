"""The benchmarks of beam_job, run by `make bench`."""
