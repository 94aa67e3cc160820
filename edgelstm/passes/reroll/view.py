"""Views: what slicing, transposing and reshaping make of a value, in one normal form.

Exporters move a cell's operands about in many ways that mean the same. A view says which part of a value
is meant and how its axes are arranged, so that two views are equal exactly where the moves are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgelstm.graph.dims import Dim, Shape, product
from edgelstm.graph.ir import Node, TensorType


@dataclass(frozen=True, slots=True)
class Pick:
    """What is taken of one axis: `count` entries from `start` on, or the entry `start` alone where count is None."""

    start: Dim
    count: Dim | None
    step: int = 1

    @property
    def size(self) -> Dim:
        """Number of entries."""
        return 1 if self.count is None else self.count


@dataclass(frozen=True, slots=True)
class View:
    """Part of a value.

    Attributes:
        root: the value.
        picks: one for each axis of the root.
        axes: for each axis of the view, the axes of the root that it runs over, outermost first; none for a size of 1.
    """

    root: str
    picks: tuple[Pick, ...]
    axes: tuple[tuple[int, ...], ...]

    @property
    def shape(self) -> Shape:
        """Sizes of the view's axes."""
        return tuple(product(self.picks[axis].size for axis in group) for group in self.axes)

    @property
    def core(self) -> View:
        """The same view without its axes of size 1: equal for all views of the same entries in the same order."""
        return replace(self, axes=tuple(group for group in self.axes if group))

    @property
    def order(self) -> tuple[int, ...]:
        """The axes of the root in the order in which the view runs over them."""
        return tuple(axis for group in self.axes for axis in group)

    @property
    def width(self) -> Dim:
        """Size of the last axis."""
        return self.shape[-1]

    def sliced(self, axis: int, start: Dim, count: Dim, step: int = 1) -> View | None:
        """`count` entries of an axis; None where that is no view."""
        group = self.axes[axis]
        if not group:
            return self if (start, count) == (0, 1) else None
        if len(group) > 1:
            whole = count == self.shape[axis] and start == 0 and step == 1
            return self if whole else None
        pick = self.picks[group[0]]
        taken = Pick(pick.start + start * pick.step, count, step * pick.step)
        axes = list(self.axes)
        if count == 1:
            taken = Pick(taken.start, None)
            axes[axis] = ()
        picks = (*self.picks[: group[0]], taken, *self.picks[group[0] + 1 :])
        return replace(self, picks=picks, axes=tuple(axes))

    def transposed(self, perm: Sequence[int]) -> View:
        """The axes in another order."""
        return replace(self, axes=tuple(self.axes[axis] for axis in perm))

    def reshaped(self, shape: Shape) -> View | None:
        """The entries in another shape; None where an axis of the root would have to be split."""
        rest = [(axis, self.picks[axis].size) for axis in self.order]
        axes: list[tuple[int, ...]] = []
        for size in shape:
            group: list[int] = []
            total: Dim = 1
            while total != size and rest:
                axis, more = rest.pop(0)
                group.append(axis)
                total = total * more
            if total != size:
                return None
            axes.append(tuple(group))
        return None if rest else replace(self, axes=tuple(axes))

    def through(self, inner: View) -> View | None:
        """This view of a value that is itself the view `inner`: one view of inner's root."""
        found: View | None = inner
        for axis, pick in enumerate(self.picks):
            if found is not None:
                found = found.sliced(axis, pick.start, pick.size, pick.step)
        if found is None:
            return None
        if any(found.axes[axis] for axis, pick in enumerate(self.picks) if pick.count is None):
            return None
        groups = tuple(tuple(axis for outer in group for axis in found.axes[outer]) for group in self.axes)
        return replace(found, axes=groups)


def whole(name: str, kind: TensorType) -> View:
    """The view of all of a value."""
    picks = tuple(Pick(0, None) if size == 1 else Pick(0, size) for size in kind.shape)
    return View(name, picks, tuple(() if size == 1 else (axis,) for axis, size in enumerate(kind.shape)))


def moved(node: Node, view: View, kind: TensorType) -> View | None:
    """What a node that only moves entries makes of a view; None where the result is no view of the root.

    Args:
        node: identity, reshape, slice or transpose.
        view: of the node's input, in the input's shape.
        kind: of the node's output.
    """
    if node.op == "identity":
        return view
    if node.op == "reshape":
        return view.reshaped(kind.shape)
    if node.op == "transpose":
        return view.transposed(node.attrs["perm"])  # type: ignore[arg-type]
    found: View | None = view
    lists = [node.attrs[name] for name in ("axes", "starts", "steps")]
    for axis, start, step in zip(*lists, strict=True):
        position = axis % kind.rank
        found = None if found is None else found.sliced(position, start, kind.shape[position], step)
    return found


MOVES = ("identity", "reshape", "slice", "transpose")
