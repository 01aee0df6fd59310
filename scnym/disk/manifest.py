"""What a store says of itself and of its sources, in the attributes of its root."""

from typing import Annotated

from pydantic import BaseModel, Field

from scnym.base.schema import CellNames, Scale


class SourceEntry(BaseModel):
    """What a store says of one of its sources."""

    dataset: str = Field(pattern=r"^dataset_\d+$")
    sample: str
    file: str
    sha256: str
    n_cells: int
    n_genes: int
    has_cell_ids: bool
    """Whether the cells' ids are those of the source; otherwise they were made up."""
    scale: Scale
    cluster_by: str | None = None


class Manifest(BaseModel):
    """What a store says of itself."""

    format_version: int
    cell_names: CellNames
    sources: Annotated[tuple[SourceEntry, ...], Field(min_length=1)]
