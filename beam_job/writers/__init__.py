"""Output formats: how a record is packed and how packed records are framed in a file."""
