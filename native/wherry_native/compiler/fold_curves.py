"""Float graphs of recurrent cells made smaller: functions of one activation joined into tables.

A function, then another one or one number, is one table for both, read by the function's own
operand; whoever else reads the function keeps it. Only in models with states, so that other
programs stay as they are.
"""

from dataclasses import replace
from typing import Final

from wherry_native.compiler.ir import OPEN, Curve, Graph, Node, pruned
from wherry_native.program import Op

_FUNCTIONS: Final = {Op.TANH: "TANH", Op.LOGISTIC: "LOGISTIC"}


def join_curves(graph: Graph) -> Graph | None:
    """The graph after one change, or None."""
    if not graph.states:
        return None
    producers = {node.output: node for node in graph.nodes}
    for node in graph.nodes:
        producer = producers.get(node.inputs[0])
        if producer is None or graph.tensors[producer.output].quantization is not None:
            continue
        step, before = _curve(graph, node), _curve(graph, producer)
        if step and before:
            joined = replace(node, op=Op.LOOKUP, inputs=producer.inputs[:1], curve=before + step)
            nodes = tuple(joined if other is node else other for other in graph.nodes)
            return pruned(replace(graph, nodes=nodes))
    return None


def _curve(graph: Graph, node: Node) -> Curve:
    """The node as a function of its first operand; empty where it is none."""
    if node.clamp != OPEN:
        return ()
    if node.op is Op.LOOKUP:
        return node.curve
    if node.op in _FUNCTIONS:
        return ((_FUNCTIONS[node.op], 0.0),)
    if node.op not in (Op.MUL, Op.ADD, Op.SUB):
        return ()
    data = graph.tensors[node.inputs[1]].data
    if data is None or data.size != 1:
        return ()
    number = float(data.reshape(-1)[0])
    if node.op is Op.MUL:
        return (("MUL", number),)
    return (("ADD", -number if node.op is Op.SUB else number),)
