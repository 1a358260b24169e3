"""Running Git: the only module that starts it, and chooses its environment. Input and output are bytes.

There are two kinds of repositories. A user's repository is found from its folder alone: a hook's `GIT_DIR` would lead
to another one, and other variables that begin with `GIT_` could change what is read. The user's configuration applies,
for `safe.directory` and the like; so read with plumbing commands, whose output does not depend on it. A repository that
was made here is isolated: no configuration of the machine applies to it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, Self

from storage.base.errors import Refused
from storage.git.packs import PackWriter

# What is kept of Git's: where it is installed, which settings are the user's, how far it looks for a repository.
_KEPT = frozenset(
    {
        "GIT_CEILING_DIRECTORIES",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_DISCOVERY_ACROSS_FILESYSTEM",
        "GIT_EXEC_PATH",
    }
)
# What Git needs in a repository of ours beside: its own programs and libraries, and where it may write.
_NEEDED = _KEPT | {"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"}
_MAX_ERRORS = 16 << 10  # bytes that are kept of what a command says on its standard error
_SCRATCH_CONFIG = """\
[core]
	bare = true
	repositoryformatversion = 0
	attributesFile = /dev/null
"""
# Bytes of a part of a stream.
_PART = 1 << 20
# What was written is read, not what replace refs make of it; nothing is refreshed on the way; messages in English.
_FIXED = {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


# Git says it in words of its own where it writes an index, and in those of the system elsewhere.
_DISK_FULL = ("No space left", "Out of diskspace", "Disk quota exceeded")


def says_disk_full(said: str) -> bool:
    """Tell whether Git failed, as it says, since the disk is full."""
    return any(words in said for words in _DISK_FULL)


class GitFailed(Refused):
    """Git could not be run, or ended with an error."""

    def __init__(self, command: str, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(f"git {command} failed: {reason}" if reason else f"git {command} failed with {status}")


def user_environment(environ: Mapping[str, str] | None = None, keep: Collection[str] = ()) -> dict[str, str]:
    """Return an environment for Git in a user's repository; `keep` names further variables that it may see."""
    environ = os.environ if environ is None else environ
    kept = {
        name: value for name, value in environ.items() if not name.startswith("GIT_") or name in _KEPT or name in keep
    }
    return kept | _FIXED


def plain_environment() -> dict[str, str]:
    """Return an environment for Git in a repository of ours that is found from its folder: without configuration.

    It has what Git needs and nothing else of this process's own, which has secrets.
    """
    kept = {name: value for name, value in os.environ.items() if name in _NEEDED}
    return kept | _FIXED | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}


def isolated_environment(folder: Path) -> dict[str, str]:
    """Return the whole environment for Git in the bare repository `folder`: nothing is inherited from this process."""
    return {
        "GIT_DIR": str(folder),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "LC_ALL": "C",
    }


@cache
def program() -> str:
    """Return the path of Git; it is looked for once, in this process's PATH."""
    return shutil.which("git") or "git"


def run_for_user(*arguments: str) -> int:
    """Run Git as its user would, with the terminal and the whole environment of this process; return its status.

    Raises GitFailed where there is no Git.
    """
    try:
        return subprocess.run([program(), *arguments], check=False).returncode
    except OSError as error:
        raise GitFailed(arguments[0], 127, f"git cannot be run: {error.strerror}") from error


class Git:
    """Git in one place, with one environment. Safe for threads."""

    def __init__(self, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        """Choose a folder to run in, and an environment: by default, that of a user's repository."""
        self._folder = folder
        self._environment = user_environment() if environment is None else dict(environment)

    def run(
        self,
        *arguments: str,
        stdin: bytes | IO[bytes] = b"",
        accept: Collection[int] = (0,),
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end and return what it printed, as bytes.

        Raises GitFailed where there is no Git or its exit status is none of `accept`, and subprocess.TimeoutExpired.
        """
        given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        try:
            done: subprocess.CompletedProcess[bytes] = subprocess.run(
                self._command(arguments), env=self._environment, capture_output=True, timeout=timeout, check=False,
                **given,
            )  # fmt: skip
        except OSError as error:
            raise GitFailed(arguments[0], 127, f"git cannot be run: {error.strerror}") from error
        if done.returncode not in accept:
            raise GitFailed(arguments[0], done.returncode, done.stderr.decode(errors="replace").strip())
        return done

    def run_within(self, *arguments: str, seconds: float) -> subprocess.CompletedProcess[bytes]:
        """Run a command that may wait for a server; behind `seconds` it is killed, with all that it has started.

        Returns whatever its exit status is, and of its errors the end. Raises GitFailed where there is no Git, and
        subprocess.TimeoutExpired.
        """
        with tempfile.TemporaryFile() as errors:
            try:
                # A session of its own, so that Git's helpers end with it: they hold its pipes open, and the connection.
                process = subprocess.Popen(
                    self._command(arguments), env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=errors, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise GitFailed(arguments[0], 127, f"git cannot be run: {error.strerror}") from error
            with process:
                try:
                    output, _ = process.communicate(timeout=seconds)
                finally:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - _MAX_ERRORS))
            return subprocess.CompletedProcess(arguments, process.returncode, output, errors.read())

    def output(self, *arguments: str, stdin: bytes | IO[bytes] = b"") -> bytes:
        """Return what a command prints. Raises GitFailed."""
        return self.run(*arguments, stdin=stdin).stdout

    def start(
        self,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        stderr: int | IO[bytes] | None = None,
        pass_fds: Sequence[int] = (),
        alone: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a command whose output is read while it runs. Raises GitFailed where there is no Git.

        With `alone` it leads a group of its own, by which what it starts can be ended with it.
        """
        try:
            return subprocess.Popen(
                self._command(arguments), env=self._environment, pass_fds=pass_fds, process_group=0 if alone else None,
                stdin=stdin, stdout=subprocess.PIPE, stderr=stderr,
            )  # fmt: skip
        except OSError as error:
            raise GitFailed(arguments[0], 127, f"git cannot be run: {error.strerror}") from error

    def feed(self, *arguments: str, stdin: Iterable[bytes]) -> None:
        """Run a command that is given its input in parts, and whose output nobody wants. Raises GitFailed.

        Where a part cannot be had, and at any other end of this call, the command is ended as well.
        """
        with tempfile.TemporaryFile() as errors, self._started(arguments, errors, subprocess.PIPE) as running:
            assert running.stdin
            with suppress(BrokenPipeError):  # it has failed, and says why
                for part in stdin:
                    running.stdin.write(part)
                running.stdin.close()
            _await_end(running, arguments, errors)

    def stream(self, *arguments: str, stdin: bytes = b"") -> Iterator[bytes]:
        """Yield what a command prints, in parts, while it runs; its input is short. Raises GitFailed, at the end."""
        with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            yield from self._read(arguments, given, errors)

    def _read(self, arguments: Sequence[str], given: IO[bytes], errors: IO[bytes]) -> Iterator[bytes]:
        with self._started(arguments, errors, given) as running:
            assert running.stdout
            while part := running.stdout.read(_PART):
                yield part
            _await_end(running, arguments, errors)

    @contextmanager
    def _started(
        self, arguments: Sequence[str], errors: IO[bytes], stdin: int | IO[bytes]
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start a command, and end it with the block: one that is fed, or one that is read."""
        stdout = subprocess.DEVNULL if stdin == subprocess.PIPE else subprocess.PIPE
        try:
            running: subprocess.Popen[bytes] = subprocess.Popen(
                self._command(arguments), env=self._environment, stdin=stdin, stdout=stdout, stderr=errors
            )
        except OSError as error:
            raise GitFailed(arguments[0], 127, f"git cannot be run: {error.strerror}") from error
        try:
            yield running
        finally:
            end_process(running)

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [program(), *(("-C", str(self._folder)) if self._folder else ()), *arguments]


def end_process(running: subprocess.Popen[bytes]) -> None:
    """End a command that `Git.start` started, wherever it is, with its pipes."""
    running.kill()
    running.wait()
    for pipe in (running.stdin, running.stdout):
        if pipe:
            with suppress(BrokenPipeError):
                pipe.close()


def _await_end(running: subprocess.Popen[bytes], arguments: Sequence[str], errors: IO[bytes]) -> None:
    """Wait for the end of a command. Raises GitFailed."""
    if status := running.wait():
        errors.seek(0)
        raise GitFailed(arguments[0], status, errors.read(_PART).decode(errors="replace").strip())


class ScratchRepository:
    """A bare repository without refs, made here for one use: no configuration and no attributes reach Git in it.

    It is gone with the context, or with this object; what a killed process has left is removed when the next one of its
    kind is made.
    """

    def __init__(self, kind: str, config: str = "", alternates: Path | None = None) -> None:
        """Make it in the folder for temporary files.

        `kind` is a part of the folder's name, `config` is added to its configuration, and `alternates` names a folder
        of objects that it has besides its own.
        """
        prefix = f"sluice-{kind}-"
        _remove_abandoned(prefix)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))
        self.remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.packs = self.folder / "objects" / "pack"
        for folder in (self.packs, self.folder / "objects" / "info", self.folder / "refs"):
            folder.mkdir(parents=True)
        (self.folder / "HEAD").write_text("ref: refs/heads/none\n")
        (self.folder / "config").write_text(_SCRATCH_CONFIG + config)
        if alternates:
            (self.folder / "objects" / "info" / "alternates").write_text(f"{alternates}\n")
        self.git = Git(environment=isolated_environment(self.folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()

    def add_pack(self, name: str, writer: PackWriter) -> None:
        """Have the objects of a pack, by a name that no other pack of this repository has."""
        (self.packs / f"pack-{name}.pack").write_bytes(writer.finish())
        (self.packs / f"pack-{name}.idx").write_bytes(writer.index())


def _remove_abandoned(prefix: str) -> None:
    """Remove the folders of processes that are gone: a worker that is killed, or a child of a pool, leaves its own."""
    for folder in Path(tempfile.gettempdir()).glob(prefix + "*"):
        owner = folder.name.removeprefix(prefix).split("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True
