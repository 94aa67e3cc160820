"""Embedding entries: token ids (B, T) to rows of a table (tokens, features)."""

from __future__ import annotations

from edgelstm.errors import InputError
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import Entry


def read_table(entry: Entry) -> tuple[str, tuple[int, int]]:
    """The name of the table's role and its shape."""
    role = "embeddings" if entry.layout == "keras" else "weight"
    tokens, features = entry.need(role, (None, None)).shape
    return role, (tokens, features)


def add_embedding(entry: Entry, to: ChainBuilder) -> None:
    """Appends an embedding entry, which must be the first.

    Raises:
        InputError: another layer stands before it, or the array is missing or not 2-D.
    """
    if not to.tokens:
        raise InputError(f"{entry.where}: expected token ids, so an embedding must be the first layer")
    role, (tokens, features) = read_table(entry)
    table = to.constant(f"{entry.label}.table", entry.need(role))
    entry.expect("num_embeddings", tokens, f"array {entry.name_of(role)!r}")
    entry.expect("embedding_dim", features, f"array {entry.name_of(role)!r}")
    (to.value,) = to.node("gather", [table, to.value], entry.label, 1, {"axis": 0})
    to.report.append(f"{entry.label}: Embedding, {tokens} tokens to {features} features")
