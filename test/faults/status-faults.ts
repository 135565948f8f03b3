import { answer, json, type Fault } from './fault.ts';

/** Statuses that say: not now; as the client gets them, with what the provider says of the time. */
const codes = {
  429: 'UPSTREAM_RATE_LIMITED',
  500: 'UPSTREAM_ERROR',
  502: 'UPSTREAM_ERROR',
  503: 'UPSTREAM_OVERLOADED',
  529: 'UPSTREAM_OVERLOADED',
} as const;

const body = '{"error":{"message":"Come back later.","type":"server_error","param":null,"code":null}}';

/**
 * With one key there is nobody else to ask. A 429 that names no time is asked again, twice, and says nothing of the key; the one that does
 * makes it known as ill, so that what comes after is told at once.
 */
export const statusFaults: readonly Fault[] = Object.entries(codes).flatMap(([status, code]): Fault[] =>
  [null, '7'].map((retryAfter) => ({
    name: `a ${status} ${retryAfter === null ? 'without' : 'with'} retry-after goes to the client as it is`,
    play: ({ socket }) =>
      void socket.end(
        answer(
          Number(status),
          body,
          json,
          'connection: close',
          ...(retryAfter === null ? [] : [`retry-after: ${retryAfter}`]),
        ),
      ),
    sees: { status: Number(status), code, isWhole: true, body, headers: { 'retry-after': retryAfter } },
    ends: Array<string>(status === '429' && retryAfter === null ? 3 : 1).fill(`${code} complete unknown`),
  })),
);
