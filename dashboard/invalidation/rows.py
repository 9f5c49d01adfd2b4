"""From rows of the application's database to keys: the mappings that are kept with the policies."""

from collections.abc import Mapping
from dataclasses import replace

from dashboard.errors import InvalidInput
from dashboard.invalidation.types import SelectBy, Selection
from dashboard.policies import service as policies
from dashboard.work import UnitOfWork


def row_mappings(work: UnitOfWork, cache_id: int) -> Mapping[str, tuple[str, ...]]:
    """The mappings in force: their name, and the key templates that a row's identifier goes into.

    Raises:
        NotFound: there is no such cache.
    """
    document = policies.document_in_force(work, cache_id)
    return {mapping.name: mapping.templates for mapping in document.mappings}


def resolved(work: UnitOfWork, cache_id: int, selection: Selection) -> Selection:
    """A selection of ROWS with the templates in force, whatever it came with; another one as it is.

    Raises:
        InvalidInput: no such mapping is published; field ``mapping``.
    """
    if selection.by is not SelectBy.ROWS:
        return selection
    known = row_mappings(work, cache_id)
    if selection.text not in known:
        there = (
            f"There is {', '.join(known)}." if known else "None is published: add one on the Policies page."
        )
        message = f"No published mapping is called {selection.text}. {there}"
        raise InvalidInput(message, fields={"mapping": message})
    return replace(selection, templates=known[selection.text])
