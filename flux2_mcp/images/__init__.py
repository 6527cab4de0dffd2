"""Pictures: fetch with limits, recognise by bytes, preview, name safely, save atomically."""

from __future__ import annotations

from flux2_mcp.images.fetching import Fetcher, FetchLimits
from flux2_mcp.images.naming import file_name
from flux2_mcp.images.pictures import MAX_PIXELS, MediaType, Picture, Preview, media_type_of, recognise
from flux2_mcp.images.places import Container, Destination, Places, container, default_folder, resolve_save_to
from flux2_mcp.images.previewing import preview_of, previews
from flux2_mcp.images.reading import read
from flux2_mcp.images.saving import save

__all__ = [
    "MAX_PIXELS",
    "Container",
    "Destination",
    "FetchLimits",
    "Fetcher",
    "MediaType",
    "Picture",
    "Places",
    "Preview",
    "container",
    "default_folder",
    "file_name",
    "media_type_of",
    "preview_of",
    "previews",
    "read",
    "recognise",
    "resolve_save_to",
    "save",
]
