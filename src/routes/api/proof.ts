import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { type Proofs, receiptPattern } from '../../admin/proofs.ts';
import { answers, Count, strict } from './shapes.ts';

const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' });

export const ProofShape = Type.Object({
  record: Type.String(),
  line: Type.String(),
  hash: Hash,
  previousHash: Hash,
  leafIndex: Count,
  treeSize: Count,
  path: Type.Array(Hash),
  checkpoint: Type.String(),
  introductions: Type.Array(Type.String()),
});

export function proofRoutes({ proofs }: { readonly proofs: Proofs }): FastifyPluginAsyncTypebox {
  return async function (app) {
    app.get(
      '/',
      {
        config: { needs: 'audit:read' },
        schema: {
          querystring: strict({ record: Type.String({ maxLength: 200, pattern: receiptPattern }) }),
          response: answers(200, ProofShape),
        },
      },
      (request) => proofs.prove(request.caller, request.query.record),
    );
  };
}
