import {
  BigValueColorMode,
  BigValueGraphMode,
  GraphGradientMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import { ThresholdsConfigBuilder, ThresholdsMode } from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

const source = { type: 'prometheus', uid: '${datasource}' };

interface PanelText {
  readonly title: string;
  /** What it shows, and what to make of it. */
  readonly description: string;
  /** One of Grafana's (`@grafana/grafana-foundation-sdk/units`). */
  readonly unit: string;
}

/** From this value on it is worth a look, or bad. `below`: the other way round. */
interface Bounds {
  readonly warn?: number;
  readonly bad: number;
  readonly below?: boolean;
}

export interface StatPanel extends PanelText {
  readonly query: string;
  readonly bounds?: Bounds;
  readonly decimals?: number;
  readonly isInstant?: boolean;
  /** In place of nothing, where nothing is good news. */
  readonly nothing?: string;
}

/** One number, a sixth of a row. */
export function stat(panel: StatPanel) {
  const query = queryOf(panel.query, 'A').legendFormat(panel.title);
  const made = new StatBuilder()
    .title(panel.title)
    .description(panel.description)
    .unit(panel.unit)
    .datasource(source)
    .height(4)
    .span(4)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false))
    .graphMode(panel.isInstant === true ? BigValueGraphMode.None : BigValueGraphMode.Area)
    .colorMode(BigValueColorMode.Value)
    .thresholds(thresholds(panel.bounds))
    .noValue(panel.nothing ?? '–')
    .withTarget(panel.isInstant === true ? query.instant() : query.range());
  return panel.decimals === undefined ? made : made.decimals(panel.decimals);
}

export interface GraphPanel extends PanelText {
  /** Legend and query. */
  readonly queries: Readonly<Record<string, string>>;
  readonly isStacked?: boolean;
  /** Of 24. */
  readonly span?: number;
  readonly max?: number;
}

/** Lines over time, half a row unless said otherwise. */
export function graph({ title, description, unit, queries, isStacked = false, span = 12, max }: GraphPanel) {
  const made = new TimeBuilder()
    .title(title)
    .description(description)
    .unit(unit)
    .datasource(source)
    .height(8)
    .span(span)
    .min(0)
    .fillOpacity(isStacked ? 30 : 8)
    .gradientMode(GraphGradientMode.None)
    .showPoints(VisibilityMode.Never)
    .legend(
      new VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .showLegend(true)
        .calcs([]),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi));
  if (isStacked) made.stacking(new StackingConfigBuilder().mode(StackingMode.Normal));
  if (max !== undefined) made.max(max);
  for (const [i, [legend, expr]] of Object.entries(queries).entries()) {
    const refId = String.fromCharCode('A'.charCodeAt(0) + i);
    made.withTarget(queryOf(expr, refId).legendFormat(legend).range());
  }
  return made;
}

export interface TablePanel extends PanelText {
  readonly query: string;
  readonly span?: number;
}

/** The query's labels and its value now. */
export function table({ title, description, unit, query, span = 12 }: TablePanel) {
  return new TableBuilder()
    .title(title)
    .description(description)
    .unit(unit)
    .datasource(source)
    .height(8)
    .span(span)
    .withTarget(queryOf(query, 'A').format(PromQueryFormat.Table).instant())
    .withTransformation({ id: 'organize', options: { excludeByName: { Time: true } } });
}

function queryOf(expr: string, refId: string) {
  return new DataqueryBuilder().datasource(source).expr(expr).refId(refId);
}

function thresholds(bounds: Bounds | undefined) {
  const built = new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute);
  if (bounds === undefined) return built.steps([{ value: null, color: 'blue' }]);
  const { bad, below = false, warn = bad } = bounds;
  // Where both are one value the later step holds.
  return built.steps(
    below
      ? [
          { value: null, color: 'red' },
          { value: bad, color: 'orange' },
          { value: warn, color: 'green' },
        ]
      : [
          { value: null, color: 'green' },
          { value: warn, color: 'orange' },
          { value: bad, color: 'red' },
        ],
  );
}
