import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from edge.agent.config import Scoring
from edge.agent.listen import Listener


def listening(
    path: Path,
    answer: Callable[[Sequence[bytes]], Awaitable[list[dict[str, Any]]]],
    act: Callable[[], Awaitable[None]],
) -> list[dict[str, Any]]:
    """What asyncio complains of while a listener for one caller runs and something is done."""
    complaints: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        listener = Listener(path, Scoring(connections=1), answer)
        await listener.open()
        await act()
        await listener.close()

    asyncio.run(run())
    return complaints


def test_many_lines_at_once_leave_others_their_turn(tmp_path: Path) -> None:
    path, sizes = tmp_path / "s", []

    async def answer(lines: Sequence[bytes]) -> list[dict[str, Any]]:
        sizes.append(len(lines))
        return [{"id": line.decode()} for line in lines]

    async def act() -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"".join(b"%d\n" % n for n in range(300)))
        found = [json.loads(await reader.readline())["id"] for _ in range(300)]
        assert found == [str(n) for n in range(300)]
        writer.close()

    assert not listening(path, answer, act)
    assert max(sizes) <= 64


def test_a_caller_whose_rows_end_in_an_error_leaves_its_place(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def answer(lines: Sequence[bytes]) -> list[dict[str, Any]]:
        if lines[0] == b"bad":
            raise OSError("a disk that cannot be read")
        return [{"id": "good"}]

    async def act() -> None:
        for line, wanted in ((b"bad\n", b""), (b"good\n", b'{"id": "good"}\n')):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(line)
            assert (
                await reader.read(100) == wanted
                if not wanted
                else (await reader.readline() == wanted)
            )
            writer.close()

    (complaint,) = listening(path, answer, act)
    assert isinstance(complaint["exception"], OSError)
