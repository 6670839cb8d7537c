-- Who saw which policy. The data has no users, so the unit is the impression.
-- materialized: view
select impression_id as unit_id, concat('policy_', campaign) as experiment, policy as variant, occurred_at
from staging.stg_impressions
