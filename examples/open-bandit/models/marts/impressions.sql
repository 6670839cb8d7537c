-- What came of each impression.
-- materialized: view
select impression_id, campaign, policy, occurred_at, item_id, position, clicked, propensity
from staging.stg_impressions
