"""The options that say how a raw file is read, as settings."""

from pathlib import Path

from scnym.base.settings import ConvertSettings, Orientation, Profile, parse_bytes


def convert_settings(
    *,
    input_genes: str | None,
    layer: str | None,
    library_size: str | None,
    max_memory: str,
    csv_orientation: Orientation = "auto",
    training_metadata: Path | None = None,
    cluster_by: str | None = None,
    profile: Profile = "fast",
    overwrite: bool = False,
) -> ConvertSettings:
    """Turn options into settings."""
    return ConvertSettings(
        max_memory_bytes=parse_bytes(max_memory),
        layer=layer,
        library_size_column=library_size,
        input_genes=input_genes,
        csv_orientation=csv_orientation,
        training_metadata=None if training_metadata is None else str(training_metadata),
        cluster_by=cluster_by,
        profile=profile,
        overwrite=overwrite,
    )
