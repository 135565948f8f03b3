import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { codeRows, page, root } from './pages.ts';

t.test('docs/tracing.md has every attribute that the code sets, and no other', async (t) => {
  const set = ['span-attributes.ts', 'otel-tracer.ts'].flatMap((file) => {
    const text = readFileSync(path.join(root, 'src/telemetry', file), 'utf8');
    return [...text.matchAll(/'((?:gen_ai|http|server|error|sallyport)\.[a-z_.]+)'/g)].map(
      (match) => match[1],
    );
  });
  const told = codeRows(page('docs/tracing.md')).map(([cell = '']) => cell.replaceAll('`', ''));
  t.same(
    told.toSorted((one, other) => one.localeCompare(other)),
    [...new Set(set)].toSorted((one = '', other = '') => one.localeCompare(other)),
  );
});
