import pytest
from hypothesis import given
from hypothesis import strategies as st

from firnline.contracts.spdx import expression

LICENCES = st.sampled_from(["MIT", "Apache-2.0", "GPL-2.0+", "LicenseRef-ours"])
EXPRESSIONS = st.recursive(
    LICENCES | LICENCES.map(lambda name: f"{name} WITH Classpath-exception-2.0"),
    lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
        lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
    ),
    max_leaves=6,
)


@given(EXPRESSIONS)
def test_every_expression_is_taken_as_it_is(text) -> None:
    assert expression(text) == text == expression(f"  {text.replace(' ', '   ')} ")


@pytest.mark.parametrize(
    "text",
    ["", " ", "MIT AND", "AND", "MIT MIT", "(MIT", "MIT)", "()", "a/b", "MIT WITH", "MIT WITH OR",
     "MIT WITH (x)", "LicenseRef-a_b", "-MIT", "MIT\u00a9"],
)  # fmt: skip
def test_what_is_none_is_refused(text) -> None:
    with pytest.raises(ValueError, match="is no SPDX expression"):
        expression(text)
