-- Which rule fired, and how long?
--
-- A row for each firing; without an end where it lasts.
-- Columns: rig, rule, kind, severity, fired_ts, resolved_ts, seconds
-- Parameters: rig, from, to
WITH changes AS (
  SELECT run, rig, rule, kind, severity, state, ts,
    lead(ts) OVER (PARTITION BY run, rig, rule ORDER BY ts, state DESC) AS next_ts
  FROM evidences
  WHERE ts >= :from AND ts < :to AND (cast(:rig AS text) IS NULL OR rig = :rig)
)
SELECT rig, rule, kind, severity, ts AS fired_ts, next_ts AS resolved_ts, next_ts - ts AS seconds
FROM changes
WHERE state = 'firing'
ORDER BY fired_ts, rig, rule
