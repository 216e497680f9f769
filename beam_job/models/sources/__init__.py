"""Model sources: from a handle to files on this machine."""
