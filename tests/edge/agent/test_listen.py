import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from edge.agent.config import Scoring
from edge.agent.listen import Listener
from tests.edge.agent.devices import PATIENCE_SECONDS


def listening(
    path: Path,
    answer: Callable[[Sequence[bytes]], Awaitable[list[dict[str, Any]]]],
    act: Callable[[], Awaitable[None]],
    idle_seconds: float = 60.0,
) -> list[dict[str, Any]]:
    """What asyncio complains of while a listener for one caller runs and something is done."""
    complaints: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        listener = Listener(path, Scoring(connections=1, idle_seconds=idle_seconds), answer)
        await listener.open()
        await asyncio.wait_for(act(), PATIENCE_SECONDS)
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


def test_an_idle_caller_gives_way_and_one_that_waits_for_answers_does_not(tmp_path: Path) -> None:
    path, asked, go = tmp_path / "s", asyncio.Event(), asyncio.Event()

    async def answer(lines: Sequence[bytes]) -> list[dict[str, Any]]:
        asked.set()
        await go.wait()
        return [{"id": line.decode()} for line in lines]

    async def act() -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"first\n")
        await asked.wait()
        other, gone = await asyncio.open_unix_connection(path)
        assert json.loads(await other.readline())["error"]["code"] == "U35"
        gone.close()
        go.set()
        assert json.loads(await reader.readline())["id"] == "first"
        next_reader, next_writer = await asyncio.open_unix_connection(path)
        next_writer.write(b"next\n")
        assert json.loads(await next_reader.readline())["id"] == "next"
        assert await reader.read() == b""
        for one in (writer, next_writer):
            one.close()

    assert not listening(path, answer, act, idle_seconds=0)
