"""What Docker and Kubernetes do cannot be tried here; that their files fit the server and each other can."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flux2_mcp import __version__
from flux2_mcp.cli.serve import PORT
from flux2_mcp.server.http import PATH, SHUTDOWN_SECONDS, TIME_TO_ANSWER
from flux2_mcp.settings import Settings
from flux2_mcp.studio import LONGEST_WAIT
from flux2_mcp.webhooks import PATH as WEBHOOKS
from tests.certificates import self_signed
from tests.platforms import only_on

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SETTINGS = {str(field.alias) for field in Settings.model_fields.values()}
HAPROXY = shutil.which("haproxy")
SECONDS_TO_END = SHUTDOWN_SECONDS + 2 * TIME_TO_ANSWER + 1
"""From SIGTERM to the end: calls in flight, what they still say, and uvicorn's own second."""


def text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def compose() -> dict[str, Any]:
    return YAML(typ="safe").load(text("compose.yaml"))  # pyright: ignore[reportUnknownMemberType] untyped


def services() -> dict[str, dict[str, Any]]:
    return compose()["services"]


def kubernetes() -> dict[str, dict[str, Any]]:
    """Each resource by its kind."""
    documents: Iterator[dict[str, Any]] = YAML(typ="safe").load_all(  # pyright: ignore[reportUnknownMemberType] untyped
        text("deploy/kubernetes.yaml")
    )
    return {each["kind"]: each for each in documents}


def pod() -> dict[str, Any]:
    return kubernetes()["Deployment"]["spec"]["template"]["spec"]


def variables(file: str) -> dict[str, str]:
    """What a file of variables sets, or would set if the sign of a comment were taken away."""
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", text(file), re.MULTILINE))


def asked() -> dict[str, str]:
    """The variables that compose.yaml asks for, with what it does without them."""
    return dict(re.findall(r"\$\{([A-Z0-9_]+)([^}]*)\}", text("compose.yaml")))


def passed_on() -> set[str]:
    """The variables that a service is given as they are."""
    environments: list[Mapping[str, str | None]] = [each.get("environment", {}) for each in services().values()]
    return {name for each in environments for name, value in each.items() if value is None}


def seconds(words: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", words).groups()  # pyright: ignore[reportOptionalMemberAccess] else it fails
    return timedelta(**{{"ms": "milliseconds", "s": "seconds", "m": "minutes"}[unit]: int(number)}).total_seconds()


@pytest.mark.parametrize(
    "file",
    ["Dockerfile", "compose.yaml", ".env.example", "deploy/demo.env", "deploy/kubernetes.yaml", "docs/hosting.md"],
)
def test_every_variable_of_ours_is_a_setting(file: str) -> None:
    assert set(re.findall(r"\b(?:FLUX2|RUNAPI)_[A-Z_]+[A-Z]\b", text(file))) <= SETTINGS


def test_compose_reads_every_variable_that_its_example_names() -> None:
    names = variables(".env.example").keys()

    assert names <= asked().keys() | passed_on()
    assert {name for name, otherwise in asked().items() if otherwise.startswith(":?")} <= names


def test_the_demo_sets_all_that_it_must_and_nothing_that_nobody_reads() -> None:
    demo = variables("deploy/demo.env")
    known = asked().keys() | passed_on() | {"COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"}

    assert demo.keys() <= known
    assert {name for name, otherwise in asked().items() if otherwise.startswith(":?")} <= demo.keys()
    Settings.from_environ(demo)
    assert demo["COMPOSE_PROFILES"] in services()["simulator"]["profiles"]
    assert demo["SERVER_TRUSTS"].startswith("/certificates/")


def test_everybody_means_the_same_port() -> None:
    server, container = services()["server"], pod()["containers"][0]
    config = text("deploy/haproxy.cfg")

    assert re.findall(r"^EXPOSE (\d+)$", text("Dockerfile"), re.MULTILINE) == [str(PORT)]
    assert server["command"] == container["args"]
    assert server["command"] == ["serve", "--http", "--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104 in a container
    assert server["expose"] == [str(PORT)]
    assert f'("127.0.0.1", {PORT})' in server["healthcheck"]["test"][-1]
    assert services()["haproxy"]["environment"]["LB_REPLICAS"] == f"server:{PORT}"
    assert f"presetenv LB_REPLICA_1 127.0.0.1:{PORT}\n" in config
    assert container["ports"] == [{"name": "http", "containerPort": PORT}]
    assert [port["targetPort"] for port in kubernetes()["Service"]["spec"]["ports"]] == ["http"]
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert [(probe["path"], probe["port"]) for probe in probes] == [
        ("/healthz", "http"),
        ("/readyz", "http"),
        ("/healthz", "http"),
    ]


def test_the_image_is_the_one_that_a_release_publishes() -> None:
    release = text(".github/workflows/release.yml")
    source = re.findall(r"image\.source=\"https://github\.com/([^\"]+)\"", text("Dockerfile"))

    assert "ghcr.io/${{ github.repository }}:${{ github.ref_name }}" in release
    assert pod()["containers"][0]["image"] == f"ghcr.io/{source[0]}:v{__version__}"
    assert {services()[name]["image"] for name in ("server", "simulator", "certificate")} == {"flux2-mcp"}


def test_nobody_is_root_or_may_become_it() -> None:
    users = re.findall(r"^USER (\S+)$", text("Dockerfile"), re.MULTILINE)
    [container] = pod()["containers"]

    for name, service in services().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert [str(pod()["securityContext"]["runAsUser"])] == users
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_whoever_ends_a_server_leaves_it_the_time_that_it_takes() -> None:
    [container] = pod()["containers"]
    asleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert seconds(services()["server"]["stop_grace_period"]) > SECONDS_TO_END
    assert pod()["terminationGracePeriodSeconds"] > asleep + SECONDS_TO_END
    assert "haproxy" not in services()["server"]["depends_on"]
    assert services()["haproxy"]["depends_on"] == ["server"]  # so that it ends before them


def test_the_longest_wait_is_not_cut() -> None:
    limits = {
        name: seconds(value)
        for name, value in re.findall(r"^\s+timeout (\S+) +(\S+)$", text("deploy/haproxy.cfg"), re.MULTILINE)
    }
    [last] = re.findall(r"hard-stop-after (\S+)", text("deploy/haproxy.cfg"))

    assert min(limits["client"], limits["server"], seconds(last)) > LONGEST_WAIT


def test_haproxy_lets_strangers_to_what_is_for_them_and_is_told_what_it_reads() -> None:
    config = text("deploy/haproxy.cfg")

    assert f"acl is_mcp path {PATH}\n" in config
    assert f"acl is_webhook path_beg {WEBHOOKS}/\n" in config
    assert all(name in config for name in services()["haproxy"]["environment"])
    said = re.findall(r"http-error status (\d+) content-type application/json string '(.*)'", config)
    assert [status for status, _ in said] == ["502", "503", "504"]
    assert all(json.loads(words)["error"]["message"] for _, words in said)


def test_every_file_that_compose_mounts_is_there() -> None:
    mounted = [volume for each in services().values() for volume in each.get("volumes", [])]
    paths = [volume.partition(":")[0] for volume in mounted]

    assert all((ROOT / path).is_file() for path in paths if path.startswith("."))
    assert {path for path in paths if not path.startswith(".")} == compose()["volumes"].keys()


@only_on("Linux", "Debian's is easily had")
@pytest.mark.skipif(
    HAPROXY is None, reason="there is no haproxy to read its configs: on Debian, apt-get install haproxy brings it"
)
@pytest.mark.parametrize(
    ("config", "environ"),
    [
        ("haproxy.cfg", {}),
        ("haproxy.cfg", {"LB_REPLICAS": f"localhost:{PORT}", "LB_TRUSTED_PROXY": "172.16.0.0/12"}),
        ("haproxy.cfg", {"LB_CERTIFICATE": "CERTIFICATE"}),
        ("simulator.cfg", {"SIMULATOR_CERTIFICATE": "CERTIFICATE"}),
    ],
    ids=["by hand", "compose", "with TLS", "the demo"],
)
def test_haproxy_takes_its_configs_without_a_warning(config: str, environ: dict[str, str], tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(self_signed())
    given = {name: str(certificate) if value == "CERTIFICATE" else value for name, value in environ.items()}

    checked = subprocess.run(  # noqa: S603 Debian's
        [str(HAPROXY), "-c", "-f", str(DEPLOY / config)], env=given, capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stderr) == (0, "")
