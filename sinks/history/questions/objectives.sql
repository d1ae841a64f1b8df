-- What share of the ticks was within each objective?
--
-- Ticks with a known value, those of them within the limit, and ticks without a value. The residual
-- is the standard deviation of `entropy_ratio` over the last ten minutes. The counters of the
-- exporter also count unknown values of compared members as bad.
-- Columns: rig, objective, judged, within, share, required, unknown
-- Parameters: rig, from, to, phase_good, phase_required, sync_good, sync_required, residual_good,
--   residual_required
WITH
chosen AS (
  SELECT rig, run, ts, phase_diff, sync_quality, entropy_ratio
  FROM ticks
  WHERE ts >= :from AND ts < :to AND (cast(:rig AS text) IS NULL OR rig = :rig)
),
moments AS (
  SELECT rig, phase_diff, sync_quality, entropy_ratio,
    avg(entropy_ratio) OVER last AS mean,
    avg(entropy_ratio * entropy_ratio) OVER last AS square
  FROM chosen
  WINDOW last AS (
    PARTITION BY run, rig ORDER BY ts
    RANGE BETWEEN 600.0 PRECEDING AND CURRENT ROW
  )
),
verdicts AS (
  SELECT rig, 'phase' AS objective, :phase_required AS required,
    CASE WHEN phase_diff <= :phase_good THEN 1 WHEN phase_diff IS NOT NULL THEN 0 END AS good
  FROM moments
  UNION ALL
  SELECT rig, 'sync', :sync_required,
    CASE WHEN sync_quality >= :sync_good THEN 1 WHEN sync_quality IS NOT NULL THEN 0 END
  FROM moments
  UNION ALL
  SELECT rig, 'residual', :residual_required,
    CASE WHEN entropy_ratio IS NULL THEN NULL
      WHEN square - mean * mean <= :residual_good * :residual_good THEN 1 ELSE 0 END
  FROM moments
)
SELECT rig, objective, count(good) AS judged, sum(good) AS within,
  sum(good) * 1.0 / count(good) AS share, required, count(*) - count(good) AS unknown
FROM verdicts
GROUP BY rig, objective, required
ORDER BY rig, objective
