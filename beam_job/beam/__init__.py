"""The Beam layer: wires the heart into a pipeline, and runs it."""
