"""Talking to a mirror's server by Git: which refs it has, a push, a fetch.

The server is somebody else's: each call has a time limit, in which it may not be silent for long either; redirects are
not followed, no other protocol is spoken than the URL's, and unless the setting mirror_private_targets is on, the
connection goes to the very addresses that were judged. What the server says is kept in printable ASCII, and short.

A password reaches Git from the file of the setting mirror_credentials alone, by Git's own credential-store, which this
module only names: it stands in no argument, no variable and no URL.
"""

from __future__ import annotations

import re
import socket
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from storage.base.errors import Unavailable
from storage.base.settings import PREFIX, Settings
from storage.git.run_git import Git, GitFailed, plain_environment, user_environment
from storage.mirrors.plan import TAGS
from storage.mirrors.remotes import check_url
from storage.webhooks.targets import is_public

_PORTS = {"http": 80, "https": 443, "ssh": 22}
_SHOWN = 400  # characters of what a server said
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_LEAST_BYTES = "1000"  # a second, else the server counts as silent
# Read only: Git would have a store forget what a server refuses, and the file is the operator's. A line without a path
# holds for the whole host, one with a path for that repository.
_HELPER = """!f() { test "$1" = get || exit 0; asked=$(cat)
found=$(printf '%s\\n' "$asked" | git credential-store --file "$MIRROR_CREDENTIALS" get)
test -n "$found" || found=$(printf '%s\\n' "$asked" | sed /^path=/d |
git credential-store --file "$MIRROR_CREDENTIALS" get)
printf '%s\\n' "$found"; }; f"""
# What Git and servers say, and the word that programs get for it. The first that fits counts.
_WORDS = (
    (r"credentials file", "credentials"),
    (r"error: 429|rate.?limit|too many requests", "rate-limited"),
    (r"authentication failed|could not read (username|password)|error: 401|permission denied|host key", "unauthorized"),
    (r"error: 403|access denied|forbidden|write access", "forbidden"),
    (r"error: 404|not found|does not (appear to be a git repository|exist)", "not-found"),
    (r"redirect|error: 30\d", "redirect"),
    (r"certificate|ssl|tls", "certificate"),
    (r"operation too slow|timed? ?out", "timeout"),
    (r"resolve host|connect to|could not (resolve|connect)|refused|reset by peer|empty reply|unreachable",
     "connection"),
    (r"error: 5\d\d", "unavailable"),
    (r"hook declined|remote rejected|protected branch|pre-receive", "refused"),
)  # fmt: skip


class RemoteFailed(Unavailable):
    """A mirror's server could not be asked, or did not do what it was asked for."""

    def __init__(self, word: str, detail: str = "") -> None:
        """`word` is for programs, `detail` what was said, without secrets."""
        self.word = word
        self.detail = detail
        super().__init__(f"{word}: {detail}" if detail else word)


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of one ref of a push."""

    done: bool
    moved: bool = False  # it was not as expected when the push came
    detail: str = ""


class Remote:
    """A mirror's server, asked from a local repository."""

    def __init__(self, settings: Settings, url: str, folder: Path) -> None:
        """Choose the URL, and the folder of the local repository."""
        self._settings = settings
        self._url = url
        self._folder = folder

    def refs(self, ref: str, tags: bool = True) -> dict[str, str]:
        """Return the ids that the server has for a branch, and for all tags. Raises RemoteFailed."""
        patterns = [ref, *([TAGS + "*"] if tags else [])]
        listed = self._run("ls-remote", "--quiet", "--refs", self._url, *patterns)
        rows = (line.split("\t", 1) for line in listed.decode(errors="replace").splitlines() if "\t" in line)
        # A pattern also finds refs that only end so.
        return {name: oid for oid, name in rows if name == ref or (tags and name.startswith(TAGS))}

    def push(self, refs: Sequence[tuple[str, str]]) -> dict[str, Pushed]:
        """Push ids under names, and return what became of each. Raises RemoteFailed where nothing did.

        Git itself compares: it pushes to a branch only what goes on from the id that the server names, and the server
        takes it only while that is still the branch's. Nothing is forced.
        """
        specs = [f"{oid}:{name}" for oid, name in refs]
        done = self._call("push", "--porcelain", "--no-verify", "--no-signed", "--thin", self._url, *specs)
        secrets = self._secrets()
        said = _shown(done.stderr.decode(errors="replace"), secrets)
        results = _results(done.stdout.decode(errors="replace"), said, secrets)
        if done.returncode and not any(not each.done for each in results.values()):
            raise self._failed(done.stderr)
        return results

    def fetch(self, spec: str) -> None:
        """Fetch by a refspec. Raises RemoteFailed."""
        self._run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", self._url, spec)

    def _run(self, *arguments: str) -> bytes:
        done = self._call(*arguments)
        if done.returncode:
            raise self._failed(done.stderr)
        return done.stdout

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        git = Git(self._folder, self._environment())
        try:
            return git.run_within(*arguments, seconds=self._settings.mirror_timeout)
        except subprocess.TimeoutExpired:
            raise RemoteFailed("timeout", f"no end within {self._settings.mirror_timeout:.0f} s") from None
        except GitFailed as error:
            raise RemoteFailed("failed", error.reason) from error

    def _failed(self, errors: bytes) -> RemoteFailed:
        text = _shown(errors.decode(errors="replace"), self._secrets())
        low = text.lower()
        return RemoteFailed(next((word for pattern, word in _WORDS if re.search(pattern, low)), "failed"), text)

    def _environment(self) -> dict[str, str]:
        # Proxies, certificates and what an ssh command needs stand in variables of any name.
        kept = {name: value for name, value in user_environment().items() if not name.startswith(PREFIX)}
        kept |= plain_environment()
        try:
            # Who follows a mirror has its URL from the API, and Git runs whatever an URL like `ext::` says.
            check_url(self._url, self._settings.mirror_private_targets, bool(self._settings.mirror_ssh_command))
        except ValueError as error:
            raise RemoteFailed("failed", f"the URL {error}") from None
        scheme = urlsplit(self._url).scheme
        config = [
            ("protocol.allow", "never"),
            (f"protocol.{scheme}.allow", "always"),
            ("credential.helper", ""),
            ("credential.useHttpPath", "true"),
            ("core.askPass", ""),
            ("core.hooksPath", "/dev/null"),
            ("http.followRedirects", "false"),
            ("http.lowSpeedLimit", _LEAST_BYTES),
            ("http.lowSpeedTime", str(max(1, round(self._settings.mirror_silence)))),
            ("push.recurseSubmodules", "no"),
            ("fetch.recurseSubmodules", "no"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            *self._resolved(),
        ]
        if credentials := self._credentials():
            config.append(("credential.helper", _HELPER))
            kept["MIRROR_CREDENTIALS"] = str(credentials)
        kept["GIT_CONFIG_COUNT"] = str(len(config))
        for i, (name, value) in enumerate(config):
            kept |= {f"GIT_CONFIG_KEY_{i}": name, f"GIT_CONFIG_VALUE_{i}": value}
        if scheme == "ssh":
            kept["GIT_SSH_COMMAND"] = self._settings.mirror_ssh_command
        return kept

    def _resolved(self) -> list[tuple[str, str]]:
        """Return the configuration by which Git connects to the addresses that were judged. Raises RemoteFailed."""
        parts = urlsplit(self._url)
        if self._settings.mirror_private_targets or parts.scheme not in _PORTS:
            return []
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise RemoteFailed("connection", f"could not resolve {host}") from error
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        if not all(is_public(address) for address in addresses):
            raise RemoteFailed("private-target", "which only the setting mirror_private_targets allows")
        return [("http.curloptResolve", f"{host}:{port}:{','.join(addresses)}")]

    def _credentials(self) -> Path | None:
        """Return the file of credentials, if there is to be one. Raises RemoteFailed where others may read it."""
        if not self._settings.mirror_credentials:
            return None
        path = Path(self._settings.mirror_credentials)
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise RemoteFailed("credentials", f"the file cannot be read: {error.strerror}") from error
        if mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise RemoteFailed("credentials", "others can read the file, or its group change it: chmod 600")
        return path.absolute()

    def _secrets(self) -> list[str]:
        """Return the passwords of the file: a server that was told one might say it."""
        try:
            path = self._credentials()
            lines = path.read_text(errors="replace").splitlines() if path else []
        except (OSError, RemoteFailed):
            return []
        written = [urlsplit(line).password or "" for line in lines if "@" in line]
        return [secret for each in written for secret in {each, unquote(each)} if secret]


def _results(output: str, said: str, secrets: Sequence[str]) -> dict[str, Pushed]:
    """Return what `git push --porcelain` says of each ref, with what was `said` beside."""
    results = {}
    for line in output.splitlines():
        flag, *rest = line.split("\t")
        if len(rest) != 2 or len(flag) != 1:
            continue
        name = rest[0].partition(":")[2]
        reason = rest[1].lower()
        moved = flag == "!" and any(each in reason for each in ("fetch first", "non-fast-forward", "already exists",
                                                                "stale info", "failed to update ref"))  # fmt: skip
        results[name] = Pushed(flag != "!", moved, f"{_shown(rest[1], secrets)}: {said}" if flag == "!" else "")
    return results


def _shown(text: str, secrets: Sequence[str]) -> str:
    """Return the end of what a server said, on one line, in printable ASCII, without passwords."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return _UNPRINTABLE.sub(" ", text).strip()[-_SHOWN:]


def failure(results: Mapping[str, Pushed], ref: str) -> RemoteFailed | None:
    """Return the failure of a push, that of the branch first; None where all was done, or moved meanwhile."""
    for name in (ref, *results):
        result = results.get(name)
        if result and not result.done and not result.moved:
            low = result.detail.lower()
            word = next((word for pattern, word in _WORDS if re.search(pattern, low)), "refused")
            return RemoteFailed(word, result.detail)
    return None
