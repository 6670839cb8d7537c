-- One row per line that was sold: what every mart but the monthly one starts from.
-- materialized: view
-- checks: range(quantity, 1, 100000)  range(unit_price, 0.001, 100000)
select invoice, item_id, description, quantity, sold_at, unit_price, customer_id, country, is_product
from staging.stg_lines
where is_sale
