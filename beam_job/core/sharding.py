"""Pure arithmetic: stable hashes, the split and the shard of an example, and the number of shards.

Nothing here depends on the machine, the runner or the number of workers: the same ids give the same shards everywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

DEFAULT_SPLIT = "train"
# The splits that heads are trained with, and what else each of them is called.
SPLIT_SYNONYMS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
SPLIT_NAMES = frozenset(name for names in SPLIT_SYNONYMS.values() for name in names)
DEFAULT_EXAMPLES_PER_SHARD = 1024
# A small input is cut into up to SMALL_SHARDS shards of at least SMALL_SHARD_EXAMPLES examples, so that a machine with
# many cores has enough units of work.
SMALL_SHARDS = 16
SMALL_SHARD_EXAMPLES = 64

_SPLIT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_HASH_BITS = 64


def stable_hash(text: str, salt: str = "") -> int:
    """A 64-bit hash of ``text`` that is the same in every process (BLAKE2b, RFC 7693).

    Args:
      text: Any text; lone surrogates (names that are not UTF-8) are legal.
      salt: Up to 16 bytes as UTF-8 that make an independent hash.

    Returns:
      An integer in [0, 2**64).
    """
    data = text.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(data, digest_size=_HASH_BITS // 8, salt=salt.encode("utf-8"))
    return int.from_bytes(digest.digest(), "big")


def order_key(example_id: str) -> tuple[int, str]:
    """Sort key of the order within a shard: by stable hash, ties by the id itself."""
    return stable_hash(example_id, "order"), example_id


def shard_index(example_id: str, num_shards: int) -> int:
    """The shard of its split that an example belongs to, in [0, num_shards)."""
    return stable_hash(example_id, "shard") % num_shards


def is_sampled(example_id: str, share: float) -> bool:
    """Whether an example is in a sample of ``share`` of all, in [0, 1]; a larger sample contains a smaller one."""
    return bool(stable_hash(example_id, "sample") < share * 2**_HASH_BITS)


def is_split_name(name: str) -> bool:
    """Whether a name is valid for a split: a letter, then letters, digits, underscores; TFDS reserves ``all``."""
    return bool(_SPLIT_NAME.fullmatch(name)) and name != "all"


def assign_split(key: str, fractions: Mapping[str, float], seed: int = 0) -> str:
    """The split of an example, or of a group of examples, by a stable hash.

    Args:
      key: The group, or the id of an example without a group.
      fractions: Split name to its share; the shares are positive and sum to 1. Their order matters.
      seed: Seed of the hash; different seeds give independent splits.

    Returns:
      One of the names in ``fractions``, or ``train`` when that is empty.
    """
    if not fractions:
        return DEFAULT_SPLIT
    position = stable_hash(f"{seed}:{key}", "split") / 2**_HASH_BITS
    upper = 0.0
    for name, fraction in fractions.items():
        upper += fraction
        if position < upper:
            return name
    return name  # rounding may leave the last bound slightly below 1


def default_num_shards(examples: int, examples_per_shard: int = DEFAULT_EXAMPLES_PER_SHARD) -> int:
    """The default number of shards of a split: a function of its number of examples alone.

    >>> [default_num_shards(n) for n in (0, 1, 200, 1_200, 100_000)]
    [0, 1, 4, 16, 98]
    """
    by_size = -(-examples // examples_per_shard)
    by_cores = min(SMALL_SHARDS, -(-examples // SMALL_SHARD_EXAMPLES))
    return max(by_size, by_cores)
