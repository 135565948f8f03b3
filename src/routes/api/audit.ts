import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Audit } from '../../admin/audit.ts';
import type { AuditEntry } from '../../admin/audit-view.ts';
import { type Column, exportFormat, Format, sendExport } from './export.ts';
import { answers, Id, listOf, maybe, paging, period, strict, Word } from './shapes.ts';

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

const Query = strict({
  ...period,
  ...paging,
  event: Type.Optional(Word),
  keyId: Type.Optional(Id),
  tokenId: Type.Optional(Id),
  callId: Type.Optional(Id),
  userId: Type.Optional(Id),
  provider: Type.Optional(Word),
  outcome: Type.Optional(Word),
  format: Format,
});

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

export function auditRoutes({ audit }: { readonly audit: Audit }): FastifyPluginAsyncTypebox {
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
  };
}
