"""The trailers of a commit's message, as Git finds and adds them. Pure.

The rules are those of Git's trailer.c, commit.c and wt-status.c, with its defaults: `#` begins a comment and `:`
separates. A line `---` does not end the message, as for all commands that read commits (`git log`, and `git
interpret-trailers --no-divider`). tests/compat/test_trailers_oracle.py compares the results with Git.
"""

import re

CHANGESET_ID = "Changeset-Id"
"""The trailer by which a commit names its changeset."""

CHANGESET_SUBMITTER = "Changeset-Submitter"
"""The trailer by which a commit names the principal that submitted its changeset."""

RESERVED = (CHANGESET_ID, CHANGESET_SUBMITTER)
"""The trailers that are for Sluice to write."""

NO_SUBJECT = "(no message)"
"""The first line of a commit whose changeset has a message that cannot carry a trailer by itself."""

_RESERVED_LINE = re.compile(rf"\s*(?:{'|'.join(RESERVED)})\s*:", re.IGNORECASE)
# As Git reads it: at the very beginning of a line, in any case of its letters.
_SUBMITTER_LINE = re.compile(rf"^{CHANGESET_SUBMITTER}[ \t]*:[^\n]*\n?", re.IGNORECASE | re.MULTILINE | re.ASCII)
_COMMENT = b"#"
_CUT_LINE = b"# ------------------------ >8 ------------------------\n"
# With one of these among its lines, a quarter of a paragraph has to be trailers, else all of it.
_GENERATED = (b"Signed-off-by: ", b"(cherry picked from commit ")
# White space to Git: neither VT and FF nor anything beyond ASCII.
_SPACE = b" \t\r\n"
# Lines that follow one another, by what they are to a message's end.
_RUNS = re.compile(
    rb"(?P<comments>(?:(?:#[^\n]*)?\n|#[^\n]+\Z)+)|(?P<conflicts>Conflicts:\n)|(?P<paths>(?:\t[^\n]*\n?)+)"
    rb"|(?P<text>(?:(?!Conflicts:\n)[^#\n\t][^\n]*\n?)+)"
)
# What a line that is a comment, a scissors line, or of a list of conflicts has at its beginning.
_MAY_END_EARLY = re.compile(rb"^(?:#|\t|Conflicts:$)", re.MULTILINE)
_BLANK_START = re.compile(rb"(?:[ \t\r]*\n)+")
_BLANK_LINE = re.compile(rb"^[ \t\r]*(?:\n|\Z)", re.MULTILINE)
_TOKEN = re.compile(rb"[A-Za-z0-9-]+[ \t]*:")
_OLD_FORM = re.compile(r"(?:\A|\n\n)Changeset-Id: ([0-9A-HJKMNP-TV-Z]{26})\n\Z")


def trailers(message: str) -> list[tuple[str, str]]:
    """Return names and values of the trailers that Git finds in a commit's message."""
    parts = [trailer.partition(b":") for trailer in _trailer_lines(message.encode())]
    return [(name.strip(_SPACE).decode(), value.strip(_SPACE).decode()) for name, _, value in parts]


def names_changeset(line: str) -> bool:
    """Tell whether a line of a message could pass for a trailer that is for Sluice to write (RESERVED)."""
    return bool(_RESERVED_LINE.match(line))


def without_submitter(message: str) -> str:
    """Return `message` without lines that Git could take for the trailer Changeset-Submitter.

    Only messages that were accepted before that name was reserved have any.
    """
    # Nearly no message has that part of it, and looking for it takes less time than the expression.
    return _SUBMITTER_LINE.sub("", message) if "-submitter" in message.lower() else message


def with_trailer(message: str, name: str, value: str, *more: tuple[str, str]) -> str:
    """Return `message` with one more trailer, or several, where `git interpret-trailers --no-divider` puts them.

    At the end of the trailers that the message has, else in a paragraph of their own. A message that cannot carry them
    (see `carries`) gets a subject that can. Each of `more` is a name and a value.
    """
    text, lines = _trimmed(message), f"{name}: {value}\n".encode()
    for other, its_value in more:
        lines += f"{other}: {its_value}\n".encode()
    extended = _extended(text, lines)
    if extended is None:
        text = f"{NO_SUBJECT}\n\n".encode() + text
        extended = _inserted(text, lines, *_block(text))
    return extended.decode()


def carries(message: str) -> bool:
    """Tell whether Git finds a trailer that is added to a message; never in the first paragraph, the subject's."""
    return _extended(_trimmed(message), f"{CHANGESET_ID}: 0\n".encode()) is not None


def changeset_of_old(message: str) -> str | None:
    """Return the changeset that a commit of the old form names where Git finds no trailer; None for any other commit.

    That form had the trailer alone in the last paragraph, after any text. Git does not find it after a scissors line,
    or if there is no other paragraph.
    """
    match = _OLD_FORM.search(message)
    if match is None or any(name.lower() == CHANGESET_ID.lower() for name, _ in trailers(message)):
        return None
    return match[1]


def _trimmed(message: str) -> bytes:
    data = message.encode().rstrip(_SPACE)
    return _without_blank_start(data) + b"\n" if data else b""


def _extended(text: bytes, lines: bytes) -> bytes | None:
    """Return a text with trailers that Git finds there, beside those that it had; None where that cannot be."""
    if not text:
        return None
    if text.find(b"\n") == len(text) - 1 and _TOKEN.match(lines) and not _MAY_END_EARLY.search(text):
        return text + b"\n" + lines  # as below; a subject alone is most messages, and takes a tenth of the time
    start, end = _block(text)
    wanted = (text[start:end].rstrip(_SPACE) + b"\n" + lines).lstrip(b"\n").rstrip(_SPACE)
    for made in (_inserted(text, lines, start, end), text + b"\n" + lines):
        if made[slice(*_block(made))].rstrip(_SPACE) == wanted:
            return made
    return None


def _inserted(text: bytes, lines: bytes, start: int, end: int) -> bytes:
    """Return a text with lines at the end of its trailers, which stand between `start` and `end`."""
    before, block = text[:start], text[start:end]
    if block:
        block = block.rstrip(_SPACE) + b"\n"  # a blank line at its end would set the new ones apart
    elif before and not _is_blank(before[before.rfind(b"\n", 0, -1) + 1 :]):
        before += b"\n"
    return before + block + lines + text[end:]


def _trailer_lines(data: bytes) -> list[bytes]:
    """Return the trailers in a message, each with the lines that continue it."""
    data = _without_blank_start(data)
    folded: list[bytes] = []
    continues = False
    for line in data[slice(*_block(data))].split(b"\n"):
        if continues and (not line or line[0] in _SPACE):
            folded[-1] += b"\n" + line
            continue
        continues = _TOKEN.match(line) is not None
        if continues:
            folded.append(line)
    return [trailer.rstrip(_SPACE) for trailer in folded]


def _block(data: bytes) -> tuple[int, int]:
    """Return where the trailers of a message begin and end; one after the other where there are none."""
    end = _end(data)
    return _start(data[:end]), end


def _end(data: bytes) -> int:
    """Return where a message ends to Git: before a scissors line, and before what comments and conflicts stand last."""
    if not _MAY_END_EARLY.search(data):
        # Then blank lines alone count as comments. This is most messages, and takes a fiftieth of the time.
        return min(len(data.rstrip(b"\n")) + 1, len(data)) if data.strip(b"\n") else len(data)
    cut = 0 if data.startswith(_CUT_LINE) else data.find(b"\n" + _CUT_LINE) + 1 or len(data)
    ignored, in_conflicts = 0, False
    for run in _RUNS.finditer(data, 0, cut):
        match run.lastgroup:
            case "comments":
                ignored = ignored or run.start()  # the very beginning counts for nothing, as in Git
            case "conflicts":
                ignored, in_conflicts = ignored or run.start(), True
            case "text":
                ignored, in_conflicts = (0, False) if ignored else (0, in_conflicts)
            case "paths" if ignored and not in_conflicts:
                ignored = 0
    return ignored or cut


def _start(data: bytes) -> int:
    """Return where the last paragraph begins if it is one of trailers, else the end. The first is the subject's."""
    blank = _BLANK_LINE.search(data)
    if blank is None:
        return len(data)
    subject, paragraph = blank.start(), []
    at, is_empty = len(data), True
    while at > subject:
        begin = data.rfind(b"\n", 0, at - 1) + 1
        line = data[begin:at]
        if line[:1] == _COMMENT or not _is_blank(line):
            paragraph.append(line)
            is_empty = is_empty and line[:1] == _COMMENT
        elif not is_empty:
            return at if _is_of_trailers(paragraph) else len(data)
        at = begin
    return len(data)


def _is_of_trailers(paragraph: list[bytes]) -> bool:
    """Tell whether a paragraph, given from its last line to its first, is one of trailers."""
    count, others, folded, generated = 0, 0, 0, False
    for line in paragraph:
        if line.startswith(_GENERATED) or _TOKEN.match(line):
            generated = generated or line.startswith(_GENERATED)
            count, folded = count + 1, 0  # what continues it is part of it
        elif line[0] in _SPACE:
            folded += 1
        else:
            others, folded = others + folded + (line[:1] != _COMMENT), 0
    others += folded
    return count * 3 >= others if generated else count > 0 and not others


def _is_blank(line: bytes) -> bool:
    return not line.strip(_SPACE)


def _without_blank_start(data: bytes) -> bytes:
    """Leave out blank lines before the subject: readers of commits do so too."""
    blank = _BLANK_START.match(data)
    return data[blank.end() :] if blank else data
