-- Takes from the stock and writes the order, or neither. The update locks the product's row, so that two orders at the
-- same time can't both have the last piece.

CREATE FUNCTION place_order(wanted text, pieces integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    bought product;
    placed_id bigint;
BEGIN
    UPDATE product SET stock = stock - pieces WHERE name = wanted RETURNING * INTO bought;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no product %', wanted USING ERRCODE = 'no_data_found';
    END IF;
    INSERT INTO orders (product_id, quantity, paid_cents)
    VALUES (bought.id, pieces, pieces * bought.price_cents)
    RETURNING id INTO placed_id;
    RETURN placed_id;
END
$$;
