/** The parts of an OpenAPI 3.1 document that are read here. */
export interface Specification {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}
export interface Operation {
  readonly operationId?: string;
  readonly parameters?: readonly Schema[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
}
type Schema = { readonly [member: string]: unknown };

/** The operation that a request is for, and how specific its path is. `path`: without query, behind the base URL. */
export function operationFor(spec: Specification, method: string, path: string): Operation | null {
  const segments = path.split('/');
  const found = Object.entries(spec.paths)
    .filter(([template]) => {
      const parts = template.split('/');
      return (
        parts.length === segments.length &&
        parts.every((part, at) => part.startsWith('{') || part === segments[at])
      );
    })
    .map(([template, item]) => ({
      blanks: template.split('{').length,
      operation: item[method.toLowerCase()],
    }))
    .filter(({ operation }) => operation !== undefined)
    .toSorted((one, other) => one.blanks - other.blanks);
  return found[0]?.operation ?? null;
}

/** Members that an operation requires, in body and query, with the smallest values that its schemas take. */
export function argumentsFor(spec: Specification, operation: Operation): Record<string, unknown> {
  const given: Record<string, unknown> = {};
  for (const reference of operation.parameters ?? []) {
    const parameter = resolved(spec, reference);
    if (parameter['in'] === 'query' && parameter['required'] === true)
      given[String(parameter['name'])] = smallest(spec, parameter['schema'] as Schema, 0);
  }
  const schema = Object.values(operation.requestBody?.content ?? {})[0]?.schema;
  const body = schema === undefined ? {} : smallest(spec, schema, 0);
  return { ...given, ...(body as object) };
}

function resolved(spec: Specification, schema: Schema): Schema {
  const reference = schema['$ref'];
  if (typeof reference !== 'string') return schema;
  const found = reference
    .split('/')
    .slice(1)
    .reduce((at: unknown, part) => (at as Schema)[part], spec);
  return resolved(spec, found as Schema);
}

/** A value with nothing that is not required; deep recursion ends in the simplest branch. */
function smallest(spec: Specification, reference: Schema, depth: number): unknown {
  const schema = resolved(spec, reference);
  if (depth > 24) return null;
  if (Array.isArray(schema['enum'])) return schema['enum'].find((one) => one !== null);
  if (schema['const'] !== undefined) return schema['const'];
  const parts = schema['allOf'] as readonly Schema[] | undefined;
  if (parts !== undefined) {
    const values = [...parts, { ...schema, allOf: undefined }].map((part) => smallest(spec, part, depth + 1));
    const objects = values.filter((value) => typeof value === 'object' && value !== null);
    return objects.length === 0 ? values.find((value) => value !== null) : Object.assign({}, ...objects);
  }
  const branches = (schema['oneOf'] ?? schema['anyOf']) as readonly Schema[] | undefined;
  if (branches !== undefined && schema['properties'] === undefined) {
    const first = branches.find((branch) => resolved(spec, branch)['type'] !== 'null') ?? {};
    return smallest(spec, first, depth + 1);
  }
  return ofType(spec, schema, depth);
}

function ofType(spec: Specification, schema: Schema, depth: number): unknown {
  const types = [schema['type']].flat().filter((type) => type !== 'null');
  switch (types[0] ?? (schema['properties'] === undefined ? null : 'object')) {
    case 'object': {
      const properties = (schema['properties'] ?? {}) as Readonly<Record<string, Schema>>;
      const required = (schema['required'] ?? []) as readonly string[];
      return Object.fromEntries(
        required.map((name) => [name, smallest(spec, properties[name] ?? {}, depth + 1)]),
      );
    }
    case 'array': {
      const count = Math.max(1, Number(schema['minItems'] ?? 1));
      return Array.from({ length: count }, () =>
        smallest(spec, (schema['items'] ?? {}) as Schema, depth + 1),
      );
    }
    case 'integer':
    case 'number':
      return Number(schema['minimum'] ?? schema['default'] ?? 1);
    case 'boolean':
      return true;
    case 'string':
      return textOf(schema);
    default:
      return null;
  }
}

function textOf(schema: Schema): unknown {
  if (schema['format'] === 'binary') return new File([Buffer.from('{}\n')], 'part.jsonl');
  if (schema['format'] === 'uri') return 'https://example.com/';
  if (schema['format'] === 'date-time') return '2026-01-01T00:00:00Z';
  if (schema['format'] === 'uuid') return '00000000-0000-4000-8000-000000000000';
  if (typeof schema['default'] === 'string') return schema['default'];
  if (typeof schema['example'] === 'string' && schema['pattern'] !== undefined) return schema['example'];
  return 'text'.padEnd(Number(schema['minLength'] ?? 0), 't').slice(0, Number(schema['maxLength'] ?? 4096));
}
