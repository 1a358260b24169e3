"""docs/operations.md lists the metrics that there are; alerts and the board use no others, in valid PromQL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from app.service.metrics import LEVELS
from storage.metrics import definitions
from storage.metrics.definitions import Counter

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()
RULES = yaml.safe_load((ROOT / "deploy/prometheus/rules.yaml").read_text())["groups"][0]["rules"]
BOARD = json.loads((ROOT / "deploy/grafana/sluice.json").read_text())
# Of the repository: made where they are shown, with their labels.
MADE = re.compile(r'(Counter|Gauge)MetricFamily\(\s*"(sluice_\w+)",\s*"[^"]*"(?:,\s*labels=\[([^\]]*)\])?')

Row = tuple[str, str, tuple[str, ...]]
"""A metric's name in Prometheus, its type and its labels."""


def in_code() -> Iterator[Row]:
    for metric in definitions.ALL:
        of = isinstance(metric, Counter)
        yield metric.name + ("_total" if of else ""), "counter" if of else "histogram", metric.labels
    for name in LEVELS:
        yield definitions.PREFIX + name, "gauge", ()
    for kind, name, labels in MADE.findall((ROOT / "app/service/metrics.py").read_text()):
        yield name + ("_total" if kind == "Counter" else ""), kind.lower(), tuple(re.findall(r'"(\w+)"', labels))


def in_page() -> list[Row]:
    [table] = re.findall(r"\n\| metric \|.*?\n\n", PAGE, re.DOTALL)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]
    return [(row[0].strip("`"), row[1], tuple(re.findall(r"`(\w+)`", row[2]))) for row in rows]


CODE = list(in_code())
SERIES = {name: set(labels) for name, kind, labels in CODE if kind != "histogram"} | {
    name + part: {*labels, *more}
    for name, kind, labels in CODE
    if kind == "histogram"
    for part, more in (("_bucket", {"le"}), ("_sum", set()), ("_count", set()))
}


def test_the_page_lists_each_metric_with_its_type_and_labels() -> None:
    assert sorted(in_page()) == sorted(CODE)
    assert len(CODE) > 30


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in BOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


def selectors(node: Any) -> Iterator[Any]:
    """Yield the selectors of a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    elif isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from selectors(node.lhs)
        yield from selectors(node.rhs)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from selectors(argument)
    elif isinstance(node, (promql_parser.AggregateExpr, promql_parser.ParenExpr, promql_parser.UnaryExpr)):
        yield from selectors(node.expr)


@pytest.mark.parametrize(("where", "text"), list(expressions()))
def test_alerts_and_panels_name_metrics_and_labels_that_there_are(where: str, text: str) -> None:
    found = list(selectors(promql_parser.parse(text)))
    assert found, where
    for selector in found:
        assert selector.name in SERIES, f"{where}: there is no {selector.name}"
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= SERIES[selector.name], f"{where}: {selector.name} has no {matched}"
    assert set(re.findall(r"\bsluice_\w+", text)) == {selector.name for selector in found}
    # Grouped by what the metrics have: a label that is not there would merge what belongs apart.
    for labels in re.findall(r"\bby \(([^)]*)\)", text):
        grouped = {label.strip() for label in labels.split(",")}
        assert any(grouped <= SERIES[selector.name] for selector in found), where


def test_a_label_that_a_text_shows_is_one_that_its_expression_keeps() -> None:
    for rule in RULES:
        shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        names = [selector.name for selector in selectors(promql_parser.parse(rule["expr"]))]
        assert shown <= set.union(*(SERIES[name] for name in names)), rule["alert"]


def test_the_page_says_of_each_alert_what_to_do() -> None:
    assert set(re.findall(r"`(Sluice[A-Z]\w+)`", PAGE)) == {rule["alert"] for rule in RULES}
    assert all(rule["labels"]["severity"] in {"critical", "warning", "info"} for rule in RULES)


def test_panels_of_the_board_have_places_of_their_own() -> None:
    taken = [
        (x, y)
        for panel in BOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken)) and max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
