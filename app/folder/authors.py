"""Who makes a changeset: the person that Git would write as the author of a commit."""

from pathlib import Path

from app.client.api_client import Json
from storage.git.run_git import Git, GitFailed, user_environment

_NAME, _EMAIL = "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"


def git_author(directory: Path) -> Json | None:
    """Return the author by `GIT_AUTHOR_*` or `git config user.*`, as it holds in a folder; None where neither says one.

    The address that Git guesses from the names of account and machine is not used.
    """
    environment = user_environment(keep={_NAME, _EMAIL})
    name, email = (environment.get(each, "").strip() for each in (_NAME, _EMAIL))
    if name and email:
        return {"name": name, "email": email}
    git = Git(directory, environment)
    try:
        ident = git.output("-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT").decode()
    except (GitFailed, UnicodeDecodeError):
        return None
    name, _, rest = ident.partition(" <")
    email = rest.partition(">")[0]
    return {"name": name, "email": email} if name and email else None
