"""Attention, taken apart into products, masks and a softmax; and rotary positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgelstm.graph.check import LARGEST_FLOAT
from edgelstm.graph.dims import Dim
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.ops.positions import numbers
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import Known, Value, write_out

_PLAIN = (0, 1)  # softmax_precision: unset, or float32


@handles("Attention", since=23)
def attention(node: OnnxNode) -> Result:
    """softmax(q k' scale + mask) v for every head; keys and values of groups serve several heads."""
    flat = node.rank(node.input(0)) == 3
    heads = [node.attrs.integer(name, 0) for name in ("q_num_heads", "kv_num_heads", "kv_num_heads")]
    if flat != any(heads):
        raise node.refuse("q_num_heads and kv_num_heads belong to inputs of 3 axes, and only to those")
    precision = node.attrs.integer("softmax_precision", 0)
    if precision not in _PLAIN:
        raise node.refuse(f"softmax_precision={precision}: only float32 (1) is supported")
    query, key, value = (_by_head(node, node.input(index), count) for index, count in enumerate(heads))
    past = [node.optional(4), node.optional(5)]
    if (past[0] is None) != (past[1] is None):
        raise node.refuse("past_key and past_value come together")
    before: Dim = 0
    if past[0] is not None and past[1] is not None:
        before = node.shape(past[0])[2]
        key = node.emit_all("concat", [past[0], key], axis=2)[0]
        value = node.emit_all("concat", [past[1], value], axis=2)[0]
    present = [key, value]
    key, value = (_repeated(node, part, node.shape(query)[1]) for part in present)
    raw, capped = _scores(node, query, key)
    scores, allowed = _masked(node, capped, before)
    weights = node.emit("softmax", scores, axis=3)
    if allowed is not None:
        weights = node.emit("where", allowed, weights, node.scalar(0.0, weights))  # rows that see no key
    result = node.emit("matmul", weights, value)
    if flat:
        batch, count, length, size = node.shape(result)
        result = node.reshape(node.transpose(result, (0, 2, 1, 3)), [batch, length, count * size])
    mode = node.attrs.integer("qk_matmul_output_mode", 0)
    stages = [raw, capped, scores, weights]
    if not 0 <= mode < len(stages):
        raise node.refuse(f"qk_matmul_output_mode={mode}: expected 0 to 3")
    return [result, *present, stages[mode]]


def _by_head(node: OnnxNode, x: Value, heads: int) -> Value:
    """(batch, length, heads * size) as (batch, heads, length, size)."""
    if node.rank(x) == 4:
        return x
    if node.rank(x) != 3:
        raise node.refuse(f"expected 3 or 4 axes, got {x.type}")
    batch, length, width = node.shape(x)
    width = node.number(width, "the heads")
    if heads < 1 or width % heads:
        raise node.refuse(f"{heads} heads do not divide {x.type}")
    return node.transpose(node.reshape(x, [batch, length, heads, width // heads]), (0, 2, 1, 3))


def _repeated(node: OnnxNode, x: Value, heads: Dim) -> Value:
    """Every head of a group's keys or values, as often as there are query heads to it."""
    batch, groups, length, size = node.shape(x)
    if groups == heads:
        return x
    heads, groups = (node.number(count, "the groups of heads") for count in (heads, groups))
    if groups == heads:
        return x
    if heads % groups:
        raise node.refuse(f"{groups} heads of keys do not divide {heads} heads of queries")
    apart = node.reshape(x, [batch, groups, 1, length, size])
    wide = node.emit("broadcast", apart, shape=(batch, groups, heads // groups, length, size))
    return node.reshape(wide, [batch, heads, length, size])


def _scores(node: OnnxNode, query: Value, key: Value) -> tuple[Value, Value]:
    """The scaled product of queries and keys, as it is and capped."""
    size = node.number(node.shape(query)[3], "the size of a head")
    scale = node.attrs.number("scale", 1 / math.sqrt(size))
    cap = node.attrs.number("softcap", 0.0)
    scaled = query if scale == 1 else node.emit("mul", query, node.scalar(scale, query))
    raw = node.emit("matmul", scaled, node.transpose(key, (0, 1, 3, 2)))
    return raw, node.emit("scaled_tanh", raw, alpha=cap, beta=1 / cap) if cap > 0 else raw


def _masked(node: OnnxNode, scores: Value, before: Dim) -> tuple[Value, Value | None]:
    """Scores with -inf where a query must not look; and the condition, where a row may be left with nothing."""
    least = node.scalar(-math.inf, scores)
    length, total = node.shape(scores)[2:]
    mask, allowed = node.optional(3), None
    if mask is not None:
        mask = _padded(node, mask, total)
        if mask.type.dtype == "bool":
            allowed = None if _sees_something(node, mask) else mask
            scores = node.emit("where", mask, scores, least)
        else:
            scores = node.emit("add", scores, mask)
    valid = node.optional(6)
    if valid is not None:
        counts = node.reshape(valid, [node.shape(valid)[0], 1, 1, 1])
        known = node.emit("less", numbers(node, total, (total,), valid.type.dtype), counts)
        scores, allowed = node.emit("where", known, scores, least), _both(node, allowed, known)
    bounds = _bounds(node)
    if not any(bound is not None for bound in bounds):
        return scores, allowed
    dtype = "int64" if valid is None else valid.type.dtype
    rows, columns = numbers(node, length, (length, 1), dtype), numbers(node, total, (total,), dtype)
    if valid is not None:
        rows = node.emit("add", rows, node.emit("sub", counts, _size(node, length, valid)))
    elif before != 0:
        rows = node.emit("add", rows, _size(node, before, rows))
    seen: Value | None = None
    ahead, behind = bounds
    if ahead is not None:
        last = rows if ahead == 0 else node.emit("add", rows, node.scalar(ahead, rows))
        seen = node.emit("not", node.emit("greater", columns, last))
    if behind is not None:
        first = node.emit("sub", rows, node.scalar(behind, rows))
        near = node.emit("not", node.emit("less", columns, first))
        seen = near if seen is None else node.emit("and", seen, near)
    assert seen is not None
    if valid is not None or allowed is not None:
        allowed = _both(node, allowed, seen)
    return node.emit("where", seen, scores, least), allowed


def _bounds(node: OnnxNode) -> list[int | None]:
    """How many keys ahead of its own place a query sees, and how many behind."""
    causal = node.attrs.integer("is_causal", 0)
    behind = node.attrs.integer("left_window_size", -1) if node.opset >= 25 else -1
    ahead = node.attrs.integer("right_window_size", -1) if node.opset >= 25 else -1
    if causal:
        ahead = 0
    return [None if bound < 0 else bound for bound in (ahead, behind)]


def _both(node: OnnxNode, a: Value | None, b: Value) -> Value:
    return b if a is None else node.emit("and", a, b)


def _size(node: OnnxNode, size: Dim, like: Value) -> Value:
    """A size as a number to compute with."""
    if isinstance(size, int):
        return node.scalar(size, like)
    return node.slice(numbers(node, size + 1, (size + 1,), like.type.dtype), 0, size, size + 1)


def _padded(node: OnnxNode, mask: Value, total: Dim) -> Value:
    """A mask that is shorter than the keys hides the rest."""
    size, wanted = node.symbols.hint(node.shape(mask)[-1]), node.symbols.hint(total)
    if size is not None and wanted is not None and 1 < size < wanted:
        size, total = node.number(node.shape(mask)[-1], "the mask"), node.number(total, "the mask")
        pads = [0] * (2 * node.rank(mask))
        pads[-1] = total - size
        fill = 0.0 if mask.type.dtype == "bool" else -LARGEST_FLOAT
        return node.emit("pad", mask, pads=tuple(pads), value=fill)
    return mask


def _sees_something(node: OnnxNode, mask: Value) -> bool:
    """Whether a constant mask lets every query see a key."""
    array = write_out(mask, node.symbols) if isinstance(mask, Known) else None
    return array is not None and bool(np.all(np.any(array, axis=-1)))


@handles("RotaryEmbedding", since=23)
def rotary(node: OnnxNode) -> Result:
    """Pairs of features turned by an angle that depends on their position."""
    x, cosine, sine, places = node.input(0), node.input(1), node.input(2), node.optional(3)
    interleaved, rotated = node.attrs.integer("interleaved", 0), node.attrs.integer("rotary_embedding_dim", 0)
    heads = node.attrs.integer("num_heads", 0)
    whole = node.shape(x)
    flat = node.rank(x) == 3
    x = _by_head(node, x, heads) if flat else x
    batch, count, length, size = node.shape(x)
    size = node.number(size, "the size of a head")
    turned = rotated or size
    if turned % 2 or turned > size:
        raise node.refuse(f"rotary_embedding_dim={rotated} does not fit heads of {size} features")
    if places is not None:
        cosine, sine = (node.emit("gather", table, places, axis=0) for table in (cosine, sine))
    cosine, sine = (
        node.reshape(table, [*node.shape(table)[:1], 1, *node.shape(table)[1:]]) for table in (cosine, sine)
    )
    part, rest = node.slice(x, 3, 0, turned), node.slice(x, 3, turned, size)
    if interleaved:
        first, second = (node.slice(part, 3, start, turned, 2) for start in (0, 1))
    else:
        first, second = node.slice(part, 3, 0, turned // 2), node.slice(part, 3, turned // 2, turned)
    real = node.emit("sub", node.emit("mul", first, cosine), node.emit("mul", second, sine))
    imaginary = node.emit("add", node.emit("mul", first, sine), node.emit("mul", second, cosine))
    if interleaved:
        shape: Sequence[Dim] = (batch, count, length, turned // 2, 1)
        pairs = [node.reshape(half, shape) for half in (real, imaginary)]
        joined = node.reshape(node.emit_all("concat", pairs, axis=4)[0], [batch, count, length, turned])
    else:
        joined = node.emit_all("concat", [real, imaginary], axis=3)[0]
    result = joined if turned == size else node.emit_all("concat", [joined, rest], axis=3)[0]
    return node.reshape(node.transpose(result, (0, 2, 1, 3)), list(whole)) if flat else result
