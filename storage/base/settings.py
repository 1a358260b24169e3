"""Every setting of Sluice: one frozen object, built in one place from a mapping.

`load(os.environ)` is called by the entry points (the API, the workers, the command line); everything else is handed
the object. Each field carries its unit and a sentence in its metadata, from which `sluice settings` and
docs/configuration.md are made. A field `redis_url` is read from `SLUICE_REDIS_URL`. Every limit is here (invariant 9).
"""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

from storage.base.errors import BadInput
from storage.base.issuers import Issuer, read_issuers
from storage.base.setting_groups.api_settings import ApiSettings, setting
from storage.base.setting_groups.gateway_settings import GatewaySettings, check_not_negative, check_part
from storage.base.setting_groups.mirror_settings import MirrorSettings
from storage.base.setting_groups.networks import read_networks
from storage.base.setting_groups.push_settings import PushSettings
from storage.base.setting_groups.share_settings import ShareSettings
from storage.base.setting_groups.webhook_settings import WebhookSettings, check_key, read_waits
from storage.base.values import read

PREFIX = "SLUICE_"
TOKEN, TOKEN_FILE = PREFIX + "TOKEN", PREFIX + "TOKEN_FILE"
"""Variables of the command line that are no settings: a secret of its user's, which no server is to have."""


# A changeset's place in the log has 13 bits for its index in an entry; a location has 16 for a pack's changesets.
_MOST = {
    "commit_changesets": 1 << 13,
    "max_commit_changesets": 1 << 13,
    "pack_changesets": 1 << 15,
    "max_bulk_changesets": 1 << 15,
}
_CHECKS: dict[str, Callable[[Any], object]] = {
    "commit_pause": check_not_negative,
    "gateway_share": check_part,
    "jwt_issuers": read_issuers,
    "trusted_proxies": read_networks,
    "webhook_key": check_key,
    "webhook_waits": read_waits,
}
# Without them, one client could hold what all share.
_ABOVE_ZERO = (
    "header_timeout",
    "body_timeout",
    "send_timeout",
    "min_rate",
    "max_head_bytes",
    "max_request_changes",
    "principal_burst",
    "principal_rate_exchange",
    "commit_share",
    "gateway_workers",
    "gateway_threads",
    "gateway_processes",
    "gateway_request_bytes",
    "mirror_timeout",
    "mirror_commits",
    "mirror_look",
)


_SHA256_OF_NOTHING = sha256().hexdigest()
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


class SettingsError(BadInput):
    """A setting could not be read."""


@dataclass(frozen=True)
class Settings(GatewaySettings, MirrorSettings, WebhookSettings, ApiSettings, ShareSettings, PushSettings):
    """What a deployment may choose. Limits bound work and memory; each refusal names the limit that it hit."""

    repository: str = setting(
        "code", "name", "Name of the repository; it prefixes every key in Redis and in the bucket."
    )
    redis_url: str = setting(
        "redis://127.0.0.1:6379/0", "URL", "Redis for the view, queues and locks; must have noeviction."
    )
    broker_url: str = setting("", "URL", "Redis for Celery's messages; empty means redis_url.")
    s3_endpoints: str = setting(
        "http://127.0.0.1:9000",
        "URLs",
        "S3 endpoints, separated by commas; the first is used, all are probed at start.",
    )
    s3_access_key: str = setting("", "text", "S3 access key.")
    s3_secret_key: str = setting("", "text", "S3 secret key.", secret=True)
    s3_bucket: str = setting("sluice", "name", "The bucket; created at start if it is missing.")
    s3_region: str = setting("us-east-1", "name", "The region for which requests are signed.")
    s3_timeout: float = setting(
        20.0,
        "seconds",
        "How long the bucket may be silent; calls are repeated after an eighth, a quarter, a half of it.",
    )
    redis_timeout: float = setting(10.0, "seconds", "Time limit of one call to Redis.")
    redis_memory_compact: float = setting(
        0.7, "part of 1", "Above this part of Redis's maxmemory, history is moved to the bucket before history_age."
    )
    redis_memory_high: float = setting(0.85, "part of 1", "Above this part of Redis's maxmemory, submissions get 503.")
    request_budget: float = setting(
        20.0, "seconds", "Time limit for all calls of one request together; then it gets 503."
    )
    batch_budget: float = setting(
        60.0, "seconds", "Time limit for all calls of one batch together; then its changesets are released."
    )
    slow_call: float = setting(
        0.25,
        "seconds",
        "A call to Redis or the bucket that takes longer, plus a second for each 8 MiB, is slow; no changeset is "
        "blamed for a batch that slow calls delayed.",
    )
    log_level: str = setting(
        "info", "level", "Lowest level of log events that are written: debug, info, warning, error or critical."
    )
    log_file_bytes: int = setting(
        16 << 20, "bytes", "A log file of `sluice up` that is larger is moved aside; other deployments log to stderr."
    )
    log_files: int = setting(3, "files", "How many of those are kept of each process.")
    otlp_endpoint: str = setting(
        "",
        "URL",
        "Traces go there by OTLP over HTTP (its path is /v1/traces); empty: none. Needs gitsluice[otel].",
    )
    trace_share: float = setting(
        1.0, "part of 1", "Requests that are traced, of those that do not say by a traceparent whether they are."
    )
    api_url: str = setting("http://127.0.0.1:8080", "URL", "Address of the API for the command line.")
    api_patience: float = setting(
        15.0, "seconds", "How long the command line repeats a call that gets no answer, or 429 or 503."
    )
    debug: bool = setting(False, "yes/no", "Errors of the command line show their traceback.")
    redis_connections: int = setting(64, "connections", "Maximum connections of a process to Redis.")
    committer_name: str = setting("Sluice", "text", "Name of the committer of every commit.")
    committer_email: str = setting("sluice@localhost", "text", "E-mail address of the committer.")

    max_bulk_changesets: int = setting(1000, "changesets", "Maximum changesets in one bulk request.")
    max_changes: int = setting(10_000, "changes", "Maximum changes in one changeset.")
    max_request_changes: int = setting(50_000, "changes", "Maximum changes of all changesets in a request.")
    max_path_bytes: int = setting(4096, "bytes", "Maximum length of a path; each component may have 255.")
    max_blob_bytes: int = setting(32 << 20, "bytes", "Maximum size of the content of one file.")
    max_message_bytes: int = setting(64 << 10, "bytes", "Maximum length of a commit message.")
    max_slice_paths: int = setting(1000, "paths", "Maximum paths in the definition of a slice.")
    max_bulk_slices: int = setting(1000, "slices", "Maximum slices in one bulk request, which makes one log entry.")
    max_bulk_paths: int = setting(
        10_000, "paths", "Maximum paths of all slices in a bulk request; Redis takes them in one go."
    )
    max_queued_per_slice: int = setting(20_000, "changesets", "Maximum changesets queued in a slice; above it 429.")
    max_queued: int = setting(200_000, "changesets", "Maximum changesets queued in all slices; above it 429.")
    max_held: int = setting(10_000, "changesets", "Maximum held changesets; above it 429.")
    max_open_conflicts: int = setting(
        100_000, "changesets", "Maximum open conflicts; above it the oldest are closed, as `expired`."
    )
    max_pending: int = setting(
        50_000, "changesets", "Changesets committed and not merged; at it commits pause and submissions get 429."
    )
    max_page: int = setting(1000, "items", "Largest `limit` of a list.")
    default_page: int = setting(100, "items", "Default `limit` of a list.")
    max_page_bytes: int = setting(
        4 << 20, "bytes", "A page of a list ends before its items exceed this size, but has at least one."
    )
    max_shown_bytes: int = setting(1 << 20, "bytes", "Maximum size of a file whose diff or conflict is shown.")
    max_strategies: int = setting(20, "rules", "Maximum rules in a changeset's `strategies`.")
    max_streams: int = setting(200, "streams", "Maximum event streams that one API process serves; above it 429.")
    max_stream_seconds: float = setting(600.0, "seconds", "After this an event stream ends; its client reconnects.")
    stream_cache_bytes: int = setting(32 << 20, "bytes", "Cache of events in each API process, for its event streams.")
    max_read_paths: int = setting(1000, "paths", "Maximum paths in a request for the contents of several files.")
    max_read_bytes: int = setting(
        8 << 20, "bytes", "Contents in an answer to such a request; one file may have more. The rest has a cursor."
    )
    max_downloads: int = setting(
        16, "downloads", "Manifests and archives that one API process sends at once; above it 429."
    )
    archive_ahead_bytes: int = setting(
        8 << 20, "bytes", "Compressed contents that an archive holds ahead of its client, unless one file has more."
    )
    pack_changesets: int = setting(2048, "changesets", "Maximum changesets in one submission pack.")
    pack_bytes: int = setting(32 << 20, "bytes", "A submission pack that exceeds this size takes no further request.")
    pack_puts: int = setting(4, "PUTs", "Submission packs that each API process stores at the same time.")
    late_put: float = setting(
        60.0,
        "seconds",
        "A submission whose ids differ by more than this from the store's clock gets 503.",
    )

    commit_workers: int = setting(2, "messages", "Maximum outstanding commit messages; the number of workers for them.")
    commit_changesets: int = setting(
        256, "changesets", "Maximum changesets in a commit batch where few are queued and the store is near."
    )
    max_commit_changesets: int = setting(
        1024,
        "changesets",
        "Maximum changesets in any commit batch. Between commit_changesets and this, a batch takes a fourth of what is"
        " queued; where the store is far (a PUT takes 25 ms or more), the limit grows with the time of a PUT as well."
        " Below commit_changesets: batches never grow, and no store counts as far.",
    )
    commit_pause: float = setting(
        0.05,
        "seconds",
        "While changesets of one principal keep coming and less than a batch of them is queued, a worker pauses between"
        " two batches, as long as the last one took and at most this long, so that the next one has more. 0: never.",
    )
    commit_changes: int = setting(
        20_000, "changes", "A commit batch with more changes than this takes no further changeset."
    )
    commit_bytes: int = setting(
        64 << 20,
        "bytes",
        "A commit batch with more bytes of submitted contents and manifests takes no further changeset.",
    )
    batch_bytes: int = setting(
        32 << 20,
        "bytes",
        "A commit batch with more bytes of new trees and merged contents takes no further changeset; it needs a few"
        " times as much memory.",
    )
    commit_slices: int = setting(64, "slices", "Maximum slices in one claim.")
    max_merge_bytes: int = setting(8 << 20, "bytes", "Larger files are not merged: a conflict of the class too-large.")
    merge_timeout: float = setting(10.0, "seconds", "A merge of contents that takes longer is too-large as well.")
    merge_budget: float = setting(
        30.0, "seconds", "Time limit for the merges of contents in a batch; the rest waits for another batch."
    )
    merge_changesets: int = setting(2048, "changesets", "A batch merge takes whole entries up to this many changesets.")
    merge_interval: float = setting(2.0, "seconds", "Time between scheduled merges.")
    upkeep_interval: float = setting(5.0, "seconds", "Time between upkeep runs.")
    upkeep_packs: int = setting(5000, "packs", "Maximum submission packs that an upkeep run lists.")
    checkpoint_entries: int = setting(64, "entries", "Log entries in a segment of a checkpoint.")
    checkpoint_segments: int = setting(4, "segments", "Maximum segments that one upkeep run makes.")
    gc_interval: float = setting(600.0, "seconds", "Time between garbage collections.")
    gc_packs: int = setting(5000, "packs", "Maximum packs that one garbage collection examines.")
    gc_grace: float = setting(3600.0, "seconds", "A pack that no entry names is garbage after this time.")
    history_age: float = setting(
        3600.0, "seconds", "What was decided longer ago leaves Redis, and is looked up in the bucket."
    )
    key_age: float = setting(
        86_400.0, "seconds", "An idempotency key is known at least so long after its changeset was decided."
    )
    compact_entries: int = setting(256, "entries", "A compaction waits for this many entries that are old enough.")
    compact_changesets: int = setting(4096, "changesets", "Maximum changesets in one compaction.")
    compact_bytes: int = setting(16 << 20, "bytes", "A compaction with packs above this size takes no further entry.")
    inbox_margin: float = setting(
        120.0, "seconds", "Submission packs younger than this are scanned again: late PUTs, wrong clocks."
    )
    lock_ttl: float = setting(
        2.5,
        "seconds",
        "Expiry of claims and locks whose holder has died; a process renews its own four times as often.",
    )
    stop_grace: float = setting(
        20.0, "seconds", "A worker that is asked to stop finishes its batch in this time, or releases it."
    )
    poison_tries: int = setting(
        3, "tries", "A changeset that, tried alone, killed its worker or failed so often is rejected as poison."
    )
    poison_wait: float = setting(
        300.0, "seconds", "Time between two such tries, unless another batch succeeded in between."
    )
    max_queue_age: float = setting(120.0, "seconds", "/v1/health is 503 if a changeset has waited longer.")
    message_ttl: float = setting(
        3.0,
        "seconds",
        "A message that no run has taken within this time counts as lost, as does one whose run has died.",
    )
    lock_tries: int = setting(
        5, "tries", "After so many claims of a slice that failed on file locks, it is claimed without them."
    )
    use_locks: bool = setting(
        True, "yes/no", "Take locks. Without them work is slower, and outcomes are the same; for tests."
    )

    cache_bytes: int = setting(128 << 20, "bytes", "Cache of parsed trees and objects in each process.")
    archive_cache_bytes: int = setting(
        16 << 20, "bytes", "Cache of parts of the archive's tables, and of entries found by them, in each process."
    )
    merge_cache_bytes: int = setting(32 << 20, "bytes", "Cache of merged contents in each process.")
    shared_cache_seconds: int = setting(600, "seconds", "How long Redis keeps a copy of a tree or manifest at most.")
    shared_cache_bytes: int = setting(
        256 << 20, "bytes", "Copies of trees and commits in Redis; if more are made, they expire earlier."
    )

    def __post_init__(self) -> None:
        """Refuse values that formats cannot hold. Raises SettingsError."""
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise SettingsError(f"{PREFIX}{name.upper()} must be from 1 to {most}")
        if self.root_token_sha256 and not _SHA256.fullmatch(self.root_token_sha256):
            raise SettingsError(f"{PREFIX}ROOT_TOKEN_SHA256 must be 64 hexadecimal digits in lower case")
        if self.root_token_sha256 == _SHA256_OF_NOTHING:
            raise SettingsError(f"{PREFIX}ROOT_TOKEN_SHA256 is the hash of nothing, and not of a token")
        for name, check in _CHECKS.items():
            try:
                check(getattr(self, name))
            except ValueError as error:
                raise SettingsError(f"{PREFIX}{name.upper()}: {error}") from None
        if self.log_level not in LOG_LEVELS:
            raise SettingsError(f"{PREFIX}LOG_LEVEL: {self.log_level!r} is none of {', '.join(LOG_LEVELS)}")
        if not 0 < self.redis_memory_compact <= self.redis_memory_high <= 1:
            names = f"{PREFIX}REDIS_MEMORY_COMPACT and {PREFIX}REDIS_MEMORY_HIGH"
            raise SettingsError(f"{names} must be above 0 and at most 1, the first not above the second")
        for name in _ABOVE_ZERO:
            if not getattr(self, name) > 0:
                raise SettingsError(f"{PREFIX}{name.upper()} must be above 0")
        if self.late_put >= self.inbox_margin:
            # What is accepted so late could be behind the mark, where nobody looks.
            raise SettingsError(f"{PREFIX}LATE_PUT must be less than {PREFIX}INBOX_MARGIN")

    @cached_property
    def _hash(self) -> int:
        return hash(astuple(self))

    def __hash__(self) -> int:
        """Return a number that is computed once: schemas are looked up by their settings for each request."""
        return self._hash

    @property
    def issuers(self) -> tuple[Issuer, ...]:
        """The issuers whose JSON Web Tokens are accepted."""
        return read_issuers(self.jwt_issuers)

    @property
    def broker(self) -> str:
        """The broker's URL."""
        return self.broker_url or self.redis_url

    @property
    def secrets(self) -> list[str]:
        """What must not be shown anywhere: the secret key, and the passwords in URLs, escaped and not."""
        urls = [self.redis_url, self.broker, self.api_url, *self.endpoints]
        # To the last @: an unescaped one may stand in a password.
        written = [url.partition("://")[2].rpartition("@")[0].partition(":")[2] for url in urls]
        return [secret for secret in (self.s3_secret_key, self.webhook_key, *written, *map(unquote, written)) if secret]

    @property
    def endpoints(self) -> list[str]:
        """The S3 endpoints, first the one that is used."""
        return [part.strip() for part in self.s3_endpoints.split(",") if part.strip()]


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Build the settings from `environ` (the process's own by default). Raises SettingsError as `given` does."""
    return Settings(**given(environ))


def given(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the fields that `environ` (the process's own by default) sets.

    Raises SettingsError where a value does not read as its field's type or can be of no use, and for an unknown name:
    a misspelt limit must not silently be no limit.
    """
    environ = os.environ if environ is None else environ
    fields = {PREFIX + f.name.upper(): f for f in dataclasses.fields(Settings)}
    values = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in (TOKEN, TOKEN_FILE):
            continue
        if name not in fields:
            raise SettingsError(f"{name} is not a setting of Sluice")
        known = fields[name]
        try:
            values[known.name] = read(text, known.default, known.metadata["unit"])
        except ValueError as error:
            raise SettingsError(f"{name}: {error}") from None
    if values.get("s3_access_key") and not values.get("s3_secret_key"):
        raise SettingsError(f"{PREFIX}S3_ACCESS_KEY is set without {PREFIX}S3_SECRET_KEY")
    return values


def client_token(environ: Mapping[str, str] | None = None) -> tuple[str | None, str | None]:
    """Return the token and the file with a token that `environ` (the process's own by default) has for a client."""
    environ = os.environ if environ is None else environ
    return environ.get(TOKEN), environ.get(TOKEN_FILE)


def dump(settings: Settings) -> dict[str, str]:
    """The environment from which `load` makes these settings again; for the processes that `sluice up` starts."""
    return {
        PREFIX + f.name.upper(): str(getattr(settings, f.name))
        for f in dataclasses.fields(settings)
        if getattr(settings, f.name) != f.default
    }


def environment(
    settings: Settings, more: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of a process that runs with `settings`: `environ` (this process's own by default) and `more`.

    `SLUICE_` names in `environ` are left out, so that a child runs with these settings and nothing else.
    """
    environ = os.environ if environ is None else environ
    kept = {name: text for name, text in environ.items() if not name.startswith(PREFIX)}
    return {**kept, **(more or {}), **dump(settings)}
