-- One row per known customer who bought something: where from, since when, how much.
-- materialized: table      grain: user_id
-- checks: unique(user_id)  not_null(user_id, country, first_bought_at, last_bought_at)  range(baskets, 1, 100000)
with lines as (
  select
    customer_id, country, invoice, item_id, is_product, quantity, sold_at, unit_price,
    row_number() over (partition by customer_id order by sold_at desc, invoice desc, country) as place
  from staging.stg_sales
  where customer_id is not null
)
select
  customer_id as user_id,
  -- Eight customers ordered from two countries: the last one counts.
  max(case when place = 1 then country end) as country,
  min(sold_at) as first_bought_at,
  max(sold_at) as last_bought_at,
  count(distinct invoice) as baskets,
  count(distinct case when is_product then item_id end) as items,
  cast(sum(quantity) as bigint) as quantity,
  cast(sum(quantity * unit_price) as decimal(18, 3)) as amount
from lines
group by customer_id
