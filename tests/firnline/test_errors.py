import pickle

from firnline.errors import ContractError, EvidenceError, FirnlineError


def test_an_error_says_what_where_and_how_to_mend() -> None:
    error = ContractError("C02", found="no column x", where="a.csv", mend="add it")

    assert str(error) == "[C02] a.csv: no column x. To mend: add it"
    assert error.document()["family"] == "ContractError"


def test_an_error_survives_pickling() -> None:
    error = EvidenceError("E1", found="f", where="w", mend="m")

    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  Our own bytes.

    assert type(copy) is EvidenceError
    assert copy.document() == error.document()
    assert isinstance(copy, FirnlineError)
