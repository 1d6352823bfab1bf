"""A pickle where Petastorm keeps its schema: refused, and not run."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError

pytestmark = pytest.mark.tf

KEY = b"dataset-toolkit.unischema.v1"


class Bomb:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


def test_the_pickle_would_leave_its_mark(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "marker"))).close()
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("place", ["_common_metadata", "_metadata", "footer"])
def test_a_pickled_schema_is_refused_and_not_run(write_split, tmp_path, place):
    reader = write_split([30, 20])
    folder, payload = reader.folder / "data" / "train", {KEY: pickle.dumps(Bomb(tmp_path / "marker"))}
    if place == "footer":
        path = folder / "part-00001.parquet"
        pq.write_table(pq.read_table(path).replace_schema_metadata(payload), path)
    else:
        schema = pq.read_schema(folder / "part-00000.parquet").with_metadata(payload)
        pq.write_metadata(pa.schema(list(schema), metadata=payload), folder / place)
    with pytest.raises(DataError, match="may hold a pickled schema"):
        list(reader.read([0, 1]))
    assert not (tmp_path / "marker").exists()
