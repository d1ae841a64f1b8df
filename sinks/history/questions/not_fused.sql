-- When was it not fused, and why?
--
-- A row for each spell of ticks in another mode than `fused`, and each channel that was not live
-- when the spell began.
-- Columns: rig, first_ts, last_ts, ticks, mode, channel, state
-- Parameters: rig, from, to
WITH
numbered AS (
  SELECT run, rig, ts, mode,
    row_number() OVER (PARTITION BY run, rig ORDER BY ts)
      - row_number() OVER (PARTITION BY run, rig, mode ORDER BY ts) AS spell
  FROM ticks
  WHERE ts >= :from AND ts < :to AND (cast(:rig AS text) IS NULL OR rig = :rig)
),
spells AS (
  SELECT run, rig, mode, min(ts) AS first_ts, max(ts) AS last_ts, count(*) AS ticks
  FROM numbered
  WHERE mode <> 'fused'
  GROUP BY run, rig, mode, spell
),
reports AS (
  SELECT run, rig, channel, state, ts,
    lead(ts) OVER (PARTITION BY run, rig, channel ORDER BY ts, why) AS until_ts
  FROM syncs
  WHERE ts >= :from - 86400.0 AND ts < :to
)
SELECT spells.rig, spells.first_ts, spells.last_ts, spells.ticks, spells.mode,
  reports.channel, reports.state
FROM spells LEFT JOIN reports
  ON reports.run = spells.run AND reports.rig = spells.rig AND reports.state <> 'live'
  AND reports.ts <= spells.first_ts
  AND (reports.until_ts > spells.first_ts OR reports.until_ts IS NULL)
ORDER BY spells.first_ts, spells.rig, reports.channel
