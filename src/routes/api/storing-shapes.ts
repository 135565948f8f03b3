import { Type } from 'typebox';
import { maybe, strict } from './shapes.ts';

/** Members of a change that may switch storing off, of its query, and of its answer. */
export const storing = {
  storeKeys: Type.Optional(Type.Boolean()),
  confirm: Type.Optional(Type.Literal('shred')),
};
export const DryRun = strict({ dryRun: Type.Optional(Type.Boolean()) });
export const shredding = { shredded: Type.Array(Type.String()), receipt: maybe(Type.String()) };
