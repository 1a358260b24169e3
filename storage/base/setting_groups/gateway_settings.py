"""The settings of what Git itself is given and gives. The others: storage/base/settings.py."""

from dataclasses import dataclass

from storage.base.setting_groups.api_settings import setting


@dataclass(frozen=True)
class GatewaySettings:
    """How much disk clone stores take, and how they are kept."""

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
