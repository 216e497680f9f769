"""The peers: what a user would write or pick, each tuned as its best user would.

Every peer is a program of its own: python -m benchmarks.peers.NAME --images LIST --output DIR --model SAVED_MODEL,
where LIST has a path and a label per line. It writes TFRecords of feature, label and id.
"""
