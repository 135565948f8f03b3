import t from 'tap';
import { settings } from '../../src/config.ts';
import { errorTable } from '../../src/errors.ts';
import { codeRows, codeWords, page } from './pages.ts';

t.test('docs/errors.md is the table of errors, in its words and order', async (t) => {
  const told = codeRows(page('docs/errors.md'));
  const expected = Object.entries(errorTable).map(([code, { status, retry, title, fix }]) => [
    `\`${code}\``,
    String(status),
    retry ? 'yes' : 'no',
    title,
    fix,
  ]);
  t.same(told, expected);
});

t.test('pages name no error code that does not exist', async (t) => {
  for (const name of ['docs/errors.md', 'docs/troubleshooting.md', 'docs/api.md', 'docs/metrics.md']) {
    for (const text of codeWords(page(name))) {
      const code = /^(?:\d{3} )?([A-Z]+_[A-Z_]+)$/.exec(text)?.[1];
      const isCode = code !== undefined && /^(?:AUTH|KEY|UPSTREAM|MODEL|SEAL|BODY|RATE|TLS)_/.test(code);
      if (isCode && !settings.some((setting) => setting.name === code))
        t.ok(Object.hasOwn(errorTable, code), `${name}: ${code}`);
    }
  }
});

t.test('troubleshooting has the headings that people search for', async (t) => {
  const headings: readonly string[] = page('docs/troubleshooting.md').match(/^## .*$/gm) ?? [];
  for (const wanted of ['Invalid API key format', 'API key test failed', 'Unauthorized'])
    t.ok(headings.includes(`## ${wanted}`), wanted);
});
