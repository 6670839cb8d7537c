-- One row per month and country: what was sold and what was taken back. Whole months are replaced, so a late line never splits one.
-- materialized: incremental      time: month      interval: 1 month      grain: month, country
-- checks: unique(month, country)  not_null(month, country, sales, returned)  range(sales, 0, 10000000)
select
  date_trunc('month', sold_at) as month,
  country,
  count(distinct case when is_sale then invoice end) as baskets,
  count(distinct case when is_sale then customer_id end) as customers,
  cast(sum(case when is_sale then quantity * unit_price else 0 end) as decimal(18, 3)) as sales,
  cast(sum(case when is_cancelled then -quantity * unit_price else 0 end) as decimal(18, 3)) as returned
from staging.stg_lines
where sold_at >= $from and sold_at < $to
group by date_trunc('month', sold_at), country
