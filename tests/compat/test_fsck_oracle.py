"""What `git fsck --strict` refuses, the edge refuses; where the edge refuses more, the reason stands here."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from storage.git.fsck import (
    ContentError,
    FsckError,
    PathError,
    check_content,
    check_ident,
    check_message,
    check_path,
    check_slice_name,
)
from storage.git.objects import FILE_MODE, SUBMODULE_MODE, SYMLINK_MODE, Ident, Kind
from tests.support.git_oracle import GitOracle
from tests.support.submodule_urls import REFUSED_URLS, TAKEN_URLS

# Shrinking hundreds of cases would take minutes; the assertion shows the few that matter.
MANY = settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))

# What harmless and harmful names are made of: Git's own spellings, what NTFS and HFS+ drop, and what they do not.
PIECES = [
    *[
        ".git",
        ".GiT",
        "git~1",
        "GIT~1",
        "git~2",
        "git",
        ".",
        "..",
        "...",
        "/",
        "\\",
        " ",
        ":",
        "~",
        "~1",
        "1",
        "a",
        "x.y",
    ],
    *[
        ".gitmodules",
        ".gitattributes",
        "gitmod~1",
        "GITMOD~4",
        "gitatt~2",
        "gitatt~5",
        "gi7eba~1",
        "GI7D29~9",
        "gi7eb~10",
    ],
    *[
        "~1000000",
        "gi~12345",
        ".gitignore",
        "modules",
        "::$INDEX_ALLOCATION",
        ":stream",
        "\n",
        "\t",
        "-",
        "é",
        "İ",
        "K",
    ],
    *["\u200c", "\u200f", "\u202a", "\u202e", "\u206a", "\u206f", "\ufeff", "\ufffe", "\uffff", "\u200b", "\U0001f600"],
    *[".g\u200cit", "\u200d.git", ".git\ufffe", ".gitmodule\u206fs", ".g\u0131t", ".gitattribute\u017f"],
    *[
        "\udcff",
        "\udce9",
        "\udced\udca0\udc80",
        ".git\udcff",
        ".g\udcffit",
        "\u200c.git\udcc3",
        "\udce9.git",
        ".gitmodules\udcff",
    ],
]  # half of a surrogate pair is a byte that is not UTF-8
PATHS = st.lists(st.lists(st.sampled_from(PIECES), max_size=4).map("".join), min_size=250, max_size=250, unique=True)

# Why a path is refused that fsck lets pass.
MORE = {
    r"has a part of \d+ bytes": "no usual file system can check it out",
    r"has \d+ bytes; at most": "the limit max_path_bytes",
    r"has a directory that Git takes for": "Git refuses it once it looks for a blob there",
}


@pytest.fixture
def oracle(tmp_path: Path) -> GitOracle:
    return GitOracle(tmp_path)


def raw(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def refusal(check: object, *arguments: object) -> str:
    try:
        check(*arguments)  # type: ignore[operator]
    except (PathError, FsckError) as error:
        return str(error)
    return ""


def judge_paths(folder: Path, paths: list[bytes]) -> None:
    oracle = GitOracle(folder)
    # No two cases share an object, so that what Git says of one is said of no other.
    trees = {
        path: oracle.write_path(path, FILE_MODE, oracle.write(Kind.BLOB, b"#%d" % number))
        for number, path in enumerate(paths)
    }
    refused = oracle.refused()
    ours = {path: refusal(check_path, path, 4096) for path in paths}
    assert [path for path in paths if refused & set(trees[path]) and not ours[path]] == []
    beyond = {path: ours[path] for path in paths if ours[path] and not refused & set(trees[path])}
    assert {path: why for path, why in beyond.items() if not any(re.search(reason, why) for reason in MORE)} == {}
    assert oracle.checks_out([path for path in paths if not ours[path]]) == ""


def test_every_path_that_git_refuses_is_refused(tmp_path: Path) -> None:
    single = [raw(piece) for piece in PIECES]
    folders = [b"a/" + piece + b"/b" for piece in single]
    edges = [b"", b"/", b"a/", b"/a", b"a//b", b"./a", b"a/..", b"a" * 255, b"a" * 256, b"b/" * 99 + b"c", b".gi\xff"]
    names = [
        b".git ",
        b".git.",
        b".git . .",
        b".git\\x",
        b"x\\.git\\y",
        b"x\\git~1",
        b".git:",
        b".gitx",
        b".git-",
        b"git~10",
    ]
    judge_paths(tmp_path, [*dict.fromkeys([*single, *folders, *edges, *names])])


@MANY
@given(PATHS)
def test_every_made_up_path_that_git_refuses_is_refused(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        judge_paths(Path(folder), [raw(text) for text in texts])


EVIL = b'[submodule "x"]\n\tpath = -evil\n'
LONG = b"a" * 2048


def judge_contents(folder: Path, cases: list[tuple[bytes, int, bytes]]) -> dict[tuple[bytes, int, bytes], bool]:
    """Return whether fsck refused each case; the contents must differ."""
    oracle = GitOracle(folder)
    written = {}
    for path, mode, content in cases:
        blob = oracle.write(Kind.BLOB, content)
        written[path, mode, content] = {blob, *oracle.write_path(path, mode, blob)}
    refused = oracle.refused()
    return {case: bool(oids & refused) for case, oids in written.items()}


def names_of(base: str) -> list[bytes]:
    """Spellings of a special file's name, right ones and near misses."""
    six, hashed = base[1:7], {".gitmodules": "gi7eba", ".gitattributes": "gi7d29"}[base]
    texts = [
        base,
        base.upper(),
        base + " ",
        base + ". .",
        base + ":s",
        base + "::$DATA",
        base + "x",
        base[:-1],
        base[1:],
    ]
    texts += [f"{six}~{n}" for n in range(6)] + [f"{six.upper()}~1 ", f"{six}~1:", f"{six}~1x", f"{six}~11"]
    texts += [hashed[:n] + "~" + "1234567"[: 7 - n] for n in range(7)] + [hashed + "~0", hashed[:3] + "~12", "~9999999"]
    texts += [hashed + "~1.", hashed[:5] + "~1a", "a\\" + base, "a\\" + six + "~1", base + "\\a"]
    texts += [base[:4] + "\u200c" + base[4:], base + "\ufeff", base + "\ufffe", base + "\uffffx", base[:-1] + "\u017f"]
    texts += [
        base + "\udcff",
        base + "\udcffx",
        base[:6] + "\udcff" + base[6:],
        "\udcff" + base,
        base[:4] + "\u200c" + base[4:] + "\udcc3",
    ]
    return [raw(text) for text in texts]


@pytest.mark.parametrize(("name", "bad"), [(".gitmodules", EVIL), (".gitattributes", LONG)])
def test_a_special_file_is_known_in_every_spelling(tmp_path: Path, name: str, bad: bytes) -> None:
    cases = [(b"d/" + path, FILE_MODE, bad + b"\n#%d" % n) for n, path in enumerate(names_of(name))]
    verdicts = judge_contents(tmp_path, cases)
    ours = {case: bool(refusal(check_content, *case)) for case in cases}
    assert [case for case in cases if verdicts[case] and not ours[case]] == []
    # More than Git: whatever stands behind a backslash, for every special file and not for .gitmodules alone.
    assert [case[0] for case in cases if ours[case] and not verdicts[case] and b"\\" not in case[0]] == []


MODULES = [
    b"",
    b'[submodule "a"]\npath = a\nurl = https://example.org/a\n',
    b'[submodule "../a"]\npath = a\n',
    b'[submodule "a/../b"]\npath = a\n',
    b'[submodule "a\\\\..\\\\b"]\npath = a\n',
    b'[submodule "a..b"]\npath = a\n',
    b'[submodule ".."]\npath = a\n',
    b'[submodule ""]\npath = a\n',
    b"[submodule]\npath = -a\n",
    b"[submodule.x]\npath = -a\n",
    b"[SubModule.X]\nPATH = -a\n",
    b'[submodule "x"] path = -a\n',
    b'[submodule "x"]\npath\n',
    b'[submodule "x"]\npath = a # -b\n',
    b'[submodule "x"]\npath = "-a"\n',
    b'[submodule "x"]\npath = ""-a\n',
    b'[submodule "x"]\npath = \\\n-a\n',
    b'[submodule "x"]\r\npath = -a\r\n',
    b'\xef\xbb\xbf[submodule "x"]\npath = -a\n',
    b'[submodule "x"]\n; c\n# [\npath = -a',
    b'[submodule "x"]\n= broken\npath = -a\n',
    b'[submodule "x"]\npath = "open\nurl = -a\n',
    b'[submodule "x"]\npath = \\q\nurl = -a\n',
    b'[submodule "x" ]\npath = -a\n',
    b'[submodule  "x"]\npath = -a\n',
    b'[submodule\t"x\\"y"]\npath = -a\n',
    b'[other "x"]\npath = -a\n',
    b'[submodule "x"]\nupdate = !rm\n',
    b'[submodule "x"]\nupdate = rebase\n',
    b'[submodule "x"]\nupdate = "!rm"\n',
    b'[submodule "x"]\npath = a\n[submodule "y"]\npath = -b\n',
    b'[submodule "x"]\npath = - \n',
    b'[submodule "x"]path=-a',
    b'[submodule "x.y"]\npath = -a\n',
    b'[submodule "\\x"]\npath = -a\n',
    b'[submodule "x\\\n"]\npath = -a\n',
    b'[submodule "x"]\npath= a -\n',
    b'[submodule "x"]\n\x0bpath = -a\n',
    b'[submodule "x"]\n\x0cpath = -a\n',
    b'[submodule "x"]\npath = \x0b-a\n',
    b'[submodule "x"]\npath = \x0c-a\n',
    b'[submodule\x0b"x"]\npath = -a\n',
    b'[submodule\r"x"]\npath = -a\n',
    b'[submodule "x"]\npath\r= -a\n',
    b'[submodule "x"]\npath \r\n= -a\n',
    b'[submodule "x"]\npath = -a\\',
    b'[submodule "x"]\npath = "-a\\',
    b'[submodule "x"]\npath = -a\\\r\n',
]
URLS = [
    *[
        b"-x",
        b"--upload-pack=x",
        b"https://example.org/a",
        b"https://example.org/%0a",
        b"https://example.org%0ahost=x/",
    ],
    *[b"http://u:p@h/p", b"https:///p", b"https://@/p", b"https://", b"http:/h", b"http::-x", b"http::http://h%0a/x"],
    *[
        b"https::https://h/p",
        b"https::h/p",
        b"ftp::://h",
        b"ftps://h/%0A",
        b"https://h%0d/",
        b"https://%68/",
        b"https://?q",
    ],
    *[
        b"https://u%0a@h/",
        b"https://u@/x",
        b"https://h:80%0a/",
        b"HTTPS://h/%0a",
        b"git://h/%0a",
        b"git://h/a",
        b"ssh://h/%0a",
    ],
    *[
        b"./%0a",
        b"../%0a",
        b"./a",
        b"../a",
        b"../../:h/x",
        b"..//h",
        b".././h",
        b"./:h",
        b"../:h",
        b"../..//:h",
        b"../..",
        b"./../:h",
    ],
    *[
        b".\\\\%0a",
        b"..\\\\:x",
        b"..\\\\..\\\\/x",
        b"a/../%0a",
        b"/abs/%0a",
        b"h:p",
        b"%0a",
        b"..",
        b"./-x",
        b"./..//x",
        b"....//x",
    ],
    *[
        b"https://h/\\n",
        b"./\\n",
        b"git://\\n",
        b"http::",
        b"https::x://h/p",
        b"http::x://",
        b"http:://h",
        b"../\\\\:h",
        b"..///:h",
    ],
    *[
        b".././../../:h",
        b"./.\\\\../:h",
        b"https://h#%0a",
        b"https://#h",
        b"https://a@b@/",
        b"https://:@/",
        b"https://:80/",
    ],
]
CONFIG = st.lists(
    st.sampled_from(
        [
            *[
                b'[submodule "x"]',
                b"[submodule.y]",
                b'[submodule "../z"]',
                b"[core]",
                b'[submodule "',
                b'"]',
                b"\n",
                b"\r\n",
            ],
            *[
                b" ",
                b"\t",
                b"=",
                b"path",
                b"url",
                b"update",
                b"-a",
                b"!x",
                b"a",
                b'"',
                b"\\",
                b"\\\n",
                b"\\n",
                b"#",
                b";",
                b"\r",
            ],
            *[
                b"\npath = -a\n",
                b"\nurl = ./",
                b"../",
                b"%0a",
                b":",
                b"/",
                b"https://",
                b"http::",
                b"@",
                b"?",
                b"\x0c",
                b".",
            ],
        ]
    ),
    max_size=14,
).map(b"".join)


def judge_modules(folder: Path, contents: list[bytes]) -> None:
    cases = [(b".gitmodules", FILE_MODE, content) for content in dict.fromkeys(contents)]
    verdicts = judge_contents(folder, cases)
    ours = {case: refusal(check_content, *case) for case in cases}
    assert [case[2] for case in cases if verdicts[case] and not ours[case]] == []
    # More than this Git: URLs that other versions refuse, or with a line break in a part that `..` takes away; and what
    # stands behind a byte order mark, which Git skips in files but not in the buffers that fsck reads.
    beyond = {case[2]: ours[case] for case in cases if ours[case] and not verdicts[case]}
    beyond = {content: why for content, why in beyond.items() if not content.startswith(b"\xef\xbb\xbf")}
    assert {content: why for content, why in beyond.items() if not re.search(r"url", why)} == {}


def test_every_gitmodules_that_git_refuses_is_refused(tmp_path: Path) -> None:
    urls = [*URLS, *(f'"{url}"'.encode() for url in REFUSED_URLS + TAKEN_URLS)]
    judge_modules(tmp_path, [*MODULES, *(b'[submodule "u"]\n\turl = %s\n' % url for url in urls)])


# Prefixes that are read in different ways, and what stands between the parts of a URL.
URL = st.tuples(
    st.sampled_from(
        ["", "https://", "https://h", "http://h/", "ftp://h:", "https://u:p@h", "ftps::", "http::http://h/"]
    ),
    st.lists(
        st.sampled_from(
            [
                *[
                    "http://",
                    "git://",
                    "./",
                    "../",
                    "/",
                    "//",
                    ".",
                    "..",
                    ":",
                    ":80",
                    ":0",
                    ":065535",
                    ":65536",
                    "@",
                    "?",
                ],
                *["#", "[", "]", "[::1]", "%", "%2", "%2e", "%0a", "%00", "%25", "%41", "a", "_", "-", "é", " ", "*"],
            ]
        ),
        max_size=6,
    ).map("".join),
).map("".join)


@MANY
@given(st.lists(URL, min_size=300, max_size=300))
def test_every_made_up_url_that_git_refuses_is_refused(urls: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        judge_modules(Path(folder), [f'[submodule "u"]\n\turl = "{url}"\n'.encode() for url in urls])


@MANY
@given(st.lists(CONFIG, min_size=300, max_size=300))
def test_every_made_up_gitmodules_that_git_refuses_is_refused(contents: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        judge_modules(Path(folder), [b'[submodule "x"]\n' * (n % 2) + content for n, content in enumerate(contents)])


def test_special_files_of_other_kinds_are_refused_as_git_does(tmp_path: Path) -> None:
    cases = [
        (b".gitmodules", SYMLINK_MODE, b"target 1"),
        (b"a/gitmod~1", SYMLINK_MODE, b"target 2"),
        (b".gitattributes", SYMLINK_MODE, b"target 3"),
        (b"ordinary", SYMLINK_MODE, b"target 4"),
        (b".gitattributes", FILE_MODE, b"x" * 2047 + b"\n" + b"y" * 2047),
        (b".gitattributes", FILE_MODE, b"ok\n" + b"x" * 2048),
        (b"b/.gitattributes", FILE_MODE, b"y" * 2049 + b"\n"),
    ]
    verdicts = judge_contents(tmp_path, cases)
    assert {case: bool(refusal(check_content, *case)) for case in cases} == verdicts


def test_a_submodule_cannot_stand_where_git_wants_a_file(oracle: GitOracle) -> None:
    for name in (b".gitmodules", b".gitattributes"):
        oracle.write_path(name, SUBMODULE_MODE, b"\1" * 20)
        with pytest.raises(ContentError):
            check_content(name, SUBMODULE_MODE, None)
    assert b"\1" * 20 in oracle.refused()


NAMES = st.text(st.sampled_from("aé<>\n\0 \t'\"@.,\\"), max_size=5)


@MANY
@given(st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=150, max_size=150, unique=True))
def test_every_author_and_message_that_git_refuses_is_refused(cases: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        oracle = GitOracle(Path(folder))
        commits = {
            case: oracle.write_commit(Ident(case[0], case[1], 1, 60).encode(), case[2].encode()) for case in cases
        }
        refused = oracle.refused()
        for name, email, message in cases:
            ours = refusal(check_ident, name, email) or refusal(check_message, message)
            assert ours or commits[name, email, message] not in refused, (name, email, message)


REFS = st.text(st.sampled_from("ab./-@{~^:?*[\\ \x7f\té"), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> GitOracle:
    return GitOracle(tmp_path_factory.mktemp("refs"))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=REFS | st.sampled_from(["HEAD", "@", "a.lock", "a.lock/b", "a/.b", "a..b", "-a", "a/-b", "a@{b", "a/"]))
def test_a_slices_name_is_a_branchs(judge: GitOracle, name: str) -> None:
    taken = judge.git("check-ref-format", "--branch", name).returncode == 0
    # More than Git: @ alone is a branch's name to this command, and HEAD to every other.
    assert (refusal(check_slice_name, name) == "") == (taken and name != "@")
