"""`headway feedback`: one answer by options, many from the lines of `headway classify --json`."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from headway_client.classify_cli import main as classify
from headway_client.feedback_cli import main
from tests.unit.client.client_fake_gateway import FakeGateway

Out = pytest.CaptureFixture[str]
ONE = ["digits", "--version", "2", "--label", "7", "--request-id", "a-1"]
LINE: dict[str, Any] = {
    "path": "a.png", "model": "digits", "version": 2, "arm": "candidate",
    "predictions": [{"label": "7", "score": 0.9}, {"label": "1", "score": 0.1}], "request_id": "a-1",
}  # fmt: skip


def sent(gateway: FakeGateway) -> list[dict[str, Any]]:
    """All feedback that the gateway got, in the order of its coming."""
    return [item for seen in gateway.seen if seen.path.endswith(":feedback") for item in json.loads(seen.images[0])]


def lines(tmp_path: Path, *answers: object) -> str:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(f"{json.dumps(each)}\n\n" for each in answers))
    return str(path)


def test_one_answer_by_options(gateway: FakeGateway, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_TOKEN", "s3cret")
    assert main([*ONE, "--truth", "1", "--arm", "candidate", "--url", gateway.url]) == 0
    assert capsys.readouterr().out == "1 counted: 0 right, 1 wrong; 0 told before, 0 ignored\n"
    assert sent(gateway) == [
        {"request_id": "a-1", "index": 0, "version": 2, "arm": "candidate", "label": "7", "truth": "1"}
    ]
    assert gateway.seen[0].headers["authorization"] == "Bearer s3cret"


def test_the_lines_of_classify_with_their_truth(
    gateway: FakeGateway, tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    assert classify([str(tmp_path / "a.png"), "--json", "--url", gateway.url]) == 0
    answer = json.loads(capsys.readouterr().out)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({**answer, "truth": "28x28"})))
    assert main(["--answers", "-", "--url", gateway.url]) == 0
    assert capsys.readouterr().out.startswith("1 counted: 1 right, 0 wrong")


def test_one_truth_for_all_lines(gateway: FakeGateway, tmp_path: Path) -> None:
    answers = lines(tmp_path, LINE, {**LINE, "request_id": "a-2", "truth": "1"})
    assert main(["--answers", answers, "--truth", "7", "--url", gateway.url]) == 0
    assert [each["truth"] for each in sent(gateway)] == ["7", "1"]


def test_many_lines_go_in_parts_and_each_model_by_itself(gateway: FakeGateway, tmp_path: Path, capsys: Out) -> None:
    many = [{**LINE, "request_id": f"a-{number}", "truth": "7"} for number in range(1500)]
    other = [{**LINE, "model": "letters", "truth": "7"}]
    gateway.models["letters"] = [2]
    assert main(["--answers", lines(tmp_path, *many, *other), "--url", gateway.url]) == 0
    assert [seen.path for seen in gateway.seen] == [
        *["/v1/models/digits:feedback"] * 2,
        "/v1/models/letters:feedback",
    ]
    assert capsys.readouterr().out.startswith("1501 counted: 1501 right")


def test_what_is_ignored_is_named_and_fails(gateway: FakeGateway, tmp_path: Path, capsys: Out) -> None:
    answers = lines(tmp_path, {**LINE, "truth": "7"}, {**LINE, "version": 99, "truth": "7"})
    assert main(["--answers", answers, "--url", gateway.url]) == 1
    out, err = capsys.readouterr()
    assert out == "1 counted: 1 right, 0 wrong; 0 told before, 1 ignored\n"
    assert err == "headway feedback: 2: ignored: There is no version 99. [version_not_found]\n"


def test_a_gateway_that_refuses_or_is_away_fails(gateway: FakeGateway, capsys: Out) -> None:
    assert main(["letters", *ONE[1:], "--truth", "1", "--url", gateway.url]) == 1
    assert "There is no model 'letters'" in capsys.readouterr().err
    assert main([*ONE, "--truth", "1", "--url", "http://127.0.0.1:1"]) == 1
    assert "cannot reach" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ([LINE], "line 1 has no truth; add the key truth to it, or give --truth for all lines"),
        ([{**LINE, "truth": "7", "version": "2"}], "line 1: version is missing or no whole number"),
        ([{**LINE, "truth": "7"}, {**LINE, "truth": "7", "predictions": []}], "line 3: label is missing or no text"),
        ([{**LINE, "truth": "7", "model": "letters"}], "line 1 is an answer of letters, not of digits"),
        (["text"], "line 1 is no object"),
        ([], "has no line"),
    ],
)
def test_a_line_that_cannot_be_used_is_wrong_usage_and_nothing_is_sent(
    gateway: FakeGateway, tmp_path: Path, capsys: Out, answers: list[object], complaint: str
) -> None:
    assert main(["digits", "--answers", lines(tmp_path, *answers), "--url", gateway.url]) == 2
    assert complaint in capsys.readouterr().err
    assert gateway.seen == []


def test_what_is_missing_is_named(gateway: FakeGateway, capsys: Out) -> None:
    assert main(["digits", "--label", "7", "--url", gateway.url]) == 2
    assert "missing --version, --truth, --request-id; give what the answer said" in capsys.readouterr().err
    assert main(["--answers", "nowhere.jsonl", "--url", gateway.url]) == 2
    assert "nowhere.jsonl cannot be read" in capsys.readouterr().err
