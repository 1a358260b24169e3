"""compose.yaml is valid, runs what `sluice up` runs, and hands out settings that exist and no password of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from app.stack import commands
from app.stack.servers import redis_server
from storage.base import settings

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "tests" / "testdata" / "compose-spec" / "compose-spec.json"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("api", "gateway", "worker", "merger", "sender", "beat", "flower")
SERVERS = ("redis", "minio")
DEFAULTS = settings.Settings()
# `${NAME}`, `${NAME:-default}`, `${NAME:?message}`; `$$` is a dollar.
VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?:(:[-?])([^}]*))?\}")


def example() -> dict[str, str]:
    """The variables of .env.example."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def fill(value: Any, variables: dict[str, str]) -> Any:
    """Interpolate as Compose does; KeyError names a required variable that is missing."""
    if isinstance(value, dict):
        return {key: fill(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, variables) for inner in value]
    if not isinstance(value, str):
        return value

    def one(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if name is None:
            return "$"
        if operator == ":-":
            return variables.get(name) or rest
        return variables[name]

    return VARIABLE.sub(one, value)


def test_compose_yaml_is_valid_by_the_compose_specification():
    schema = json.loads(SCHEMA.read_text())
    problems = list(jsonschema.Draft7Validator(schema).iter_errors(COMPOSE))
    assert [f"{problem.json_path}: {problem.message}" for problem in problems] == []


@pytest.mark.parametrize(
    ("service", "argv"),
    [
        ("api", commands.api("0.0.0.0:8080")),
        ("gateway", commands.gateway(DEFAULTS.gateway_workers, DEFAULTS.gateway_threads, "0.0.0.0:8081")),
        ("worker", commands.worker(DEFAULTS.commit_workers)),
        ("merger", commands.merger()),
        ("sender", commands.sender(DEFAULTS.webhook_senders)),
        ("beat", commands.beat()),
        ("flower", commands.flower("0.0.0.0", 5555)),
    ],
)
def test_a_service_runs_the_command_that_the_stack_runs(service: str, argv: list[str]):
    assert fill(SERVICES[service]["command"], example()) == argv


def test_redis_is_durable_and_evicts_nothing_as_on_one_machine(tmp_path: Path):
    def durability(argv: list[str]) -> dict[str, str]:
        return {option: argv[argv.index(option) + 1] for option in kept}

    kept = ("--appendonly", "--appendfsync", "--save", "--maxmemory-policy", "--auto-aof-rewrite-min-size")
    assert durability(SERVICES["redis"]["command"]) == durability(redis_server(tmp_path).command.argv)


@pytest.mark.parametrize("service", OURS)
def test_the_environment_of_a_service_is_settings_that_exist(service: str):
    environ = fill(SERVICES[service]["environment"], example())
    known = settings.load(environ)  # refuses an unknown SLUICE_ name
    assert known.redis_url == "redis://redis:6379/0"
    assert known.endpoints == ["http://minio:9000"]
    assert (known.s3_access_key, known.s3_secret_key) == (
        example()["MINIO_ROOT_USER"],
        example()["MINIO_ROOT_PASSWORD"],
    )


@pytest.mark.parametrize("secret", ["MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "FLOWER_BASIC_AUTH"])
def test_no_secret_has_a_default_outside_of_the_example(secret: str):
    without = {name: text for name, text in example().items() if name != secret}
    with pytest.raises(KeyError, match=secret):
        fill(COMPOSE, without)
    text = (ROOT / "compose.yaml").read_text() + (ROOT / "Dockerfile").read_text()
    assert "change-me" not in text


def test_flower_and_the_console_are_on_the_loopback_and_redis_is_private():
    assert [str(port).split(":")[0] for port in SERVICES["flower"]["ports"]] == ["127.0.0.1"]
    assert [str(port).split(":")[0] for port in SERVICES["minio"]["ports"]] == ["127.0.0.1"]
    assert "ports" not in SERVICES["redis"]
    assert SERVICES["redis"]["networks"] == ["inner"]
    assert COMPOSE["networks"]["inner"] == {"internal": True}
    reach_out = [name for name in ("worker", "merger", "sender", "beat") if SERVICES[name]["networks"] != ["inner"]]
    assert reach_out == ["sender"]


def test_every_service_has_a_health_check_and_servers_have_volumes():
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == set()
    assert set(COMPOSE["volumes"]) == {"redis", "minio", "clones", "sender"}
    assert SERVICES["gateway"]["volumes"] == ["clones:" + SERVICES["gateway"]["environment"]["SLUICE_GATEWAY_FOLDER"]]
    for name in SERVERS:
        assert [volume.split(":")[0] for volume in SERVICES[name]["volumes"]] == [name]


@pytest.mark.parametrize("service", ["worker", "merger", "sender"])
def test_a_worker_has_time_to_finish_or_to_give_back(service: str):
    assert float(SERVICES[service]["stop_grace_period"].removesuffix("s")) >= commands.grace(DEFAULTS)
