-- One row per item in a basket of a known customer: what recommenders learn from.
-- materialized: table      grain: basket_id, item_id
-- checks: unique(basket_id, item_id)  not_null(user_id, item_id, occurred_at, weight, basket_id)  range(weight, 0, 1000)
with baskets as (
  -- A few invoices were keyed in over two minutes; a basket happens at one time.
  select invoice, min(sold_at) as occurred_at
  from staging.stg_sales
  group by invoice
)
select
  sales.customer_id as user_id,
  sales.item_id,
  baskets.occurred_at,
  -- Quantity tells a reseller from a household, not how much an item is liked: each basket counts once.
  cast(1 as double) as weight,
  sales.invoice as basket_id
from staging.stg_sales sales
join baskets on baskets.invoice = sales.invoice
where sales.is_product and sales.customer_id is not null
group by sales.customer_id, sales.item_id, baskets.occurred_at, sales.invoice
