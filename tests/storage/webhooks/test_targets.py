"""Which addresses and URLs a webhook may have: those of the public internet, in whatever form they are written."""

from __future__ import annotations

import pytest

from storage.webhooks.targets import MAX_URL, check_url, is_public

PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1", "192.0.0.192",
    "192.0.2.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "100.100.100.200", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::", "2001:db8::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2001:4860:4860::8888", "2606:4700::1111", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_it_is_not_called(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_it_is_called(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org", "ftp://example.org/", "https://", "https:///x", "https://user@example.org/",
        "https://user:secret@example.org/", "https://:secret@example.org/", "https://example.org:0/",
        "https://example.org:99999/", "https://example.org/#part", "https://exämple.org/", "https://example.org/a b",
        "https://example.org/\r\nX: y", "https://example.org/\t", "http://example.org/", "https://127.0.0.1/",
        "https://[::1]/", "https://[::ffff:127.0.0.1]:8443/", "https://169.254.169.254/latest/meta-data/",
        "https://" + "a" * MAX_URL, "https://exa<mple.org/", "https://[::1/",
    ],
)  # fmt: skip
def test_a_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        check_url(url, private=False)


@pytest.mark.parametrize(
    "url",
    ["https://example.org", "https://hooks.example.org:8443/a/b?c=d&e=%20~_-", "https://8.8.8.8/", "https://a_b.example/x"],
)  # fmt: skip
def test_a_url_is_taken(url: str) -> None:
    check_url(url, private=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "http://[::1]/", "http://ci.internal/"])
def test_private_targets_are_taken_where_a_setting_says_so(url: str) -> None:
    check_url(url, private=True)
    with pytest.raises(ValueError, match="webhook_private_targets"):
        check_url(url, private=False)
    with pytest.raises(ValueError, match="password"):
        check_url(url.replace("//", "//user:secret@"), private=True)
