"""Pictures: fetch with limits, recognise by bytes, preview, name safely, save atomically."""

from __future__ import annotations

from flux2_mcp.images.destinations import (
    Container,
    Destination,
    Destinations,
    container,
    default_folder,
    resolve_save_to,
)
from flux2_mcp.images.fetching import Fetcher, FetchLimits
from flux2_mcp.images.formats import (
    DAMAGED,
    MAX_PIXELS,
    MediaType,
    Picture,
    PictureInfo,
    Preview,
    media_type_of,
    opened,
    recognise,
)
from flux2_mcp.images.loading import is_picture_file, read
from flux2_mcp.images.naming import file_name
from flux2_mcp.images.previewing import canvas, preview_of, previews
from flux2_mcp.images.saving import check_folder, save

__all__ = [
    "DAMAGED",
    "MAX_PIXELS",
    "Container",
    "Destination",
    "Destinations",
    "FetchLimits",
    "Fetcher",
    "MediaType",
    "Picture",
    "PictureInfo",
    "Preview",
    "canvas",
    "check_folder",
    "container",
    "default_folder",
    "file_name",
    "is_picture_file",
    "media_type_of",
    "opened",
    "preview_of",
    "previews",
    "read",
    "recognise",
    "resolve_save_to",
    "save",
]
