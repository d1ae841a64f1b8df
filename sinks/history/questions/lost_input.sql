-- Which input was lost, by source and reason?
--
-- Inputs that became dead letters.
-- Columns: rig, source, stage, reason, lost, first_ts, last_ts
-- Parameters: rig, from, to
SELECT rig, source, stage, reason, sum(count) AS lost, min(ts) AS first_ts, max(ts) AS last_ts
FROM deads
WHERE ts >= :from AND ts < :to AND (cast(:rig AS text) IS NULL OR rig = :rig)
GROUP BY rig, source, stage, reason
ORDER BY lost DESC, rig, source, stage, reason
