"""What a view's function reaches, written into the view: Feast's registry would not know.

Feast pickles a function of an importable module by its name, so its helpers and constants never
reach the registry, and a change in one would be no change to it. A definition is therefore
stamped, before it is written, with the digest of everything of ours that its function reaches.
"""

from typing import Any

from firnline.contracts.source import transformation
from firnline.digest import digest
from firnline.errors import HandshakeError

REACHES = "firnline.reaches"


def stamp(view: Any) -> None:
    """Note in a view's tags what its function reaches.

    A view that comes out of a registry keeps the stamp it has: what was published is what its
    code was then. A function without a module of its own is pickled whole, and needs none.

    Args:
        view: A Feast view, or any other object, which is left as it is.
    """
    function = _function(view)
    tags = getattr(view, "tags", None)
    if function is None or not isinstance(tags, dict) or REACHES in tags:
        return
    try:
        reached = transformation(function, decorated=True)
    except HandshakeError:
        return
    # A dict of its own: definitions may share the one they were given.
    view.tags = {**tags, REACHES: digest(reached)}


def _function(view: Any) -> Any:
    made = getattr(view, "feature_transformation", None)
    return getattr(made, "udf", None) or getattr(view, "udf", None)
