"""One reader for folders, shards and folders of shards."""

import tarfile

import pytest

from bringback.images.shards import read_shards, survey


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    (root / "below").mkdir(parents=True)
    for name in ("b.JPG", "a.png", "below/c.jp2", "notes.txt", "._a.png"):
        (root / name).write_bytes(name.encode())
    return root


def test_a_folder_and_its_shards_hold_the_same(folder, tmp_path):
    expected = [("a.png", b"a.png"), ("b.JPG", b"b.JPG"), ("below/c.jp2", b"below/c.jp2")]
    assert sorted(read_shards(folder)) == sorted(expected)
    shards = tmp_path / "shards"
    shards.mkdir()
    for shard, names in (("1.tar", ["b.JPG", "a.png", "notes.txt", "._a.png"]), ("2.tar", ["below"])):
        with tarfile.open(shards / shard, "w") as tar:
            for name in names:
                tar.add(folder / name, name)
    assert list(read_shards(shards)) == expected
    assert list(read_shards(shards / "2.tar")) == expected[2:]


def test_what_is_no_shard_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r"notes\.txt: not a tar shard"):
        list(read_shards(folder / "notes.txt"))
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*gone\.tar"):
        list(read_shards(tmp_path / "gone.tar"))
    (folder / "a.png").write_bytes(bytes(9000))
    with tarfile.open(tmp_path / "cut.tar", "w") as tar:
        tar.add(folder / "a.png", "a.png")
    (tmp_path / "cut.tar").write_bytes((tmp_path / "cut.tar").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cut\.tar: not a tar shard, or cut short"):
        list(read_shards(tmp_path / "cut.tar"))


def test_linked_folders_are_read_once_and_loops_end(folder, tmp_path):
    (tmp_path / "album" / "deep").mkdir(parents=True)
    for name in ("d.png", "deep/e.png"):
        (tmp_path / "album" / name).touch()
    for link, target in (
        ("0 below", folder / "below"),  # goes before the folder itself, whose name is kept all the same
        ("album", tmp_path / "album"),
        ("once more", tmp_path / "album"),
        ("below/up", folder),
        ("itself", folder / "itself"),
        ("gone.txt", folder / "gone"),
    ):
        (folder / link).symlink_to(target)
    (tmp_path / "album" / "deep" / "back").symlink_to(folder / "album")
    found = survey(folder)
    names = ["a.png", "album/d.png", "album/deep/e.png", "b.JPG", "below/c.jp2"]
    assert [path.relative_to(folder).as_posix() for path in found.pictures] == names
    passed = {path.relative_to(folder).as_posix() for path in found.passed}
    assert passed == {"0 below", "once more", "below/up", "album/deep/back"}
    assert f"the same folder as {folder / 'below'}" in found.passed[folder / "0 below"]
    assert found.unread.keys() == {folder / "itself"} and len(found.others) == 3


def test_what_cannot_be_read_is_no_empty_folder(folder, lock):
    lock(folder / "below")
    found = survey(folder)
    assert len(found.pictures) == 2 and found.unread == {folder / "below": "cannot be read: Permission denied"}
    with pytest.raises(ValueError, match=r"below: cannot be read: Permission denied"):
        list(read_shards(folder))
