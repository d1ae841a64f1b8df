-- How do two rigs compare, side by side?
--
-- Minutes of each signal: share of ticks fused, mean value and largest bound of both rigs.
-- Columns: signal, minute_ts, fused, other_fused, value, other_value, bound_s, other_bound_s
-- Parameters: rig!, other_rig!, from, to
SELECT signal, ts AS minute_ts,
  max(CASE WHEN rig = :rig THEN fused * 1.0 / ticks END) AS fused,
  max(CASE WHEN rig = :other_rig THEN fused * 1.0 / ticks END) AS other_fused,
  max(CASE WHEN rig = :rig THEN value_mean END) AS value,
  max(CASE WHEN rig = :other_rig THEN value_mean END) AS other_value,
  max(CASE WHEN rig = :rig THEN sync_bound_s_max END) AS bound_s,
  max(CASE WHEN rig = :other_rig THEN sync_bound_s_max END) AS other_bound_s
FROM minutes
WHERE ts >= :from AND ts < :to AND rig IN (:rig, :other_rig)
GROUP BY signal, ts
ORDER BY signal, ts
