"""Fault points: named places where a test ends a process of the node, to prove that nothing is lost there.

Without the environment variable OVERREAD_FAULTS at the start of a process a point costs one comparison and does
nothing; no message, file or configuration key can change that. With it, the variable names a folder, and a point is
armed by a file there that is called like the point and holds what happens: `kill` (SIGKILL) or `stop` (SIGSTOP);
`kill@3`: at the third passing. Whoever reaches an armed point takes the file away first, so each arming counts once,
in whatever process comes first.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "OVERREAD_FAULTS"

# Every point with what is promised when the process dies there; docs/reliability.md lists them and a test compares.
# The first part of a name is the process: node (the supervisor), receive, close, work, models (its child), send, watch;
# review: whatever process takes a person's word, such as a command; keep: the process close, which keeps house, or a
# command that does.
POINTS: Mapping[str, str] = {
    "node.upgraded": "the schema is up to date, nothing is swept: the next start begins again",
    "node.swept": "the spool is swept, no loop runs: the next start begins again",
    "node.loop-ended": "the death of a loop is on record, it does not run again yet: all end; the next start runs all",
    "receive.admitted": "the association is on record, the caller has no answer: recorded as lost at the next start",
    "receive.written": "the bytes are in a temporary file: no success was said; the file is swept at the next start",
    "receive.flushed": "the temporary file is on the disk: no success was said; it is swept at the next start",
    "receive.renamed": "the file has its name, the folder is not flushed: no success was said; an orphan",
    "receive.durable": "the file is durable, no row names it: no success was said; an orphan until sent again",
    "receive.committing": "the rows are written, not committed: the database forgets them; no success was said",
    "receive.committed": "the instance is stored, the sender was not told: it sends again, and nothing changes",
    "receive.answered": "success was said: file and row are there",
    "receive.ending": "the end of an association is not on record: recorded as lost at the next start",
    "receive.commitment-stored": "a commitment request is on record, its sender has no response: it is told",
    "receive.commitment-claimed": "an answer about commitment is claimed, not told: the send loop tells it",
    "receive.commitment-heard": "the peer heard the answer, that is not on record: it hears it again",
    "receive.report-taken": "a peer's answer to our request is on record, it was not thanked: it may say it again",
    "close.decided": "the study is complete, nothing is written: decided again",
    "close.committing": "study and jobs are written, not committed: decided again",
    "close.committed": "the study is closed and its jobs are due: they run",
    "work.claiming": "the claim is not committed: the job is still due",
    "work.claimed": "the job is running and nobody runs it: back to due at the worker's start",
    "work.running": "the model process has the job: it ends with the worker; back to due at the worker's start",
    "work.outcome": "the outputs are files without rows: the rerun writes the same",
    "work.finishing": "outputs and deliveries are written, not committed: the rerun writes the same",
    "work.finished": "the job is done and its deliveries are due: they are sent",
    "models.warming": "the model process dies while it starts: the job waits, and a new one is started",
    "models.asked": "the request was read: the job is tried again in a new process",
    "models.made": "an object passed the gate and is not written: the job is tried again",
    "models.written": "an object is a temporary file: swept when the next model process starts; tried again",
    "models.renamed": "some objects have their names: the rerun writes the same",
    "models.synced": "all objects are durable, the worker was not told: the rerun writes the same",
    "models.answered": "the worker was told: the job is done",
    "send.claiming": "the claim is not committed: the delivery is still due",
    "send.claimed": "the delivery is sending and nobody sends it: back to due at the sender's start",
    "send.sent": "an instance went out, no answer came: sent again, the same object to the peer",
    "send.answered": "the peer stored an instance, that is not on record: sent again, the same object to the peer",
    "send.stored": "the peer stored all, that is not on record: sent again, the same objects to the peer",
    "send.finishing": "the answers are written, not committed: sent again, the same objects to the peer",
    "send.finished": "the delivery is delivered: nothing is sent again",
    "send.asking": "a request for commitment is claimed, not sent: asked again under the same transaction UID",
    "send.asked": "the peer took the request, that is not on record: asked again under the same transaction UID",
    "send.report-heard": "the peer's answer is not on record, it was not thanked: it says it again, or is asked again",
    "send.report-taken": "the peer's answer is on record, it was not thanked: committed",
    "keep.purging": "a purge is written, not committed: rows and files are as they were, and it is done again",
    "keep.purged": "rows say that files are gone, the files are there: the sweep takes them at the next start",
    "keep.head-signing": "a tree head is written, not committed: it is signed again",
    "keep.head-signed": "a tree head is in the database, not in the file: it is added there",
    "keep.log-purging": "a purge of the log is written, not committed: every event is there, and it is done again",
    "review.setting": "a route's mode is written, not committed: it is as it was; whoever set it was told nothing",
    "review.set": "a route's mode counts, whoever set it was not told: set again, it changes nothing",
    "review.recording": "a verdict is written, nothing of what waits has moved: as if nobody had given it",
    "review.releasing": "a verdict is written, not committed: nothing goes out; whoever gave it was told nothing",
    "review.released": "a verdict counts, whoever gave it was not told: given again, nothing is sent twice",
    "send.telling": "our answer about commitment is claimed, not told: told after the sender's start",
    "send.told": "the peer heard our answer, that is not on record: it hears it again",
    "watch.keeping": "states, alarms and messages of a stretch of the log are written, not committed: it is read again",
    "watch.kept": "a stretch of the log counts, its alarms' messages wait: whoever comes next sends them",
    "watch.held": "the stop-rule holds a route, its alarm does not say so: applied again, it changes nothing",
    "watch.escalating": "alarms that nobody has acknowledged are told again, not committed: told by whoever comes next",
    "watch.sent": "a message is with its server, that is not on record: sent again under the same number",
}

_FOLDER = os.environ.get(VARIABLE) or None


def armed() -> bool:
    """Whether the points of this process can do anything."""
    return _FOLDER is not None


def point(name: str) -> None:
    """A place called `name`, one of POINTS: where it is armed, this process ends (or stops) here."""
    if _FOLDER is not None:
        _reach(Path(_FOLDER) / name)


def _reach(file: Path) -> None:
    mine = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        file.rename(mine)  # one of all processes and threads gets it
    except FileNotFoundError:
        return
    word, _, count = mine.read_text().partition("@")
    left = int(count or 1) - 1
    if left > 0:
        mine.write_text(f"{word}@{left}")
        mine.rename(file)
        return
    mine.unlink()
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[word])
