"""Files that hold many examples: tar, zip and Parquet."""
