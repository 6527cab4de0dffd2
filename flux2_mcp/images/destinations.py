"""Where a picture is saved: a folder of the user's, never the working directory."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Final

from flux2_mcp.errors import BadSetting, RequestRefused, Wording
from flux2_mcp.images.naming import has_control, is_plain, is_safe_on_windows

FOLDER: Final = "Flux 2"
WINDOWS: Final = os.name == "nt"

PICTURE_ENDINGS: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif"})
_IMAGE_MARK: Final = "opt/flux2-mcp/image"
"""A file that the Dockerfile makes: in other containers, such as a dev container, the person works inside."""
_MOUNT: Final = re.compile(r"\S+ \S+ \S+ \S+ \S+ .* - \S")
_VOLUME: Final = re.compile(r"/volumes/[^/]+/_data(/|$)")
"""Where Docker and Podman keep their volumes, seen from the disk that these lie on: only they look in there."""
_OF_THE_CONTAINER: Final = frozenset({"overlay", "ramfs", "tmpfs"})
"""File systems that begin and end with the container, when they are mounted from their root."""


@dataclass(frozen=True)
class Destination:
    """Where a picture will be saved."""

    folder: Path
    """Absolute, without symlinks; need not exist yet."""
    name: str | None = None
    """The file's name without extension, which follows from the bytes; None when it comes from the prompt."""


@dataclass(frozen=True)
class Container:
    """A container of our own image."""

    mounts: Mapping[Path, bool]
    """Where in it something is mounted, and whether that is a folder of the person's."""

    def hides(self, file: Path) -> bool:
        """Whether the person cannot find this file outside the container."""
        mount = next((folder for folder in file.parents if folder in self.mounts), None)
        return mount is None or not self.mounts[mount]


@dataclass(frozen=True)
class Destinations:
    """Where one owner's pictures may be saved, and where they are when a call does not say."""

    home: Path
    default: Path
    roots: tuple[Path, ...]
    saves: bool
    """Whether a picture is saved when its call names no folder."""
    offered: bool = True
    """Whether pictures can be saved at all."""
    is_here: bool = True
    """Whether the owner sits at this computer, and may have ordered into a folder that is not among the roots now."""
    container: Container | None = None
    """What runs this server from our image; None where the person sees the same files."""

    def destination(self, save_to: str | None) -> Destination | None:
        """Where a picture goes; None for nowhere. Looks at the disk: call it in a thread.

        Raises:
            RequestRefused: `save_to` leads outside the roots, or nowhere.
        """
        if save_to and not self.offered:
            why = "cannot be used: this server saves no files. Leave it out; the result has the picture's URL."
            raise _refused(why)
        if not save_to and not self.saves:
            return None
        return resolve_save_to(save_to or "", roots=self.roots, default=self.default, home=self.home)

    def destination_of_order(self, save_to: str | None) -> Destination | None:
        """The same for what was allowed when it was ordered: that stays so, unless a link leads elsewhere since then.

        The terminal may save anywhere, and a folder may have left FLUX2_INPUT_ROOTS. Looks at the disk.

        Raises:
            RequestRefused: `save_to` leads elsewhere now, or nowhere.
        """
        try:
            return self.destination(save_to)
        except RequestRefused:
            if not (save_to and self.is_here and is_without_links(save_to)):
                raise
        return resolve_save_to(save_to, roots=(Path(save_to),), default=self.default, home=self.home)

    def hides(self, file: Path) -> bool:
        """Whether the person cannot find this file."""
        return self.container is not None and self.container.hides(file)


def default_folder(
    output_dir: str | None,
    *,
    home: Path,
    pictures: Callable[[], Path] | None = None,
) -> Path:
    """The folder for pictures, absolute: FLUX2_OUTPUT_DIR if it is given, else "Flux 2" among the user's pictures.

    A relative FLUX2_OUTPUT_DIR is taken from the home directory: hosts start servers in `/` or in a folder of theirs.

    Raises:
        BadSetting: FLUX2_OUTPUT_DIR is a path of another operating system.
    """
    text = (output_dir or "").strip()
    if not text:
        return (pictures or _pictures)() / FOLDER
    if _is_foreign(text):
        msg = "FLUX2_OUTPUT_DIR is a Windows path, but this server does not run on Windows."
        raise BadSetting(msg)
    return _absolute(text, below=home, home=home)


def resolve_save_to(
    save_to: str,
    *,
    roots: Sequence[Path],
    default: Path,
    home: Path,
    windows: bool = WINDOWS,
) -> Destination:
    """Where `save_to` leads: a folder, or a file when it ends like a picture. Looks at the disk: call it in a thread.

    A relative path is taken from the default folder. Symlinks are followed before the roots are compared; the default
    folder is always allowed.

    Raises:
        RequestRefused: Outside the roots, or not a path that can be written to.
    """
    text = save_to.strip()
    if not text:
        return Destination(_resolved(default))
    if "://" in text or has_control(text) or _is_foreign(text, windows=windows):
        why = "is not a path on this computer. Give a folder or a file, or leave it out."
        raise _refused(why)
    if windows and _is_network(text) and not any(Path(text).is_relative_to(root) for root in (default, *roots)):
        # Even to look there would send the user's name and password hash to that computer.
        why = "is a network or device path. Give a path that begins with a drive letter, or leave it out."
        raise _refused(why)
    target = _resolved(_absolute(text, below=default, home=home))
    root = next((root for root in map(_resolved, (default, *roots)) if target.is_relative_to(root)), None)
    if root is None:
        allowed = ", ".join(dict.fromkeys(str(root) for root in (default, *roots)))
        why = f"leads to {target}, which is outside the folders where pictures may be saved: {allowed}."
        raise _refused(why)
    if windows and not all(map(is_safe_on_windows, target.relative_to(root).parts)):
        msg = f"Windows does not accept {target.relative_to(root)} as the name of a folder or file."
        raise RequestRefused(msg)
    return _folder_or_file(target, says_folder=text.endswith(("/", os.sep)))


def is_without_links(path: str) -> bool:
    """Whether this is an absolute path that leads nowhere else. Looks at the disk."""
    return Path(path).is_absolute() and _resolved(Path(path)) == Path(path)


def _refused(why: str) -> RequestRefused:
    return RequestRefused(Wording(f"save_to {why}", f"--save-to {why}"))


def container(root: Path) -> Container | None:
    """The container of our image that has its files below `root`; None elsewhere. Looks at the disk."""
    if not (root / _IMAGE_MARK).exists():
        return None
    try:
        lines = (root / "proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return Container({})
    return Container(dict(map(_mount, filter(_MOUNT.match, lines))))


def _mount(line: str) -> tuple[Path, bool]:
    """Where a line of mountinfo mounts something, and whether it is a folder from outside: see proc(5)."""
    fields, _, source = line.partition(" - ")
    root, mount = map(_unescaped, fields.split(" ")[3:5])
    is_its_own = root == "/" and source.split(" ")[0] in _OF_THE_CONTAINER
    return Path(mount), not is_its_own and not _VOLUME.search(root)


def _unescaped(path: str) -> str:
    r"""The kernel writes a space in a path as \040."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)


def _folder_or_file(target: Path, *, says_folder: bool) -> Destination:
    mode = _mode_at(target)
    if (mode and stat.S_ISDIR(mode)) or says_folder:
        return Destination(target)
    if target.suffix.lower() in PICTURE_ENDINGS:
        if not is_plain(target.stem):
            msg = f"No picture can be called {target.name}. Give another name, or a folder."
            raise RequestRefused(msg)
        return Destination(target.parent, target.stem)
    if mode:
        why = f"leads to {target}, which is a file, and files are never overwritten. Give a folder."
        raise _refused(why)
    return Destination(target)


def _mode_at(path: Path) -> int | None:
    """What is there; None for nothing."""
    # Not is_dir(): for a name that is too long, the Python decides whether that raises.
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _nowhere(path) from error


def _absolute(text: str, *, below: Path, home: Path) -> Path:
    first, _, rest = text.replace(os.sep, "/").partition("/")
    if first == "~":
        return home / rest.lstrip("/")
    return below / text


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise _nowhere(path) from error


def _nowhere(path: Path) -> RequestRefused:
    return RequestRefused(f"{path} cannot be followed to a place on the disk.")


def _is_foreign(text: str, *, windows: bool = WINDOWS) -> bool:
    return not windows and bool(PureWindowsPath(text).drive)


def _is_network(text: str) -> bool:
    return text[:2].replace("/", "\\") == "\\\\"


def _pictures() -> Path:
    from platformdirs import user_pictures_path

    return user_pictures_path()
