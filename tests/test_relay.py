"""What a job in another process reports is shown here, and what a lost one had begun is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import scnym.base.progress
from scnym.base.progress import Receiver, Sender

CALL = "a call"


@dataclass
class Board:
    """A progress that keeps every task: units done, notes, and how it ended."""

    done: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    ended: dict[str, bool] = field(default_factory=dict)

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str) -> Iterator[Any]:
        del total, unit
        self.done[name] = 0
        try:
            yield _Counter(self, name)
        except BaseException:
            self.ended[name] = False
            raise
        self.ended[name] = True

    def say(self, line: str) -> None:
        raise AssertionError(line)


@dataclass
class _Counter:
    board: Board
    name: str

    def advance(self, amount: int, note: str = "") -> None:
        self.board.done[self.name] += amount
        self.board.notes += [note] if note else []


@pytest.fixture
def board() -> Board:
    return Board()


def test_tasks_are_shown_as_they_go_on_and_lines_wait(board: Board):
    with Receiver(board, CALL) as receiver:
        sender = Sender(CALL, 3, receiver.take)
        with sender.task("convert a", total=50, unit="cells") as task:
            task.advance(20)
            task.advance(30, note="nearly")
            sender.say("a has no ids")
    assert (board.done, board.notes, board.ended) == ({"convert a": 50}, ["nearly"], {"convert a": True})
    assert sender.lines == ["a has no ids"]


def test_many_steps_are_few_messages(monkeypatch: pytest.MonkeyPatch):
    messages = []
    with Sender(CALL, 0, messages.append).task("convert a", total=None, unit="cells") as task:
        for _ in range(1000):
            task.advance(1)
        monkeypatch.setattr(scnym.base.progress, "SECONDS_BETWEEN_MESSAGES", 0.0)
        task.advance(1)
    assert [message.get("amount") for message in messages] == [None, 1001, 0, None]


def test_a_task_that_fails_elsewhere_is_not_shown_as_done(board: Board):
    def fails(sender: Sender) -> None:
        with sender.task("convert a", total=50, unit="cells") as task:
            task.advance(7)
            raise ZeroDivisionError

    with Receiver(board, CALL) as receiver, pytest.raises(ZeroDivisionError):
        fails(Sender(CALL, 0, receiver.take))
    assert (board.done, board.ended) == ({"convert a": 7}, {"convert a": False})


@pytest.mark.parametrize("how", ["another attempt", "the job is over", "all is over"])
def test_what_a_lost_process_had_begun_ends(board: Board, how: str):
    with Receiver(board, CALL) as receiver:
        lost, other = Sender(CALL, 0, receiver.take).task("lost", total=5, unit="cells"), Sender(CALL, 1, receiver.take)
        lost.__enter__()
        with other.task("other", total=5, unit="cells") as others:
            if how == "another attempt":
                with Sender(CALL, 0, receiver.take).task("again", total=5, unit="cells"):
                    assert board.ended == {"lost": False}
            if how == "the job is over":
                receiver.drop(0)
                assert board.ended == {"lost": False}
            others.advance(5)
    assert board.ended["lost"] is False
    assert board.ended["other"] is True
    assert board.done["other"] == 5


def test_messages_that_come_too_late_or_are_for_others_are_passed_over(board: Board):
    with Receiver(board, CALL) as receiver:
        old, over = Sender(CALL, 0, receiver.take), Sender(CALL, 1, receiver.take)
        lost = old.task("lost", total=5, unit="cells")
        lost.__enter__()
        with Sender(CALL, 0, receiver.take).task("again", total=5, unit="cells") as task:
            lost.__exit__(None, None, None)
            with old.task("late", total=5, unit="cells"):
                task.advance(5)
        receiver.drop(1)
        with over.task("over", total=5, unit="cells"):
            pass
        with Sender("another call", 2, receiver.take).task("foreign", total=5, unit="cells"):
            pass
    assert board.ended == {"lost": False, "again": True}
    assert board.done["again"] == 5


def test_figures_of_numpy_are_sent_as_plain_ones():
    messages: list[dict[str, Any]] = []
    five: Any = np.int64(5)
    with Sender(CALL, 0, messages.append).task("a", total=five, unit="cells") as task:
        task.advance(five)
    assert [type(messages[0]["total"]), type(messages[1]["amount"])] == [int, int]
