"""What every room may know: values, names, options, errors, hashes. Imports nothing of this package but itself."""
