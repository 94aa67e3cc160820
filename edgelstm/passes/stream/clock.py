"""How a value relates to time while a graph is rewritten to one step."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgelstm.errors import StreamError
from edgelstm.graph.ir import Node, TensorType

Firing = tuple[int, int]  # (stride, first): at readings first, first + stride, first + 2 stride...


@dataclass(frozen=True, slots=True)
class Clock:
    """How a value relates to time.

    Attributes:
        axis: the axis that runs over time, of size 1 in a step; None when there is none.
        stride, first: element j is known when reading first + j * stride has come.
        tail: elements at the end of the whole sequence's value that need its end; a stream never gives them.
        past: the axis that holds all elements so far, of the history's capacity in a step.
        masked: elements of `past` later than those of `axis` hold values that softmax turns into 0.
        settled: elements of `past` that have not come yet hold 0.
        end: it depends on where the sequence ends, as the stream so far does.
    """

    axis: int | None = None
    stride: int = 1
    first: int = 0
    tail: int = 0
    past: int | None = None
    masked: bool = False
    settled: bool = False
    end: bool = False

    @property
    def firing(self) -> Firing:
        """When it is known."""
        return self.stride, self.first

    @property
    def still(self) -> bool:
        """It has nothing to do with time."""
        return self.axis is None and self.past is None and not self.end

    def on(self, axis: int | None, past: int | None = None) -> Clock:
        """The same moments, on other axes."""
        return replace(self, axis=axis, past=past)


STILL = Clock()


@dataclass(frozen=True, slots=True)
class Item:
    """A value of the step graph that stands for one of the whole graph.

    Attributes:
        name: its name in the step graph; "" for a table, which has none yet.
        clock: how it relates to time.
        kind: the type of the whole graph's value, T symbolic.
        table: it does not depend on any input, but on T: this is its name in the whole graph.
    """

    name: str
    clock: Clock
    kind: TensorType
    table: str = ""


def refuse(node: Node, reason: str) -> StreamError:
    """The refusal of one node, with the ways out."""
    return StreamError(
        f"{node.where} {reason}, so this model cannot be streamed as it is: use predict() on whole sequences, "
        "stream(window=n) over the last n readings, or stream(lookahead=k) where the future of k readings is enough"
    )
