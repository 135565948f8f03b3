import { type RawBuilder, sql } from 'kysely';
import type { Caller } from './caller.ts';
import { type Action, can } from './permissions.ts';

/**
 * Which rows of a projection a caller sees: his workspace's with the right `all`, else what his own user did and what was done with his
 * keys, by whomever he shares them with. For tables with `workspace_id`, `user_id` and `key_id`.
 */
export function visibleUses(caller: Caller, all: Action): RawBuilder<boolean> {
  const inWorkspace = sql<boolean>`workspace_id = ${caller.workspaceId}`;
  if (can(caller.role, all)) return inWorkspace;
  return sql<boolean>`(${inWorkspace} and (user_id = ${caller.userId} or key_id in (
    select id from provider_keys where workspace_id = ${caller.workspaceId} and user_id = ${caller.userId})))`;
}

/** Uses with tokens that have a tag; of others' tokens who doesn't see the workspace's uses knows none. */
export function usesOfTagged(caller: Caller, tag: string): RawBuilder<boolean> {
  const own = can(caller.role, 'usage:all') ? sql`` : sql`and user_id = ${caller.userId}`;
  return sql<boolean>`token_id in (
    select id from tokens where workspace_id = ${caller.workspaceId} ${own} and tags @> array[${tag}]::text[])`;
}
