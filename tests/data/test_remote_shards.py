"""Shards behind a URL give the bytes of local ones, are fetched once, and one that fails costs its samples alone."""

import functools
import http.server
import logging
import multiprocessing
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from triptych.data import remote_shards
from triptych.data.captions import WrittenCaption
from triptych.data.pairs_shards import ShardPairs
from triptych.data.remote_shards import RemoteShards
from triptych.data.source import BadSample
from triptych.errors import UserError

PairShards = Callable[..., Path]


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache folder of this test's own, and no waiting."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_shards, "PAUSE", 0.01)
    return tmp_path / "cache" / "triptych" / "shards"


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Files and parts of them; counts what it is asked for. Without a `Range` a file comes whole."""

    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        path = Path(self.translate_path(self.path))
        self.asked.append((path.name, wanted or ""))
        if not path.is_file():
            return super().do_GET()
        data = path.read_bytes()
        first, last = 0, len(data) - 1
        if wanted:
            first, last = (int(number or len(data) - 1) for number in wanted.removeprefix("bytes=").split("-"))
            last = min(last, len(data) - 1)
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(data[first : last + 1])
        return None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served(pair_shards: PairShards) -> Iterator[tuple[str, Path, list[tuple[str, str]]]]:
    """Address of a server, the folder that it serves, and what it was asked for."""
    folder = pair_shards(5, 3)
    asked: list[tuple[str, str]] = []
    handler = functools.partial(type("Handler", (Ranges,), {"asked": asked}), directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", folder, asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def in_memory(pair_shards: PairShards) -> Iterator[tuple[str, Path]]:
    folder = pair_shards(4, 4, 2)
    system = fsspec.filesystem("memory")
    for path in folder.glob("*.tar"):
        system.pipe(f"/pairs/{path.name}", path.read_bytes())
    yield "memory://pairs", folder
    system.rm("/pairs", recursive=True)


def pairs(root: str | Path, **options: Any) -> ShardPairs:
    settings: dict[str, Any] = {"shards": "train-*.tar"} | options
    return ShardPairs(str(root), WrittenCaption(["captions"]), **settings)


def assert_same(one: ShardPairs, other: ShardPairs) -> None:
    assert len(one) == len(other) > 0
    for index in range(len(one)):
        assert one.encoded(index) == other.encoded(index)
        assert one.captions(index) == other.captions(index)
        assert torch.equal(one.read(index)[0], other.read(index)[0])
        assert (
            one.name(index).rpartition("/pairs/")[2].rpartition("train")[2] == other.name(index).rpartition("train")[2]
        )


@pytest.mark.parametrize("keep_gb", [20, 0])
def test_memory_gives_the_local_bytes(keep_gb: int, in_memory: tuple[str, Path]) -> None:
    root, folder = in_memory
    remote = pairs(root, keep_gb=keep_gb)
    assert_same(remote, pairs(folder))
    assert remote.places is not None
    assert remote.places.tolist() == [0] * 4 + [1] * 4 + [2] * 2


@pytest.mark.parametrize("keep_gb", [20, 0])
def test_file_urls_give_the_local_bytes(keep_gb: int, pair_shards: PairShards) -> None:
    folder = pair_shards(3, 2)
    assert_same(pairs(f"file://{folder}", keep_gb=keep_gb), pairs(folder))


def test_http_is_read_once_into_the_cache(served: tuple[str, Path, list[tuple[str, str]]], caches: Path) -> None:
    address, folder, asked = served
    names = "train-{000000..000001}.tar"
    remote = pairs(address, shards=names)
    assert_same(remote, pairs(folder))
    whole = [name for name, _ in asked]
    assert whole == ["train-000000.tar", "train-000001.tar"] or sorted(whole) == whole[::-1]
    again = pairs(address, shards=names)
    assert_same(again, pairs(folder))
    assert len(asked) == 2, "neither index nor shard was asked for again"
    assert len(list((caches / "fetched").glob("*.tar"))) == 2


def test_http_ranges_fetch_single_members(served: tuple[str, Path, list[tuple[str, str]]], caches: Path) -> None:
    address, folder, asked = served
    remote = pairs(address, shards="train-{000000..000001}.tar", keep_gb=0)
    asked.clear()
    assert remote.encoded(6) == pairs(folder).encoded(6)
    size = len(remote.encoded(6))
    (name, wanted), *_ = asked
    first, last = wanted.removeprefix("bytes=").split("-")
    assert (name, int(last) - int(first) + 1) == ("train-000001.tar", size)
    assert not (caches / "fetched").exists()


def test_a_server_that_lists_nothing_needs_ranges(served: tuple[str, Path, list[tuple[str, str]]]) -> None:
    address, folder, _ = served
    assert_same(pairs(address), pairs(folder))  # this one lists its folder
    with pytest.raises(UserError, match=r"shard .*train-000002.tar does not exist: the range"):
        pairs(address, shards="train-{000000..000007}.tar")
    with pytest.raises(UserError, match=r"no file in .* matches 'val-\*.tar'.*train-000000.tar"):
        pairs(address, shards="val-*.tar")


def test_compressed_shards_are_unpacked(in_memory: tuple[str, Path]) -> None:
    import gzip

    root, folder = in_memory
    fsspec.filesystem("memory").pipe(
        "/pairs/train-000000.tar.gz", gzip.compress((folder / "train-000000.tar").read_bytes())
    )
    packed, plain = pairs(root, shards="train-000000.tar.gz"), pairs(folder, shards="train-000000.tar")
    assert [packed.encoded(index) for index in range(4)] == [plain.encoded(index) for index in range(4)]


def test_old_shards_make_room(in_memory: tuple[str, Path], caches: Path) -> None:
    root, folder = in_memory
    largest = max(path.stat().st_size for path in folder.glob("*.tar"))
    remote = RemoteShards(root, "train-*.tar", keep_gb=1.5 * largest / 1e9)
    paths = sorted(folder.glob("*.tar"))
    for shard in (0, 1, 2, 2, 0, 1):
        assert remote.read(shard, 0, 1024) == paths[shard].read_bytes()[:1024]
        kept = list((caches / "fetched").glob("*.tar"))
        assert sum(path.stat().st_size for path in kept) <= 1.5 * largest
    with pytest.raises(UserError, match=r"has no room for the shards .* \(2 x 1, .* GB\): raise keep_gb"):
        pairs(root, keep_gb=1.5 * largest / 1e9, shards_at_once=1)


def test_a_rewritten_shard_is_indexed_and_fetched_again(in_memory: tuple[str, Path]) -> None:
    root, folder = in_memory
    pairs(root).encoded(0)
    system = fsspec.filesystem("memory")
    system.pipe("/pairs/train-000000.tar", (folder / "train-000002.tar").read_bytes())
    assert pairs(root).encoded(0) == pairs(folder).encoded(8)


def test_a_shard_that_cannot_be_fetched_costs_its_samples_only(
    in_memory: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, caches: Path
) -> None:
    root, folder = in_memory
    remote = pickle.loads(pickle.dumps(pairs(root)))  # as a worker has it: with no file open
    whole, tried = type(fsspec.filesystem("memory")).get_file, []

    def broken(self: Any, path: str, *rest: Any, **more: Any) -> Any:
        if "000000" not in path:
            return whole(self, path, *rest, **more)
        tried.append(path)
        raise OSError("the network is down")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", broken)
    for path in (caches / "fetched").glob("*.tar"):
        path.unlink()
    for index in (0, 1):
        with pytest.raises(BadSample, match=r"memory://pairs/train-000000.tar cannot be fetched: the network is down"):
            remote.encoded(index)
    assert len(tried) == remote_shards.TRIES, "the second sample does not wait for the same shard again"
    assert remote.encoded(5) == pairs(folder).encoded(5)


def test_a_passing_fault_is_tried_again(in_memory: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root, folder = in_memory
    remote = pairs(root, keep_gb=0)
    system = type(fsspec.filesystem("memory"))
    whole, calls = system.cat_file, []

    def flaky(self: Any, path: str, **options: Any) -> bytes:
        calls.append(path)
        if len(calls) % 2:
            raise TimeoutError
        return whole(self, path, **options)

    monkeypatch.setattr(system, "cat_file", flaky)
    assert remote.encoded(3) == pairs(folder).encoded(3)
    assert len(calls) == 2


def _read_all(remote: ShardPairs, answers: Any) -> None:
    answers.put([remote.encoded(index) for index in range(len(remote))])


@pytest.mark.parametrize("keep_gb", [20, 0])
def test_forked_workers_open_their_own_connections(
    keep_gb: int, served: tuple[str, Path, list[tuple[str, str]]], caches: Path
) -> None:
    address, folder, asked = served
    remote = pairs(address, shards="train-{000000..000001}.tar", keep_gb=keep_gb)
    for path in (caches / "fetched").glob("*.tar"):
        path.unlink()
    asked.clear()
    context = multiprocessing.get_context("fork")
    answers: Any = context.Queue()
    workers = [context.Process(target=_read_all, args=(remote, answers)) for _ in range(3)]
    for worker in workers:
        worker.start()
    local = pairs(folder)
    expected = [local.encoded(index) for index in range(8)]
    for _ in workers:
        assert answers.get(timeout=60) == expected
    for worker in workers:
        worker.join(timeout=60)
    if keep_gb:
        assert len(asked) == 2, "one of three fetches a shard, the others wait for it"


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("htps://host/x", r"htps:// is no known kind of URL; did you mean .*'https'"),
        ("s3://bucket/x", "needs a package that is not installed: pip install s3fs"),
        ("gs://bucket/x", "pip install gcsfs"),
        ("memory://nowhere", r"no file in memory://nowhere matches|cannot be listed"),
        ("http://127.0.0.1:9/x", "cannot be listed|cannot be reached"),
    ],
)
def test_addresses_that_cannot_be_read_are_told(root: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pairs(root)


def test_the_index_is_made_once(in_memory: tuple[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    root, _ = in_memory
    with caplog.at_level(logging.INFO, "triptych.data"):
        RemoteShards(root, "train-*.tar", keep_gb=0)
        assert caplog.text.count("making the index") == 3
        caplog.clear()
        RemoteShards(root, "train-*.tar", keep_gb=0)
        assert "making the index" not in caplog.text
