import { answer, json, type Fault } from './fault.ts';

/** Statuses that say: not now. */
export const codes = {
  429: 'UPSTREAM_RATE_LIMITED',
  500: 'UPSTREAM_ERROR',
  502: 'UPSTREAM_ERROR',
  503: 'UPSTREAM_OVERLOADED',
  529: 'UPSTREAM_OVERLOADED',
} as const;

const body = '{"error":{"message":"Come back later.","type":"server_error","param":null,"code":null}}';

/** Told as they are, with what the provider says of the time; statuses.test.ts has the number of attempts. */
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
    ends: [`${code} complete unknown`],
  })),
);
