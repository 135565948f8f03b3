import {
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';
import type { graph, stat, table } from './panel.ts';

type Panel = ReturnType<typeof stat> | ReturnType<typeof graph> | ReturnType<typeof table>;

export interface Board {
  /** Of the file, and behind `sallyport-` the board's id. */
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** Beside the data source and the instance. */
  readonly variables: readonly ('provider' | 'model')[];
  /** The first row has no title: what is asked first. */
  readonly rows: Readonly<Record<string, readonly Panel[]>>;
}

/** What can be chosen: values that there are. */
const sources = {
  instance: 'label_values(sallyport_build_info, instance)',
  provider: 'label_values(sallyport_calls_total{instance=~"$instance"}, provider)',
  model: 'label_values(sallyport_tokens_total{instance=~"$instance",provider=~"$provider"}, model)',
} as const;

function variable(name: keyof typeof sources) {
  return (
    new QueryVariableBuilder(name)
      .label(`${name.charAt(0).toUpperCase()}${name.slice(1)}`)
      .datasource({ type: 'prometheus', uid: '${datasource}' })
      .query({ query: sources[name], refId: name })
      .definition(sources[name])
      .refresh(VariableRefresh.OnTimeRangeChanged)
      // eslint-disable-next-line unicorn/no-array-sort -- a builder’s, not an array’s
      .sort(VariableSort.AlphabeticalAsc)
      .multi(true)
      .includeAll(true)
      .current({ text: 'All', value: '$__all', selected: true })
  );
}

/** The file that Grafana takes. The same board gives the same, to the byte. */
export function boardText(made: Board): string {
  const board = buildBoard(made);
  const links = board.links?.map((link) => ({ ...link, placement: undefined }));
  return `${JSON.stringify({ ...board, links }, null, 2)}\n`;
}

function buildBoard({ name, title, description, variables, rows }: Board): Dashboard {
  const board = new DashboardBuilder(`Sallyport: ${title}`)
    .uid(`sallyport-${name}`)
    .description(description)
    .tags(['sallyport'])
    .timezone('browser')
    .refresh('30s')
    .time({ from: 'now-3h', to: 'now' })
    .tooltip(DashboardCursorSync.Crosshair)
    .link(
      new DashboardLinkBuilder('Sallyport')
        .type(DashboardLinkType.Dashboards)
        .tags(['sallyport'])
        .asDropdown(false)
        .keepTime(true)
        .includeVars(true),
    )
    .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'))
    .withVariable(variable('instance'));
  for (const each of variables) board.withVariable(variable(each));
  let id = 0;
  for (const [row, panels] of Object.entries(rows)) {
    if (row !== '') board.withRow(new RowBuilder(row).id((id += 1)));
    for (const panel of panels) board.withPanel(panel.id((id += 1)));
  }
  return board.build();
}
