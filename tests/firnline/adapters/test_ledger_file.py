from pathlib import Path

from firnline.adapters.ledger_file import FileLedger
from firnline.decision import Decision


def decision(verdict: str) -> Decision:
    return Decision("shadow", "pump", verdict, "because", ("SH1",), {"pairs": 3}, {"model": "ab"})


def test_decisions_are_kept_in_order_and_once(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path)

    digests = [ledger.append(decision(verdict)) for verdict in ("accept", "reject", "accept")]

    assert [kept["verdict"] for kept in ledger.read("pump")] == ["accept", "reject"]
    assert digests[0] == digests[2] != digests[1]


def test_a_cut_line_is_left_out_and_nothing_else_lost(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path)
    ledger.append(decision("accept"))
    with (tmp_path / "pump.jsonl").open("ab") as file:
        file.write(b'{"kind": "sha')

    ledger.append(decision("reject"))

    assert [kept["verdict"] for kept in ledger.read("pump")] == ["accept", "reject"]


def test_nobody_has_decided_yet(tmp_path: Path) -> None:
    assert FileLedger(tmp_path).read("pump") == []
