"""One reader for folders, shards and folders of shards."""

import tarfile

import pytest

from bringback.shards import read_shards


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
