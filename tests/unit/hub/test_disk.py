"""Events on disk: they come back, a torn tail is cut and kept, other damage stops the start."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import ConfigurationError, CorruptState, StoreUnavailable
from consumer.hub.disk import FolderLock, SegmentJournal
from consumer.hub.log import PartitionLog, StoredEvent
from consumer.hub.messages import compose
from consumer.hub.storage import Storage


def opened(folder: Path, segment_bytes_max: int = 1_000) -> tuple[PartitionLog, SegmentJournal]:
    journal = SegmentJournal(folder, segment_bytes_max)
    log = PartitionLog(lambda: 1_700_000_000_000)
    log.restore(journal.load(), journal)
    return log, journal


def everything(log: PartitionLog) -> list[StoredEvent]:
    return log.read(0, 10**6, 10**9)


def write(folder: Path, count: int) -> list[StoredEvent]:
    log, journal = opened(folder)
    for index in range(count):
        log.append([compose(b"x" * 100, {"index": index}, None if index % 2 else f"key {index} ä")])
    journal.close()
    return everything(log)


@given(
    st.lists(
        st.lists(st.tuples(st.binary(max_size=600), st.none() | st.text(max_size=9)), min_size=1, max_size=4)
    )
)
def test_what_was_appended_comes_back(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[bytes, str | None]]]
) -> None:
    folder = tmp_path_factory.mktemp("partition")
    written: list[StoredEvent] = []
    for batch in batches:
        log, journal = opened(folder)
        assert everything(log) == written
        log.append([compose(body, None, key) for body, key in batch])
        written = everything(log)
        journal.close()
    log, journal = opened(folder)
    assert everything(log) == written
    journal.close()


def test_offsets_and_numbers_go_on_where_they_were(tmp_path: Path) -> None:
    before = write(tmp_path, 5)
    log, journal = opened(tmp_path)
    (event,) = log.append([compose(b"", None, None)])
    journal.close()
    assert event.sequence_number == 5
    assert event.offset > before[-1].offset


def test_retention_removes_whole_segments(tmp_path: Path) -> None:
    written = write(tmp_path, 20)
    segments = sorted(tmp_path.glob("*.segment"))
    assert len(segments) > 3
    log, journal = opened(tmp_path)
    begin_of_third = int(segments[2].stem)
    log.trim_before(begin_of_third + 1)
    journal.close()
    assert sorted(tmp_path.glob("*.segment")) == segments[2:]
    log, journal = opened(tmp_path)
    journal.close()
    assert everything(log) == written[begin_of_third:]


@pytest.mark.parametrize("cut", [1, 7, 9, 60])
def test_a_torn_tail_is_cut_and_kept_beside(tmp_path: Path, cut: int) -> None:
    written = write(tmp_path, 20)
    last = max(tmp_path.glob("*.segment"))
    whole = last.read_bytes()
    last.write_bytes(whole[:-cut])
    log, journal = opened(tmp_path)
    assert everything(log) == written[:-1]
    torn = last.with_suffix(".torn").read_bytes()
    assert torn
    assert whole[:-cut] == last.read_bytes() + torn
    log.append([compose(b"again", None, None)])
    journal.close()
    log, journal = opened(tmp_path)
    journal.close()
    assert [event.sequence_number for event in everything(log)] == list(range(20))


def test_a_garbled_last_record_counts_as_torn(tmp_path: Path) -> None:
    written = write(tmp_path, 3)
    last = max(tmp_path.glob("*.segment"))
    last.write_bytes(last.read_bytes()[:-1] + b"\xff")
    log, journal = opened(tmp_path)
    journal.close()
    assert everything(log) == written[:-1]


@pytest.mark.parametrize("size", [0, 3, 8])
def test_a_segment_that_was_only_begun_is_gone_on_with(tmp_path: Path, size: int) -> None:
    written = write(tmp_path, 20)
    begun = tmp_path / f"{20:020d}.segment"
    begun.write_bytes(max(tmp_path.glob("*.segment")).read_bytes()[:size])
    log, journal = opened(tmp_path)
    log.append([compose(b"next", None, None)])
    journal.close()
    again, journal = opened(tmp_path)
    journal.close()
    assert everything(again)[:-1] == written
    assert everything(again)[-1].sequence_number == 20


def test_damage_in_the_middle_stops_the_start_and_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, 20)
    for path in (min(tmp_path.glob("*.segment")), max(tmp_path.glob("*.segment"))):
        whole = path.read_bytes()
        garbled = whole[:60] + bytes((whole[60] ^ 1,)) + whole[61:]
        path.write_bytes(garbled)
        with pytest.raises(CorruptState, match=path.name):
            SegmentJournal(tmp_path).load()
        assert path.read_bytes() == garbled
        path.write_bytes(whole)


def test_a_missing_segment_stops_the_start(tmp_path: Path) -> None:
    write(tmp_path, 20)
    sorted(tmp_path.glob("*.segment"))[1].unlink()
    with pytest.raises(CorruptState, match="lacks"):
        SegmentJournal(tmp_path).load()


def test_a_file_of_another_kind_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / f"{0:020d}.segment").write_bytes(b"something else altogether")
    with pytest.raises(CorruptState, match="not a segment"):
        SegmentJournal(tmp_path).load()


def test_a_failed_write_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, journal = opened(tmp_path)
    log.append([compose(b"kept", None, None)])
    file = journal._file
    assert file is not None

    class Full:
        def write(self, data: bytes) -> int:
            return file.write(data[:10])

        def truncate(self, size: int) -> int:
            return file.truncate(size)

    monkeypatch.setattr(journal, "_file", Full())
    with pytest.raises(OSError, match="full"):
        log.append([compose(b"lost", None, None)])
    monkeypatch.undo()
    log.append([compose(b"after", None, None)])
    journal.close()
    again, journal = opened(tmp_path)
    journal.close()
    assert everything(again) == everything(log)
    assert len(everything(again)) == 2


def test_trimmed_numbers_are_not_given_again_after_a_restart(tmp_path: Path) -> None:
    write(tmp_path, 20)
    *old, last = sorted(tmp_path.glob("*.segment"))
    for path in old:
        path.unlink()
    last.write_bytes(last.read_bytes()[:8])
    log, journal = opened(tmp_path)
    journal.close()
    assert log.end == int(last.stem) > 0


def test_a_second_hub_is_kept_out_of_the_folder(tmp_path: Path) -> None:
    first = FolderLock(tmp_path / "data")
    with pytest.raises(StoreUnavailable, match="Another local hub"):
        FolderLock(tmp_path / "data")
    first.release()
    FolderLock(tmp_path / "data").release()


def test_a_partition_that_the_settings_lack_stops_the_start(tmp_path: Path) -> None:
    both = {("hub", "0"): PartitionLog(lambda: 0), ("hub", "1"): PartitionLog(lambda: 0)}
    storage = Storage(tmp_path)
    storage.open(both)
    storage.close()
    with pytest.raises(ConfigurationError, match="partition 1"):
        Storage(tmp_path).open({("hub", "0"): PartitionLog(lambda: 0)})
    storage.open(both)
    storage.close()
