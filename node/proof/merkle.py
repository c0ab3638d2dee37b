"""The Merkle tree of RFC 6962, 2.1, over the events' hashes, kept as the roots of its full subtrees: an event is added
in constant time on average, and a tree can be taken up again where a signed head left it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256


def nodes_of(leaves: Iterable[bytes]) -> list[bytes]:
    """What the tree keeps of entries: their leaf hashes."""
    return [sha256(b"\x00" + leaf).digest() for leaf in leaves]


class Tree:
    """`size` leaves; `peaks`: the roots (32 bytes each) of the full subtrees that these make, largest first."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Raises ValueError where so many peaks cannot belong to so many leaves."""
        if len(peaks) != size.bit_count() or any(len(peak) != 32 for peak in peaks):
            raise ValueError(f"{len(peaks)} subtrees are not those of {size} leaves")
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """What, with `size`, makes the same tree again."""
        return tuple(self._peaks)

    def add(self, nodes: Sequence[bytes]) -> None:
        """Append leaves, given as `nodes_of` makes them; level by level, from the leaves up."""
        level, full, kept = list(nodes), self.size, []
        self.size += len(level)
        while level:
            if full & 1:
                level.insert(0, self._peaks.pop())
            if len(level) & 1:
                kept.append(level.pop())
            pairs = iter(level)
            level = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            full >>= 1
        self._peaks += reversed(kept)

    def root(self) -> bytes:
        """The tree's hash; that of nothing for an empty tree."""
        if not self._peaks:
            return sha256(b"").digest()
        node = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            node = sha256(b"\x01" + peak + node).digest()
        return node


def root_of(names: Iterable[str]) -> str:
    """One digest (hex) for a set of names, such as SOP Instance UIDs: the root of the tree of them in order."""
    tree = Tree()
    tree.add(nodes_of(name.encode() for name in sorted(names)))
    return tree.root().hex()
