/** One method of an SDK's resources, found by looking, not by a list. */
export interface Method {
  /** As a program writes it behind the client: `chat.completions.create`. */
  readonly name: string;
  /** Does it take `stream: true`? */
  readonly streams: boolean;
  /** Does it go to the network by itself, rather than through other methods? */
  readonly isRequest: boolean;
  /**
   * @param mark goes out as the user agent, which the gateway forwards.
   * @param change makes other members of body or query of the usual ones.
   */
  call(client: object, mark: string, change?: (usual: Members) => Members): unknown;
}

type Members = Readonly<Record<string, unknown>>;
type Resource = Readonly<Record<string, unknown>>;
type Callable = (this: unknown, ...args: readonly unknown[]) => unknown;

/**
 * Every method of every resource of a client made by Stainless (OpenAI, Anthropic, Groq), with plausible arguments: an id where the path
 * takes one, the members that a method reads from its parameters, and for the rest of the body what most endpoints have.
 *
 * @param body members of every body.
 */
export function surfaceOf(client: object, body: Members): readonly Method[] {
  const methods: Method[] = [];
  const seen = new Set<object>();
  const walk = (at: object, path: readonly string[]): void => {
    if (seen.has(at)) return;
    seen.add(at);
    if (path.length > 0) for (const name of methodNames(at)) methods.push(methodOf(at, path, name, body));
    for (const [name, value] of Object.entries(at)) {
      if (name !== '_client' && typeof value === 'object' && value !== null && '_client' in value)
        walk(value, [...path, name]);
    }
  };
  walk(client, []);
  return methods;
}

function methodNames(resource: object): readonly string[] {
  const names: string[] = [];
  let prototype: unknown = Object.getPrototypeOf(resource);
  while (typeof prototype === 'object' && prototype !== null && prototype !== Object.prototype) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      if (name !== 'constructor' && !name.startsWith('_') && typeof value === 'function') names.push(name);
    }
    prototype = Object.getPrototypeOf(prototype);
  }
  return names;
}

function methodOf(resource: object, path: readonly string[], name: string, body: Members): Method {
  const source = String((resource as Resource)[name]);
  const parameters = parametersOf(source);
  return {
    name: [...path, name].join('.'),
    streams: /\bstream: (?:body|params)\.stream \?\? false/.test(source),
    isRequest: /this\._client\.(?:get|post|put|patch|delete|getAPIList)\b/.test(source),
    call(client, mark, change = (usual) => usual) {
      const at = path.reduce((from: unknown, part) => (from as Resource)[part], client) as Resource;
      const args = parameters.map((parameter) => {
        if (parameter === 'options') return { headers: { 'user-agent': mark } };
        if (!isObjectLike(parameter, source)) return `${parameter}_1`;
        const own = Object.fromEntries(membersRead(parameter, source).map((one) => [one, valueOf(one)]));
        const isQuery = parameter === 'query' || /\bget(?:APIList)?\(/.test(source);
        const usual = isQuery ? { limit: 2, order: 'asc' } : { ...body, ...filesOf(source) };
        return { ...change(usual), ...own };
      });
      return (at[name] as Callable).apply(at, args);
    },
  };
}

/** Names of a function's parameters, without defaults. */
function parametersOf(source: string): readonly string[] {
  const list = /^[^(]*\(([^)]*)\)/.exec(source)?.[1] ?? '';
  return list
    .split(',')
    .map((part) => part.split('=')[0]?.trim() ?? '')
    .filter((part) => part !== '');
}

function isObjectLike(parameter: string, source: string): boolean {
  return (
    /^(?:body|params|query|_params)$/.test(parameter) || new RegExp(`\\} = ${parameter}\\b`).test(source)
  );
}

/** `const { vector_store_id, ...body } = params` needs a member of that name. */
function membersRead(parameter: string, source: string): readonly string[] {
  const members = new RegExp(`const \\{ ([^}]*) \\} = ${parameter}\\b`).exec(source)?.[1] ?? '';
  return members
    .split(',')
    .map((part) => part.split(':')[0]?.trim() ?? '')
    .filter((part) => part !== '' && !part.startsWith('...'));
}

function valueOf(member: string): unknown {
  if (member === 'path') return '/workspace/a.txt';
  if (member === 'betas') return ['surface-2026-01-01'];
  if (/^(?:files|file_ids|events|items)$/.test(member)) return [];
  return `${member}_1`;
}

/** What a form has besides its texts. */
function filesOf(source: string): Members {
  if (!/multipartFormRequestOptions/i.test(source)) return {};
  return { file: new File([Buffer.from('RIFF0000WAVEfmt ')], 'sound.wav', { type: 'audio/wav' }) };
}

/** What came of a call, as a program sees it. */
export async function outcomeOf(call: () => unknown): Promise<unknown> {
  try {
    return await plain(await call());
  } catch (error) {
    const { name, status, message, code, type, param } = error as Record<string, unknown>;
    return { error: (error as Error).constructor.name, name, status, message, code, type, param };
  }
}

async function plain(made: unknown): Promise<unknown> {
  if (made instanceof Response) return { status: made.status, body: await made.text() };
  if (typeof made !== 'object' || made === null) return made;
  if (Symbol.asyncIterator in made && !('data' in made)) {
    const events: unknown[] = [];
    for await (const event of made as AsyncIterable<unknown>) events.push(event);
    return events;
  }
  return JSON.parse(
    JSON.stringify(made, (name, value) =>
      ['options', 'client', 'sdkHttpResponse'].includes(name) ? undefined : value,
    ),
  );
}

/** Works on several at a time. */
export async function inTurns<T>(
  work: Iterable<T>,
  width: number,
  run: (one: T) => Promise<void>,
): Promise<void> {
  const iterator = work[Symbol.iterator]();
  const lane = async (): Promise<void> => {
    for (let next = iterator.next(); next.done !== true; next = iterator.next()) await run(next.value);
  };
  await Promise.all(Array.from({ length: width }, lane));
}
