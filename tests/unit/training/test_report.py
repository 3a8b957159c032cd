"""The page stands alone, holds what the run showed, and is safe and readable whatever the names in it."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headway_contract.preprocessing import encode_png
from headway_training.report import ClassPictures, Galleries, Picture, render_report
from headway_training.run_record import RunRecord
from tests.unit.training.run_examples import CLASSES, a_phase, a_record

VOID = {"meta", "link", "img", "br", "col"}
NBSP = "\N{NO-BREAK SPACE}"


class Page(HTMLParser):
    """Reads a page strictly: every element must be closed in order. Keeps elements and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[ \n]+", " ", " ".join(self.words))

    def having(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self) -> set[str]:
        return {attributes["id"] for _, attributes in self.elements if "id" in attributes}


def a_picture(number: int, side: int = 28) -> bytes:
    return encode_png(np.random.default_rng(number).integers(0, 256, (side, side, 1)).astype(np.uint8))


def all_galleries(record: RunRecord, encoded: bytes | None = None, each: int = 3) -> Galleries:
    def pictures(count: int, name: str) -> tuple[Picture, ...]:
        return tuple(Picture(encoded or a_picture(number), f"{name} {number}") for number in range(count))

    return Galleries(
        pictures(len(record.evaluation.top_losses), "loss"),
        pictures(len(record.evaluation.first_misclassified), "first"),
        tuple(ClassPictures(label, pictures(each, f"of {label}")) for label in record.classes),
    )


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return a_record()


@pytest.fixture(scope="module")
def html(record: RunRecord) -> str:
    return render_report(record, all_galleries(record))


def test_nothing_is_fetched_from_anywhere(html: str) -> None:
    page = Page(html)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "poster", "action", "data", "background"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), f"<{tag} {name}={attributes[name][:80]}>"
    assert not re.search(r"url\((?!#)|@import|https?:|//[a-z]", re.sub(r"base64,[^\"]+", "", html))
    assert not {"script", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.elements}
    policy = next(
        meta["content"] for meta in page.having("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy


def test_references_within_the_page_lead_somewhere_and_ids_are_unique(html: str) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    inner = {attributes.get("href", attributes.get("xlink:href", "")) for _, attributes in page.elements}
    targets = {link[1:] for link in inner if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", html))
    assert targets <= set(ids)


def test_the_headline_and_its_rivals_are_told(record: RunRecord, html: str) -> None:
    text = Page(html).text
    accuracy = record.evaluation.accuracy
    assert f"{100 * accuracy.value:.2f}" in text
    assert re.search(f"95 % interval {100 * accuracy.low:.2f}{NBSP}% . {100 * accuracy.high:.2f}{NBSP}%", text)
    assert f"62.50{NBSP}%" in text  # the linear baseline
    assert f"The recipe expects 50.00{NBSP}%: ✓ reached" in text
    assert "head on animals/3" in text


def test_a_missed_expectation_is_said(record: RunRecord) -> None:
    assert "✗ missed" in Page(render_report(replace(record, expected_accuracy=0.999), Galleries())).text


def test_every_fact_of_the_run_is_on_the_page(record: RunRecord, html: str) -> None:
    text = Page(html).text
    for fact in (
        "pets", "Three pets", "sha256:d1", "c0ffee", "animals/3", "sha256:b5", "3.11.2", "70,000", "303", "zoo",
        "applied unchanged", "2 pictures lie in both train and test", f"81.25{NBSP}%", "fitting.optimizer", '"adam"',
        f"{record.temperature:.3f}", f"{record.abstention.threshold:.4f}", "4,303", "fine-tuning", "5.5 s",
    ):  # fmt: skip
        assert fact in text, fact
    # 12 s per epoch of the base, a median of 3 s of the head.
    assert "an epoch of the base takes 4.0 times as long as one of this head" in text


def test_the_confusion_matrix_is_a_table_with_its_counts(record: RunRecord, html: str) -> None:
    table = re.search(r'<table class="confusion">.*?</table>', html, re.DOTALL)
    assert table is not None
    cells = re.findall(r"<td[^>]*>(\d+)</td>", table[0])
    assert [int(cell) for cell in cells] == [count for row in record.evaluation.confusion for count in row]
    assert re.findall(r'<th scope="row">([^<]+)</th>', table[0]) == list(CLASSES)


def test_mistakes_are_shown_with_what_was_said_and_what_it_is(record: RunRecord, html: str) -> None:
    text = Page(html).text
    for mistake, number in zip(record.evaluation.top_losses, range(3), strict=False):
        score = f"{100 * mistake.score:.1f}{NBSP}%"
        assert f"{mistake.predicted} {score} is {mistake.true} loss {mistake.loss:.2f} loss {number}" in text
    assert "first 0" in text


def test_a_gallery_that_does_not_fit_its_mistakes_is_refused(record: RunRecord) -> None:
    with pytest.raises(ValueError, match="shorter"):
        render_report(record, Galleries(top_losses=(Picture(a_picture(1), "alone"),)))


def test_everyone_can_read_it(html: str) -> None:
    page = Page(html)
    assert page.having("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.having("img"))
    plots = page.having("svg")
    assert len(plots) == 6
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in plots)
    assert all("scope" in header for header in page.having("th"))
    assert any(meta.get("content", "").startswith("width=device-width") for meta in page.having("meta"))
    assert "prefers-color-scheme: dark" in html


def test_plots_take_the_pages_colours(html: str) -> None:
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        assert "var(--accent)" in svg
        assert not re.search(r"#[0-9a-f]{6}\b", svg)


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></svg><b onmouseover='x'>",
    "{{ record.seed }}{% raw %}",
    "& ünï 猫",
)


def test_hostile_names_are_only_text() -> None:
    classes = HOSTILE
    record = a_record(
        classes=classes,
        model=HOSTILE[0],
        recipe={HOSTILE[1]: HOSTILE[0], "description": HOSTILE[2]},
        data_warnings=HOSTILE,
        git_commit=HOSTILE[1],
        packages={HOSTILE[0]: HOSTILE[1]},
    )
    galleries = all_galleries(record)
    named = tuple(replace(picture, caption=HOSTILE[1]) for picture in galleries.top_losses)
    page = Page(render_report(record, replace(galleries, top_losses=named)))
    tags = {tag for tag, _ in page.elements}
    assert "script" not in tags
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not [image for image in page.having("img") if not image["src"].startswith("data:image/")]
    for name in HOSTILE:
        assert name in page.text


def test_sections_without_content_are_absent(record: RunRecord) -> None:
    bare = replace(
        record, kind="base", base=None, base_epoch_seconds=None, sweep=(), other_tests=(), baselines=(), phases=(),
        data_warnings=(), git_commit=None, expected_accuracy=0.0, recipe={},
    )  # fmt: skip
    full, page = Page(render_report(record, all_galleries(record))), Page(render_report(bare, Galleries()))
    assert {"learning", "transfer"} <= full.ids()
    assert not {"learning", "transfer"} & page.ids()
    for title in ("On other test sets", "How deep to train", "Top losses", "The first that are wrong", "Pictures"):
        assert f" {title} " in full.text
        assert f" {title} " not in page.text
    assert "The data check found nothing" in page.text
    assert not page.having("img")


def test_a_model_without_mistakes_has_a_page() -> None:
    record = a_record(classes=("a", "b"), count=40)
    perfect = replace(
        record,
        evaluation=replace(record.evaluation, most_confused=(), top_losses=(), first_misclassified=()),
    )
    assert "No picture is labelled wrong" in Page(render_report(perfect, Galleries())).text


@pytest.mark.parametrize("count", [20, 100])
def test_few_and_many_classes(count: int) -> None:
    record = a_record(classes=tuple(f"class {number}" for number in range(count)), count=600)
    html = render_report(record, all_galleries(record, each=10))
    page = Page(html)
    as_table = '<table class="confusion">' in html
    assert as_table == (count <= 20)
    assert ("Confusion matrix of" in html) == (count > 20)
    assert all(f"class {number}" in page.text for number in range(count))
    assert len(html) < 3_000_000


def embedded(html: str) -> list[bytes]:
    return [base64.b64decode(text) for text in re.findall(r'src="data:image/\w+;base64,([^"]+)"', html)]


def photo(kind: str, **options: Any) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((1200, 900)).save(buffer, kind, **options)
    return buffer.getvalue()


def test_large_photos_are_shrunk_whatever_their_format(record: RunRecord) -> None:
    photos = {"JPEG": photo("JPEG", quality=95), "PNG": photo("PNG"), "WEBP": photo("WEBP")}
    assert sum(map(len, photos.values())) > 1_000_000
    groups = tuple(ClassPictures(kind, (Picture(encoded, kind),) * 10) for kind, encoded in photos.items())
    html = render_report(record, Galleries(per_class=groups))
    assert len(html) < 1_000_000
    pictures = [Image.open(io.BytesIO(picture)) for picture in embedded(html)]
    assert len(pictures) == 30
    assert {picture.size for picture in pictures} == {(160, 120)}


def test_small_pictures_are_kept_pixel_by_pixel(record: RunRecord) -> None:
    html = render_report(record, all_galleries(record))
    assert embedded(html)[0] == a_picture(0)
    assert 'class="pixels"' in html


def test_a_single_epoch_and_one_that_diverged_are_drawn(record: RunRecord) -> None:
    short = replace(
        a_phase("base"), loss=(float("nan"),), accuracy=(0.5,), validation_loss=(0.7,), validation_accuracy=(0.5,),
        epoch_seconds=(1.0,),
    )  # fmt: skip
    page = Page(render_report(replace(record, phases=(short,)), Galleries()))
    assert "learning" in page.ids()


def test_the_same_record_gives_the_same_page(record: RunRecord, html: str) -> None:
    assert render_report(record, all_galleries(record)) == html
