"""The two dialects of paths, and which one answers.

The vendor's SDKs post to `/api/v1/flux_2/<action>`; its guide for OpenClaw posts to `/v1/<action>` and names no path
for the status. Both are spoken here; what answered once is asked first the next time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import quote

from flux2_mcp.runapi.models import Action, DialectName, Task

DialectSetting = Literal["auto", "sdk", "v1"]

ELSEWHERE = "{elsewhere}"
"""The template of paths that RunAPI itself has named: what in them is an id, nobody knows."""


@dataclass(frozen=True)
class Dialect:
    """One of RunAPI's two ways to name things."""

    name: DialectName
    creates: str
    looks: tuple[str, ...]
    """Where a task may be shown, likeliest first."""

    def create_path(self, action: Action) -> str:
        """Where a task of this kind is made."""
        return self.creates.format(action=action)


SDK = Dialect(
    name="sdk",
    creates="/api/v1/flux_2/{action}",
    looks=("/api/v1/flux_2/{action}/{id}", "/api/v1/tasks/{id}"),
)
V1 = Dialect(
    name="v1",
    creates="/v1/{action}",
    looks=("/v1/{action}/{id}", "/v1/tasks/{id}", "/api/v1/tasks/{id}"),
)


class Routes:
    """Which dialect to try, in which order; it learns from what answered."""

    def __init__(self, setting: DialectSetting = "auto") -> None:
        fixed = {"sdk": SDK, "v1": V1}.get(setting)
        self._possible = (fixed,) if fixed else (SDK, V1)
        self._answered = fixed
        self._shown: str | None = None

    def dialects(self) -> tuple[Dialect, ...]:
        """The dialects worth trying for a create request."""
        return (self._answered,) if self._answered else self._possible

    def remember(self, dialect: Dialect) -> None:
        """This dialect's create path exists."""
        self._answered = dialect

    def look_paths(self, task: Task) -> list[str]:
        """Every path where this task may be shown, likeliest first, each once."""
        first = task.dialect or (self._answered or SDK).name
        dialects = sorted(self._possible, key=lambda each: each.name != first)
        looks = [look for dialect in dialects for look in dialect.looks]
        looks.sort(key=lambda look: look != self._shown)
        known = [] if task.path is None else [task.path]
        return list(dict.fromkeys(known + [path for look in looks for path in _paths(look, task)]))

    def template_of(self, task: Task, path: str) -> str:
        """The same path without the task's id."""
        is_known = any(path in _paths(look, task) for dialect in self._possible for look in dialect.looks)
        return f"{path.rpartition('/')[0]}/{{id}}" if is_known else ELSEWHERE

    def remember_look(self, task: Task, path: str) -> None:
        """This path showed that task; others are likely to be shown at the same kind of path."""
        looks = (look for dialect in self._possible for look in dialect.looks)
        self._shown = next((look for look in looks if path in _paths(look, task)), self._shown)


def _paths(look: str, task: Task) -> list[str]:
    """All actions are tried when it is not known which one made the task."""
    actions = (task.action,) if task.action else get_args(Action)
    return [look.format(action=action, id=quote(task.id, safe="")) for action in actions]
