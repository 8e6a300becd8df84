#!/usr/bin/env python3
"""Parquet files as pyarrow writes them, with the rows that a reader must find in them.

    make_parquet.py tests/golden

Writes parquet/*.parquet, parquet/expected.json (per file the rows as JSON, a column of a type without a form in JSON left
out, NaN and infinity as null) and MANIFEST_parquet.json. Needs pyarrow (scripts/setup.sh --parquet: .deps/arrow).
"""
import datetime
import hashlib
import json
import math
import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq

CALL = pa.struct([("id", pa.string()), ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())]))])
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(CALL))])


def messages():
    def turn(role, content, calls=None):
        return {"role": role, "content": content, "tool_calls": calls}
    rows = [{"messages": [turn("user", f"Question {i}? \u00e9\u4e2d\U0001f600"), turn("assistant", f"Answer {i}.")]} for i in range(10)]
    call = {"id": "c1", "function": {"name": "f", "arguments": '{"a": 1}'}}
    rows.append({"messages": [turn("user", "Call f."), turn("assistant", None, [call]), turn("tool", "5"), turn("assistant", "It is 5.")]})
    return pa.table({"messages": pa.array([r["messages"] for r in rows], pa.list_(MESSAGE))}), rows


def types():
    values = {
        "int8": (pa.int8(), [-128, None]), "int16": (pa.int16(), [-32768, 1]), "int32": (pa.int32(), [-2**31, 2]),
        "int64": (pa.int64(), [-2**63, 2**63 - 1]), "uint8": (pa.uint8(), [255, 0]), "uint16": (pa.uint16(), [65535, 0]),
        "uint32": (pa.uint32(), [2**32 - 1, 0]), "uint64": (pa.uint64(), [2**64 - 1, 0]), "float": (pa.float32(), [0.5, math.inf]),
        "double": (pa.float64(), [0.1, math.nan]), "whole": (pa.float64(), [3.0, -1e300]), "bool": (pa.bool_(), [True, False]),
        "null": (pa.null(), [None, None]), "string": (pa.string(), ['quote " slash \\ line\n nul \0 tab\t', ""]),
        "large_string": (pa.large_string(), ["large", None]), "dictionary": (pa.dictionary(pa.int32(), pa.string()), ["red", "red"]),
        "list": (pa.list_(pa.int64()), [[1, None, 3], []]), "large_list": (pa.large_list(pa.string()), [["a"], None]),
        "fixed_list": (pa.list_(pa.float32(), 2), [[1.5, 2.5], [0.0, -0.5]]), "nested": (pa.list_(pa.list_(pa.string())), [[["x"], []], [None]]),
        "struct": (pa.struct([("b", pa.string()), ("a", pa.int64())]), [{"b": "x", "a": 1}, {"b": None, "a": None}]),
        "map": (pa.map_(pa.string(), pa.int64()), [[("k", 1), ("l", 2)], []]),
    }
    left_out = {"binary": (pa.binary(), [b"\xff\x00", None]), "decimal": (pa.decimal128(5, 2), [None, None]),
                "time": (pa.timestamp("us"), [datetime.datetime(2024, 1, 2), None]),
                "struct_of_binary": (pa.struct([("b", pa.binary())]), [{"b": b"x"}, None])}
    table = pa.table({name: pa.array(data, kind) for name, (kind, data) in {**values, **left_out}.items()})

    def plain(name, value):
        if name == "map":
            return dict(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value
    return table, [{name: plain(name, data[i]) for name, (_, data) in values.items()} for i in range(2)]


def alpaca():
    """The fourth row has no output."""
    rows = [{"instruction": f"Question {i}?", "output": None if i == 4 else f"Answer {i}."} for i in range(1, 6)]
    return pa.Table.from_pylist(rows, pa.schema([("instruction", pa.string()), ("output", pa.string())])), rows


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    (root / "parquet").mkdir(exist_ok=True)
    expected = {}
    plans = {"messages.parquet": (messages, dict(compression="zstd", row_group_size=3)), "types.parquet": (types, dict(compression="snappy")),
             "messages_gzip.parquet": (messages, dict(compression="gzip", use_dictionary=False, data_page_version="2.0")),
             "alpaca.parquet": (alpaca, dict(compression="none", row_group_size=2))}
    for name, (make, options) in plans.items():
        table, rows = make()
        pq.write_table(table, root / "parquet" / name, **options)
        expected[name] = rows
    pq.write_table(pa.table({"image": pa.array([b"x"], pa.binary())}), root / "parquet" / "binary_only.parquet")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), root / "parquet" / "no_rows.parquet")
    (root / "parquet" / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=True) + "\n")
    files = {f"parquet/{p.name}": {"sha256": hashlib.sha256(p.read_bytes()).hexdigest(), "bytes": p.stat().st_size}
             for p in sorted((root / "parquet").iterdir())}
    manifest = {"made_by": "scripts/golden/make_parquet.py", "versions": {"pyarrow": pa.__version__}, "files": files}
    (root / "MANIFEST_parquet.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
