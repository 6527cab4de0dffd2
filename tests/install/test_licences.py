from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

import pytest

from scripts.licences import AGREED, EXTRAS, PAGE, come_along, complaints, table, with_table

Find = Callable[[str], Distribution]


@pytest.fixture
def find(tmp_path: Path) -> Find:
    """What is installed in a folder, instead of here."""

    def find(name: str) -> Distribution:
        for each in distributions(name=name, path=[str(tmp_path)]):
            return each
        raise PackageNotFoundError(name)

    return find


def install(site: Path, name: str, licence: str, *needs: str, text: str = "LICENSE") -> None:
    folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
    (folder / "licenses").mkdir(parents=True)
    (folder / "licenses" / text).touch()
    headers = [f"Name: {name}", "Version: 1.0", licence, *(f"Requires-Dist: {each}" for each in needs)]
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.4\n" + "\n".join(filter(None, headers)) + "\n", encoding="utf-8"
    )
    (folder / "RECORD").write_text(f"{folder.name}/licenses/{text},,\n", encoding="utf-8")


def test_all_that_comes_along_may_and_is_listed() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert [*(each for extra in EXTRAS for each in complaints(come_along(distribution, extra=extra)))] == []
    assert with_table(page, table(distribution)) == page
    assert all(f"**{name}**" in page for name in AGREED)


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("License-Expression: GPL-3.0-or-later", "paint has the licence GPL-3.0-or-later, and GPL-3.0-or-later is not"),
        ("License-Expression: MIT AND LGPL-3.0-only", "and LGPL-3.0-only is not allowed"),
        ("License: MPL-2.0", "and MPL-2.0 is not allowed"),
        ("License-Expression: LicenseRef-Ours", "and LicenseRef-Ours is not allowed"),
        ("License: a long text", "paint has no licence that can be told"),
        ("Classifier: License :: OSI Approved :: BSD License", "paint has no licence that can be told"),
        ("", "paint has no licence that can be told"),
    ],
)
def test_a_licence_that_is_not_allowed_is_refused_however_deep(
    tmp_path: Path, find: Find, licence: str, said: str
) -> None:
    install(tmp_path, "flux2-mcp", "License-Expression: Apache-2.0", "brush[wide]>=1", 'test-tool; extra == "dev"')
    install(tmp_path, "brush", "License: MIT", 'paint; extra == "wide"')
    install(tmp_path, "paint", licence)

    [complaint] = complaints(come_along(find))

    assert said in complaint


def test_one_package_may_have_a_licence_that_others_may_not(tmp_path: Path, find: Find) -> None:
    install(tmp_path, "flux2-mcp", "License-Expression: Apache-2.0", 'psycopg; extra == "postgres"')
    install(tmp_path, "psycopg", "License-Expression: LGPL-3.0-only")

    assert come_along(find).keys() == set()
    assert list(complaints(come_along(find, extra="postgres"))) == []
    assert "| psycopg | LGPL-3.0-only | with `postgres` |" in table(find)


def test_what_comes_along_on_other_systems_only_needs_a_word_of_ours(tmp_path: Path, find: Find) -> None:
    install(
        tmp_path,
        "flux2-mcp",
        "License-Expression: Apache-2.0",
        'pywin32; sys_platform == "win32"',
        'cocoa; platform_system == "Darwin"',
        'old; python_version < "3.9"',
    )

    assert list(complaints(come_along(find))) == [
        "cocoa comes along on other systems only: write its licence into ELSEWHERE."
    ]


def test_where_such_a_package_is_installed_its_own_word_counts(tmp_path: Path, find: Find) -> None:
    install(tmp_path, "flux2-mcp", "License-Expression: Apache-2.0", "pywin32", "tzdata")
    install(tmp_path, "pywin32", "License: a long text")
    install(tmp_path, "tzdata", "License-Expression: MIT")

    assert list(complaints(come_along(find))) == ["tzdata has the licence MIT, and ELSEWHERE says Apache-2.0."]
    assert "| pywin32 | PSF-2.0 | always, on some systems |" in table(find)
    assert "| tzdata | MIT | always, on some systems |" in table(find)


def test_a_package_without_the_text_of_its_licence_is_named(tmp_path: Path, find: Find) -> None:
    install(tmp_path, "flux2-mcp", "License-Expression: Apache-2.0", "paint")
    install(tmp_path, "paint", "License-Expression: MIT", text="AUTHORS")

    assert list(complaints(come_along(find))) == ["paint brings no text of its licence."]
