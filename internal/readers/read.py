# Rebuilds the books of a folder with one subfolder a format, by the programs that read them, and prints a line of JSON for each
# reader and instrument: the SHA-256 of the text of each book at the end of each span.
import csv, glob, gzip, hashlib, json, os, sys
from decimal import Decimal

root = sys.argv[1]


def text(book):
    plain = lambda d: format(d.normalize(), "f")
    sides = (sorted(book[0].items(), reverse=True), sorted(book[1].items()))
    return "".join("".join(f"{plain(p)} {plain(q)}\n" for p, q in side) + "-\n" for side in sides)


class Follower:
    """The text's hash of a book before each snapshot that empties it, and at the end."""

    def __init__(self):
        self.book, self.hashes, self.begun = ({}, {}), [], False

    def empty(self):
        self.end()
        self.book, self.begun = ({}, {}), True

    def end(self):
        if self.begun:
            self.hashes.append(hashlib.sha256(text(self.book).encode()).hexdigest())

    def set(self, side, price, quantity):
        if quantity == 0:
            self.book[side].pop(price, None)
        else:
            self.book[side][price] = quantity


def result(reader, symbol, hashes, **more):
    print(json.dumps({"reader": reader, "symbol": symbol, "hashes": hashes, **more}), flush=True)


def e8(n):
    return Decimal(n).scaleb(-8)


def messages(reader, symbol, rows):
    f = Follower()
    for kind, span, bids, asks in rows:
        if span is None or kind == "gap":
            continue
        if kind == "snapshot":
            f.empty()
        for side, levels in enumerate((bids, asks)):
            for level in levels:
                f.set(side, e8(level["price_e8"]), e8(level["qty_e8"]))
    f.end()
    result(reader, symbol, f.hashes)


def levels(reader, symbol, rows):
    f = Follower()
    for number, is_snapshot, side, price, quantity in rows:
        if is_snapshot and number == 0:
            f.empty()
        if side is not None and side == side:  # pandas has NaN for null
            f.set(int(side), e8(int(price)), e8(int(quantity)))
    f.end()
    result(reader, symbol, f.hashes)


def parquet(symbol):
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow.dataset as ds

    duckdb.sql("SET TimeZone = 'UTC'")
    files = f"{root}/parquet/%s/exchange=*/market=*/symbol={symbol}/**/*.parquet"
    query = "SELECT %s FROM read_parquet('" + files + "', hive_partitioning = true, hive_types = {'symbol': VARCHAR}) ORDER BY %s"
    messages("duckdb", symbol, duckdb.sql(query % ("kind, span, bids, asks", "messages", "seq")).fetchall())
    columns = ["level_no", "is_snapshot", "side", "price_e8", "qty_e8"]
    frame = pl.scan_parquet(files % "levels", hive_partitioning=True).sort("seq", "level_no").select(columns).collect()
    levels("polars", symbol, frame.iter_rows())
    table = ds.dataset(f"{root}/parquet/messages", partitioning="hive").to_table(filter=ds.field("symbol") == symbol).sort_by("seq")
    messages("pyarrow", symbol, zip(*(table[c].to_pylist() for c in ("kind", "span", "bids", "asks"))))
    frame = pd.concat(pd.read_parquet(p) for p in sorted(glob.glob(files % "levels", recursive=True)))
    levels("pandas", symbol, frame.sort_values(["seq", "level_no"])[columns].itertuples(index=False, name=None))


def tardis(symbol):
    f, was = Follower(), False
    for path in sorted(glob.glob(f"{root}/tardis/*_incremental_book_L2_*_{symbol}.csv.gz")):
        with gzip.open(path, "rt") as lines:
            for r in csv.DictReader(lines):
                is_snapshot = r["is_snapshot"] == "true"
                if is_snapshot and not was:
                    f.empty()
                was = is_snapshot
                f.set(("bid", "ask").index(r["side"]), Decimal(r["price"]), Decimal(r["amount"]))
    f.end()
    result("csv", symbol, f.hashes)


def hftbacktest(symbol):
    import numpy as np
    from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest
    from hftbacktest.data.validation import validate_event_order

    path = glob.glob(f"{root}/hftbacktest/{symbol}_????????.npz")[-1]
    with open(path.replace(".npz", ".json")) as f:
        facts = json.load(f)
    data = np.load(path)["data"]
    validate_event_order(data)
    asset = BacktestAsset().data([path]).linear_asset(1.0).constant_order_latency(0, 0).power_prob_queue_model(2.0)
    asset = asset.no_partial_fill_exchange().trading_value_fee_model(0, 0)
    asset = asset.tick_size(float(facts["tick_size"])).lot_size(float(facts["lot_size"]))
    backtest = HashMapMarketDepthBacktest([asset])
    while backtest.elapse(10**9) == 0:
        pass
    f = Follower()
    f.begun = True
    for r in backtest.depth(0).snapshot():
        f.set(0 if int(r["ev"]) >> 29 & 1 else 1, Decimal("%.8f" % r["px"]), Decimal("%.8f" % r["qty"]))
    f.end()
    trades = int((((data["ev"] & 0xFF) == 2) & (data["ev"] >> 30 & 1 == 1)).sum())
    result("hftbacktest", symbol, f.hashes, trades=trades)


def nautilus(symbol):
    from nautilus_trader.model.book import OrderBook
    from nautilus_trader.model.data import OrderBookDeltas
    from nautilus_trader.model.enums import BookAction, BookType
    from nautilus_trader.model.identifiers import InstrumentId
    from nautilus_trader.persistence.catalog import ParquetDataCatalog

    name = os.path.basename(glob.glob(f"{root}/nautilus/data/order_book_deltas/{symbol}[-.]*")[0])
    catalog = ParquetDataCatalog(f"{root}/nautilus")
    book, f = OrderBook(InstrumentId.from_str(name), BookType.L2_MBP), Follower()

    def copy():
        for side, levels in enumerate((book.bids(), book.asks())):
            f.book[side].clear()
            for level in levels:
                f.set(side, level.price.as_decimal(), level.orders()[0].size.as_decimal())

    for deltas in catalog.query(OrderBookDeltas, identifiers=[name]):
        if deltas.deltas[0].action == BookAction.CLEAR:
            copy()
            f.empty()
        book.apply_deltas(deltas)
    copy()
    f.end()
    result("nautilus", symbol, f.hashes, trades=len(catalog.trade_ticks(instrument_ids=[name])))


for symbol in sys.argv[2:]:
    parquet(symbol)
    tardis(symbol)
    hftbacktest(symbol)
    nautilus(symbol)
