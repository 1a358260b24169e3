"""The settings of what Git itself is given and gives. The others: storage/base/settings.py."""

from dataclasses import dataclass

from storage.base.setting_groups.api_settings import setting


def check_not_negative(value: float) -> None:
    """Raise ValueError where something is below 0."""
    if not value >= 0:
        raise ValueError("must be 0 or more")


def check_part(part: float) -> None:
    """Raise ValueError where something is no part of 1."""
    if not 0 < part <= 1:
        raise ValueError("must be above 0 and at most 1")


@dataclass(frozen=True)
class GatewaySettings:
    """How much disk clone stores take, how they are kept, and how a gateway serves them."""

    clone_bytes: int = setting(
        32 << 30,
        "bytes",
        "Disk that the clone stores of a folder may take together; above it those go that were used longest ago, and "
        "that nobody uses.",
    )
    clone_packs: int = setting(
        32, "packs", "After so many packs that came one by one, a clone store merges some of its packs."
    )
    clone_checkpoint_commits: int = setting(
        1000,
        "commits",
        "After so many new commits (at least an eighth of those it has), a clone store writes a checkpoint into the "
        "bucket. 0: never.",
    )
    clone_wait: float = setting(
        10.0, "seconds", "Time that a request waits while somebody else brings the same clone store up to date."
    )
    git_url: str = setting(
        "",
        "URL",
        "Address of the gateway as clients reach it, such as http://host:port; GET /v1 tells it, and so `sluice clone`"
        " finds it.",
    )
    gateway_folder: str = setting(
        "", "path", "Folder of a gateway for clone stores and kept answers. Empty: one below that for temporary files."
    )
    gateway_workers: int = setting(
        2, "workers", "Processes that serve a gateway, on one port and one folder; best one for each core that it has."
    )
    gateway_threads: int = setting(
        128, "requests", "Requests that each worker of a gateway answers at once; further ones wait for their turn."
    )
    gateway_processes: int = setting(16, "processes", "Processes of Git that each worker of a gateway runs at once.")
    gateway_share: float = setting(
        0.5,
        "part of 1",
        "What one principal may have of gateway_threads and of gateway_processes at once, of each worker, and one of "
        "each at least; "
        "above it 429.",
    )
    gateway_patience: float = setting(
        50.0,
        "seconds",
        "How long a request of Git waits for its clone store to be up to date, and for a process; then it gets 503.",
    )
    gateway_request_bytes: int = setting(
        32 << 20, "bytes", "Maximum size of a request to clone or fetch, inflated; above it 413."
    )
    gateway_answer_bytes: int = setting(
        4 << 30,
        "bytes",
        "Packs that were sent are kept on the disk by each worker of a gateway, up to this size together, for clients"
        " that ask for the same; each may have a fourth of it. 0: none is kept.",
    )
    gateway_bundle_bytes: int = setting(
        4 << 20, "bytes", "A clone store with packs above this size is offered as a bundle too. 0: none is."
    )
