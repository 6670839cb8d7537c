-- What Thompson sampling did, on average over the week: of the impressions in a place, the share of each item.
--
-- The policy learned while it ran, and looked at no user, so this average is a policy that could run: it draws each place's item with
-- these probabilities. The propensities in the log are those of the moment; averaged over what was shown they would favour what was likely.
-- materialized: table
-- grain: campaign, position, item_id
-- checks: not_null(probability)  range(probability, 0, 1)
select
  campaign,
  position,
  item_id,
  cast(count(*) as double) / cast(sum(count(*)) over (partition by campaign, position) as double) as probability
from staging.stg_impressions
where policy = 'bts'
group by campaign, position, item_id
