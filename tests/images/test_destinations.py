"""A picture goes where the user says, and nowhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from flux2_mcp.errors import BadSetting, RequestRefused
from flux2_mcp.images import Container, Destination, container, default_folder, resolve_save_to
from tests.platforms import not_on

posix_only = not_on("Windows", "a drive letter means something there")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = (tmp_path / "home").resolve()
    (home / "Pictures" / "Flux 2").mkdir(parents=True)
    return home


def destination(save_to: str, home: Path, *, windows: bool = False) -> Destination:
    return resolve_save_to(
        save_to, roots=[home], default=home / "Pictures" / "Flux 2", home=home, windows=windows or os.name == "nt"
    )


def test_pictures_go_to_the_pictures_folder(home: Path) -> None:
    assert default_folder(None, home=home, pictures=lambda: home / "Bilder") == home / "Bilder" / "Flux 2"
    assert default_folder(" ", home=home, pictures=lambda: home / "Bilder") == home / "Bilder" / "Flux 2"


def test_without_more_the_operating_system_says_where_pictures_are(home: Path) -> None:
    folder = default_folder(None, home=home)

    assert folder.is_absolute()
    assert folder.name == "Flux 2"


@pytest.mark.parametrize(
    ("setting", "below_home"), [("~", ""), ("~/art", "art"), ("art", "art"), ("./art/new", "art/new")]
)
def test_the_output_folder_is_below_home_unless_it_is_absolute(setting: str, below_home: str, home: Path) -> None:
    assert default_folder(setting, home=home) == home / below_home
    assert default_folder(str(home / "elsewhere"), home=home) == home / "elsewhere"


@posix_only
def test_a_windows_path_as_output_folder_is_explained(home: Path) -> None:
    with pytest.raises(BadSetting, match="FLUX2_OUTPUT_DIR is a Windows path"):
        default_folder("C:\\Users\\me\\Pictures", home=home)


@pytest.mark.parametrize(
    ("save_to", "folder", "name"),
    [
        ("", "Pictures/Flux 2", None),
        ("vases", "Pictures/Flux 2/vases", None),
        ("vases/", "Pictures/Flux 2/vases", None),
        ("vase.png", "Pictures/Flux 2", "vase"),
        ("vases/vase.JPG", "Pictures/Flux 2/vases", "vase"),
        ("~/Desktop", "Desktop", None),
        ("~/Desktop/my vase.webp", "Desktop", "my vase"),
        ("~/v1.2", "v1.2", None),
        ("~/album.png/", "album.png", None),
        ("../holiday", "Pictures/holiday", None),
        ("~", "", None),
        ("~root/x.png", "Pictures/Flux 2/~root", "x"),
    ],
)
def test_save_to_is_a_folder_or_a_file(save_to: str, folder: str, name: str | None, home: Path) -> None:
    assert destination(save_to, home) == Destination(home / folder, name)


def test_an_absolute_path_inside_the_roots_is_accepted(home: Path) -> None:
    assert destination(str(home / "a" / "b.png"), home) == Destination(home / "a", "b")


@pytest.mark.parametrize("save_to", ["/etc", "/etc/cron.d/x.png", "../../../x", "~/../other/x.png"])
def test_a_path_outside_the_roots_is_refused(save_to: str, home: Path) -> None:
    with pytest.raises(RequestRefused, match="outside the folders where pictures may be saved"):
        destination(save_to, home)


def test_a_symlink_out_of_the_roots_is_refused(home: Path) -> None:
    (home / "way out").symlink_to(home.parent)

    with pytest.raises(RequestRefused, match="outside the folders"):
        destination("~/way out/x.png", home)


def test_a_symlink_to_a_file_outside_the_roots_is_refused(home: Path) -> None:
    (home / "x.png").symlink_to(home.parent / "x.png")

    with pytest.raises(RequestRefused, match="outside the folders"):
        destination("~/x.png", home)


def test_a_symlink_inside_the_roots_is_followed(home: Path) -> None:
    (home / "shortcut").symlink_to(home / "Pictures")

    assert destination("~/shortcut/x.png", home) == Destination(home / "Pictures", "x")


def test_a_root_may_be_a_symlink_itself(home: Path) -> None:
    """On macOS /tmp is one."""
    (home.parent / "alias").symlink_to(home)
    alias = home.parent / "alias"

    assert resolve_save_to(str(alias / "x.png"), roots=[alias], default=alias, home=home) == Destination(home, "x")


def test_a_loop_of_symlinks_is_refused(home: Path) -> None:
    (home / "a").symlink_to(home / "b")
    (home / "b").symlink_to(home / "a")

    with pytest.raises(RequestRefused):
        destination("~/a/x.png", home)


@pytest.mark.parametrize("save_to", ["x" * 300, "x" * 300 + ".png", "x" * 300 + "/fox.png"])
def test_a_name_that_is_too_long_for_the_disk_is_refused(save_to: str, home: Path) -> None:
    with pytest.raises(RequestRefused, match="cannot be followed to a place on the disk"):
        destination(save_to, home)


def test_the_default_folder_needs_no_root(home: Path) -> None:
    assert resolve_save_to("x.png", roots=[], default=home, home=home) == Destination(home, "x")


def test_an_existing_folder_may_be_called_like_a_picture(home: Path) -> None:
    (home / "album.png").mkdir()

    assert destination("~/album.png", home) == Destination(home / "album.png")


def test_a_file_that_is_no_picture_is_refused(home: Path) -> None:
    (home / ".bashrc").write_text("", encoding="utf-8")

    with pytest.raises(RequestRefused, match="files are never overwritten"):
        destination("~/.bashrc", home)


@posix_only
@pytest.mark.parametrize("save_to", ["a\\b.png", "sub/..png", "... .png", "~/x/. .jpg"])
def test_a_name_that_saving_would_refuse_is_refused_before_anything_is_paid(save_to: str, home: Path) -> None:
    with pytest.raises(RequestRefused, match="No picture can be called"):
        destination(save_to, home)


@pytest.mark.parametrize("save_to", ["https://example.com/x.png", "file:///tmp/x.png", "s3://bucket/x", "a\0b", "a\nb"])
def test_what_is_no_path_is_refused(save_to: str, home: Path) -> None:
    with pytest.raises(RequestRefused, match="not a path on this computer"):
        destination(save_to, home)


@posix_only
@pytest.mark.parametrize("save_to", ["C:\\Users\\me\\x.png", "c:/x.png", "\\\\server\\share\\x.png"])
def test_a_windows_path_is_refused_elsewhere(save_to: str, home: Path) -> None:
    with pytest.raises(RequestRefused, match="not a path on this computer"):
        destination(save_to, home)


@pytest.mark.parametrize(
    "save_to", ["con", "~/NUL.png", "~/com1/x.png", "~/x.png:stream", "~/dot.", "~/what?", "~/a /b"]
)
def test_names_that_windows_takes_for_something_else_are_refused_there(save_to: str, home: Path) -> None:
    with pytest.raises(RequestRefused, match="Windows does not accept"):
        destination(save_to, home, windows=True)


@pytest.mark.parametrize("save_to", ["\\\\server\\share\\x.png", "//server/share/x.png", "\\\\.\\pipe\\x.png"])
def test_on_windows_no_other_computer_is_asked_where_a_path_leads(save_to: str, home: Path) -> None:
    """It would be told the user's name and password hash."""
    with pytest.raises(RequestRefused, match="a network or device path"):
        destination(save_to, home, windows=True)


def test_on_windows_pictures_may_be_kept_on_the_network_by_who_says_so(home: Path) -> None:
    chosen = resolve_save_to("//nas/art/x.png", roots=[], default=Path("//nas/art"), home=home, windows=True)

    assert (chosen.folder.name, chosen.name) == ("art", "x")


MOUNTS = """\
22 1 0:21 / / rw,relatime - overlay overlay rw
23 22 0:22 / /proc rw - proc proc rw
24 22 8:1 /home/ada/flux2 /data rw - ext4 /dev/sda1 rw
25 22 8:1 /home/ada/art /my\\040art rw - ext4 /dev/sda1 rw
"""


def files(root: Path, **contents: str) -> Path:
    for name, content in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def test_only_our_image_is_a_container_that_nobody_looks_into(tmp_path: Path) -> None:
    """In a dev container the person works inside, and sees every file."""
    dev_container = files(tmp_path / "dev", **{".dockerenv": "", "proc__1__cgroup": "12:pids:/docker/4f2a\n"})

    assert container(tmp_path) is None
    assert container(dev_container) is None
    assert container(files(tmp_path / "ours", **{"opt__flux2-mcp__image": ""})) == Container({})


def test_a_mounted_folder_is_seen_outside(tmp_path: Path) -> None:
    found = container(files(tmp_path, **{"opt__flux2-mcp__image": "", "proc__self__mountinfo": MOUNTS}))

    assert found is not None
    assert not found.hides(Path("/data/pictures/fox.png"))
    assert not found.hides(Path("/my art/fox.png"))
    assert found.hides(Path("/home/fox.png"))
    assert found.hides(Path("/database/fox.png"))


BELOW_DATA = {
    "bind from Linux": ("24 22 8:1 /home/ada/flux2 /data rw,relatime - ext4 /dev/sda1 rw", True),
    "bind from a Mac": ("412 389 0:41 /Users/ada/flux2 /data rw - fakeowner /run/host_mark/Users rw,fakeowner", True),
    "bind from Windows": ("512 488 0:57 /c/Users/Ada/flux2 /data rw - 9p C:\\134 rw,aname=drvfs;path=C:\\134", True),
    "a whole disk": ("24 22 8:17 / /data rw,relatime shared:9 - ext4 /dev/sdb1 rw", True),
    "bind from the host's memory": ("24 22 0:33 /flux2 /data rw - tmpfs tmpfs rw", True),
    "a folder called volumes": ("24 22 8:1 /home/ada/volumes/flux2 /data rw - ext4 /dev/sda1 rw", True),
    "volume of Docker": ("24 22 8:1 /var/lib/docker/volumes/flux2/_data /data rw - ext4 /dev/sda1 rw", False),
    "volume on a disk of its own": ("24 22 254:1 /volumes/flux2/_data /data rw master:1 - ext4 /dev/vda1 rw", False),
    "volume of Podman": (
        "24 22 8:1 /home/ada/.local/share/containers/storage/volumes/flux2/_data /data rw - btrfs /dev/sda1 rw",
        False,
    ),
    "part of a volume": ("24 22 8:1 /var/lib/docker/volumes/all/_data/flux2 /data rw - ext4 /dev/sda1 rw", False),
    "memory": ("24 22 0:60 / /data rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw", False),
    "memory in a bind": (
        "24 22 8:1 /home/ada/flux2 /data rw - ext4 /dev/sda1 rw\n25 24 0:60 / /data/pictures rw - tmpfs tmpfs rw",
        False,
    ),
    "bind in a volume": (
        (
            "25 24 8:1 /home/ada/art /data/pictures rw - ext4 /dev/sda1 rw\n"
            "24 22 8:1 /var/lib/docker/volumes/flux2/_data /data rw - ext4 /dev/sda1 rw"
        ),
        True,
    ),
    "later over earlier": (
        "24 22 8:1 /home/ada/flux2 /data rw - ext4 /dev/sda1 rw\n25 24 0:60 / /data rw - tmpfs tmpfs rw",
        False,
    ),
    "no line": ("24 22 8:1 /home/ada", False),
}


@posix_only
@pytest.mark.parametrize(("mounts", "seen"), BELOW_DATA.values(), ids=BELOW_DATA)
def test_only_a_folder_from_outside_is_seen_there(tmp_path: Path, mounts: str, *, seen: bool) -> None:
    """A volume outlives the container, but nobody looks into Docker's own folders."""
    mountinfo = f"22 1 0:21 / / rw,relatime - overlay overlay rw\n{mounts}\n"
    found = container(files(tmp_path, **{"opt__flux2-mcp__image": "", "proc__self__mountinfo": mountinfo}))

    assert found is not None
    assert found.hides(Path("/data/pictures/fox.png")) is not seen


def test_the_dockerfile_makes_the_mark_that_is_looked_for(tmp_path: Path) -> None:
    dockerfile = Path(__file__).parents[2] / "Dockerfile"
    [mark] = re.findall(r"RUN touch /(\S+)", dockerfile.read_text(encoding="utf-8"))

    assert container(files(tmp_path, **{mark.replace("/", "__"): ""})) is not None
