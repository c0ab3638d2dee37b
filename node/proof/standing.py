"""The tree heads in the database, and the log beyond the last of them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import sqlalchemy as sa

from node import audit, schema
from node.proof.heads import Head
from node.proof.merkle import Tree, nodes_of


@dataclass(frozen=True)
class Standing:
    """The log up to an event: its tree, and the hash of that event."""

    tree: Tree
    last_hash: str


def there(connection: sa.Connection) -> bool:
    """Whether the database has tree heads at all: one of an earlier schema has not."""
    return sa.inspect(connection).has_table(schema.heads.name)


def heads(connection: sa.Connection) -> list[Head]:
    """All heads, oldest first."""
    if not there(connection):
        return []
    t = schema.heads.c
    rows = connection.execute(sa.select(t.size, t.timestamp, t.root, t.key, t.signature).order_by(t.size))
    return [Head(*row) for row in rows]


def last(connection: sa.Connection, purged: bool = False) -> sa.Row[tuple[int, ...]] | None:
    """The row of the newest head; `purged`: of those under which the events are gone."""
    query = sa.select(schema.heads).order_by(schema.heads.c.size.desc()).limit(1)
    return connection.execute(query.where(schema.heads.c.purged_at.is_not(None)) if purged else query).first()


def taken_up(row: sa.Row[tuple[int, ...]] | None) -> Standing:
    """The log as a head's row left it; the empty log where there is none. Raises audit.Broken where the row's subtrees
    are not those of its root."""
    if row is None:
        return Standing(Tree(), audit.GENESIS)
    try:
        tree = Tree(row.size, [bytes.fromhex(peak) for peak in json.loads(row.peaks)])
    except (ValueError, TypeError):
        tree = Tree()
    if tree.root().hex() != row.root:
        raise audit.Broken(row.size, f"the head of {row.size} events was changed in the database")
    return Standing(tree, row.last_hash)


def now(connection: sa.Connection) -> Standing:
    """The whole log, checked from the last head on. Raises audit.Broken."""
    return onward(connection, taken_up(last(connection)))


def onward(connection: sa.Connection, begin: Standing, until: int | None = None) -> Standing:
    """The log from where it stood up to an event (None: the last one), checked. Raises audit.Broken."""
    tree, previous = begin.tree, begin.last_hash
    for leaves in audit.walk(connection, tree.size, previous, until):
        tree.add(nodes_of(leaves))
        previous = leaves[-1].hex() if leaves else previous
    return Standing(tree, previous)
