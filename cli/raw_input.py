"""The options that say how a raw file is read, as settings."""

from dataclasses import dataclass
from pathlib import Path

from scnym.base.settings import ConvertSettings, CountsAs, Orientation, Profile, parse_bytes

from . import options


@dataclass(frozen=True, kw_only=True)
class RawInput:
    """How a command that takes raw counts was told to read them. Such a command takes a subclass."""

    config: options.Config = None
    input_genes: options.InputGenes = None
    csv_orientation: options.CsvOrientation = "auto"
    layer: options.Layer = None
    library_size: options.LibrarySize = None
    counts_as: options.CountsAs = "auto"
    max_memory: options.MaxMemory = "1GB"

    def convert_settings(self, training_metadata: Path | None = None) -> ConvertSettings:
        """Turn options into settings, with a table of annotations that is joined while converting."""
        return convert_settings(
            input_genes=self.input_genes,
            csv_orientation=self.csv_orientation,
            layer=self.layer,
            library_size=self.library_size,
            counts_as=self.counts_as,
            training_metadata=training_metadata,
            max_memory=self.max_memory,
        )


def convert_settings(
    *,
    input_genes: str | None,
    layer: str | None,
    library_size: str | None,
    max_memory: str,
    counts_as: CountsAs = "auto",
    csv_orientation: Orientation = "auto",
    training_metadata: Path | None = None,
    cluster_by: str | None = None,
    profile: Profile = "fast",
    overwrite: bool = False,
) -> ConvertSettings:
    """Turn options into settings."""
    return ConvertSettings(
        max_memory_bytes=parse_bytes(max_memory, "--max_memory"),
        layer=layer,
        library_size_column=library_size,
        counts_as=counts_as,
        input_genes=input_genes,
        csv_orientation=csv_orientation,
        training_metadata=None if training_metadata is None else str(training_metadata),
        cluster_by=cluster_by,
        profile=profile,
        overwrite=overwrite,
    )
