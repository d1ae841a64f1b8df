-- What changed after a version of the program?
--
-- Minutes of runs that started earlier than the first run of the version, and of the others.
-- Columns: rig, signal, since, ticks, fused, bound_s, phase_diff, sync_quality, entropy_ratio
-- Parameters: version!, rig, from, to
WITH sides AS (
  SELECT minutes.*,
    CASE WHEN started < (SELECT min(started) FROM minutes WHERE version = :version)
      THEN 'before' ELSE 'since' END AS side
  FROM minutes
  WHERE ts >= :from AND ts < :to AND (cast(:rig AS text) IS NULL OR rig = :rig)
)
SELECT rig, signal, side AS since, sum(ticks) AS ticks, sum(fused) * 1.0 / sum(ticks) AS fused,
  sum(sync_bound_s_sum) / sum(sync_bound_s_count) AS bound_s,
  sum(phase_diff_sum) / sum(phase_diff_count) AS phase_diff,
  sum(sync_quality_sum) / sum(sync_quality_count) AS sync_quality,
  sum(entropy_ratio_sum) / sum(entropy_ratio_count) AS entropy_ratio
FROM sides
GROUP BY rig, signal, side
ORDER BY rig, signal, side
