// Type of our dashboards in terms of Grafana's own types: only these kinds of panel, each with the
// options of its plug-in. Queries are defined here: the package has no type for those of Prometheus.
import type { Dashboard, DataSourceRef, FieldConfig, MatcherConfig, Panel, RowPanel } from '@grafana/schema';
import type * as heatmap from '@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen';
import type * as stat from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as stateTimeline from '@grafana/schema/dist/types/raw/composable/statetimeline/panelcfg/x/types.gen';
import type * as timeseries from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

interface Query {
  refId: string;
  datasource: DataSourceRef;
  editorMode: 'code';
  expr: string;
  legendFormat: string;
  range: true;
  instant: false;
  format: 'time_series' | 'heatmap';
}

type Of<Type extends string, Options, Custom> = Omit<Panel, 'type' | 'targets' | 'options' | 'fieldConfig'> & {
  type: Type;
  targets: Query[];
  options: Options;
  fieldConfig: {
    defaults: Omit<FieldConfig, 'custom'> & { custom?: Custom };
    overrides: Array<{ matcher: MatcherConfig; properties: Array<{ id: string; value: unknown }> }>;
  };
};

export type Shipped = Omit<Dashboard, 'panels'> & {
  panels: Array<
    | Of<'heatmap', heatmap.Options, heatmap.FieldConfig>
    | Of<'stat', stat.Options, Record<string, never>>
    | Of<'state-timeline', stateTimeline.Options, stateTimeline.FieldConfig>
    | Of<'timeseries', timeseries.Options, timeseries.FieldConfig>
    | RowPanel
  >;
};
