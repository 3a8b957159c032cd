"""The page about the model server tells of every flag what becomes of it."""

from pathlib import Path

from headway_serving.modelserver.process.flag_table import FLAGS, Support

PAGE = Path(__file__).parents[4] / "docs" / "model-server.md"


def test_every_flag_stands_under_the_heading_that_is_true_of_it() -> None:
    sections = PAGE.read_text().split("\n### ")
    headings = {
        Support.HONOURED: "Honoured flags",
        Support.IGNORED: "Ignored flags",
        Support.REFUSED: "Refused flags",
    }
    for support, heading in headings.items():
        (section,) = [text for text in sections if text.startswith(heading)]
        named = {line.split("`")[1] for line in section.splitlines() if line.startswith("| `")}
        assert named == {flag.name for flag in FLAGS if flag.support is support}, heading
