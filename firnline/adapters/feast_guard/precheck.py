"""Checks all that an apply would do before any of it is done.

Feast writes object by object, each in a transaction of its own, and changes the online store in
between. A refusal halfway would leave half. So the whole set is looked at first, deletions
included, once Feast has inferred what the definitions leave out. The registry's own guard stands
behind this and would refuse as well.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from firnline.adapters.feast_guard.meaning import Meaning, meaning
from firnline.adapters.feast_guard.rules import Key, Rules, check, check_one, closure, key_of
from firnline.adapters.feast_guard.stamp import stamp
from firnline.contracts.breach import Breach, refuse
from firnline.errors import HandshakeError

# Everything below leans on how this one applies.
FEAST = "0.67."
_MARK = "_firnline"
_WHERE = "feast apply"
_DELETE = "DELETE"
_WRITES = (
    "apply_data_source", "apply_entity", "apply_feature_service", "apply_feature_view",
    "apply_materialization", "apply_permission", "apply_project", "apply_saved_dataset",
    "apply_user_metadata", "apply_validation_reference", "delete_data_source", "delete_entity",
    "delete_feature_service", "delete_feature_view", "delete_label_view", "delete_permission",
    "delete_saved_dataset", "delete_validation_reference", "update_infra",
)  # fmt: skip
_REMOVALS = ("delete_project", "teardown")


@dataclass
class _Plan:
    """An apply that is under way, until its definitions are complete and checked."""

    store: Any
    deletes: list[Any]
    open: bool = True


_plan: ContextVar[_Plan | None] = ContextVar("firnline_plan", default=None)


def install() -> None:
    """Stand before Feast's own methods; once a process, however often it is called.

    Raises:
        HandshakeError: G11 when another Feast is installed than the one this is written for.
    """
    import feast
    from feast.feature_store import FeatureStore
    from feast.infra.registry.sql import SqlRegistry

    if hasattr(FeatureStore, _MARK):
        return
    if not feast.__version__.startswith(FEAST):
        raise HandshakeError(
            "G11",
            found=f"Feast {feast.__version__}",
            where="the guard of published features",
            mend=f"install the Feast that firnline pins ({FEAST}x)",
        )
    setattr(FeatureStore, _MARK, FEAST)
    for owner, name, wrapper in (
        (FeatureStore, "apply", _applying),
        (FeatureStore, "_make_inferences", _inferring),
        (FeatureStore, "_apply_diffs", _applying_diffs),
        (FeatureStore, "teardown", _tearing_down),
        *((SqlRegistry, name, _writing) for name in _WRITES),
        (SqlRegistry, "apply_feature_view", _looking),
        *((kind, "apply_feature_view", _stamping) for kind in _registries()),
        *((SqlRegistry, name, _removing) for name in _REMOVALS),
    ):
        setattr(owner, name, wrapper(getattr(owner, name)))


def _registries() -> list[Any]:
    from feast.infra.registry.registry import Registry
    from feast.infra.registry.sql import SqlRegistry

    if find_spec("grpc") is None:
        return [SqlRegistry, Registry]
    from feast.infra.registry.remote import RemoteRegistry

    return [SqlRegistry, Registry, RemoteRegistry]


def breaches_of(store: Any, applies: Iterable[Any], deletes: Iterable[Any]) -> list[Breach]:
    """Every rule that a set of definitions would break.

    Args:
        store: Feast's FeatureStore.
        applies: Feast objects that would be registered, their inferences made.
        deletes: Those that would be removed.
    """
    rules, before = _state(store)
    after = dict(before)
    for item in deletes:
        after.pop(key_of(_meaning(item)), None)
    for item in applies:
        wanted = _meaning(item)
        after[key_of(wanted)] = wanted
    return check(rules, before, after)


def _state(store: Any) -> tuple[Rules, dict[Key, Meaning]]:
    """The rules that hold for a store's registry, and all that it holds."""
    guard = _guard(store.registry)
    if guard is not None:
        state: tuple[Rules, dict[Key, Meaning]] = guard.state(store.project)
        return state
    from firnline.adapters.feast_guard.sql_plugin import DEFAULT_LOCK, lines_of

    keeper = getattr(store.registry, "_registry_store", None)
    if keeper is not None and hasattr(keeper, "state"):
        kept: tuple[Rules, dict[Key, Meaning]] = keeper.state(store.project)
        return kept
    # A server keeps its own record, and the lock tells most of it beforehand.
    rules = Rules(lines_of([Path(store.repo_path or ".") / DEFAULT_LOCK]))
    if not rules.lines:
        return rules, {}
    held = _registered(store.registry.proto(), store.project)
    return Rules(rules.lines, closure(rules, held)), held


def _registered(registry: Any, project: str) -> dict[Key, Meaning]:
    found: dict[Key, Meaning] = {}
    for name in (
        "feature_views", "stream_feature_views", "on_demand_feature_views", "label_views",
        "feature_services", "entities", "data_sources",
    ):  # fmt: skip
        for message in getattr(registry, name):
            if getattr(message, "spec", message).project == project:
                record = meaning(message)
                found.setdefault(key_of(record), record)
    return found


def _meaning(item: Any) -> Meaning:
    return meaning(item.to_proto() if hasattr(item, "to_proto") else item)


def _guard(registry: Any) -> Any:
    """The guard of a SQL registry; None for any other."""
    from firnline.adapters.feast_guard.sql_plugin import guard_of

    engine = getattr(registry, "write_engine", None)
    return guard_of(engine) if engine is not None else None


def _alone(registry: Any) -> Any:
    guard = _guard(registry)
    return guard.alone() if guard is not None else nullcontext()


def _applying(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def apply(
        self: Any,
        objects: Any,
        objects_to_delete: Any = None,
        partial: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        deletes = [] if partial else list(objects_to_delete or [])
        with _alone(self.registry), _planned(_Plan(self, deletes)):
            return original(self, objects, objects_to_delete, partial, *args, **kwargs)

    return apply


@contextmanager
def _planned(plan: _Plan) -> Iterator[None]:
    token = _plan.set(plan)
    try:
        yield
    finally:
        _plan.reset(token)


def _inferring(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def make_inferences(self: Any, *groups: Any, **named: Any) -> Any:
        result = original(self, *groups, **named)
        for group in (*groups, *named.values()):
            for item in group:
                stamp(item)
        plan = _plan.get()
        if plan is not None and plan.store is self and plan.open:
            plan.open = False
            applies = [item for group in (*groups, *named.values()) for item in group]
            refuse(breaches_of(self, applies, plan.deletes), _WHERE)
        return result

    return make_inferences


def _applying_diffs(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def apply_diffs(self: Any, registry_diff: Any, *args: Any, **kwargs: Any) -> Any:
        with _alone(self.registry):
            diffs = [diff for diff in registry_diff.feast_object_diffs if _is_published_kind(diff)]
            goes = [diff.transition_type.name == _DELETE for diff in diffs]
            deletes = [
                diff.current_feast_object for diff, gone in zip(diffs, goes, strict=True) if gone
            ]
            applies = [
                diff.new_feast_object
                for diff, gone in zip(diffs, goes, strict=True)
                if not gone and diff.new_feast_object is not None
            ]
            for item in applies:
                stamp(item)
            refuse(breaches_of(self, applies, deletes), _WHERE)
            return original(self, registry_diff, *args, **kwargs)

    return apply_diffs


def _is_published_kind(diff: Any) -> bool:
    return diff.feast_object_type.name not in ("PROJECT", "PERMISSION")


def _tearing_down(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def teardown(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _alone(self.registry):
            rules, _ = _state(self)
            refuse(_all_would_go(rules.published), "feast teardown")
            return original(self, *args, **kwargs)

    return teardown


def _writing(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def write(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _alone(self):
            return original(self, *args, **kwargs)

    return write


def _looking(original: Callable[..., Any]) -> Callable[..., Any]:
    """Applies one view of a SQL registry, once it may be written as it is.

    Feast compares views with their features in no order, and writes nothing where only the order
    is another: the guard behind would never be asked.
    """

    @wraps(original)
    def apply_feature_view(
        self: Any, feature_view: Any, project: str, *args: Any, **kwargs: Any
    ) -> Any:
        guard = _guard(self)
        if guard is None:
            return original(self, feature_view, project, *args, **kwargs)
        with guard.alone():
            rules, held = guard.state(project)
            wanted = _meaning(feature_view)
            if key_of(wanted) in rules.published:
                refuse(check_one(rules, key_of(wanted), wanted, held), "Feast's registry")
            return original(self, feature_view, project, *args, **kwargs)

    return apply_feature_view


def _stamping(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def apply_feature_view(self: Any, feature_view: Any, *args: Any, **kwargs: Any) -> Any:
        stamp(feature_view)
        return original(self, feature_view, *args, **kwargs)

    return apply_feature_view


def _removing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Removes a project, or everything: nothing of it when something in it is published."""

    @wraps(original)
    def remove(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _alone(self):
            guard = _guard(self)
            if guard is not None:
                from firnline.adapters.feast_guard.sql_state import published

                name = args[0] if args else kwargs.get("name")
                held = {row.key: row.meaning for row in published(self.write_engine, name)}
                refuse(_all_would_go(held), "Feast's registry")
            return original(self, *args, **kwargs)

    return remove


def _all_would_go(published: Mapping[Key, Meaning]) -> list[Breach]:
    if not published:
        return []
    names = ", ".join(str(key) for key in sorted(published))
    return [
        Breach(
            "G2",
            f"published versions would be removed: {names}",
            "the whole registry",
            "keep it; delete drafts by name, or start another registry beside it",
        )
    ]
