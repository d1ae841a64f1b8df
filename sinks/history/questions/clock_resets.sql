-- How many clock resets were there in each week?
--
-- Steps of the source clock by channel, in weeks from Monday on (UTC).
-- Columns: rig, channel, week_ts, resets
-- Parameters: rig, from, to
SELECT rig, channel, floor((ts - 345600) / 604800) * 604800 + 345600 AS week_ts,
  count(*) AS resets
FROM syncs
WHERE ts >= :from AND ts < :to AND (cast(:rig AS text) IS NULL OR rig = :rig) AND why = 'reset'
GROUP BY rig, channel, floor((ts - 345600) / 604800)
ORDER BY rig, channel, week_ts
