"""Documents: the first one, the staged one, and files that come in and go out. No I/O."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import yaml

from dashboard.caching.errors import PolicyError, Problem
from dashboard.caching.policy import (
    DEFAULT_POLICY,
    MAX_DOCUMENT_BYTES,
    SCHEMA,
    TIERS,
    Policy,
    PolicyDocument,
    Protection,
    RowMapping,
    Strategy,
    Tier,
    parse_document,
    prefix_from_text,
    read_json,
)
from dashboard.policies import refusals
from dashboard.policies.types import MAX_IMPORT_BYTES, Export, InvalidDocument, ItemKind

ABSENT: Final = "none"
"""The revision of an item that is not there."""
_MOST_DEPTH: Final = 20

Value = dict[str, Any]
Item = Policy | Tier | RowMapping
"""What is edited one by one."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One staged item.

    Args:
        name: the prefix as text, the tier's or the mapping's name; empty for the default.
        value: what it shall be, as in the document; None: removed.
        base: what was published when it was staged; None: nothing.
    """

    kind: ItemKind
    name: str
    value: Value | None
    base: Value | None
    actor: str
    at: datetime
    revision: int


FIRST: Final = PolicyDocument(0, TIERS, (), DEFAULT_POLICY)
"""What editing begins with; it is not published as it is."""


def load(stored: Mapping[str, Any]) -> PolicyDocument:
    """A document as it was stored once it had been checked; a stricter validator of today is no reason to lose it."""
    return PolicyDocument(
        stored["version"],
        tuple(Tier(**tier) for tier in stored["tiers"]),
        tuple(_policy(policy) for policy in stored["policies"]),
        _policy(stored["default"]),
        tuple(_mapping(mapping) for mapping in stored.get("mappings", ())),
    )


def value_of(item: Item | None) -> Value | None:
    """An item as it is staged: as in the document, without the bypass, which is no matter of editing."""
    if item is None:
        return None
    value = item.to_dict()
    value.pop("bypass_until", None)
    return value


def revision_of(item: Item | None) -> str:
    """Changes whenever the item does: what a form was opened on."""
    value = value_of(item)
    if value is None:
        return ABSENT
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def find_item(document: PolicyDocument, kind: ItemKind, name: str) -> Item | None:
    """An item of a document, None when it is not there."""
    match kind:
        case ItemKind.TIER:
            return next((tier for tier in document.tiers if tier.name == name), None)
        case ItemKind.DEFAULT:
            return document.default
        case ItemKind.MAPPING:
            return next((mapping for mapping in document.mappings if mapping.name == name), None)
        case ItemKind.POLICY:
            try:
                prefix = prefix_from_text(name)
            except ValueError:
                return None
            return next((policy for policy in document.policies if policy.prefix == prefix), None)


def items(document: PolicyDocument) -> dict[tuple[ItemKind, str], Item]:
    """All items of a document by kind and name, to look many of them up."""
    found: dict[tuple[ItemKind, str], Item] = {(ItemKind.TIER, tier.name): tier for tier in document.tiers}
    found |= {(ItemKind.POLICY, policy.prefix_text): policy for policy in document.policies}
    found[ItemKind.DEFAULT, ""] = document.default
    found |= {(ItemKind.MAPPING, mapping.name): mapping for mapping in document.mappings}
    return found


def staged(published: PolicyDocument, edits: Iterable[Edit]) -> PolicyDocument:
    """The published document with the edits in it; whether it is valid is another question, see ``problems``."""
    tiers = {tier.name: tier for tier in published.tiers}
    policies = {policy.prefix: policy for policy in published.policies}
    mappings = {mapping.name: mapping for mapping in published.mappings}
    default = published.default
    for edit in edits:
        if edit.kind is ItemKind.TIER:
            if edit.value is None:
                tiers.pop(edit.name, None)
            else:
                tiers[edit.name] = Tier(**edit.value)
        elif edit.kind is ItemKind.MAPPING:
            if edit.value is None:
                mappings.pop(edit.name, None)
            else:
                mappings[edit.name] = _mapping(edit.value)
        elif edit.kind is ItemKind.DEFAULT:
            if edit.value is not None:
                default = _with_bypass_of(_policy(edit.value), published.default)
        elif edit.value is None:
            policies.pop(prefix_from_text(edit.name), None)
        else:
            prefix = prefix_from_text(edit.name)
            policies[prefix] = _with_bypass_of(_policy(edit.value), policies.get(prefix))
    ordered = tuple(policies[prefix] for prefix in sorted(policies))
    named = tuple(mappings[name] for name in sorted(mappings))
    return PolicyDocument(published.version, tuple(tiers.values()), ordered, default, named)


def problems(document: PolicyDocument) -> tuple[tuple[str, str], ...]:
    """Why a document can't be published: (policy or tier, what is wrong with it), in words of an operator."""
    try:
        check(document)
    except PolicyError as error:
        return refusals.of_document(error.problems, document)
    return ()


def check(document: PolicyDocument) -> PolicyDocument:
    """The document, if every application that understands its schema will take it.

    Raises:
        PolicyError: with every problem.
    """
    checked = parse_document(document.to_dict())
    size = len(checked.to_json())
    if size > MAX_DOCUMENT_BYTES:
        message = f"The document has {size:,} bytes; at most {MAX_DOCUMENT_BYTES:,} are allowed."
        raise PolicyError([Problem("", message)])
    return checked


def with_bypasses(document: PolicyDocument, running: PolicyDocument, now: float) -> PolicyDocument:
    """The document with the bypasses of another one that run at ``now``, and no others."""
    until = {policy.prefix: policy.bypass_until for policy in every(running) if policy.is_bypassed(now)}

    def kept(policy: Policy) -> Policy:
        return replace(policy, bypass_until=until.get(policy.prefix))

    return replace(document, policies=tuple(map(kept, document.policies)), default=kept(document.default))


def without_bypasses(document: PolicyDocument) -> PolicyDocument:
    """The document as it is edited."""
    return with_bypasses(document, FIRST, 0)


def every(document: PolicyDocument) -> Iterator[Policy]:
    """All policies, the default last."""
    yield from document.policies
    yield document.default


# --- files ------------------------------------------------------------------------------------------------------


def export(document: PolicyDocument, name: str, format: str) -> Export:
    """A document as a file, without its bypasses: those are for minutes, a file is for good.

    Args:
        name: the file's, without an ending.
        format: "json" or "yaml".
    """
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "version": document.version,
        "tiers": [tier.to_dict() for tier in document.tiers],
        "policies": [value_of(policy) for policy in document.policies],
        "default": value_of(document.default),
    }
    if document.mappings:
        content["mappings"] = [mapping.to_dict() for mapping in document.mappings]
    if format == "json":
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        return Export(document.version, f"{name}.json", "application/json", text.encode())
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return Export(document.version, f"{name}.yaml", "application/yaml", text.encode())


def read(data: bytes, format: str) -> PolicyDocument:
    """A document from a file. Its version says nothing here; it may be left out.

    Args:
        format: "json" or "yaml".

    Raises:
        InvalidDocument: with every problem.
    """
    try:
        if len(data) > MAX_IMPORT_BYTES:
            # How many it has is not known: who read it stopped there.
            message = f"The file has more than {MAX_IMPORT_BYTES:,} bytes; larger ones are not read."
            raise PolicyError([Problem("", message)])
        content = read_json(data, "The file") if format == "json" else _yaml(data)
        if not isinstance(content, Mapping):
            raise PolicyError(
                [Problem("", "The file must hold one object with tiers, policies and a default.")]
            )
        document = parse_document({"version": 0, **content})
        for index, policy in enumerate(every(document)):
            if policy.bypass_until is not None:
                where = f"policies[{index}]" if policy.prefix else "default"
                message = "A bypass is no part of a file; start it on the Policies page."
                raise PolicyError([Problem(f"{where}.bypass_until", message)])
        return check(document)
    except PolicyError as error:
        raise InvalidDocument(error.problems) from None


def _yaml(data: bytes) -> Any:
    try:
        _look_through(data)
        return yaml.load(data, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PolicyError([Problem("", f"The file can't be read as YAML: {_why(error)}.")]) from None


def _why(error: yaml.YAMLError | ValueError | RecursionError) -> str:
    """What a parser says, without its own names for what it read and how."""
    match error:
        # The fast parser's marks are of a class of its own.
        case yaml.MarkedYAMLError(problem=str(problem), problem_mark=mark) if mark is not None:
            return f"{problem}, in line {mark.line + 1}, column {mark.column + 1}"
        case yaml.reader.ReaderError():
            return f"byte or character {error.position + 1:,} can't be part of a text in UTF-8"
        case RecursionError():
            return "it is nested too deeply"
    return " ".join(str(error).split())[:300].rstrip(".")


def _look_through(data: bytes) -> None:
    """Refuse what a small file can grow from (aliases), and nesting that no document has, before anything is built."""
    depth = 0
    for event in yaml.parse(data, Loader=_SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"aliases (*{event.anchor}) are not taken; write the values out.")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MOST_DEPTH:
                raise ValueError(f"it is nested deeper than {_MOST_DEPTH} levels.")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Refuses a field that is given twice, as JSON's reader does; the last one would win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(made) < len(node.value):
            line = node.start_mark.line + 1
            raise ValueError(f"a field is given twice in the object that begins in line {line}.")
        return made


class _Dumper(_SafeDumper):  # type: ignore[misc]
    """Writes no anchors and aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


# --- helpers ----------------------------------------------------------------------------------------------------


def _policy(value: Mapping[str, Any]) -> Policy:
    """A policy from what was checked before."""
    fields = dict(value)
    return Policy(
        prefix=prefix_from_text(fields.pop("prefix", "")),
        strategy=Strategy(fields.pop("strategy")),
        protection=Protection(**fields.pop("protection")),
        **fields,
    )


def _mapping(value: Mapping[str, Any]) -> RowMapping:
    """A mapping from what was checked before."""
    return RowMapping(value["table"], value["column"], tuple(value["templates"]))


def _with_bypass_of(policy: Policy, published: Policy | None) -> Policy:
    """A bypass belongs to what is published and is no matter of editing."""
    return replace(policy, bypass_until=None if published is None else published.bypass_until)
