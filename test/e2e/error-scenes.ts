import type { ErrorCode } from '../../src/errors.ts';
import { providersWords, type ErrorWorld } from './error-world.ts';
import type { Connection, Sdk } from './sdk.ts';

/** One way into one error. */
export interface Scene {
  readonly code: ErrorCode;
  /** Where it is not the code's only scene. */
  readonly when?: string;
  /** HTTP requests of one call: openai, @anthropic-ai/sdk and groq-sdk · @google/genai · ai. */
  readonly requests: readonly [stainless: number, google: number, ai: number];
  /** Read by a person in the SDK's error. */
  readonly message: RegExp;
  readonly status?: number;
  /** In the body, where the dialect has a place for it; the gateway's own code unless it is told here. */
  readonly bodyCode?: string;
  /** The provider's own answer, relayed as it is. */
  readonly isRelayed?: boolean;
  readonly only?: readonly string[];
  readonly prompt?: string;
  readonly connection?: (sdk: Sdk) => Partial<Connection>;
}

const openaiRoute = ['openai', 'ai'];

const under =
  (part: string) =>
  (sdk: Sdk): Partial<Connection> => ({ base: `${sdk.base}${part}` });
export const as = (token: string) => (): Partial<Connection> => ({ token });

/**
 * The three SDKs of Stainless's making do as `x-should-retry` says: one request where a repeat can't help, else 1 + maxRetries (2).
 * @google/genai repeats nothing unless it is told to (`retryOptions`). The AI SDK doesn't know the header: it goes by the status
 * alone (408, 409, 429, 5xx) and repeats our 409s and UPSTREAM_AUTH in vain.
 */
export function scenesOf({ gateway, tokens, moved }: ErrorWorld): readonly Scene[] {
  return [
    {
      code: 'AUTH_MISSING',
      requests: [1, 1, 1],
      message: /No gateway token came/,
      bodyCode: 'invalid_api_key',
      connection: () => ({ token: null }),
    },
    {
      code: 'AUTH_INVALID',
      when: 'a provider key',
      requests: [1, 1, 1],
      message: /looks like a provider key/,
      bodyCode: 'invalid_api_key',
      connection: as('sk-proj-0123456789abcdefghij'),
    },
    {
      code: 'AUTH_INVALID',
      when: 'an admin token',
      requests: [1, 1, 1],
      message: /admin token .* belongs to \/api/,
      bodyCode: 'invalid_api_key',
      connection: as(gateway.adminToken),
    },
    {
      code: 'AUTH_INVALID',
      when: 'a revoked token',
      requests: [1, 1, 1],
      message: /unknown or was revoked/,
      bodyCode: 'invalid_api_key',
      connection: as(tokens.revoked),
    },
    {
      code: 'FORBIDDEN',
      requests: [1, 1, 1],
      message: /This token may use xai, and the call is for/,
      connection: as(tokens.ofAnotherProvider),
    },
    {
      code: 'MODEL_FORBIDDEN',
      requests: [1, 1, 1],
      message: /may use some-other-\*; the call asked for/,
      connection: as(tokens.ofOtherModels),
    },
    {
      code: 'ENDPOINT_FORBIDDEN',
      requests: [1, 1, 1],
      message: /administers the account; it is never relayed/,
      connection: under('/organization'),
    },
    {
      code: 'NOT_FOUND',
      when: '/v1 twice',
      requests: [1, 1, 1],
      message: /base URL has \/v1 twice/,
      only: openaiRoute,
      connection: under('/v1'),
    },
    {
      code: 'NOT_FOUND',
      when: 'a base URL that is none',
      requests: [1, 1, 1],
      message: /Nothing is served here. Base URLs: \/v1, /,
      connection: () => ({ base: '/nowhere' }),
    },
    {
      code: 'MODEL_UNKNOWN',
      requests: [1, 1, 1],
      message: /No provider is known for the model "?\\?"llama-3/,
      bodyCode: 'model_not_found',
      only: openaiRoute,
      connection: () => ({ model: 'llama-3' }),
    },
    {
      code: 'MODEL_DIALECT',
      requests: [1, 1, 1],
      message: /served by Anthropic, in its own dialect.*base URL \/anthropic/,
      only: openaiRoute,
      connection: () => ({ model: 'claude-sonnet-5-5' }),
    },
    {
      code: 'MODEL_DIALECT',
      when: 'Anthropic’s SDK at /v1',
      requests: [1, 1, 1],
      message: /served by Anthropic, in its own dialect.*base URL \/anthropic/,
      only: ['@anthropic-ai/sdk'],
      connection: () => ({ base: '' }),
    },
    {
      code: 'REQUEST_INVALID',
      when: 'two tokens',
      requests: [1, 1, 1],
      message: /Two different credentials/,
      connection: () => ({ headers: { 'api-key': tokens.revoked } }),
    },
    {
      code: 'SEAL_WRONG',
      requests: [1, 1, 1],
      message: /sps_ and 49 characters/,
      connection: () => ({ headers: { 'x-sallyport-seal': 'sps_1' } }),
    },
    {
      code: 'SEAL_REQUIRED',
      requests: [1, 1, 1],
      message: /is sealed, and no seal came with the call.*sps_/s,
      connection: as(tokens.withSealedKeys),
    },
    {
      code: 'KEY_FORMAT',
      requests: [1, 1, 1],
      message: /8 to 8192 printable ASCII characters/,
      connection: () => ({ headers: { 'x-sallyport-provider-key': 'unset' } }),
    },
    {
      code: 'KEY_INVALID',
      requests: [1, 1, 3],
      message: /administers an account/,
      connection: () => ({ headers: { 'x-sallyport-provider-key': 'sk-admin-0123456789abcdef' } }),
    },
    {
      code: 'BODY_TOO_LARGE',
      requests: [1, 1, 1],
      message: /larger than the 4096 bytes/,
      prompt: 'x'.repeat(5000),
    },
    {
      code: 'KEY_MISSING',
      requests: [1, 1, 3],
      message: /Make one at https:.* and store it: bin\/sallyport keys add --provider/,
      connection: as(tokens.withoutKeys),
    },
    {
      code: 'KEY_DISABLED',
      requests: [1, 1, 3],
      message: /key_[0-9a-f]{32} is disabled/,
      connection: as(tokens.withDisabledKeys),
    },
    {
      code: 'KEY_EXPIRED',
      requests: [1, 1, 3],
      message: /key_[0-9a-f]{32} has expired/,
      connection: as(tokens.withExpiredKeys),
    },
    {
      code: 'KEY_ORIGIN',
      requests: [1, 1, 3],
      message: /stored for http:.* now go to https:\/\/llm\.example\.com/,
      connection: () => ({ origin: moved }),
    },
    {
      code: 'RATE_LIMITED',
      requests: [3, 1, 3],
      message: /may make 1 requests a minute/,
      bodyCode: 'rate_limit_exceeded',
      connection: as(tokens.limited),
    },
    {
      code: 'UPSTREAM_AUTH',
      requests: [1, 1, 3],
      message: /refused the stored key key_[0-9a-f]{32} (?:\(status 401\)|when it was last tested)/,
      connection: as(tokens.withWrongKeys),
    },
    {
      code: 'UPSTREAM_REJECTED',
      requests: [1, 1, 1],
      message: new RegExp(providersWords),
      prompt: 'answer 400',
      isRelayed: true,
    },
    {
      code: 'UPSTREAM_RATE_LIMITED',
      requests: [3, 1, 3],
      message: new RegExp(providersWords),
      prompt: 'answer 429',
      isRelayed: true,
    },
    {
      code: 'UPSTREAM_OVERLOADED',
      requests: [3, 1, 3],
      message: new RegExp(providersWords),
      prompt: 'answer 503',
      isRelayed: true,
    },
    {
      code: 'UPSTREAM_OVERLOADED',
      when: 'Anthropic’s 529',
      status: 529,
      requests: [3, 1, 3],
      message: new RegExp(providersWords),
      prompt: 'answer 529',
      isRelayed: true,
    },
    {
      code: 'UPSTREAM_ERROR',
      status: 500,
      requests: [3, 1, 3],
      message: new RegExp(providersWords),
      prompt: 'answer 500',
      isRelayed: true,
    },
    {
      code: 'UPSTREAM_TIMEOUT',
      requests: [3, 1, 3],
      message: new RegExp(providersWords),
      prompt: 'answer 504',
      isRelayed: true,
    },
  ];
}
