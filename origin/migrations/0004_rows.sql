-- What organisers and their tools ask, and the third guard against a double sale; see
-- origin/TABLES.md. Ids are text, as the API writes them.
CREATE TABLE seats (
    event text COLLATE "C" NOT NULL,
    seat bigint NOT NULL,
    partition integer NOT NULL,
    status text NOT NULL CHECK (status IN ('free', 'held', 'paying', 'sold', 'blocked')),
    version bigint NOT NULL,
    hold text COLLATE "C",
    order_id text COLLATE "C",
    price bigint,
    PRIMARY KEY (event, seat));
CREATE INDEX seats_by_partition ON seats (partition);
CREATE TABLE orders (
    order_id text COLLATE "C" PRIMARY KEY,
    event text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    hold text COLLATE "C" NOT NULL,
    state text NOT NULL,
    quantity integer NOT NULL,
    total bigint NOT NULL,
    name text NOT NULL,
    email text,
    at timestamptz NOT NULL,
    seq bigint NOT NULL);
CREATE INDEX orders_by_event ON orders (event, state);
CREATE INDEX orders_by_partition ON orders (partition);
CREATE TABLE tickets (
    ticket text COLLATE "C" PRIMARY KEY,
    event text COLLATE "C" NOT NULL,
    seat bigint NOT NULL,
    partition integer NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'live', 'void')));
CREATE UNIQUE INDEX tickets_live ON tickets (event, seat) WHERE state = 'live';
CREATE INDEX tickets_by_order ON tickets (order_id);
CREATE INDEX tickets_by_partition ON tickets (partition);
CREATE TABLE rows_cursor (partition integer PRIMARY KEY, seq bigint NOT NULL);

-- Brings the rows of one partition from one place in the log to a later one, or fails as a whole:
-- WR001 when a row is not what the log says, WR002 when the rows are elsewhere in the log.
CREATE FUNCTION project_rows(
    p_partition integer, p_from bigint, p_to bigint,
    s_event text[], s_seat bigint[], s_was text[], s_version bigint[], s_status text[],
    s_next bigint[], s_hold text[], s_order text[], s_price bigint[],
    t_ticket text[], t_event text[], t_seat bigint[], t_order text[], t_was text[], t_state text[],
    o_order text[], o_event text[], o_hold text[], o_state text[], o_quantity integer[],
    o_total bigint[], o_name text[], o_email text[], o_at double precision[], o_seq bigint[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    changed bigint;
    added bigint;
    voided bigint;
BEGIN
    INSERT INTO rows_cursor VALUES (p_partition, 0) ON CONFLICT DO NOTHING;
    UPDATE rows_cursor SET seq = p_to WHERE partition = p_partition AND seq = p_from;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the rows of partition % are not at %', p_partition, p_from
            USING ERRCODE = 'WR002';
    END IF;

    INSERT INTO seats (event, seat, partition, status, version, hold, order_id, price)
    SELECT event, seat, p_partition, status, next, hold, order_id, price
    FROM unnest(s_event, s_seat, s_version, s_status, s_next, s_hold, s_order, s_price)
        AS u (event, seat, version, status, next, hold, order_id, price)
    WHERE u.version = 0
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
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
END
$$;
