"""Numbers of the functions that instructions name: what a row carries instead of a name.

Unary functions take a value and, where listed, `alpha` and `beta`; numbers 1 to 11 are also the
activations of recurrent cells. Functions of integers start at `INTEGER`, so that one comparison
tells on which kind of word a kernel works. Numbers are part of the program format: append only.
"""

from __future__ import annotations

INTEGER = 64  # functions from here on read int32 words (and conversions between the two kinds)

# float32 -> float32
IDENTITY = 0
SIGMOID = 1  # 1 / (1 + e^-x)
TANH = 2
RELU = 3  # max(0, x)
AFFINE = 4  # alpha * x + beta
LEAKY_RELU = 5  # x if x >= 0 else alpha * x
THRESHOLDED_RELU = 6  # x if x >= alpha else 0: the cells' form
SCALED_TANH = 7  # alpha * tanh(beta * x)
HARD_SIGMOID = 8  # max(0, min(1, alpha * x + beta))
ELU = 9  # x if x >= 0 else alpha * (e^x - 1)
SOFTSIGN = 10  # x / (1 + |x|)
SOFTPLUS = 11  # log(1 + e^x)
EXP = 12
LOG = 13
SQRT = 14
NEG = 15
ABS = 16
RECIPROCAL = 17
ERF = 18
THRESHOLDED_RELU_OPERATOR = 19  # x if x > alpha else 0: the operator excludes the threshold
FLOOR = 20
CEIL = 21
ROUND = 22  # ties to even

# int32 -> int32, and conversions
NEG_INT = 64
ABS_INT = 65
NOT = 66  # bool -> bool
FLOAT_TO_INT = 67  # toward zero, saturating, NaN gives 0
FLOAT_TO_UINT8 = 68  # toward zero, saturating at 0 and 255, NaN gives 0
FLOAT_TO_BOOL = 69  # anything but +-0 is true
INT_TO_FLOAT = 70
INT_TO_UINT8 = 71  # modulo 256
INT_TO_BOOL = 72

UNARY: dict[str, int] = {
    "identity": IDENTITY,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "relu": RELU,
    "affine": AFFINE,
    "leaky_relu": LEAKY_RELU,
    "thresholded_relu": THRESHOLDED_RELU_OPERATOR,
    "scaled_tanh": SCALED_TANH,
    "hard_sigmoid": HARD_SIGMOID,
    "elu": ELU,
    "softsign": SOFTSIGN,
    "softplus": SOFTPLUS,
    "exp": EXP,
    "log": LOG,
    "sqrt": SQRT,
    "neg": NEG,
    "abs": ABS,
    "reciprocal": RECIPROCAL,
    "erf": ERF,
    "floor": FLOOR,
    "ceil": CEIL,
    "round": ROUND,
}
UNARY_INTEGER: dict[str, int] = {"neg": NEG_INT, "abs": ABS_INT, "not": NOT}
CONVERSIONS: dict[tuple[str, str], int] = {  # (kind of the source, kind of the result)
    ("float", "int"): FLOAT_TO_INT,
    ("float", "uint8"): FLOAT_TO_UINT8,
    ("float", "bool"): FLOAT_TO_BOOL,
    ("int", "float"): INT_TO_FLOAT,
    ("int", "uint8"): INT_TO_UINT8,
    ("int", "bool"): INT_TO_BOOL,
}
UNARY_NUMBERS = frozenset({*UNARY.values(), *UNARY_INTEGER.values(), *CONVERSIONS.values()})

# The activations of recurrent cells, by the name of the operator that they are: all that ONNX lists.
ACTIVATIONS: dict[str, int] = {
    **{name: code for name, code in UNARY.items() if IDENTITY < code <= SOFTPLUS},
    "thresholded_relu": THRESHOLDED_RELU,
}


def activation(name: str) -> int:
    """The number of a cell's activation, from an operator's name or as ONNX spells it (`HardSigmoid`).

    Raises:
        KeyError: there is no such activation.
    """
    wanted = name.replace("_", "").lower()
    for known, number in ACTIVATIONS.items():
        if known.replace("_", "") == wanted:
            return number
    raise KeyError(name)


# Binary functions on float32. Comparisons give a bool word.
ADD = 0
SUB = 1
MUL = 2
DIV = 3
POW = 4
MAXIMUM = 5
MINIMUM = 6
EQUAL = 7
LESS = 8
GREATER = 9

# Binary functions on int32 (AND, OR on bool). Sums, differences and products are modulo 2**32.
ADD_INT = 64
SUB_INT = 65
MUL_INT = 66
DIV_INT = 67  # toward zero; by zero gives 0
MAXIMUM_INT = 69
MINIMUM_INT = 70
EQUAL_INT = 71
LESS_INT = 72
GREATER_INT = 73
AND = 74
OR = 75

BINARY: dict[str, int] = {
    "add": ADD,
    "sub": SUB,
    "mul": MUL,
    "div": DIV,
    "pow": POW,
    "maximum": MAXIMUM,
    "minimum": MINIMUM,
    "equal": EQUAL,
    "less": LESS,
    "greater": GREATER,
}
BINARY_INTEGER: dict[str, int] = {
    "add": ADD_INT,
    "sub": SUB_INT,
    "mul": MUL_INT,
    "div": DIV_INT,
    "maximum": MAXIMUM_INT,
    "minimum": MINIMUM_INT,
    "equal": EQUAL_INT,
    "less": LESS_INT,
    "greater": GREATER_INT,
    "and": AND,
    "or": OR,
}
BINARY_NUMBERS = frozenset({*BINARY.values(), *BINARY_INTEGER.values()})

# Reductions, on float32 and on int32.
SUM = 0
MEAN = 1
PROD = 2
MAX = 3
MIN = 4
SUM_INT = 64
PROD_INT = 66
MAX_INT = 67
MIN_INT = 68

REDUCE: dict[str, int] = {"sum": SUM, "mean": MEAN, "prod": PROD, "max": MAX, "min": MIN}
REDUCE_INTEGER: dict[str, int] = {"sum": SUM_INT, "prod": PROD_INT, "max": MAX_INT, "min": MIN_INT}
REDUCE_NUMBERS = frozenset({*REDUCE.values(), *REDUCE_INTEGER.values()})
