import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { codeRows, codeWords, page, root } from '../docs/pages.ts';

const folder = path.join(root, 'docker', 'prometheus');
const rules = readFileSync(path.join(folder, 'rules.yml'), 'utf8');
const alerts = [...rules.matchAll(/^ +- alert: (\w+)$/gm)].map(([, name]) => name as string);

function promtool(...args: string[]): { status: number | null; told: string } {
  const run = spawnSync('promtool', args, { cwd: folder, encoding: 'utf8' });
  return { status: run.status, told: `${run.error ?? ''}${run.stdout}${run.stderr}` };
}

t.test('promtool takes the configuration and its rules', async (t) => {
  for (const args of [
    ['config', 'prometheus.yml'],
    ['rules', '--lint-fatal', 'rules.yml'],
  ]) {
    const { status, told } = promtool('check', ...args);
    t.equal(status, 0, told);
  }
});

t.test('each alert fires where it is called for, and none on a gateway that is well', async (t) => {
  const { status, told } = promtool('test', 'rules', 'rules.test.yml');
  t.equal(status, 0, told);
  const tests = readFileSync(path.join(folder, 'rules.test.yml'), 'utf8');
  const fires = [...tests.matchAll(/^ +- alertname: (\w+)\n.*\n +exp_alerts:$/gm)].map(
    ([, name]) => name as string,
  );
  const quiet = [...tests.matchAll(/^ +- \{alertname: (\w+), eval_time: 3h\}$/gm)].map(
    ([, name]) => name as string,
  );
  t.same(new Set(fires), new Set(alerts), 'each has a test in which it fires');
  t.same(new Set(quiet), new Set(alerts), 'and one in which it does not');
});

t.test('each alert says what it is, how bad, and where to read what to do', async (t) => {
  const pages = new Set(page('docs/operations.md').match(/(?<=^### )Sallyport\w+$/gm));
  t.same(pages, new Set(alerts), 'docs/operations.md has a page for each, and for no other');
  for (const rule of rules.split(/^ +- (?=alert: |record: )/m).filter((text) => text.startsWith('alert: '))) {
    const name = /^alert: (\w+)/.exec(rule)?.[1] ?? '';
    t.match(name, /^Sallyport[A-Z]/);
    t.match(rule, /^ +severity: (critical|warning)$/m, name);
    t.match(rule, /^ +summary: "\S.*"$/m, name);
    t.match(rule, /^ +description: "\S.*"$/m, name);
    t.ok(rule.includes(`runbook: docs/operations.md#${name.toLowerCase()}\n`), `${name} names its page`);
  }
});

t.test('docs/metrics.md lists the alerts, each with its severity', async (t) => {
  const [, text = ''] = page('docs/metrics.md').split('## Worth an alert');
  const told = codeRows(text).map(([name = '', severity]) => [codeWords(name)[0], severity]);
  const severities = [...rules.matchAll(/^ +severity: (\w+)$/gm)].map(([, severity]) => severity);
  t.same(
    told,
    alerts.map((name, i) => [name, severities[i]]),
  );
});
