-- One row per item that was shown in one of the three places of the box.
-- materialized: table
-- grain: impression_id
-- checks: not_null(campaign, policy, item_id, position, propensity)  range(propensity, 0, 1)
select
  concat(campaign, '/', policy, '/', cast("row" as text)) as impression_id,
  campaign,
  policy,
  "timestamp" as occurred_at,
  item_id,
  "position" as position,
  click = 1 as clicked,
  propensity_score as propensity
from raw.impressions
