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

/**
 * Which records of the journal a caller sees: the uses above, and without the right to all also what he did himself. An act's record
 * begins with its actor, at a place where nothing that a client or provider writes can stand.
 */
export function visibleRecords(caller: Caller): RawBuilder<boolean> {
  const uses = visibleUses(caller, 'audit:all');
  if (can(caller.role, 'audit:all')) return uses;
  const actor = `^\\{"actId":"act_[0-9a-f]{32}","actor":\\{"id":"(tok_[0-9a-f]{32})","type":"admin"\\}`;
  return sql<boolean>`(${uses} or (workspace_id = ${caller.workspaceId} and not starts_with(event, 'use.')
    and substring(line from ${actor}) in (
      select id from tokens where workspace_id = ${caller.workspaceId} and user_id = ${caller.userId})))`;
}

/** Uses with tokens that have a tag; of others' tokens who doesn't see the workspace's uses knows none. */
export function usesOfTagged(caller: Caller, tag: string): RawBuilder<boolean> {
  const own = can(caller.role, 'usage:all') ? sql`` : sql`and user_id = ${caller.userId}`;
  return sql<boolean>`token_id in (
    select id from tokens where workspace_id = ${caller.workspaceId} ${own} and tags @> array[${tag}]::text[])`;
}
