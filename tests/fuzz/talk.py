"""Targets without a socket: the conversation of node.receive.association, command sets, and commitment datasets."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from node import commitment, dimse, header
from node.errors import Refused
from node.receive import association as association_module
from node.receive.association import Arrival, Association
from node.receive.limits import Limits
from node.receive.negotiation import Context, Rejection, Request
from node.receive.promises import Promise
from tests.fuzz import answers, conversations
from tests.fuzz.elements import SYNTAXES, deep, encoded, spoiled
from tests.fuzz.host import resident
from tests.fuzz.mutate import mutated
from tests.fuzz.target import MARKER, Input, Violation, Word

LIMITS = Limits(max_pdu=131072, acse_timeout=5, dimse_timeout=5, network_timeout=5, idle_pdu_timeout=5)
_MOST = 4 << 20  # bytes of a dataset that the stand-in keeps


class Pipe:
    """A socket that hands out what was said, in pieces of any size, and then ends."""

    def __init__(self, said: bytes, piece: int) -> None:
        self._said, self._piece = memoryview(said), piece
        self.heard = bytearray()

    def recv_into(self, into: memoryview) -> int:
        """The next bytes, at most a piece."""
        count = min(len(into), len(self._said), self._piece)
        into[:count] = self._said[:count]
        self._said = self._said[count:]
        return count

    def recv(self, count: int) -> bytes:
        """As `recv_into`, for who only drains."""
        taken, self._said = bytes(self._said[:count]), self._said[count:]
        return taken

    def sendall(self, data: bytes) -> None:
        """Keep what the acceptor says."""
        self.heard += data

    def settimeout(self, seconds: float) -> None:
        """Nothing here ever waits."""

    def shutdown(self, how: int) -> None:
        """There is no other side."""

    def close(self) -> None:
        """Nothing to give back."""


class Guest:
    """A visit that reads what it is sent as the node does, and keeps nothing."""

    may = frozenset({"echo", "store", "commit", "report"})

    def arrive(self, command: dimse.Command, context: Context) -> Arrival:
        """Begin an instance or another request."""
        return Kept(command, context)

    def answered(self) -> None:
        """Nothing to prepare."""

    def refused(self, command: dimse.Command, refusal: Refused) -> None:
        """Nothing is on record here."""

    def end(self, how: str) -> None:
        """Nothing to count."""


class Kept:
    """A dataset in memory: an identity or a commitment request when it is complete."""

    def __init__(self, command: dimse.Command, context: Context) -> None:
        self._command, self._context, self._content = command, context, bytearray()

    def write(self, fragment: memoryview) -> None:
        """Take the next bytes, within bounds."""
        if len(self._content) + len(fragment) > _MOST:
            raise Refused(dimse.OUT_OF_RESOURCES, "too much for the stand-in")
        self._content += fragment

    def finish(self) -> Promise | None:
        """Read it."""
        content, syntax = bytes(self._content), self._context.transfer_syntax
        try:
            if self._command.field == dimse.C_STORE_RQ:
                header.read_identity(lambda at, count: content[at : at + count], len(content), syntax)
            elif self._command.field == dimse.N_ACTION_RQ:
                return Told(commitment.read_request(content, syntax), syntax)
            else:
                commitment.read_report(content, syntax)
        except (header.Unreadable, commitment.Malformed) as error:
            raise Refused(dimse.CANNOT_UNDERSTAND, str(error)) from error
        return None

    def drop(self) -> None:
        """Forget it."""
        self._content.clear()


class Told:
    """The answer to a commitment request: all is held."""

    def __init__(self, request: commitment.Request, syntax: str) -> None:
        self._report = commitment.Report(request.transaction_uid, request.references)
        self._syntax = syntax

    def keep(self, message_id: int) -> tuple[bytes, bytes]:
        """The N-EVENT-REPORT."""
        syntax = self._syntax if self._syntax != commitment.BIG_ENDIAN else commitment.EXPLICIT
        command = dimse.event_report_request(
            message_id, commitment.PUSH_MODEL, commitment.PUSH_MODEL_INSTANCE, self._report.event
        )
        return command, commitment.write_report(self._report, syntax)

    def heard(self, status: int) -> None:
        """Nothing is on record here."""

    def unheard(self) -> None:
        """Nothing is on record here."""


class Door:
    """Lets everybody in who names us."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def knock(self, request: Request, address: str) -> Guest | Rejection:
        """In, unless the caller asks for somebody else."""
        return Guest() if request.called_ae.strip() == "OVERREAD" else Rejection(1, 1, 7, "called AE title is not ours")

    def turned_away(self, address: str, reason: str) -> None:
        """Keep the reason: it goes into the log."""
        self.reasons.append(reason)


class Complaints:
    """Stands for the log of node.receive.association: an error there is a defect of ours."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, line: str, **values: Any) -> None:
        """What is told is looked at."""
        self.lines.append(f"{line} {values}")

    def error(self, line: str, **values: Any) -> None:
        """The broad except of the conversation was needed."""
        raise Violation(f"{line}: {values}")


class Talk:
    """Whole conversations with the acceptor, as many a second as it can have."""

    name, says, share, growth, peak = "talk", "connections of a sender, without a socket", 0.34, 64.0, 128.0
    patience = 1.0

    def open(self, folder: Path) -> None:
        """Replace the log."""
        self.complaints = Complaints()
        association_module._log = self.complaints  # type: ignore[assignment]

    def make(self, rng: random.Random) -> Input:
        """A conversation, and how its bytes are cut by the network."""
        made = conversations.conversation(rng)
        return Input(made.parts, {**made.about, "piece": rng.choice((1 << 20, 1 << 20, 1460, 100, 7))})

    def give(self, one: Input) -> Word:
        """Have the conversation, and read the answers."""
        said = b"".join(one.parts)
        piece = int(str(one.about["piece"]))
        pipe, door = Pipe(said, piece if len(said) < 50_000 else 1 << 20), Door()
        Association(pipe, "192.0.2.1", door, LIMITS).run()  # type: ignore[arg-type]
        found = answers.read(bytes(pipe.heard))
        told = f"{door.reasons} {self.complaints.lines}"
        self.complaints.lines.clear()
        if MARKER in told:
            raise Violation("a patient's name is told")
        return "taken" if found.good else "refused"

    def memory(self) -> float:
        """Our own."""
        return resident()

    def close(self) -> None:
        """Nothing is left."""


class Commitment:
    """Datasets of N-ACTION and N-EVENT-REPORT."""

    name, says, share, growth, peak = "commitment", "N-ACTION and N-EVENT-REPORT bodies", 0.1, 32.0, 128.0
    patience = 1.0

    def open(self, folder: Path) -> None:
        """Nothing to prepare."""

    def make(self, rng: random.Random) -> Input:
        """A dataset, and the transfer syntax that was agreed for it."""
        made = rng.choice(SYNTAXES[:3])
        read = made if rng.random() < 0.8 else rng.choice((*SYNTAXES, ""))
        return Input((conversations.commitment_dataset(rng, made),), {"syntax": read})

    def give(self, one: Input) -> Word:
        """Read it as both."""
        word: Word = "refused"
        for read in (commitment.read_request, commitment.read_report):
            try:
                found = read(one.parts[0], str(one.about["syntax"]))
            except commitment.Malformed:
                continue
            if not found.transaction_uid:
                raise Violation("a request without a transaction UID was taken")
            word = "taken"
        return word

    def memory(self) -> float:
        """Our own."""
        return resident()

    def close(self) -> None:
        """Nothing is left."""


class Identity:
    """The beginning of a dataset, as the listener reads it."""

    name, says, share, growth, peak = "identity", "datasets, read for who they are", 0.3, 32.0, 128.0
    patience = 1.0

    def open(self, folder: Path) -> None:
        """Nothing to prepare."""

    def make(self, rng: random.Random) -> Input:
        """A dataset, and the transfer syntax that was agreed for it."""
        made, plain = rng.choice(SYNTAXES), conversations.dataset(rng.randrange(1000))
        kind = rng.randrange(10)
        if kind < 5:
            content = encoded(spoiled(rng, plain, 5), made)
        elif kind < 9:
            content = mutated(rng, encoded(plain, made), (encoded(plain, rng.choice(SYNTAXES)),))
        else:
            content = deep(rng.choice((1, 60, 70, 30000)), made) + encoded(plain, made)
        return Input((content,), {"syntax": made if rng.random() < 0.9 else rng.choice(SYNTAXES)})

    def give(self, one: Input) -> Word:
        """Read it; a reason names no value."""
        content = one.parts[0]
        try:
            found = header.read_identity(
                lambda at, count: content[at : at + count], len(content), str(one.about["syntax"])
            )
        except header.Unreadable as error:
            if MARKER in str(error):
                raise Violation("a patient's name is told") from error
            return "refused"
        return "taken" if found.StudyInstanceUID else "refused"

    def memory(self) -> float:
        """Our own."""
        return resident()

    def close(self) -> None:
        """Nothing is left."""
