"""The options that say how a raw file is read, as settings."""

from scnym.base.settings import ConvertSettings, parse_bytes


def convert_settings(
    *,
    input_genes: str | None,
    layer: str | None,
    library_size: str | None,
    max_memory: str,
    overwrite: bool = False,
) -> ConvertSettings:
    """Turn options into settings."""
    return ConvertSettings(
        max_memory_bytes=parse_bytes(max_memory),
        layer=layer,
        library_size_column=library_size,
        input_genes=input_genes,
        overwrite=overwrite,
    )
