"""The schemas of request bodies: input is checked here, once, and is typed and complete afterwards.

Each shape of docs/api.md is a marshmallow schema. How they stay fast in bulk: schemas are made once for a deployment's
settings, lists are loops over a flat schema instead of `Nested` (whose values go through three more layers), and the
rules between the fields of a change are plain code in `_change` instead of hooks. What is valid is loaded without
marshmallow's loop over fields (`LimitedSchema.load_valid`).
"""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

from marshmallow import ValidationError
from marshmallow.fields import Raw
from msgspec import structs

from app.protocol import fields
from app.protocol.changesets.labels import load_labels
from app.protocol.changesets.strategies import STRATEGIES, MatchBudget, Rule, Rules, pattern
from app.protocol.changesets.submissions import (
    Base,
    Change,
    ChangesetBase,
    CommitBase,
    ItemBase,
    Submission,
    VersionsBase,
    field_of,
    path_field,
)
from app.protocol.loading import ErrorsAt, LimitedSchema, load_object
from app.protocol.paths import check_list
from app.protocol.problems import MAX_ERRORS, FieldError, Invalid, Problem, invalid
from storage.backends.turns import breathe
from storage.base.settings import Settings
from storage.git.fsck import check_content, check_ident, check_message, needs_content
from storage.git.objects import EXECUTABLE_MODE, FILE_MODE, SUBMODULE_MODE, SYMLINK_MODE
from storage.git.threeway import Strategy

MAX_IDENT_BYTES = 1000
MAX_SLICE_REFERENCE = 200
_MAX_BULK_ERRORS = 1000

_ENCODED = {"path": "path_base64", "from": "from_base64"}
MODES = {"100644": FILE_MODE, "100755": EXECUTABLE_MODE, "120000": SYMLINK_MODE, "160000": SUBMODULE_MODE}


class ChangeSchema(LimitedSchema):
    """One change; what belongs to which `op` is in `_change`."""

    class Meta:
        """What no class can name."""

        include = {  # noqa: RUF012
            "from": fields.Checked(fields.path, "max_path_bytes"),
            "from_base64": fields.Checked(fields.path_base64, "max_path_bytes"),
        }

    op = fields.choice({op: op for op in ("put", "mode", "delete", "move")}, required=True)
    path = fields.Checked(fields.path, "max_path_bytes")
    path_base64 = fields.Checked(fields.path_base64, "max_path_bytes")
    mode = fields.choice(MODES)
    content = fields.Checked(fields.encoded, "max_blob_bytes")
    content_base64 = fields.Checked(fields.from_base64, "max_blob_bytes")
    id = fields.Checked(fields.oid)
    base = fields.Checked(fields.oid, allow_none=True)
    strategy = fields.choice(STRATEGIES)


class AuthorSchema(LimitedSchema):
    """Who made a changeset."""

    name = fields.Checked(fields.text, required=True)
    email = fields.Checked(fields.text, required=True)


class RuleSchema(LimitedSchema):
    """A pattern of paths, and how they are merged."""

    pattern = fields.Checked(pattern, required=True)
    strategy = fields.choice(STRATEGIES, required=True)


class ChangesetSchema(LimitedSchema):
    """One changeset, posted to its slice."""

    base = fields.Checked(fields.base)
    author = Raw()
    time = fields.Checked(fields.time)
    message = fields.Checked(partial(fields.text, check=check_message), "max_message_bytes", required=True)
    changes = Raw(required=True)
    strategies = Raw()
    hold = fields.Checked(fields.flag)
    priority = fields.Checked(fields.priority)
    labels = Raw()


class ItemSchema(ChangesetSchema):
    """One changeset of a bulk request."""

    slice = fields.Checked(fields.text, required=True)
    base = fields.Checked(fields.item_base)
    idempotency_key = fields.Checked(fields.key)


class BulkSchema(LimitedSchema):
    """The envelope of a bulk request."""

    changesets = Raw(required=True)


class _Loader:
    """The schemas of one deployment."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.change = ChangeSchema(settings)
        self.rule = RuleSchema(settings)
        self.author = AuthorSchema(settings)
        self.changeset = ChangesetSchema(settings)
        self.item = ItemSchema(settings)
        self.bulk = BulkSchema(settings)
        self.most_values = self._count_most_values()

    def _count_most_values(self) -> int:
        s = self.settings
        item = len(self.item.fields) + len(self.rule.fields) * s.max_strategies + s.max_labels
        changes = len(self.change.fields) * s.max_request_changes
        return 4 * (changes + item * s.max_bulk_changesets + s.max_slice_paths) + 10_000


_loader = lru_cache(maxsize=4)(_Loader)


def most_values(settings: Settings) -> int:
    """Return how many values, names and signs the largest request has: each with all its fields, in all its places."""
    return _loader(settings).most_values


def load_changeset(data: Any, settings: Settings, slice_name: str = "", key: str | None = None) -> Submission:
    """Return the one changeset of a request; slice and key come from its URL and header. Raises a Problem."""
    loader = _loader(settings)
    return _submission(loader, loader.changeset, data, "", None, slice_name, key, MatchBudget())


def load_bulk(
    data: Any, settings: Settings, key: str | None = None, own_key: Callable[[str | None], str | None] = lambda key: key
) -> list[Submission | Problem]:
    """Return each item of a bulk request, or its problem; `key` is the header's, and `own_key` makes it the caller's.

    Raises a Problem of the envelope.
    """
    loader = _loader(settings)
    items = load_object(loader.bulk, data)["changesets"]
    check_list("changesets", items, ("max_bulk_changesets", settings.max_bulk_changesets))
    # Before any of them is looked at.
    lists = [item.get("changes") for item in items if type(item) is dict]
    count = sum(len(changes) for changes in lists if type(changes) is list)
    with ErrorsAt("changesets"):
        fields.within(count, ("max_request_changes", settings.max_request_changes), "changes together")
    loaded: list[Submission | Problem] = []
    effort = MatchBudget()
    shown = 0
    for position, item in enumerate(items):
        breathe()
        each_key = None if key is None else f"{key}/{position}"
        try:
            prefix = f"changesets[{position}]"
            made = _submission(loader, loader.item, item, prefix, position, "", each_key, effort)
            loaded.append(structs.replace(made, key=own_key(made.key)) if made.key else made)
        except Invalid as problem:
            # Each has one at least; a thousand answers with all of theirs would be megabytes.
            errors = problem.field_errors[: max(1, _MAX_BULK_ERRORS - shown)]
            shown += len(errors)
            loaded.append(Invalid(errors))
    return loaded


def _submission(
    loader: _Loader,
    schema: LimitedSchema,
    data: Any,
    prefix: str,
    position: int | None,
    slice_name: str,
    key: str | None,
    effort: MatchBudget,
) -> Submission:
    """Load one changeset; `position` is that of an item."""
    loaded = load_object(schema, data, prefix)
    dot = prefix and prefix + "."
    base = _base(loaded.get("base"), position, dot)
    rules = _rules(loader, loaded["strategies"], dot + "strategies", effort) if "strategies" in loaded else None
    changes = _changes(loader, loaded["changes"], isinstance(base, VersionsBase), dot, rules)
    name = email = None
    if "author" in loaded:
        name, email = _author(loader, loaded["author"], dot + "author")
    time, zone = loaded.get("time", (None, 0))
    slice_name = loaded.get("slice", slice_name)
    if position is not None and not 0 < len(slice_name.encode()) <= MAX_SLICE_REFERENCE:
        raise invalid(dot + "slice", f"must have 1 to {MAX_SLICE_REFERENCE} bytes")
    key = loaded.get("idempotency_key", key)
    return Submission(
        slice=slice_name,
        base=base,
        author_name=name,
        author_email=email,
        author_time=time,
        author_zone=zone,
        message=loaded["message"],
        changes=changes,
        key=key,
        hold=loaded.get("hold", False),
        priority=loaded.get("priority", 0),
        labels=load_labels(loaded["labels"], loader.settings, dot + "labels") if "labels" in loaded else {},
    )


def _base(value: bytes | str | int | None, position: int | None, dot: str) -> Base:
    if value is None:
        return VersionsBase()
    if isinstance(value, bytes):
        return CommitBase(value)
    if isinstance(value, str):
        return ChangesetBase(value)
    assert position is not None
    if not 0 <= value < position:
        raise invalid(dot + "base", "must be the number of an earlier item")
    return ItemBase(value)


def _author(loader: _Loader, value: Any, field: str) -> tuple[str, str]:
    loaded = load_object(loader.author, value, field)
    name, email = loaded["name"], loaded["email"]
    for part, text in (("name", name), ("email", email)):
        with ErrorsAt(f"{field}.{part}"):
            if len(text.encode()) > MAX_IDENT_BYTES:
                raise ValidationError(f"may have {MAX_IDENT_BYTES} bytes")
            check_ident(*((text, "") if part == "name" else ("-", text)))
    return name, email


def _rules(loader: _Loader, items: Any, field: str, effort: MatchBudget) -> Rules:
    check_list(field, items, ("max_strategies", loader.settings.max_strategies))
    rules = [Rule(**load_object(loader.rule, item, f"{field}[{i}]")) for i, item in enumerate(items)]
    with ErrorsAt(field):
        return Rules(rules, effort)


def _changes(loader: _Loader, items: Any, by_versions: bool, dot: str, rules: Rules | None) -> tuple[Change, ...]:
    check_list(dot + "changes", items, ("max_changes", loader.settings.max_changes))
    changes: list[Change] = []
    errors: list[FieldError] = []
    for i, item in enumerate(items):
        breathe()
        try:
            changes.append(_change(loader.change, item, by_versions, rules))
        except Invalid as problem:
            at = f"{dot}changes[{i}]"
            for error in problem.field_errors:
                field = error["field"]
                errors.append({"field": f"{at}.{field}" if field else at, "message": error["message"]})
            if len(errors) >= MAX_ERRORS:
                break
    if not errors:
        changes += [_leaving(change, change.source) for change in changes if change.source is not None]
        with ErrorsAt(dot + "changes"):
            fields.within(len(changes), ("max_changes", loader.settings.max_changes), "paths")
    if not errors and len(changes) > 1:
        clashes = in_each_others_way(changes)
        errors = [{"field": dot + field_of(changes, i), "message": message} for i, message in clashes]
    if errors:
        raise Invalid(errors)
    return tuple([structs.replace(each, base=None) if each.source is not None else each for each in changes])


def _change(schema: LimitedSchema, data: Any, by_versions: bool, rules: Rules | None) -> Change:
    """Load one change, with what its `op` asks for; the fields of errors are relative to it."""
    loaded = load_object(schema, data)
    path, ordinary = _path(loaded, "path")
    if ("base" in loaded) is not by_versions:
        raise invalid(
            "base", "is missing: the changeset has no base" if by_versions else "cannot stand beside the changeset's"
        )
    base = loaded.get("base")
    op = loaded["op"]
    if op != "move":
        _has_none(loaded, op, "from", "from_base64")
    strategy = loaded["strategy"] if "strategy" in loaded else _strategy(rules, path)
    if op == "put":
        mode = loaded.get("mode", FILE_MODE)
        oid = loaded.get("id")
        content = loaded["content"] if "content" in loaded else loaded.get("content_base64")
        _check_source(loaded, mode)
        if not ordinary or mode == SYMLINK_MODE:
            with ErrorsAt(path_field(path)):
                check_content(path, mode, None)
            with ErrorsAt("content_base64" if "content_base64" in loaded else "content"):
                check_content(path, mode, content)
        return Change(op, path, mode, content=content, oid=oid, base=base, strategy=strategy)
    if op == "move":
        return _move(loaded, path, ordinary, by_versions, strategy)
    _has_none(loaded, op, "content", "content_base64", "id")
    if op == "delete":
        _has_none(loaded, op, "mode")
        return Change(op, path, 0, base=base, strategy=strategy)
    mode = loaded.get("mode")
    if mode not in (FILE_MODE, EXECUTABLE_MODE):
        raise invalid("mode", "must be 100644 or 100755")
    return Change(op, path, mode, base=base, strategy=strategy)


def _move(loaded: dict[str, Any], path: bytes, ordinary: bool, by_versions: bool, strategy: Strategy) -> Change:
    """Load a move, with what it brings beside the file; its base is that of what it leaves."""
    _has_none(loaded, "move", "id")
    source, _ = _path(loaded, "from", "is missing: a move needs it")
    if source == path:
        raise invalid(path_field(source, "from"), "is the path itself")
    if not ordinary and needs_content(path, FILE_MODE):
        raise invalid(path_field(path), "is one that Git reads: put it there, with its content")
    if by_versions and loaded["base"] is None:
        raise invalid("base", "must be the id of what stands at `from`")
    if "content" in loaded and "content_base64" in loaded:
        raise invalid("content_base64", "cannot stand beside content")
    content = loaded["content"] if "content" in loaded else loaded.get("content_base64")
    mode = loaded.get("mode", 0)
    if mode == SUBMODULE_MODE or (mode == SYMLINK_MODE and content is None):
        raise invalid("mode", "must be 100644 or 100755; or 120000, with a content")
    if mode == SYMLINK_MODE:
        with ErrorsAt("content_base64" if "content_base64" in loaded else "content"):
            check_content(path, mode, content)
    return Change("move", path, mode, content=content, base=loaded.get("base"), strategy=strategy, source=source)


def _has_none(loaded: dict[str, Any], op: str, *names: str) -> None:
    """Refuse fields that do not belong to a change."""
    for name in names:
        if name in loaded:
            raise invalid(name, f"does not belong to a {op}")


def _path(loaded: dict[str, Any], name: str, missing: str = "is missing") -> tuple[bytes, bool]:
    """Return the one path that `name`, or its base64, gives, and whether it is ordinary."""
    encoded = _ENCODED[name]
    if name in loaded and encoded in loaded:
        raise invalid(encoded, f"cannot stand beside {name}")
    if name not in loaded and encoded not in loaded:
        raise invalid(name, missing)
    path: tuple[bytes, bool] = loaded[name] if name in loaded else loaded[encoded]
    return path


def _leaving(move: Change, source: bytes) -> Change:
    """Return the delete of what a move leaves."""
    return Change("delete", source, 0, base=move.base, strategy=move.strategy)


def _strategy(rules: Rules | None, path: bytes) -> Strategy:
    if rules is None:
        return Strategy.MERGE
    with ErrorsAt(path_field(path)):
        return rules.strategy_for(path)


def _check_source(loaded: dict[str, Any], mode: int) -> None:
    """Check that a put has one source, of the kind that its mode can have."""
    given = [name for name in ("content", "content_base64", "id") if name in loaded]
    if mode == SUBMODULE_MODE and given != ["id"]:
        raise invalid(given[0] if given and given[0] != "id" else "id", "a submodule is put by its commit's id alone")
    if len(given) != 1:
        raise invalid(given[-1] if given else "content", "give exactly one of content, content_base64 and id")


def in_each_others_way(changes: list[Change]) -> Iterator[tuple[int, str]]:
    """Yield the changes whose path was named before, or cannot exist beside another that is put.

    Sorted with `/` as the lowest byte, what stands below a path follows it at once: the cost is that of the sort, for
    ten thousand paths of a thousand folders too.
    """
    order = sorted((change.path.replace(b"/", b"\0"), i) for i, change in enumerate(changes))
    for (path, i), (after, j) in pairwise(order):
        if path == after:
            yield j, f"is the path of changes[{i}] too"
    kept = [(path, i) for path, i in order if changes[i].op != "delete"]
    for (path, i), (after, j) in pairwise(kept):
        if after.startswith(path + b"\0"):
            yield max(i, j), f"cannot be put beside changes[{min(i, j)}]: one is a directory of the other"
