{{define "at"}}{t:DateTime64(9, 'UTC')}{{end}}
{{define "instrument"}}exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String}{{end}}
{{define "clocks"}}toUnixTimestamp64Nano(ts) AS sent, toUnixTimestamp64Nano(received_at) AS received, timed{{end}}
{{define "in_epoch"}}if(timed, sent, received) >= if(timed, {{.}}.1, {{.}}.2) AND if(timed, sent, received) < if(timed, {{.}}.3, {{.}}.4){{end}}
{{define "updates"}}SELECT {{template "clocks"}}, first_id, last_id, if({market:String} = 'spot', first_id - 1, prev_id) AS before
            FROM {{.Table "depth_events"}} WHERE {{template "instrument"}}
{{- end}}
{{define "snapshots"}}(
                SELECT {{template "clocks"}}, last_id, length(bid_price_e8) AS levels,
                    (sent, last_id, received, levels, bid_limited, bid_bound_e8, ask_limited, ask_bound_e8, timed) AS snapshot
                FROM {{.Table "book_snapshots"}} WHERE {{template "instrument"}}
            )
{{- end -}}
CREATE OR REPLACE VIEW {{.View "book_at"}} AS
WITH
    -- The epoch of t: ids count only between the two nearest times at which they went back. From, to, by both clocks.
    (
        SELECT (epochs[n].1, epochs[n].2, epochs[n + 1].1, epochs[n + 1].2)
        FROM
        (
            SELECT
                arrayConcat([(-9223372036854775808, -9223372036854775808, 0)]::Array(Tuple(Int64, Int64, Int64)),
                    arrayFold((a, g) -> if(notEmpty(a) AND a[-1].3 = g.3 AND g.1 - a[-1].1 <= 1000000000,
                        arrayPushBack(arrayPopBack(a), (a[-1].1, least(a[-1].2, g.2), g.3)), arrayPushBack(a, g)),
                        gaps_back, []::Array(Tuple(Int64, Int64, Int64))),
                    [(9223372036854775807, 9223372036854775807, 0)]::Array(Tuple(Int64, Int64, Int64))) AS epochs,
                arrayCount(e -> e.1 <= toUnixTimestamp64Nano({{template "at"}}), epochs) AS n
            FROM
            (
                SELECT groupArray((sent, received, after_id)) AS gaps_back
                FROM
                (
                    SELECT {{template "clocks"}}, after_id FROM {{.Table "gaps"}}
                    WHERE {{template "instrument"}} AND reason = 'regressed' ORDER BY ts, received_at
                )
            )
        )
    ) AS epoch,
    -- The last update, or none: sent, last_id, received.
    (
        SELECT groupArray((sent, last_id, received))
        FROM
        (
            SELECT {{template "clocks"}}, last_id FROM {{.Table "depth_events"}}
            WHERE {{template "instrument"}} AND ts <= {{template "at"}} AND arrayExists(e -> {{template "in_epoch" "e"}}, [epoch])
            ORDER BY ts DESC, last_id DESC LIMIT 1
        )
    ) AS last_update,
    -- What the book is built from: found, snapshot, epoch, last update, time from which updates are read. It is the
    -- newest snapshot by time, or by id if the last update follows one that arrived later, or one of a higher id.
    -- Where it arrived long after the updates, as with a recording that was played back, all earlier ones are read.
    (
        SELECT (found, if(n > 0, higher, newest) AS start, e, l, if(notEmpty(l) AND start.1 - l[1].1 > 600000000000, 0, if(notEmpty(l), least(start.1, l[1].1), start.1) - 600000000000))
        FROM
        (
            SELECT any(f) AS found, any(s) AS newest, any(ep) AS e, any(lu) AS l,
                argMaxIf(snapshot, (last_id, sent, levels), counts) AS higher, countIf(counts) AS n
            FROM
            (
                SELECT *,
                    sent <= s.1 AND sent >= s.1 - 600000000000 AND last_id > s.2 AND {{template "in_epoch" "ep"}}
                    AND (notEmpty(lu) AND last_id <= lu[1].2
                        OR sent <= toUnixTimestamp64Nano({{template "at"}}) AND (empty(lu) OR received >= lu[1].3 - 5000000000)) AS counts
                FROM {{template "snapshots" .}} AS all_snapshots
                CROSS JOIN
                (
                    SELECT n_time + n_id > 0 AS f, if(n_id > 0 AND (n_time = 0 OR if(by_id.9 AND by_time.9, by_id.1 > by_time.1, by_id.3 > by_time.3)), by_id, by_time) AS s, e AS ep, l AS lu
                    FROM
                    (
                        SELECT any(ep) AS e, any(lu) AS l,
                            argMaxIf(snapshot, (sent, last_id, levels), in_time) AS by_time, countIf(in_time) AS n_time,
                            argMaxIf(snapshot, (sent, last_id, levels), in_ids) AS by_id, countIf(in_ids) AS n_id
                        FROM
                        (
                            SELECT *,
                                sent <= toUnixTimestamp64Nano({{template "at"}}) AND {{template "in_epoch" "ep"}} AS in_time,
                                notEmpty(lu) AND last_id <= lu[1].2 AND received <= lu[1].3 + 600000000000 AND {{template "in_epoch" "ep"}} AS in_ids
                            FROM {{template "snapshots" .}} AS all_snapshots
                            CROSS JOIN (SELECT epoch AS ep, last_update AS lu) AS known
                        )
                    )
                ) AS chosen
            )
        )
    ) AS base,
    -- The ids of the updates: the id that the book reaches, the time after which updates count (ids may have gone back
    -- unnoticed), updates that came when the book had passed them, and the base. It throws where the book is not known.
    (
        SELECT (reached, after, passed, b,
            throwIf(NOT b.1, 'book_at: no snapshot of this instrument is stored before t')
            + throwIf(is_broken OR arrayExists(g -> g.1 >= b.2.1 - 5000000000 AND (g.2 > b.2.3 OR g.2 = b.2.3 AND g.3 > b.2.2) AND g.3 >= reached, gap_list)
                AND NOT (n_next > 0 AND next_id = reached)
                AND NOT arrayExists(u -> u.1 > reached AND u.2 <= reached, [arrayFirst(u -> u.1 > reached, next_updates)]),
                'book_at: updates before t are missing, so the book is not known'))
        FROM
        (
            SELECT base AS b, n = 0 ? b.2.2 : greatest(b.2.2, highest) AS reached, n = 0 ? 9223372036854775807 : latest_cut AS after, passed, is_broken
            FROM
            (
                SELECT count() AS n, max(last_id) AS highest, max(cut) AS latest_cut, max(before > so_far) AS is_broken,
                    groupArrayIf((sent, first_id, last_id), before < base_id AND last_id > base_id AND last_id <= earlier) AS passed
                FROM
                (
                    SELECT sent, first_id, last_id, before, cut, base_id,
                        if(row_number() OVER by_ids = 1, if(base_id = -1, before, base_id),
                            greatest(base_id, max(last_id) OVER (ORDER BY before, last_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING))) AS so_far,
                        max(last_id) OVER (ORDER BY sent, last_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier
                    FROM
                    (
                        SELECT DISTINCT sent, first_id, last_id, before, cut, base_id
                        FROM
                        (
                            SELECT sent, first_id, last_id, before, w.2.2 AS base_id,
                                {{template "in_epoch" "w.3"}} AND last_id >= base_id AS counts,
                                max(if(notEmpty(w.4) AND last_id >= w.4[1].2 AND sent < w.4[1].1 - 5000000000, sent, 0)) OVER () AS cut
                            FROM
                            (
                                {{template "updates" .}} AND ts >= fromUnixTimestamp64Nano(base.5, 'UTC') AND ts <= {{template "at"}}
                            ) AS u
                            CROSS JOIN (SELECT base AS w) AS known
                        )
                        WHERE counts AND sent > cut
                    )
                    WINDOW by_ids AS (ORDER BY before, last_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
                )
            )
        ) AS ids
        CROSS JOIN
        (
            SELECT groupArray((sent, received, after_id)) AS gap_list
            FROM
            (
                SELECT {{template "clocks"}}, after_id FROM {{.Table "gaps"}}
                WHERE {{template "instrument"}} AND reason != 'regressed' AND ts <= {{template "at"}} AND arrayExists(e -> {{template "in_epoch" "e"}}, [epoch])
            )
        ) AS gap_records
        CROSS JOIN
        (
            SELECT count() AS n_next, argMin(last_id, (sent, last_id)) AS next_id
            FROM {{template "snapshots" .}} AS all_snapshots
            WHERE sent > toUnixTimestamp64Nano({{template "at"}}) AND arrayExists(e -> {{template "in_epoch" "e"}}, [epoch])
        ) AS next_snapshot
        CROSS JOIN
        (
            SELECT groupArray((last_id, before)) AS next_updates
            FROM
            (
                {{template "updates" .}} AND ts > {{template "at"}} AND arrayExists(e -> {{template "in_epoch" "e"}}, [epoch])
                ORDER BY ts, last_id LIMIT 1000
            )
        ) AS later
    ) AS ids
SELECT
    side,
    toUInt32(row_number() OVER (PARTITION BY side ORDER BY if(side = 'bid', -price_e8, price_e8))) AS level,
    price_e8 / 1e8    AS price,
    quantity_e8 / 1e8 AS quantity,
    toDecimal128(price_e8, 8) / 100000000    AS price_decimal,
    toDecimal128(quantity_e8, 8) / 100000000 AS quantity_decimal,
    multiIf(i.4.2.2 = -1 AND i.1 != -1, false,
        side = 'bid', NOT i.4.2.5 OR price_e8 >= i.4.2.6, NOT i.4.2.7 OR price_e8 <= i.4.2.8) AS known,
    i.1 AS update_id
FROM
(
    SELECT side, level_price AS price_e8, argMax(level_quantity, (last_id, is_update, n)) AS quantity_e8, any(i) AS i
    FROM
    (
        SELECT last_id, is_update, n, if(n <= length(bid_price_e8), 'bid', 'ask') AS side, level_price, level_quantity, i
        FROM
        (
            (
                SELECT false AS is_update, {{template "clocks"}}, toInt64(0) AS first_id, last_id, bid_price_e8, bid_qty_e8, ask_price_e8, ask_qty_e8
                FROM {{.Table "book_snapshots"}}
                WHERE {{template "instrument"}} AND ts = fromUnixTimestamp64Nano(base.2.1, 'UTC')
            )
            UNION ALL
            (
                SELECT true AS is_update, {{template "clocks"}}, first_id, last_id, bid_price_e8, bid_qty_e8, ask_price_e8, ask_qty_e8
                FROM {{.Table "depth_events"}}
                WHERE {{template "instrument"}} AND ts >= fromUnixTimestamp64Nano(base.5, 'UTC') AND ts <= {{template "at"}}
            )
        ) AS stored
        CROSS JOIN (SELECT ids AS i) AS known
        ARRAY JOIN
            arrayConcat(bid_price_e8, ask_price_e8) AS level_price,
            arrayConcat(bid_qty_e8, ask_qty_e8) AS level_quantity,
            arrayEnumerate(arrayConcat(bid_price_e8, ask_price_e8)) AS n
        WHERE if(is_update,
            {{template "in_epoch" "i.4.3"}} AND sent > i.2 AND (last_id > i.4.2.2 OR last_id = i.4.2.2 AND {market:String} != 'spot')
                AND NOT has(i.3, (sent, first_id, last_id)),
            last_id = i.4.2.2 AND received = i.4.2.3 AND length(bid_price_e8) = i.4.2.4)
    )
    GROUP BY side, level_price
    HAVING quantity_e8 > 0
)
ORDER BY side DESC, level
COMMENT 'the order book at a time, as Store.BookAt gives it: book_at(exchange = …, market = …, symbol = …, t = …), t in UTC, all constants. A row is a level: side (bid or ask), level (1 is the best), price, quantity, both also exact as price_decimal and quantity_decimal, known (false: beyond the depth up to which the side is complete), update_id of the book. It fails where no snapshot is stored before t, or updates are missing'
