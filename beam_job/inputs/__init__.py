"""Inputs: each lists example refs, never contents, in units that can be listed in parallel."""
