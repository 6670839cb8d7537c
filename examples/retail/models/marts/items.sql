-- One row per product that was ever sold: what a person reads of it, its last price, and whether it is still on sale.
-- materialized: table      grain: item_id
-- checks: not_null(item_id, title, unit_price, available)
with titles as (
  select item_id, description, count(*) as times
  from staging.stg_sales
  where is_product and description is not null
  group by item_id, description
),
ranked_titles as (
  select item_id, description, row_number() over (partition by item_id order by times desc, description) as place
  from titles
),
ranked_prices as (
  select item_id, unit_price, row_number() over (partition by item_id order by sold_at desc, invoice desc, unit_price desc) as place
  from staging.stg_sales
  where is_product
),
sold as (
  select
    item_id,
    min(sold_at) as first_sold_at,
    max(sold_at) as last_sold_at,
    count(distinct invoice) as baskets,
    cast(sum(quantity) as bigint) as quantity
  from staging.stg_sales
  where is_product
  group by item_id
),
newest as (
  select max(sold_at) as sold_at from staging.stg_sales
)
select
  sold.item_id,
  ranked_titles.description as title,
  ranked_prices.unit_price,
  sold.first_sold_at,
  sold.last_sold_at,
  sold.baskets,
  sold.quantity,
  -- The shop published no stock list. What nobody bought in the last 90 days of the data is taken to be gone.
  sold.last_sold_at >= newest.sold_at - interval '90 days' as available
from sold
join ranked_titles on ranked_titles.item_id = sold.item_id and ranked_titles.place = 1
join ranked_prices on ranked_prices.item_id = sold.item_id and ranked_prices.place = 1
cross join newest
