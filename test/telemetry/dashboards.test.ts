import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { boardText } from '../../scripts/dashboards/board.ts';
import { boards } from '../../scripts/dashboards/boards.ts';
import { root } from '../docs/pages.ts';

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly { readonly refId: string; readonly expr: string }[];
}

interface Dashboard {
  readonly uid: string;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string }[] };
}

const folder = path.join(root, 'docker', 'grafana', 'dashboards');
const read = (name: string): string => readFileSync(path.join(folder, name), 'utf8');

t.test('the dashboards are those that the code makes', async (t) => {
  t.same(
    new Set(readdirSync(folder)),
    new Set(boards.map(({ name }) => `${name}.json`)),
    'and there is no other',
  );
  for (const board of boards) t.equal(read(`${board.name}.json`), boardText(board), board.name);
});

t.test('each panel says what it shows and in which unit, and asks for what can be chosen', async (t) => {
  for (const { name } of boards) {
    const { panels, templating, uid } = JSON.parse(read(`${name}.json`)) as Dashboard;
    const variables = new Set(templating.list.map((variable) => `$${variable.name}`));
    t.equal(uid, `sallyport-${name}`);
    t.equal(new Set(panels.map(({ id }) => id)).size, panels.length, 'ids are unique');
    for (const { type, title, description, fieldConfig, gridPos, targets } of panels) {
      if (type === 'row') continue;
      t.ok((description ?? '').length > 10, `${name}, ${title}: a description`);
      t.ok((fieldConfig?.defaults.unit ?? '').length > 0, `${name}, ${title}: a unit`);
      t.ok(gridPos.x + gridPos.w <= 24, `${name}, ${title}: within the grid`);
      t.ok((targets ?? []).length > 0);
      t.equal(new Set(targets?.map(({ refId }) => refId)).size, targets?.length, 'each query has a letter');
      for (const { expr } of targets ?? [])
        for (const [variable] of expr.matchAll(/\$(?!__)\w+/g))
          t.ok(variables.has(variable), `${name}, ${title}: ${variable} can be chosen`);
    }
  }
});
