import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Audit } from '../../admin/audit.ts';
import type { AuditEntry } from '../../admin/audit-view.ts';
import type { Tails } from '../../admin/tails.ts';
import { type Column, exportFormat, Format, sendExport } from './export.ts';
import { answers, Id, listOf, maybe, paging, period, strict, Word } from './shapes.ts';
import { sendTail } from './tail.ts';

export const AuditShape = Type.Object({
  stream: Type.String(),
  seq: Type.Integer({ minimum: 0 }),
  at: Type.String(),
  event: Type.String(),
  actor: Type.Object({ type: Type.String(), id: Type.String() }),
  callId: maybe(Type.String()),
  keyId: maybe(Type.String()),
  tokenId: maybe(Type.String()),
  provider: maybe(Type.String()),
  outcome: maybe(Type.String()),
  hash: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  record: Type.Object({}),
});

const filter = {
  event: Type.Optional(Word),
  keyId: Type.Optional(Id),
  tokenId: Type.Optional(Id),
  callId: Type.Optional(Id),
  userId: Type.Optional(Id),
  provider: Type.Optional(Word),
  outcome: Type.Optional(Word),
};
const Query = strict({ ...period, ...paging, ...filter, format: Format });
const TailHeaders = Type.Object({ 'last-event-id': Type.Optional(Type.String({ maxLength: 12_000 })) });

const columns: readonly Column<AuditEntry>[] = [
  ['at', ({ at }) => at],
  ['stream', ({ stream }) => stream],
  ['seq', ({ seq }) => seq],
  ['event', ({ event }) => event],
  ['actorType', ({ actor }) => actor.type],
  ['actorId', ({ actor }) => actor.id],
  ['callId', ({ callId }) => callId],
  ['keyId', ({ keyId }) => keyId],
  ['tokenId', ({ tokenId }) => tokenId],
  ['provider', ({ provider }) => provider],
  ['outcome', ({ outcome }) => outcome],
  ['hash', ({ hash }) => hash],
  ['record', ({ record }) => record],
];

export function auditRoutes({
  audit,
  tails,
}: {
  readonly audit: Audit;
  readonly tails: Tails;
}): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.get(
      '/',
      {
        config: { needs: 'audit:read' },
        schema: { querystring: Query, response: answers(200, listOf(AuditShape)) },
      },
      async ({ caller, headers, query: { format, ...query } }, reply) => {
        const wanted = exportFormat({ ...query, format }, headers.accept);
        if (wanted === null) return audit.list(caller, query);
        return sendExport(reply, 'audit', wanted, await audit.export(caller, query, wanted), columns);
      },
    );
    // An answer without an end has no place in a document of JSON shapes.
    app.get(
      '/tail',
      {
        config: { needs: 'audit:read' },
        // Its answer is given at once and its body never ends: it would keep one of the caller's places for good.
        exposeHeadRoute: false,
        schema: { hide: true, querystring: strict(filter), headers: TailHeaders },
      },
      ({ caller, headers, query }, reply) =>
        sendTail(reply, (sink) => tails.open(caller, query, headers['last-event-id'] ?? null, sink)),
    );
  };
}
