"""The alerts: valid, tested to fire, to be silent and to recover, explained, and the same on a cluster."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import prometheus_rule
from headway_serving.gateway.requests.problems import problems_by_code

FOLDER = prometheus_rule.RULES.parent
RUNBOOK = (prometheus_rule.ROOT / "docs" / "runbook.md").read_text()
RULES = [rule for group in yaml.safe_load(prometheus_rule.RULES.read_text())["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})
CASES = sorted((FOLDER / "tests").glob("*.yml"))

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool on PATH; on Debian: apt-get install prometheus"
)


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, cwd=FOLDER, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_rules_and_the_example_that_reads_them_are_valid() -> None:
    promtool("check", "rules", "--lint-fatal", prometheus_rule.RULES)
    promtool("check", "config", FOLDER / "prometheus.yml")


@needs_promtool
@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_then_alone(cases: Path) -> None:
    promtool("test", "rules", cases)


def expectations(alert: str) -> list[list[bool]]:
    """For each case that asks for the alert: whether it shall fire, in the order of time."""
    found = []
    for case in (case for path in CASES for case in yaml.safe_load(path.read_text())["tests"]):
        checks = [each for each in case["alert_rule_test"] if each["alertname"] == alert]
        found.append([bool(each["exp_alerts"]) for each in sorted(checks, key=lambda each: minutes(each["eval_time"]))])
    return [each for each in found if each]


def minutes(duration: str) -> int:
    return int(duration[:-1]) * {"m": 1, "h": 60}[duration[-1]]


@pytest.mark.parametrize("alert", NAMES)
def test_every_alert_is_tested_to_be_silent_to_fire_and_to_recover(alert: str) -> None:
    assert [False, True, False] in expectations(alert)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_leads_to_a_paragraph_of_its_name(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert annotations["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
    paragraph = RUNBOOK.partition(f"\n## {rule['alert']}\n\n")[2].partition("\n## ")[0]
    assert paragraph.startswith(f"*{rule['labels']['severity'].capitalize()}.* ")


def test_the_runbook_explains_no_alert_that_does_not_exist() -> None:
    assert sorted(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)) == NAMES


def test_failures_are_the_problems_that_are_faults_of_the_service() -> None:
    # The two others are no classification: a page of readiness, and a door that is not configured.
    faults = {code for code, row in problems_by_code().items() if row.status >= 500} - {"not_ready", "pass_through_off"}
    (counted,) = {
        match
        for rule in RULES
        if rule.get("record", "").startswith("model:headway_requests_failed")
        for match in re.findall(r'code=~"([^"]+)"', rule["expr"])
    }
    assert set(counted.split("|")) == faults


def test_the_object_for_a_cluster_has_the_same_rules() -> None:
    assert prometheus_rule.OBJECT.read_text() == prometheus_rule.text(), "make monitoring writes it"


def test_what_is_not_told_while_its_cause_is_known_exists() -> None:
    config = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    for rule in config["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            label, value = re.fullmatch(r'(\w+)=~?"(.*)"', matcher).groups()
            if label == "alertname":
                assert [name for name in NAMES if re.fullmatch(value, name)], matcher
