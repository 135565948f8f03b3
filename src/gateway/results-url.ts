import type { IncomingMessage } from 'node:http';
import { endpointSegments } from '../providers/canonical-path.ts';
import type { GatewayDeps } from './gateway.ts';
import type { Target } from './target.ts';

const name = '"results_url"';
/** As far as the host, where what follows it is a path that is served here too. */
const start = /("results_url"\s*:\s*")https?:\/\/[^/"\\]+(?=\/v1\/messages\/batches\/)/g;
/** It may go on in the next chunk. */
const unfinished = /^"results_url"\s*(?::\s*(?:"[^"]*)?)?$/;
/** More than any URL of theirs takes. */
const maxHeldBytes = 1024;

/** Does it answer with batches, and not with what came of one? */
export function tellsResultsUrl({ provider, operation, path }: Target): boolean {
  return (
    provider.name === 'anthropic' &&
    operation === 'anthropic.batches' &&
    endpointSegments(path).at(-1) !== 'results'
  );
}

/** Where Anthropic's paths are served here; null: nothing is told of that, or where that is, cannot be told. */
export function resultsBase(
  { ownOrigin }: Pick<GatewayDeps, 'ownOrigin'>,
  request: IncomingMessage,
  target: Target,
): string | null {
  if (!tellsResultsUrl(target)) return null;
  const here = ownOrigin(request);
  return here === null ? null : `${here}/${target.provider.name}`;
}

/**
 * The answers of Anthropic's batches, with `results_url` at this gateway (platform.claude.com/docs/en/api/retrieving-message-batches): SDKs fetch
 * the results there, with the credential that they have, and would send the gateway token past us. All other bytes stay as they are.
 */
export class ResultsUrl {
  readonly #base: string;
  #pending = '';

  constructor(base: string) {
    this.#base = base;
  }

  /** @returns the bytes to relay now */
  push(chunk: Buffer): Buffer[] {
    // One character a byte, whatever the bytes are.
    const text = (this.#pending + chunk.toString('latin1')).replaceAll(
      start,
      (_, before: string) => before + this.#base,
    );
    const at = unfinishedAt(text);
    this.#pending = text.length - at > maxHeldBytes ? '' : text.slice(at);
    return bytesOf(text.slice(0, text.length - this.#pending.length));
  }

  /** The bytes still held when the answer ends. */
  end(): Buffer[] {
    return bytesOf(this.#pending);
  }
}

/** From where on the text may become something else with what follows. */
function unfinishedAt(text: string): number {
  const at = text.lastIndexOf(name);
  if (at >= 0 && unfinished.test(text.slice(at))) return at;
  const quote = text.lastIndexOf('"');
  return quote >= 0 && name.startsWith(text.slice(quote)) ? quote : text.length;
}

function bytesOf(text: string): Buffer[] {
  return text === '' ? [] : [Buffer.from(text, 'latin1')];
}
