import t from 'tap';
import { startGateway } from '../support/gateway.ts';
import { codeRows, codeWords, page } from './pages.ts';

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly allOf?: readonly Schema[];
}

interface Operation {
  readonly parameters?: readonly { readonly in: string; readonly name: string }[];
  readonly requestBody?: { readonly content: { readonly 'application/json': { readonly schema: Schema } } };
  readonly responses: Readonly<
    Record<string, { readonly content: { readonly 'application/json': { readonly schema: Schema } } }>
  >;
}

interface Section {
  readonly queries: readonly string[];
  readonly body: readonly string[];
  readonly status: string | undefined;
  readonly isList: boolean;
  readonly shape: string | undefined;
  /** Members of the answer beside its shape. */
  readonly more: readonly string[];
}

const text = page('docs/api.md');

/** A schema's members; those of an intersection together. */
function membersOf(schema: Schema): readonly string[] {
  return [...Object.keys(schema.properties ?? {}), ...(schema.allOf ?? []).flatMap(membersOf)].toSorted();
}

function sectionsOf(): ReadonlyMap<string, Section> {
  const sections = new Map<string, Section>();
  for (const [, title = '', content = ''] of text.matchAll(
    /^### `([A-Z]+ \/\S+)`\n([\s\S]*?)(?=^#{2,3} )/gm,
  )) {
    const line = (start: string): string =>
      new RegExp(`^${start}: ?((?:.+\n)+)`, 'm').exec(content)?.[1] ?? '';
    const answer = line('Answer');
    const words = codeWords(answer);
    sections.set(title, {
      queries: codeWords(line('Query')).toSorted(),
      body: codeWords(line('Body')).toSorted(),
      status: words[0],
      isList: answer.includes('list of ['),
      shape: /\[(\w+)\]\(#/.exec(answer)?.[1],
      more: words.slice(1).filter((word) => word === 'token'),
    });
  }
  return sections;
}

/** Shapes by their headings, each with its fields. */
function shapesOf(): ReadonlyMap<string, readonly string[]> {
  const shapes = new Map<string, readonly string[]>();
  for (const [, name = '', content = ''] of text.matchAll(
    /^### (\w+)\n([\s\S]*?)(?=^#{2,3} |$(?![\s\S]))/gm,
  )) {
    shapes.set(
      name,
      codeRows(content)
        .map(([field = '']) => codeWords(field)[0] ?? '')
        .toSorted(),
    );
  }
  return shapes;
}

t.test('docs/api.md describes every operation with its query, body and answer, and no other', async (t) => {
  const gateway = await startGateway(t);
  const { body: document } = await gateway.api('GET', '/openapi.json');
  const operations = new Map<string, Operation>();
  for (const [url, methods] of Object.entries(document.paths as Record<string, Record<string, Operation>>)) {
    for (const [method, operation] of Object.entries(methods))
      operations.set(`${method.toUpperCase()} ${url}`, operation);
  }
  const sections = sectionsOf();
  const shapes = shapesOf();
  t.same([...sections.keys()].toSorted(), [...operations.keys()].toSorted());

  for (const [name, section] of sections) {
    const operation = operations.get(name);
    if (operation === undefined) continue;
    const queries = (operation.parameters ?? []).filter((one) => one.in === 'query').map((one) => one.name);
    t.same(section.queries, queries.toSorted(), `${name}: query`);
    const body = operation.requestBody?.content['application/json'].schema ?? {};
    t.same(section.body, membersOf(body), `${name}: body`);

    const answer = operation.responses[section.status ?? '']?.content['application/json'].schema;
    t.ok(answer, `${name}: ${section.status}`);
    const shape = section.isList ? answer?.properties?.['data']?.items : answer;
    if (section.isList) t.same(membersOf(answer ?? {}), ['data', 'nextCursor'], `${name}: a list`);
    const told = [...(shapes.get(section.shape ?? '') ?? []), ...section.more].toSorted();
    t.same(told, membersOf(shape ?? {}), `${name}: ${section.shape}`);
  }

  const sums = shapes.get('Sums') ?? [];
  const usage = operations.get('GET /api/usage')?.responses['200']?.content['application/json'].schema;
  t.same(membersOf(usage?.properties?.['totals'] ?? {}), sums, 'Sums');
  t.same(
    membersOf(usage?.properties?.['data']?.items ?? {}),
    ['bucket', 'group', ...sums].toSorted(),
    'groups',
  );
});

t.test('the pasted call stores a key, and the answer has the fields of the page', async (t) => {
  const gateway = await startGateway(t);
  for (const source of [text, page('README.md')]) {
    const sent = /-d '(\{"name":"My OpenAI Key".*\})'/.exec(source)?.[1] ?? '';
    const body = sent.replace('sk-…', 'sk-proj-abcdefghijklmnopqrstuvwxyz0123456789');
    const made = await gateway.api('POST', '/api-keys', JSON.parse(body));
    t.equal(made.status, 201);
    t.same(Object.keys(made.body).toSorted(), shapesOf().get('Key'));
    t.notMatch(JSON.stringify(made.body), /abcdefghijklmnop/);
    const got = await gateway.api('GET', `/api-keys/${made.body.id}?includeValue=true`);
    t.match(got, { status: 403, body: { code: 'VALUE_NEVER_RETURNED' } });
  }
});
