"""The product that makes the logits of a graph."""

import onnx

LOGITS = "logits"
ON_EACH = ("Add", "Cast", "Div", "Identity", "Mul", "ScatterND", "Tanh")  # what is done to each logit
MADE_BY = ("MatMul", "Gemm", *ON_EACH)


def head_of(graph: onnx.GraphProto) -> str:
    """What the product gives that makes the logits; a bias, a scale or their places may come after it.

    Empty where there is none.
    """
    makers = {name: node for node in graph.node for name in node.output}
    name = LOGITS
    while name in makers and makers[name].op_type in ON_EACH:
        name = next((one for one in makers[name].input if one in makers and makers[one].op_type in MADE_BY), "")
    return name
