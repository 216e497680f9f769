"""The peers: the alternatives that a user would write or choose, tuned as an expert would.

Every peer is a separate program: python -m benchmarks.peers.NAME --images LIST --output DIR --model SAVED_MODEL, where
LIST has a path and a label per line. It writes TFRecords of feature, label and id.
"""
