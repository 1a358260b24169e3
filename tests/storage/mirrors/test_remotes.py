"""Which URLs and branches a mirror may have."""

from __future__ import annotations

import pytest

from storage.mirrors.remotes import NAME, check_ref, check_url

SECRETS = ("user or password", "mirror_credentials")


@pytest.mark.parametrize(
    "url",
    ["https://github.com/team/code.git", "https://git.example.org:8443/code", "https://[2606:4700::1111]/code"],
)
def test_https_of_a_public_host_is_taken(url: str) -> None:
    check_url(url, private=False, ssh=False)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://user@github.com/code", "user or password"),
        ("https://user:token@github.com/code", "user or password"),
        ("https://:token@github.com/code", "user or password"),
        ("ssh://git:secret@github.com/code", "user or password"),
        ("http://github.com/code", "must begin with https://"),
        ("https://127.0.0.1/code", "private address"),
        ("https://169.254.169.254/code", "private address"),
        ("https://[::1]/code", "private address"),
        ("https://2130706433/code", "private address|has no host|must have a host"),
        ("https://0x7f000001/code", "private address|must have a host"),
        ("file:///srv/code.git", "folder"),
        ("/srv/code.git", "must be a URL"),
        ("git@github.com:team/code.git", "must be a URL"),
        ("ssh://git@github.com/code", "mirror_ssh_command"),
        ("git://github.com/code", "must begin with https://"),
        ("ext::sh -c touch% /tmp/x", "must be a URL"),
        ("https://github.com/code#main", "fragment"),
        ("https://github.com/code?token=x", "query"),
        ("https:///code", "host"),
        ("https://-oProxyCommand=x/code", "host"),
        ("https://github.com/co de", "must be a URL"),
        ("https://github.com/" + "x" * 2000, "more than"),
        ("--upload-pack=touch", "must be a URL"),
    ],
)
def test_other_urls_are_refused_with_the_reason(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_url(url, private=False, ssh=False)


def test_settings_allow_local_folders_plain_http_and_ssh() -> None:
    for url in ("http://127.0.0.1:3000/code.git", "file:///srv/code.git", "https://10.0.0.1/code"):
        check_url(url, private=True, ssh=False)
    for url in ("ssh://git@github.com/team/code.git", "ssh://git.example.org:2222/code"):
        check_url(url, private=False, ssh=True)
    for url in ("ssh://-oProxyCommand=x/code", "ssh://-l@github.com/code", "file://host/srv", "file:///"):
        with pytest.raises(ValueError, match=r"host|user|folder"):
            check_url(url, private=True, ssh=True)


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/heads/release/1.0", "refs/heads/a-b_c+d=e"])
def test_the_whole_name_of_a_branch_is_taken(ref: str) -> None:
    check_ref(ref)


@pytest.mark.parametrize(
    "ref",
    ["main", "refs/tags/v1", "refs/heads/", "refs/heads/-x", "refs/heads/a..b", "refs/heads/a.lock", "refs/heads/a b",
     "refs/heads/a:b", "refs/heads/*", "refs/heads/a/", "refs/heads/.a", "refs/heads/a//b", "refs/heads/a.lock/b",
     "+refs/heads/a", "refs/heads/a/.b", "refs/heads/a.", "refs/heads/a~1", "refs/heads/a^", "refs/heads/a@{1}",
     "refs/heads/" + "x" * 300],
)  # fmt: skip
def test_other_names_are_refused(ref: str) -> None:
    with pytest.raises(ValueError, match="whole name of a branch"):
        check_ref(ref)


def test_a_name_is_short_and_plain() -> None:
    assert NAME.fullmatch("github") and NAME.fullmatch("a.b-c_1")
    assert not any(NAME.fullmatch(name) for name in ("", "A", "a/b", "../x", "-a", "a b", "a" * 64, "a\n"))
