-- Less work for the database in a rush; nothing means anything else.

-- Records are compressed five times as fast, where the server can. Older ones stay as they are.
DO $$
BEGIN
    ALTER TABLE log ALTER COLUMN bytes SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR syntax_error THEN
    RAISE NOTICE 'this server has no lz4, records are compressed as before';
END
$$;

-- What step 4 does, but a rush is holds above all, which change neither tickets nor orders, and a
-- statement that finds nothing to do costs as much as a seat.
CREATE OR REPLACE FUNCTION project_rows(
    p_partition integer, p_from bigint, p_to bigint,
    s_event text[], s_seat bigint[], s_was text[], s_version bigint[], s_status text[],
    s_next bigint[], s_hold text[], s_order text[], s_price bigint[],
    t_ticket text[], t_event text[], t_seat bigint[], t_order text[], t_was text[], t_state text[],
    o_order text[], o_event text[], o_hold text[], o_state text[], o_quantity integer[],
    o_total bigint[], o_name text[], o_email text[], o_at double precision[], o_seq bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    changed bigint;
    added bigint := 0;
    voided bigint;
BEGIN
    UPDATE rows_cursor SET seq = p_to WHERE partition = p_partition AND seq = p_from;
    IF NOT FOUND THEN
        INSERT INTO rows_cursor SELECT p_partition, p_to WHERE p_from = 0 ON CONFLICT DO NOTHING;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the rows of partition % are not at %', p_partition, p_from
            USING ERRCODE = 'WR002';
    END IF;

    IF 0 = ANY (s_version) THEN
        INSERT INTO seats (event, seat, partition, status, version, hold, order_id, price)
        SELECT event, seat, p_partition, status, next, hold, order_id, price
        FROM unnest(s_event, s_seat, s_version, s_status, s_next, s_hold, s_order, s_price)
            AS u (event, seat, version, status, next, hold, order_id, price)
        WHERE u.version = 0
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS added = ROW_COUNT;
    END IF;
    UPDATE seats SET status = u.status, version = u.next, hold = u.hold, order_id = u.order_id,
        price = u.price
    FROM unnest(s_event, s_seat, s_was, s_version, s_status, s_next, s_hold, s_order, s_price)
        AS u (event, seat, was, version, status, next, hold, order_id, price)
    WHERE u.version > 0 AND seats.event = u.event AND seats.seat = u.seat
        AND seats.status = u.was AND seats.version = u.version;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF added + changed <> cardinality(s_seat) THEN
        RAISE EXCEPTION '% of % seats are what the log says', added + changed, cardinality(s_seat)
            USING ERRCODE = 'WR001';
    END IF;

    IF cardinality(t_ticket) > 0 THEN
        -- What dies makes room for what comes to life on the same seat.
        UPDATE tickets SET state = u.state
        FROM unnest(t_ticket, t_was, t_state) AS u (ticket, was, state)
        WHERE u.was <> '' AND u.state = 'void' AND tickets.ticket = u.ticket AND tickets.state = u.was;
        GET DIAGNOSTICS voided = ROW_COUNT;
        UPDATE tickets SET state = u.state
        FROM unnest(t_ticket, t_was, t_state) AS u (ticket, was, state)
        WHERE u.was <> '' AND u.state <> 'void' AND tickets.ticket = u.ticket AND tickets.state = u.was;
        GET DIAGNOSTICS changed = ROW_COUNT;
        INSERT INTO tickets (ticket, event, seat, partition, order_id, state)
        SELECT ticket, event, seat, p_partition, order_id, state
        FROM unnest(t_ticket, t_event, t_seat, t_order, t_was, t_state)
            AS u (ticket, event, seat, order_id, was, state)
        WHERE u.was = '';
        GET DIAGNOSTICS added = ROW_COUNT;
        IF added + changed + voided <> cardinality(t_ticket) THEN
            RAISE EXCEPTION '% of % tickets are what the log says', added + changed + voided,
                cardinality(t_ticket) USING ERRCODE = 'WR001';
        END IF;
    END IF;

    IF cardinality(o_order) > 0 THEN
        UPDATE orders SET state = u.state, at = to_timestamp(u.at), seq = u.seq
        FROM unnest(o_order, o_state, o_quantity, o_at, o_seq) AS u (order_id, state, quantity, at, seq)
        WHERE u.quantity IS NULL AND orders.order_id = u.order_id;
        GET DIAGNOSTICS changed = ROW_COUNT;
        INSERT INTO orders
            (order_id, event, partition, hold, state, quantity, total, name, email, at, seq)
        SELECT order_id, event, p_partition, hold, state, quantity, total, name, email,
            to_timestamp(at), seq
        FROM unnest(o_order, o_event, o_hold, o_state, o_quantity, o_total, o_name, o_email, o_at,
                o_seq)
            AS u (order_id, event, hold, state, quantity, total, name, email, at, seq)
        WHERE u.quantity IS NOT NULL;
        GET DIAGNOSTICS added = ROW_COUNT;
        IF added + changed <> cardinality(o_order) THEN
            RAISE EXCEPTION '% of % orders are what the log says', added + changed,
                cardinality(o_order) USING ERRCODE = 'WR001';
        END IF;
    END IF;
END
$$;

-- Room on each page for the next versions of its rows: a seat that is held and freed again stays
-- where it is, and no index changes.
ALTER TABLE seats SET (fillfactor = 60);
