"""Disk image files: made, grown and converted by qemu-img; published whole under their names."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pilvi.kernel.errors import HostError
from pilvi.kernel.progress import DONE, Progress

GIB = 1 << 30
# disk formats as images declare them -> QEMU's names
QEMU_FORMATS = {
    "raw": "raw", "iso": "raw", "ami": "raw", "ari": "raw", "aki": "raw", "luks": "raw",
    "qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx", "vdi": "vdi", "ploop": "parallels",
}  # fmt: skip
_MEMORY_LIMIT = 4 * GIB  # of a qemu-img: a crafted image shall not take the host's memory
_PERCENT = re.compile(rb"\((\d+)\.\d+/100%\)")


def virtual_size(path: Path) -> int:
    """The size in bytes that a qcow2 file's header says.  Raises FileNotFoundError."""
    with path.open("rb") as file:
        header = file.read(32)
    if len(header) < 32 or header[:4] != b"QFI\xfb":
        raise HostError(f"{path} is not a qcow2 file; restore it or remove it.", elsewhere=False)
    return struct.unpack_from(">Q", header, 24)[0]


def create(path: Path, size: int, format: str = "qcow2") -> None:
    """Make an empty image of `size` bytes, over whatever is there."""
    qemu_img("create", "-q", "-f", format, str(path), str(size))


def grow(path: Path, size: int) -> None:
    """Have a qcow2 file that nobody has open at least `size` bytes large."""
    if virtual_size(path) < size:
        qemu_img("resize", "-q", "-f", "qcow2", str(path), str(size))


def image_size(path: Path, format: str) -> int:
    """The virtual size in bytes of an image of any format."""
    return json.loads(qemu_img("info", "--output=json", _source(path, format)))["virtual-size"]


def convert_command(source: Path, format: str, target: Path, target_format: str) -> list[str]:
    """The command that flattens an image; formats are QEMU's names and are never guessed."""
    return _command("convert", "-p", "-t", "writeback", "-O", target_format, _source(source, format), str(target))


def publish(temporary: Path, final: Path) -> None:
    """Make a finished file durable and visible."""
    for path in (temporary, final.parent):
        if path == final.parent:
            temporary.rename(final)
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def qemu_img(*words: str) -> str:
    """Run a short qemu-img command and answer its output."""
    try:
        done = subprocess.run(_command(*words), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise HostError(f"qemu-img {words[0]} did not end within two minutes; the disk may hang.") from None
    if done.returncode:
        raise told(done.stderr)
    return done.stdout


def told(complaint: str) -> HostError:
    """The error for what a QEMU program complained of."""
    last = complaint.strip().splitlines()[-1][-300:] if complaint.strip() else "it ended without a word"
    if os.strerror(errno.ENOSPC) in complaint or os.strerror(errno.EDQUOT) in complaint:
        return HostError(f"The volume back end is full; free space or enlarge it ({last}).")
    return HostError(f"A disk image could not be worked on: {last}")


def _command(*words: str) -> list[str]:
    for program, package in (("qemu-img", "qemu-utils"), ("prlimit", "util-linux"), ("setpriv", "util-linux")):
        if shutil.which(program) is None:
            raise HostError(f"{program} is not installed; install the package {package}.")
    return ["prlimit", f"--as={_MEMORY_LIMIT}", "setpriv", "--pdeathsig", "KILL", "qemu-img", *words]


def _source(path: Path, format: str) -> str:
    """A source that is opened as `format` and follows no backing file, whatever its header says."""
    options: dict[str, object] = {"driver": format, "file": {"driver": "file", "filename": str(path)}}
    if format == "qcow2":
        options["backing"] = None
    return "json:" + json.dumps(options)


# -- conversions that run on their own -------------------------------------------------------------


@dataclass
class _Conversion:
    command: list[str]
    finish: Callable[[], None]
    percent: int = 0
    process: subprocess.Popen[bytes] | None = None
    failure: HostError | None = None
    cancelled: bool = False
    thread: threading.Thread = field(init=False)


class Conversions:
    """Conversions under way, each in a thread and a child process that dies with this program."""

    def __init__(self) -> None:
        self._known: dict[str, _Conversion] = {}
        self._lock = threading.Lock()

    def start(self, key: str, command: list[str], finish: Callable[[], None]) -> Progress:
        """Begin; `finish` is called after the command has succeeded."""
        conversion = _Conversion(command, finish)
        conversion.thread = threading.Thread(target=self._run, args=(conversion,), name=f"convert {key}", daemon=True)
        with self._lock:
            self._known[key] = conversion
        conversion.thread.start()
        return Progress(state="working", percent=0)

    def ask(self, key: str) -> Progress | None:
        """Where it stands; an end is told once and then forgotten.  None when it is not known."""
        with self._lock:
            conversion = self._known.get(key)
            if conversion is None:
                return None
            if conversion.thread.is_alive():
                return Progress(state="working", percent=conversion.percent)
            del self._known[key]
        if conversion.failure:
            return failed(conversion.failure)
        return DONE

    def running(self) -> set[str]:
        """Keys of all that have not ended."""
        with self._lock:
            return {key for key, conversion in self._known.items() if conversion.thread.is_alive()}

    def cancel(self, key: str) -> None:
        """End it, when it is there, and forget it."""
        with self._lock:
            conversion = self._known.get(key)
            if conversion:
                conversion.cancelled = True
                if conversion.process:
                    conversion.process.kill()
        if conversion:
            conversion.thread.join()
            with self._lock:
                self._known.pop(key, None)

    def _run(self, conversion: _Conversion) -> None:
        try:
            process = subprocess.Popen(
                conversion.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            with process:
                with self._lock:
                    conversion.process = process
                    if conversion.cancelled:
                        process.kill()
                assert process.stdout
                said = b""
                while chunk := os.read(process.stdout.fileno(), 4096):
                    said = (said + chunk)[-4096:]
                    if percents := _PERCENT.findall(said):
                        conversion.percent = int(percents[-1])
            if process.returncode:
                raise told(_PERCENT.sub(b"", said).decode(errors="replace"))
            conversion.finish()
        except HostError as error:
            conversion.failure = error
        except OSError as error:
            conversion.failure = told(error.strerror or str(error))


def failed(error: HostError) -> Progress:
    """The progress of what has failed."""
    return Progress(state="failed", why=error.message, elsewhere=error.elsewhere)
