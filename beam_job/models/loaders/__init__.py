"""Model loaders: from files to a callable model in this process."""
