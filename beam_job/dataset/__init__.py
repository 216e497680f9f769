"""The dataset on disk: labels, commits, error rows, reading, verification."""
