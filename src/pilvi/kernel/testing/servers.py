"""PostgreSQL and MariaDB for tests: each in a folder of its own, on a free port of 127.0.0.1.

They do not wait for the disk, so a commit survives the death of the server but not that of the machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pilvi.kernel.errors import HostError
from pilvi.kernel.testing.ports import take_port

_START = 60.0  # seconds
_libc = ctypes.CDLL(None)


class Server:
    """A running database server.  `url` leads to it, to a database that holds nothing; `create` makes others beside it.

    It ends with the process that started it, whatever that one dies of.
    """

    scheme = ""
    first = ""  # the database that is always there
    account = "root"

    def __init__(self, folder: Path | None = None) -> None:
        self._own = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="pilvi-db-", dir="/tmp"))  # a short path that others may walk
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = take_port()
        self.user = self._user()
        self._process: subprocess.Popen[bytes] | None = None
        self._prepare()
        self.start_again()

    # -- what differs ----------------------------------------------------------------------------

    def _user(self) -> str:
        """The account that the server runs as."""
        return pwd.getpwuid(os.geteuid()).pw_name

    def _prepare(self) -> None:
        raise AssertionError("said by each kind")

    def _command(self) -> list[str]:
        raise AssertionError("said by each kind")

    # -- what is the same ------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self.url_of(self.first)

    def url_of(self, database: str) -> str:
        return f"{self.scheme}://{self.account}@127.0.0.1:{self.port}/{database}"

    def create(self, name: str) -> str:
        """Make an empty database; answers its URL."""
        raise AssertionError("said by each kind")

    def start_again(self) -> None:
        """Start the server on its folder and port, and wait until it answers."""
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env={**os.environ, "LC_ALL": "C.UTF-8"},
                preexec_fn=_end_with_parent(self.user),
            )  # fmt: skip
        end = time.monotonic() + _START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                words = (self.folder / "log").read_text(errors="replace").splitlines()[-5:]
                raise HostError(f"{type(self).__name__} does not start: {' '.join(words)}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it as it should end; a folder that was made for it goes with it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT if self.scheme.startswith("postgresql") else signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        self.kill()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def run(self, *statements: str) -> None:
        """Run SQL on the server, outside of any transaction."""
        run(self.url, *statements)

    def _answers(self) -> bool:
        try:
            self.run("SELECT 1")
        except sa.exc.DBAPIError:
            return False
        return True

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Postgresql(Server):
    """PostgreSQL as Debian packages it."""

    scheme, first, account = "postgresql+psycopg", "postgres", "postgres"

    def _user(self) -> str:
        return "postgres" if os.geteuid() == 0 else super()._user()  # it refuses root

    def _prepare(self) -> None:
        shutil.chown(self.folder, self.user)
        made = subprocess.run(
            [_program("initdb"), "-D", str(self.folder / "data"), "-U", self.account, "-A", "trust", "--no-sync", "--locale=C.UTF-8"],
            cwd="/", capture_output=True, text=True, preexec_fn=_end_with_parent(self.user), check=False,
        )  # fmt: skip
        if made.returncode:
            raise HostError(f"initdb failed: {made.stderr.strip()}")

    def _command(self) -> list[str]:
        chosen = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder, "fsync": "off", "full_page_writes": "off",
            "max_connections": 400, "shared_buffers": "64MB", "wal_level": "minimal", "max_wal_senders": 0,
            "max_wal_size": "512MB",
        }  # fmt: skip
        options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        return [_program("postgres"), "-D", str(self.folder / "data"), *options]

    def create(self, name: str, *, template: str = "template0") -> str:
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url_of(name)


class Mariadb(Server):
    """MariaDB as Debian packages it."""

    scheme, first = "mysql+pymysql", "mysql"

    def _prepare(self) -> None:
        made = subprocess.run(
            [
                _program("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder / 'data'}", "--auth-root-authentication-method=normal",
                f"--user={self.user}", "--skip-test-db", "--innodb-flush-method=nosync",
            ],
            cwd="/", capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise HostError(f"mariadb-install-db failed: {made.stderr.strip() or made.stdout.strip()[-300:]}")

    def _command(self) -> list[str]:
        return [
            _program("mariadbd"), "--no-defaults", f"--user={self.user}", f"--datadir={self.folder / 'data'}", f"--socket={self.folder / 'socket'}",
            "--bind-address=127.0.0.1", f"--port={self.port}", "--innodb-buffer-pool-size=128M", "--innodb-flush-log-at-trx-commit=2",
            "--innodb-flush-method=nosync", "--innodb-doublewrite=0", "--skip-log-bin", "--skip-name-resolve", "--max-connections=400",
            "--table-open-cache=4000", "--table-definition-cache=4000", "--performance-schema=off",
        ]  # fmt: skip

    def create(self, name: str) -> str:
        self.run(f"CREATE DATABASE `{name}`")
        return self.url_of(name)


KINDS: dict[str, type[Server]] = {"postgresql": Postgresql, "mariadb": Mariadb}


def run(url: str, *statements: str) -> list[Any]:
    """Run SQL outside of any transaction; answers the rows of the last statement."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool, isolation_level="AUTOCOMMIT")
    rows: list[Any] = []
    with engine.connect() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
            rows = list(result) if result.returns_rows else []
    return rows


def _program(name: str) -> str:
    """Where a server's program is: Debian keeps PostgreSQL's out of the path."""
    places = [*sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True), os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise HostError(f"there is no {name} on this machine; `pilvi install` with the group servers installs it.")
    return found


def _end_with_parent(user: str) -> Any:
    """What the child does before it becomes the server: a group of its own, the account, and a signal when the parent dies."""
    account = pwd.getpwnam(user)

    def become() -> None:
        os.setsid()
        if os.geteuid() == 0 and account.pw_uid != 0:
            os.initgroups(user, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        _libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

    return become
