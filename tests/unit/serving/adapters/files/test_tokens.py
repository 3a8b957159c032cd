"""The tokens file: what is read, what is refused with the place, and that a change is followed."""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headway_contract.durable_files import write_atomically
from headway_serving.adapters.files.tokens import InvalidTokens, TokenFile, parse_tokens, read_tokens
from headway_serving.core.access import Scope
from tests.support.waiting import eventually

REFERENCE = (Path(__file__).resolve().parents[5] / "docs" / "reference.md").read_text()


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def document(*tokens: dict[str, Any]) -> str:
    return json.dumps({"schema": 1, "tokens": tokens})


def entry(secret: str = "s3cret", **changes: Any) -> dict[str, Any]:
    return {"name": "camera", "scopes": ["classify"], "sha256": digest(secret), **changes}


def test_a_token_is_found_by_its_text_alone() -> None:
    tokens = parse_tokens(document(entry("one", name="a"), entry("two", name="b", scopes=["classify", "admin"])))
    assert (found := tokens.holder_of("two"))
    assert (found.name, found.scopes) == ("b", {Scope.CLASSIFY, Scope.ADMIN})
    for other in ("", "On", "one ", "ONE", digest("one"), "ünö", "\udc80"):
        assert tokens.holder_of(other) is None


def test_no_token_opens_an_empty_file() -> None:
    assert parse_tokens(document()).holder_of("") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "the file: an object is needed"),
        ('{"tokens": []}', "the file: missing schema"),
        ('{"schema": 2, "tokens": []}', "schema 2 is unknown"),
        ('{"schema": 1, "tokens": {}}', "tokens: a list is needed"),
        ('{"schema": 1, "tokens": ["s3cret"]}', "tokens[0]: an object is needed"),
        (document({"name": "a", "scopes": ["classify"]}), "tokens[0]: missing sha256"),
        (document(entry(token="s3cret")), "tokens[0]: 1 unknown keys; known: name, scopes, sha256"),
        (document(entry(name="")), "tokens[0].name"),
        (document(entry(name="a\nb")), "tokens[0].name"),
        (document(entry(sha256="s3cret")), "tokens[0].sha256: the 64 small hexadecimal digits"),
        (document(entry(sha256=digest("x").upper())), "tokens[0].sha256"),
        (document(entry(scopes=[])), "tokens[0].scopes: a list of classify, feedback and admin"),
        (document(entry(scopes="admin")), "tokens[0].scopes"),
        (document(entry(scopes=["root"])), "tokens[0].scopes"),
        (document(entry(scopes=[["admin"]])), "tokens[0].scopes"),
        (document(entry(), entry("other")), "tokens[1].name: stands there twice"),
        (document(entry(), entry(name="b")), "tokens[1].sha256: stands there twice"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_place_and_without_the_token(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    with pytest.raises(InvalidTokens) as caught:
        read_tokens(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidTokens, match="cannot be read: No such file"):
        TokenFile(tmp_path / "tokens.json", 1.0)


@pytest.fixture
def follow() -> Iterator[Callable[[Path], TokenFile]]:
    files: list[TokenFile] = []

    def follow(path: Path) -> TokenFile:
        files.append(TokenFile(path, poll_seconds=0.02))
        files[-1].watch()
        return files[-1]

    yield follow
    for file in files:
        file.close()


def test_a_change_is_followed_and_a_broken_file_changes_nothing(
    tmp_path: Path, follow: Callable[[Path], TokenFile], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(document(entry("old")))
    file = follow(path)
    write_atomically(path, document(entry("new")).encode())
    eventually(lambda: file.content().holder_of("new") is not None, "the file is followed")
    assert file.content().holder_of("old") is None
    write_atomically(path, b'{"schema": 1')
    eventually(lambda: file.problem() is not None, "the file is followed")
    assert file.content().holder_of("new") is not None
    assert "the last good tokens stay in force" in caplog.text
    write_atomically(path, document().encode())
    eventually(lambda: file.problem() is None, "the file is followed")
    assert file.content().holder_of("new") is None


def test_a_pipe_in_its_place_is_refused_and_a_token_revoked_later_is_revoked(
    tmp_path: Path, follow: Callable[[Path], TokenFile]
) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(document(entry("old")))
    file = follow(path)
    path.unlink()
    os.mkfifo(path)
    eventually(lambda: "not a regular file" in (file.problem() or ""), "the pipe is refused")
    assert file.content().holder_of("old") is not None
    write_atomically(path, document(entry("new")).encode())
    eventually(lambda: file.content().holder_of("old") is None, "the token is revoked")


def test_a_gateway_does_not_start_on_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokens.json")
    with pytest.raises(InvalidTokens, match="cannot be read: not a regular file"):
        TokenFile(tmp_path / "tokens.json", 1.0)


def test_the_documented_file_is_read_and_the_documented_line_makes_a_token() -> None:
    section = REFERENCE.partition("## `tokens.json`\n")[2]
    example = section.partition("```json\n")[2].partition("```")[0]
    assert [each.name for each in parse_tokens(example).entries] == ["camera-7", "prometheus"]
    line = section.partition("```bash\n")[2].partition("```")[0]
    made = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout.split()
    assert len(made[0]) == 43
    assert made[1] == digest(made[0])
