"""A tiny model, run by whatever runs models here and by the reference: do they agree?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelstm.runtime.model import Model

TOLERANCE = 1e-5
STEPS = 16


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What came of it.

    Attributes:
        executor: "compiled" or "NumPy".
        error: largest difference from the reference, over all steps; infinite where a prediction is not finite.
    """

    executor: str
    error: float

    @property
    def passed(self) -> bool:
        """Whether the two agree."""
        return self.error <= TOLERANCE


def tiny_model() -> Model:
    """An LSTM of 5 inputs and 7 units with a linear head, its weights drawn at random with a fixed seed."""
    import numpy as np

    from edgelstm.runtime.load import from_arrays

    rng = np.random.default_rng(0)
    shapes = {
        "lstm.weight_ih_l0": (28, 5),
        "lstm.weight_hh_l0": (28, 7),
        "lstm.bias_ih_l0": (28,),
        "lstm.bias_hh_l0": (28,),
        "head.weight": (3, 7),
        "head.bias": (3,),
    }
    return from_arrays({name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()})


def run() -> SelfTest:
    """Steps the tiny model, and evaluates the whole sequence with the reference."""
    import numpy as np

    from edgelstm.graph.bind import bind
    from edgelstm.graph.dims import BATCH, TIME
    from edgelstm.program.reference import Reference
    from edgelstm.runtime.executors import installed_machine

    model = tiny_model()
    readings = np.random.default_rng(1).standard_normal((STEPS, 5)).astype(np.float32)
    stream = model.stream()
    predictions = np.array([stream.step(reading) for reading in readings])
    (name,), (value,) = model.graph.inputs, model.graph.outputs.values()
    reference = Reference(bind(model.graph, {TIME: STEPS, BATCH: 1}))
    expected = reference.values({name: readings[None]})[value].reshape(predictions.shape)
    error = float(np.abs(predictions - expected).max())
    return SelfTest("compiled" if installed_machine() else "NumPy", error if np.isfinite(error) else float("inf"))
