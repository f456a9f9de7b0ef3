"""Photos come out of object stores and results go into them, by the rules of local folders."""

import json
import sys
import tempfile

import pytest
from PIL import Image

from bringback.batch import remote as storage
from bringback.batch.jobs import plan
from bringback.batch.remote import is_remote, restore_remote
from bringback.batch.runner import FolderRestorer
from bringback.errors import UsageError
from bringback.pipeline import Pipeline

fsspec = pytest.importorskip("fsspec")
NAMES = ["1931/b.jpg", "1931/deep/Käthe [red].tif", "a.png"]


@pytest.fixture
def light(lighten) -> Pipeline:
    return Pipeline([lighten], {"tone": "1234"})


@pytest.fixture
def store():
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


@pytest.fixture
def photos(tmp_path, pixels):
    """A local folder of three photos."""
    for name in NAMES:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "in"


@pytest.fixture
def remote(store, photos):
    """The same in a store, and what is no photo."""
    for name in NAMES:
        store.pipe_file(f"/in/{name}", (photos / name).read_bytes())
    store.pipe_file("/in/notes.txt", b"nothing")
    return "memory://in"


@pytest.fixture
def expected(photos, light, tmp_path, lighten):
    """The results that a run on local folders writes."""
    FolderRestorer(tmp_path / "alone", light).run(plan([photos], tmp_path / "alone"))
    lighten.calls = 0
    return {name: (tmp_path / "alone" / name).read_bytes() for name in NAMES}


def content(store, root="/out"):
    found = {key.removeprefix(f"{root}/"): store.cat_file(key) for key in store.find(root)}
    return {name: data for name, data in found.items() if name != "manifest.jsonl"}


def manifest(store):
    return [json.loads(line) for line in store.cat_file("/out/manifest.jsonl").splitlines()]


def statuses(entries):
    return {entry["photo"]: entry["status"] for entry in entries}


def test_which_places_are_remote():
    assert is_remote("s3://bucket/in") and is_remote("memory://in")
    assert not any(map(is_remote, ["/scans", "scans", "file:///scans", "C:\\scans"]))


def test_from_store_to_store(remote, store, light, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(storage, "GROUP", 2)
    begun, told = [], []
    entries = restore_remote([remote], "memory://out/", light, on_start=begun.append, on_photo=told.append)
    assert content(store) == expected and begun == [3] and told == entries
    assert [(entry["input"], entry["output"]) for entry in entries] == [
        (f"memory://in/{name}", f"memory://out/{name}") for name in NAMES
    ]
    assert manifest(store) == entries
    assert not list(tmp_path.glob("bringback-*"))  # nothing is left behind


def test_into_a_store_and_out_of_one(photos, remote, store, light, expected, tmp_path):
    entries = restore_remote([str(photos)], "memory://out", light)
    assert content(store) == expected and manifest(store) == entries
    assert entries[0]["input"] == str(photos / NAMES[0])
    entries = restore_remote([f"{remote}/a.png", f"{remote}/1931"], str(tmp_path / "out"), light)
    assert [entry["photo"] for entry in entries] == ["a.png", "b.jpg", "deep/Käthe [red].tif"]
    assert [entry["input"] for entry in entries] == [f"{remote}/{name}" for name in (NAMES[2], NAMES[0], NAMES[1])]
    assert (tmp_path / "out" / "a.png").read_bytes() == expected["a.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.jpg", "deep", "manifest.jsonl"]
    again = restore_remote([f"{remote}/a.png", f"{remote}/1931"], str(tmp_path / "out"), light)
    assert set(statuses(again).values()) == {"skipped"}


def test_what_is_done_is_skipped_and_not_even_fetched(remote, store, light, lighten, expected, monkeypatch):
    restore_remote([remote], "memory://out", light)
    fetched, get = [], store.get_file
    monkeypatch.setattr(type(store), "get_file", lambda self, key, path: (fetched.append(key), get(key, path)))
    again = restore_remote([remote], "memory://out", light)
    assert set(statuses(again).values()) == {"skipped"} and lighten.calls == 3
    assert not [key for key in fetched if key.startswith("/out") and not key.endswith("manifest.jsonl")]
    store.rm_file("/out/a.png")
    again = restore_remote([remote], "memory://out", light)
    assert statuses(again) == dict.fromkeys(NAMES, "skipped") | {"a.png": "done"} and content(store) == expected


def test_ours_is_replaced_under_other_settings_and_what_is_not_ours_is_kept(remote, store, lighten, light):
    restore_remote([remote], "memory://out", light)
    before = content(store)
    store.pipe_file("/out/a.png", b"somebody's own")
    half = Pipeline([lighten], {"tone": "1234"}, strength=0.5)
    entries = restore_remote([remote], "memory://out", half)
    assert statuses(entries) == dict.fromkeys(NAMES, "done") | {"a.png": "failed"}
    message = next(entry["message"] for entry in entries if entry["photo"] == "a.png")
    assert message == "memory://out/a.png exists already: use --overwrite or --skip-existing"
    after = content(store)
    assert after["a.png"] == b"somebody's own" and after["1931/b.jpg"] != before["1931/b.jpg"]
    assert statuses(restore_remote([remote], "memory://out", half, skip_existing=True))["a.png"] == "skipped"
    assert content(store) == after
    assert statuses(restore_remote([remote], "memory://out", half, overwrite=True))["a.png"] == "done"
    assert content(store)["a.png"] != b"somebody's own"


def test_a_bad_photo_is_named_and_the_rest_go_on(remote, store, light, monkeypatch):
    store.pipe_file("/in/broken.jpg", b"Dear Aunt Emma")
    get, put = store.get_file, store.pipe_file

    def torn(self, key, path):
        if key == "/in/a.png":
            raise ConnectionResetError("the line\nis dead")
        get(key, path)

    def full(self, key, data):
        if key == "/out/1931/b.jpg":
            raise OSError("no room")
        put(key, data)

    monkeypatch.setattr(type(store), "get_file", torn)
    monkeypatch.setattr(type(store), "pipe_file", full)
    entries = restore_remote([remote], "memory://out", light)
    failed = {entry["photo"]: entry["message"] for entry in entries if entry["status"] == "failed"}
    assert failed.keys() == {"broken.jpg", "a.png", "1931/b.jpg"}
    assert failed["broken.jpg"].startswith("memory://in/broken.jpg: ")
    assert failed["a.png"] == "memory://in/a.png: cannot be fetched: the line"
    assert failed["1931/b.jpg"] == "memory://out/1931/b.jpg: cannot be put: no room"
    assert {line["message"] for line in manifest(store)} == {*failed.values(), ""}
    monkeypatch.undo()
    again = restore_remote([remote], "memory://out", light)
    expected = {NAMES[0]: "done", NAMES[1]: "skipped", "a.png": "done", "broken.jpg": "failed"}
    assert statuses(again) == expected


def test_a_manifest_that_cannot_be_put_is_told_in_one_line(remote, store, light, monkeypatch):
    class Denied(Exception):
        """No kind of OSError, as with some stores."""

    def put(self, key, data):
        raise Denied("403\nForbidden")

    monkeypatch.setattr(type(store), "pipe_file", put)
    with pytest.raises(OSError, match=r"^memory://out/manifest\.jsonl: cannot be put: 403$"):
        restore_remote([remote], "memory://out", light)


def test_a_file_that_is_named_is_taken_whatever_its_name(remote, store, light):
    store.pipe_file("/in/scan", store.cat_file("/in/a.png"))
    assert statuses(restore_remote(["memory://in/scan"], "memory://out", light)) == {"scan": "done"}


def test_an_interrupted_run_has_put_what_was_finished(remote, store, light, lighten, monkeypatch):
    def interrupt(entry):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "GROUP", 1)
    with pytest.raises(KeyboardInterrupt):
        restore_remote([remote], "memory://out", light, on_photo=interrupt)
    assert set(content(store)) == {NAMES[0]} and [line["photo"] for line in manifest(store)] == NAMES[:1]
    again = restore_remote([remote], "memory://out", light)
    assert statuses(again) == dict.fromkeys(NAMES, "done") | {NAMES[0]: "skipped"}


def test_the_manifest_goes_up_by_parts_that_the_next_run_joins(remote, store, light, monkeypatch):
    put, sizes, killed = store.pipe_file, {}, []

    def counted(self, key, data):
        sizes[key] = [*sizes.get(key, []), len(data)]
        if key == "/out/manifest.jsonl" and not killed:
            killed.append(key)
            raise OSError("killed")  # so that the parts stay
        put(key, data)

    monkeypatch.setattr(storage, "GROUP", 1)
    monkeypatch.setattr(type(store), "pipe_file", counted)
    with pytest.raises(OSError, match="cannot be put: killed"):
        restore_remote([remote], "memory://out", light)
    parts = {key: data for key, data in sizes.items() if ".jsonl.d/" in key}
    assert len(parts) == 3 and sum(map(sum, parts.values())) == sizes["/out/manifest.jsonl"][0]
    assert set(statuses(restore_remote([remote], "memory://out", light)).values()) == {"skipped"}
    assert sizes["/out/manifest.jsonl"] == 2 * [sum(map(sum, parts.values()))]
    assert [line["photo"] for line in manifest(store)] == NAMES and not store.glob("/out/manifest.jsonl.d/*")
    before = store.cat_file("/out/manifest.jsonl")
    for name in (".DS_Store", "a.jsonl", "12.jsonl"):
        put(f"/out/manifest.jsonl.d/{name}", b"foreign")
    stale = next(iter(parts))
    put(stale, before[: parts[stale][0]])  # joined before, but not removed
    sizes.clear()
    restore_remote([remote], "memory://out", light)
    assert store.cat_file("/out/manifest.jsonl") == before and list(sizes) == ["/out/manifest.jsonl"]
    sizes.clear()
    restore_remote([remote], "memory://out", light)
    assert sizes == {}  # nothing is new


def test_a_dry_run_writes_nothing(remote, store, light):
    assert set(statuses(restore_remote([remote], "memory://out", light, dry_run=True)).values()) == {"planned"}
    assert not store.exists("/out")


@pytest.mark.parametrize(
    ("key", "inputs", "out", "reason"),
    [
        ("/in/../a.png", "memory://in", "memory://out", r"memory://in/\.\./a.png: a name that leads out"),
        ("/in//etc/a.png", "memory://in", "memory://out", "memory://in//etc/a.png: a name that leads out"),
        ("/in/a.png", "memory://in", "memory://in/out", "memory://in/out is inside the input memory://in"),
        ("/in/a.png", "memory://in", "memory:///in/out/", "is inside the input memory://in"),
        ("/in/a.png", "memory://in", "memory://in", "memory://in is inside the input memory://in"),
        ("/in/a.png", "memory://in/a.png", "memory://in", "memory://in/a.png is an input itself"),
        ("/in/deep/deep/a.png", "memory://in/deep", "memory://in", "memory://in/deep/a.png is an input itself"),
        ("/in/..\\a.png", "memory://in", "memory://out", "a name that leads out"),
        ("/in/b.png/a.png", "memory://in", "memory://out", "in/b.png/a.png: no name for a file on this machine"),
        (f"/in/{'n' * 300}.png", "memory://in", "memory://out", "no name for a file on this machine: File name"),
        ("/in/a.txt", "memory://in", "memory://out", "no photos in memory://in"),
        ("/in/a.png", "nowhere://in", "memory://out", "nowhere://in: cannot be reached: "),
    ],
)
def test_what_would_go_wrong_is_refused_in_one_line(store, light, tmp_path, key, inputs, out, reason):
    for name in {key, "/in/a.png", "/in/b.png", "/in/deep/a.png"} if key.endswith(".png") else {key}:
        store.store[name] = type(store.open("/x", "wb"))(store, name, b"data")  # as a store may hold it
    with pytest.raises(UsageError, match=rf"^[^\n]*{reason}[^\n]*$"):
        restore_remote([inputs], out, light)
    with pytest.raises(UsageError, match="into local folders alone"):
        restore_remote([inputs], "memory://out", light, compare=True)


def test_what_is_not_installed_is_told_in_one_line(light, monkeypatch, tmp_path):
    for module in ("s3fs", "fsspec.core"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ModuleNotFoundError, match=r'^s3://a/in: .* pip install "bringback\[cloud\]"$'):
            restore_remote(["s3://a/in"], str(tmp_path / "out"), light)


def test_a_bucket_of_s3(photos, light, expected, monkeypatch):
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        store = fsspec.filesystem("s3", skip_instance_cache=True)
        store.mkdir("album")
        for name in NAMES:
            store.pipe_file(f"album/in/{name}", (photos / name).read_bytes())
        entries = restore_remote(["s3://album/in"], "s3://album/out", light)
        assert statuses(entries) == dict.fromkeys(NAMES, "done")
        store.invalidate_cache()
        assert content(store, "album/out") == expected
        again = restore_remote(["s3://album/in"], "s3://album/out", light)
        assert set(statuses(again).values()) == {"skipped"}
        with pytest.raises(UsageError, match="s3://absent/in"):
            restore_remote(["s3://absent/in"], "s3://album/out2", light)
    finally:
        server.stop()
