-- What was the worst sync bound of each day?
--
-- The largest bound of each day (UTC), and the minute that it lies in.
-- Columns: rig, day_ts, worst_bound_s, minute_ts
-- Parameters: rig, from, to
WITH ranked AS (
  SELECT rig, floor(ts / 86400) * 86400 AS day_ts, sync_bound_s_max, ts,
    row_number() OVER (
      PARTITION BY rig, floor(ts / 86400) ORDER BY sync_bound_s_max DESC, ts
    ) AS place
  FROM minutes
  WHERE ts >= :from AND ts < :to AND (cast(:rig AS text) IS NULL OR rig = :rig)
    AND sync_bound_s_max IS NOT NULL
)
SELECT rig, day_ts, sync_bound_s_max AS worst_bound_s, ts AS minute_ts
FROM ranked
WHERE place = 1
ORDER BY rig, day_ts
