import type { Command } from './command.ts';
import { exits } from './failure.ts';
import { idOf } from './named-id.ts';
import { textTable } from './text-table.ts';

interface Explanation {
  readonly endpoint: string;
  readonly refusal: { readonly code: string; readonly message: string; readonly fix: string } | null;
  readonly alias: { readonly alias: string; readonly target: string } | null;
  readonly targets: readonly {
    readonly provider: string;
    readonly keyId: string;
    readonly keySource: string;
    readonly origin: string;
    readonly path: string;
    readonly upstreamModel: string | null;
    readonly needsSeal: boolean;
    readonly pricing: {
      readonly version: string;
      readonly rates: Readonly<Record<string, { readonly usd: number; readonly per: number }>>;
    } | null;
  }[];
  readonly skipped: readonly {
    readonly model: string | null;
    readonly keyId: string | null;
    readonly reason: string;
  }[];
}

const explain: Command = {
  words: 'explain',
  doc: 'Say which key and provider a call would take and what it costs, or why it would be refused; nothing is called.',
  argument: 'MODEL',
  options: {
    token: { value: 'ID', doc: 'the token that would call (tok_…)', isRequired: true },
    endpoint: { value: 'PATH', doc: 'on this gateway; else /v1/chat/completions' },
    method: { value: 'METHOD', doc: 'GET, POST or DELETE; else POST' },
    stream: { value: null, doc: 'as a stream' },
    seal: { value: null, doc: 'as a call that brings its seal' },
  },
  async run(context) {
    const token = idOf('tok', context.text('token') ?? '');
    const query = new URLSearchParams({ model: context.argument, token });
    for (const name of ['endpoint', 'method']) {
      const value = context.text(name);
      if (value !== null) query.set(name, value);
    }
    for (const name of ['stream', 'seal']) if (context.has(name)) query.set(name, 'true');
    const api = await context.api();
    const said = await api.call<Explanation>('GET', `/api/explain?${query.toString()}`);
    context.print(said, textOf(said));
    return said.refusal === null ? exits.ok : exits.refused;
  },
};

function textOf({ endpoint, refusal, alias, targets, skipped }: Explanation): string {
  const skips = skipped.map(({ model, keyId, reason }) => `Not asked: ${keyId ?? model ?? ''} (${reason})\n`);
  if (refusal !== null)
    return `${endpoint} would be refused: ${refusal.message} (${refusal.code})\n  ${refusal.fix}\n${skips.join('')}`;
  const named = alias === null ? '' : `${alias.alias} stands for ${alias.target}.\n`;
  const rows = targets.map((target, at) => [
    String(at + 1),
    target.provider,
    target.upstreamModel,
    `${target.keyId}${target.needsSeal ? ' (sealed)' : ''}`,
    target.keySource,
    target.origin + target.path,
    priceOf(target),
  ]);
  const table = textTable(['TRY', 'PROVIDER', 'MODEL', 'KEY', 'SOURCE', 'GOES TO', 'USD'], rows);
  return `${named}${table}${skips.join('')}`;
}

/** Input and output by the million, where it has both. */
function priceOf({ pricing }: Explanation['targets'][number]): string {
  if (pricing === null) return 'not known';
  const { input, output } = pricing.rates;
  if (input === undefined) return pricing.version;
  return `${input.usd} in${output === undefined ? '' : `, ${output.usd} out`} a million`;
}

export const explainCommands: readonly Command[] = [explain];
