import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { page, root } from './pages.ts';

const text = page('docs/operations.md');
const rules = readFileSync(path.join(root, 'docker', 'prometheus', 'rules.yml'), 'utf8');
const incidents = new Map(
  (text.split('\n## Incidents\n')[1] ?? '')
    .split('\n### ')
    .slice(1)
    .map((part) => [part.slice(0, part.indexOf('\n')), part] as const),
);

t.test('each alert of the rules has its page, each page its alert, and the alert leads there', (t) => {
  const alerts = [...rules.matchAll(/^ +- alert: (\w+)\n((?: {8,}.*\n?)+)/gm)];
  t.ok(alerts.length > 20);
  t.same([...incidents.keys()].toSorted(), alerts.map(([, name = '']) => name).toSorted());
  for (const [, name = '', rest = ''] of alerts)
    t.match(rest, `docs/operations.md#${name.toLowerCase()}\n`, `${name} names its page`);
  for (const [name, part] of incidents) {
    t.match(part, /\*\*Do:\*\*/, `${name} says what to do`);
    t.match(part, /\*\*See:\*\*/, `${name} says where to look`);
  }
  t.end();
});

t.test('metrics and lines of the log that the page names are ones', (t) => {
  const metrics = page('docs/metrics.md');
  for (const name of new Set(text.match(/\b(?:sallyport|process|nodejs)_\w+/g)))
    t.match(metrics, `| \`${name}\` |`, name);
  const source = readdirSync(path.join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(path.join(root, 'src', name), 'utf8'))
    .join('');
  const rooms = 'journal|key|keyring|checkpoint|vault|call|root-key|webhook|stop|database|tls';
  for (const [, event = ''] of text.matchAll(new RegExp(`\`((?:${rooms})\\.[a-z-]+)\``, 'g'))) {
    if (existsSync(path.join(root, 'docs', event))) continue;
    t.ok(source.includes(`'${event}'`), event);
  }
  t.end();
});
