"""The settings of mirrors. The others: storage/base/settings.py."""

from dataclasses import dataclass

from storage.base.setting_groups.api_settings import setting


@dataclass(frozen=True)
class MirrorSettings:
    """Where mirrors are pushed from and to, with which credentials, how often and how patiently."""

    mirror_folder: str = setting(
        "",
        "folder",
        "Where a sender keeps the Git repositories that it pushes from; they are made again where they are lost."
        " Without it nothing is pushed, and no mirrors can be made.",
    )
    mirror_credentials: str = setting(
        "",
        "file",
        "User names and passwords of Git servers, a URL a line as git-credential-store has them"
        " (https://USER:TOKEN@HOST); others must not be able to read it.",
    )
    mirror_ssh_command: str = setting(
        "", "command", "What Git runs for ssh:// URLs, such as ssh -i KEY -o BatchMode=yes; without it there are none."
    )
    mirror_private_targets: bool = setting(
        False, "yes/no", "Mirrors may have private addresses of the sender's network, http:// URLs and local folders."
    )
    mirror_interval: float = setting(
        10.0, "seconds", "Least time between two pushes to one mirror; GitHub allows 6 a minute."
    )
    mirror_look: float = setting(2.0, "seconds", "Time between looks for mirrors that something has to be pushed to.")
    mirror_check: float = setting(
        60.0, "seconds", "A mirror that has everything is asked after this time whether it still has."
    )
    mirror_timeout: float = setting(
        600.0, "seconds", "Time limit of one call of a mirror's server; then Git is killed, and tried again later."
    )
    mirror_silence: float = setting(
        30.0, "seconds", "A mirror's server that sends and takes less than 1,000 bytes a second for so long has failed."
    )
    mirror_commits: int = setting(
        10_000, "commits", "Commits of the landed history that one push takes at most; the next push takes the next."
    )
    mirror_wait: float = setting(
        600.0, "seconds", "Longest time between two tries of a mirror that fails; it doubles from mirror_interval on."
    )
    max_mirrors: int = setting(10, "mirrors", "Maximum mirrors of the deployment.")
    max_mirror_lag: float = setting(
        300.0, "seconds", "/v1/health tells of a mirror that has been behind for longer as one that lags."
    )
