"""Kill points: a test writes into a file where a process of the cloud is to end itself by SIGKILL; the first that comes there does.

A point names the role that dies, and the moment:

    conductor   before, inside or after a step.  Inside an effect: the message to the agent has been sent, its answer is never heard;
                inside a transaction: all is written, nothing committed; freeze: stopped before a step, not dead;
                freeze-inside: the same inside a transaction
    api         before or after the commit that starts a workflow
    others      during a step: taken (the message has arrived), half (of a long verb), done (the world is changed, the answer is never sent)
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from pilvi.kernel.progress import Progress

SERVED = {"compute": "compute", "network": "network", "volume": "volume", "scheduler": "scheduler", "block_storage-scheduler": "scheduler"}  # topics


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """Who dies, and when."""

    role: str
    moment: str
    workflow: str = ""
    step: str = ""
    host: str = ""  # of an agent; "" whichever comes first

    @property
    def who(self) -> str:
        return f"{self.role}@{self.host}" if self.host else self.role

    def __str__(self) -> str:
        return f"{self.workflow}.{self.step}.{self.moment} ({self.who})"


class Points:
    """The files of one cloud: what is armed, who died, and (when asked for) which roles took part in which step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._armed, self._noting = folder / "point", folder / "steps"

    # -- said by the test ----------------------------------------------------------------------------

    def arm(self, point: Point) -> None:
        """Have the first process that comes to the point die there."""
        self.disarm()
        for old in self.folder.glob("died*"):
            old.unlink()
        self._put("point", point)

    def freeze_at(self, workflow: str, step: str, moment: str = "freeze") -> None:
        """Have the conductor that comes to the step stop there, as by SIGSTOP, until somebody wakes it."""
        self.arm(Point(role="conductor", moment=moment, workflow=workflow, step=step))

    def disarm(self) -> None:
        """Nobody dies any more."""
        for name in ("point", *(f"fire-{role}" for role in set(SERVED.values()))):
            (self.folder / name).unlink(missing_ok=True)

    def died(self) -> int | None:
        """The process that has died (or frozen) at the armed point; 0: the point was passed and nobody took part; None: not yet."""
        if (self.folder / "died").exists():
            return int((self.folder / "died").read_text())
        return 0 if (self.folder / "died-not").exists() else None

    def note(self, on: bool) -> list[list[str]]:
        """Begin to note who does what, or end it: the lines that were written."""
        if on:
            self._noting.write_text("")
            return []
        lines = self._noting.read_text().splitlines()
        self._noting.unlink()
        return [line.split() for line in lines]

    # -- said by the processes -----------------------------------------------------------------------

    def armed(self, name: str = "point") -> Point | None:
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=Point)
        except FileNotFoundError:
            return None

    def fire(self, role: str, point: Point) -> None:
        """The step has begun in which that role is to die."""
        if self._claim("point"):
            self._put(f"fire-{role}", point)

    def cease(self, role: str) -> None:
        """The step has ended; if that role did nothing in it, nobody dies."""
        if self._claim(f"fire-{role}"):
            (self.folder / "died-not").write_text("")

    def die(self, name: str = "point") -> None:
        """End this process, if no other was faster."""
        if self._claim(name):
            self.end()

    def freeze(self) -> None:
        """Stop this process until it gets SIGCONT, if no other was faster."""
        if self._claim("point"):
            self._tell()
            os.kill(os.getpid(), signal.SIGSTOP)

    def end(self) -> NoReturn:
        self._tell()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    def _tell(self) -> None:
        fresh = self.folder / f".died.{os.getpid()}"
        fresh.write_text(str(os.getpid()))
        fresh.replace(self.folder / "died")

    def pass_by(self) -> None:
        """The point was passed, and there was nothing in it to die in."""
        if self._claim("point"):
            (self.folder / "died-not").write_text("")

    def write(self, *words: str) -> None:
        if self._noting.exists():
            with open(self._noting, "a", encoding="ascii") as file:
                file.write(" ".join(words) + "\n")

    def _claim(self, name: str) -> bool:
        """Take the file away; False when another process did."""
        try:
            (self.folder / name).rename(self.folder / f".{name}.{os.getpid()}.{threading.get_ident()}")
        except FileNotFoundError:
            return False
        return True

    def _put(self, name: str, point: Point) -> None:
        fresh = self.folder / f".new.{name}.{os.getpid()}"
        fresh.write_bytes(msgspec.json.encode(point))
        fresh.replace(self.folder / name)


class Deadly:
    """Makes a program die where its cloud's points say."""

    def __init__(self, program: Any, points: Points) -> None:
        self.program, self.points = program, points
        self._here = threading.local()
        program.crash_hook = self.step
        self._call, self._serve = program.bus.call, program.bus.serve
        program.bus.call, program.bus.serve = self.call, self.serve
        if program.has_database:
            program.db.before_commit.append(self.before_commit)
            program.db.after_commit.insert(0, self.after_commit)

    def step(self, kind: str, name: str, when: str) -> None:
        """The program's crash hook, in a worker's thread."""
        self.points.write("step", kind, name, when)
        point = self.points.armed()
        if point is not None and (point.workflow, point.step) == (kind, name):
            if point.role == "conductor":
                if point.moment == when:
                    self.points.die()
                elif point.moment == "freeze" and when == "before":
                    self.points.freeze()
                elif point.moment == "freeze-inside" and when == "before":
                    self._here.freezes = True
                elif point.moment == "inside" and when == "before":
                    self._here.inside = True
                elif point.moment == "inside" and getattr(self._here, "inside", False):
                    self._here.inside = False
                    self.points.pass_by()
            elif point.role != "api" and when == "before":
                self.points.fire(point.role, point)
        if when == "after":
            for role in set(SERVED.values()):
                firing = self.points.armed(f"fire-{role}")
                if firing is not None and (firing.workflow, firing.step) == (kind, name):
                    self.points.cease(role)

    def call(self, topic: str, message: Any, *, host: str = "", timeout: float = 60.0) -> Any:
        if getattr(self._here, "inside", False):
            with suppress(Exception):
                self.program.bus.cast(topic, message, host=host)
            time.sleep(0.02)  # it is on its way
            self.points.die()
        return self._call(topic, message, host=host, timeout=timeout)

    def serve(self, topic: str, handler: Any, **options: Any) -> Any:
        role = SERVED.get(topic)
        if role is None:
            return self._serve(topic, handler, **options)

        def deadly(message: Any) -> bytes:
            self.points.write("role", role, self.program.host)
            self.at(role, "taken")
            answer = handler(message)
            if role == "scheduler":
                self.at(role, "done")
            return answer

        return self._serve(topic, deadly, **options)

    def done(self, role: str, told: Any) -> None:
        """A driver's verb has ended, with that answer."""
        if isinstance(told, Progress):
            self.points.write("long", role, self.program.host)
        self.at(role, "half" if isinstance(told, Progress) and told.state == "working" else "done")

    def awaits(self, role: str, moment: str) -> bool:
        """Whether this role is to die here at that moment of the step under way."""
        firing = self.points.armed(f"fire-{role}")
        return firing is not None and firing.moment == moment and firing.host in ("", self.program.host)

    def at(self, role: str, moment: str) -> None:
        """A role that serves has come to this moment."""
        if self.awaits(role, moment):
            self.points.die(f"fire-{role}")

    def before_commit(self, tx: Any) -> None:
        if getattr(self._here, "inside", False):
            self.points.die()
        if getattr(self._here, "freezes", False):
            self._here.freezes = False
            self.points.freeze()
        self._api(tx, "before")

    def after_commit(self, tx: Any) -> None:
        self._api(tx, "after")

    def _api(self, tx: Any, moment: str) -> None:
        if "kernel_workflows" not in tx.wrote or "api" not in self.program.roles:
            return
        point = self.points.armed()
        if point is not None and (point.role, point.moment) == ("api", moment):
            self.points.die()
