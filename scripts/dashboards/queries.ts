import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** Something to ask Prometheus for, and where it is asked from. */
export interface Query {
  readonly where: string;
  readonly expr: string;
}

interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly refId: string; readonly expr: string }[];
}

interface Dashboard {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
}

const docker = path.join(import.meta.dirname, '..', '..', 'docker');
const folder = path.join(docker, 'grafana', 'dashboards');

const boards = (): readonly (readonly [name: string, Dashboard])[] =>
  readdirSync(folder).map((file) => [
    path.basename(file, '.json'),
    JSON.parse(readFileSync(path.join(folder, file), 'utf8')) as Dashboard,
  ]);

/** As Grafana fills them in, for a Prometheus that scrapes every second. */
function filled(expr: string): string {
  return expr
    .replaceAll('$__rate_interval', '4s')
    .replaceAll('$__range', '1m')
    .replaceAll(/\$(instance|provider|model)\b/g, '.+');
}

/** Every query of every panel. */
export function panelQueries(): readonly Query[] {
  return boards().flatMap(([name, { panels }]) =>
    panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ refId, expr }) => ({ where: `${name}, ${title}, ${refId}`, expr: filled(expr) })),
    ),
  );
}

/** What gives the values of each variable: the series that it looks in, all of which must have the label. */
export function variableQueries(): readonly Query[] {
  return boards().flatMap(([name, { templating }]) =>
    templating.list.flatMap((variable) => {
      const found = /^label_values\((.+), (\w+)\)$/.exec(variable.definition ?? '');
      if (found === null) return [];
      const [, series = '', label = ''] = found;
      return [{ where: `${name}, $${variable.name}`, expr: `count by (${label}) (${filled(series)})` }];
    }),
  );
}

/** The series that alerts look at: an alert itself gives nothing on a gateway that is well, also where it is misspelt. */
export function alertQueries(): readonly Query[] {
  const rules = readFileSync(path.join(docker, 'prometheus', 'rules.yml'), 'utf8');
  return rules
    .split(/^ +- (?=alert: |record: )/m)
    .slice(1)
    .flatMap((rule) => {
      const name = /^\w+: (\S+)/.exec(rule)?.[1] ?? '';
      const expr =
        /^ +expr: ([\s\S]*?)(?=^ +(?:for|labels):|\n {2}- name: |$(?![\s\S]))/m.exec(rule)?.[1] ?? '';
      const series = expr.matchAll(/\b(?:sallyport|process|gen_ai)_?[\w:]+(?:\{[^}]*\})?|\bup\{[^}]*\}/g);
      return [...series].map(([selector]) => ({ where: name, expr: `count(${selector})` }));
    });
}
