"""The order in which a float graph is rewritten: layers first, then what goes into them."""

from collections.abc import Callable

from edge.quantize.affine import after_layer, before_layers, normalisation
from edge.quantize.graph import Net
from edge.quantize.linear import conv, gemm, padded, pointwise
from edge.quantize.pooling import bounded_first, dropout, mean, pool, total
from edge.quantize.rewrite import rewritten

_PASSES = (
    (dropout, gemm, pointwise, conv, pool, total),
    (padded, after_layer),
    (before_layers,),
    (normalisation,),
    (after_layer, bounded_first),
    (mean,),
)


def simplified(net: Net, inferred: Callable[[Net], Net]) -> Net:
    """The same function, with batch normalisation, biases and padding inside the layers.

    Args:
        net: With shapes.
        inferred: Finds shapes of what is new.
    """
    for rules in _PASSES:
        net = rewritten(net, rules, inferred)
    return net
