"""URLs of submodules that newer versions of Git refuse, and such as they take."""

from __future__ import annotations

REFUSED_URLS = [
    *["https://h:port/a", "https://h:0/a", "https://h:65536/", "https://h:8a", "https://h:0000/", "http://a:b:c/"],
    *["https://h st/a", "https://é/", "https://h&x/", "https://u@v@h/", "https://%68/", "https://*/", "http://:80/"],
    *["https://h/%", "https://h/%2", "https://h/%zz", "https://%zz@h/", "https://h/a?%x", "https://h/a#%0"],
    *["https://h/..", "https://h/a/../../b", "https://h/%2e%2e/a", "https://h/./../a", "https://h/a/%2E./.."],
    *["https://", "https:///a", "https://u@/a", "http::h/a", "http::1x://h/", "ftps::file:///a"],
    *["https://h/%0a/..", "https://h/a%0d"],
]
TAKEN_URLS = [
    *["https://h:8443/a.git", "https://h:/a", "https://h:00065535/a", "https://[::1]/a", "https://[::1]:80/a"],
    *["https://u:p%40@h/a", "https://@h/a", "https://h?q", "https://h#f", "http::https://h/a", "ftp://h_1/é b"],
    *["https://h/a/../b", "https://h/a/./../b", "https://h//../b", "https://h/a?../..", "https://h/...", "x://%"],
    *["ssh://h:port/..", "git@h:a/b", "../a", "./a/../../b", "/abs/..", "git://h:x/..", "https:h/a"],
]
