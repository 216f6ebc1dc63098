"""What work on the whole store says while it goes on: problems, and how far it has come."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not agree, in one line for people."""

    text: str

    def __str__(self) -> str:
        return f"consistency error: {self.text}"


@dataclass(frozen=True, slots=True)
class Step:
    """How far the work is: `done` of `total`, in rows of a table or in bytes."""

    what: str
    done: int
    total: int


Finding = Problem | Step
