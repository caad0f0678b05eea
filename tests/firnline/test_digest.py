from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firnline.digest import canonical_json, digest, tree_digest, tree_manifest

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.text(), values, min_size=2))
def test_the_order_of_keys_does_not_count(value: dict[str, object]) -> None:
    turned = dict(reversed(list(value.items())))

    assert digest(turned) == digest(value)


@given(values, values)
def test_equal_digests_mean_equal_json(one: object, other: object) -> None:
    assert (digest(one) == digest(other)) == (canonical_json(one) == canonical_json(other))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_hold_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"value": number})


def test_a_known_digest() -> None:
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_names_count_as_well_as_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"1")
    before = tree_digest(tmp_path)

    (tmp_path / "a" / "one").rename(tmp_path / "a" / "two")

    assert list(tree_manifest(tmp_path)) == ["a/two"]
    assert tree_digest(tmp_path) != before
