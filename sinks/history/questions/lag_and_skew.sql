-- How did lag and skew of each channel move?
--
-- Mean, least and greatest of the reports of each day (UTC).
-- Columns: rig, channel, day_ts, reports, lag_s, least_lag_s, greatest_lag_s, skew_ppm,
--   least_skew_ppm, greatest_skew_ppm
-- Parameters: rig, from, to
SELECT rig, channel, floor(ts / 86400) * 86400 AS day_ts, count(*) AS reports,
  avg(lag_s) AS lag_s, min(lag_s) AS least_lag_s, max(lag_s) AS greatest_lag_s,
  avg(skew_ppm) AS skew_ppm, min(skew_ppm) AS least_skew_ppm, max(skew_ppm) AS greatest_skew_ppm
FROM syncs
WHERE ts >= :from AND ts < :to AND (cast(:rig AS text) IS NULL OR rig = :rig)
  AND why = 'hop' AND (lag_s IS NOT NULL OR skew_ppm IS NOT NULL)
GROUP BY rig, channel, floor(ts / 86400)
ORDER BY rig, channel, day_ts
