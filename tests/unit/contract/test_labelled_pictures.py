"""Test pictures beside a version: what is written is read back, and a file that is anything else is refused."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from headway_contract import labelled_pictures
from headway_contract.errors import InvalidTestPictures, VersionDamaged
from headway_contract.labelled_pictures import (
    MOST_PICTURES,
    TEST_PICTURES_FILE,
    LabelledPicture,
    labelled_pictures_file,
    read_labelled_pictures,
)
from headway_contract.model_repository import ModelRepository
from tests.support.contract_examples import publish, write_version

PICTURES = (LabelledPicture(b"\x89PNG one", "a"), LabelledPicture(b"", "b"), LabelledPicture(b"\xff\xd8", "ä"))


def test_what_is_written_is_read_back_and_always_the_same(tmp_path: Path) -> None:
    path = tmp_path / "pictures.zip"
    path.write_bytes(labelled_pictures_file(PICTURES))
    assert read_labelled_pictures(path) == PICTURES
    assert path.read_bytes() == labelled_pictures_file(PICTURES)
    path.write_bytes(labelled_pictures_file(()))
    assert read_labelled_pictures(path) == ()


def archive(*entries: tuple[str, bytes], compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as made:
        for name, content in entries:
            made.writestr(name, content)
    return buffer.getvalue()


def labels(*names: object) -> tuple[str, bytes]:
    return ("labels.json", json.dumps(names).encode())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a zip file"),
        (labelled_pictures_file(PICTURES)[:-30], "not a zip file"),
        (archive(("000", b"x")), "labels.json"),
        (archive(labels("a")), "1 labels for 0 pictures"),
        (archive(labels("a"), ("../000", b"x")), "000"),
        (archive(labels(1), ("000", b"x")), "no list of labels"),
        (archive(("labels.json", b"["), ("000", b"x")), "holds no test pictures that can be read"),
        (archive(labels("a"), ("000", bytes(10**6)), compressed=True), "an entry is compressed"),
        (archive(labels(*["a"] * 501), *((f"{n:03d}", b"") for n in range(501))), f"at most {MOST_PICTURES}"),
        (labelled_pictures_file(PICTURES).replace(b"PNG one", b"PNG two"), "CRC"),
    ],
)
def test_another_file_is_refused_with_its_name_and_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "pictures.zip"
    path.write_bytes(content)
    with pytest.raises(InvalidTestPictures, match=f"pictures.zip.*{why}"):
        read_labelled_pictures(path)


def test_more_than_is_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidTestPictures, match="501 pictures"):
        labelled_pictures_file(PICTURES[:1] * 501)
    (tmp_path / "pictures.zip").write_bytes(labelled_pictures_file(PICTURES))
    monkeypatch.setattr(labelled_pictures, "MOST_BYTES", 5)
    with pytest.raises(InvalidTestPictures, match="at most 500 and 5 bytes"):
        labelled_pictures_file(PICTURES)
    with pytest.raises(InvalidTestPictures, match="more than 5 bytes"):
        read_labelled_pictures(tmp_path / "pictures.zip")


def test_a_repository_reads_them_and_its_checksums_cover_them(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path)
    assert publish(repository) == 1
    for version, pictures in ((2, PICTURES[:2]), (3, PICTURES)):
        with repository.staging("letters") as staged:
            write_version(staged)
            (staged / TEST_PICTURES_FILE).write_bytes(labelled_pictures_file(pictures))
            assert repository.publish("letters", staged) == version
    assert repository.test_pictures("letters", 1) == ()
    assert repository.test_pictures("letters", 2) == PICTURES[:2]
    with pytest.raises(InvalidTestPictures, match="'ä': not among the version's labels"):
        repository.test_pictures("letters", 3)
    (repository.path("letters", 2) / TEST_PICTURES_FILE).unlink()
    with pytest.raises(VersionDamaged, match="test_pictures"):
        repository.verify("letters", 2)
