import type { Role } from '../db/schema.ts';
import { SallyportError } from '../errors.ts';
import type { Caller } from './caller.ts';

/**
 * Who may do what: the one table. A plain action reaches what is the caller's own (his keys, those shared with him, his tokens, his
 * uses); `:all` widens it to the workspace. What a caller may not see is 404 to him, what he sees but may not do is 403.
 */
const table = {
  'keys:read': ['owner', 'admin', 'member', 'viewer'],
  'keys:write': ['owner', 'admin', 'member'],
  'keys:all': ['owner', 'admin'],
  /** With the whole workspace; with users by name whoever may write the key. */
  'keys:share': ['owner', 'admin'],
  /** Public keys are for whoever stores keys; to delete another's seal takes `keys:all`. */
  'seals:read': ['owner', 'admin', 'member', 'viewer'],
  'seals:write': ['owner', 'admin', 'member'],
  'tokens:read': ['owner', 'admin', 'member', 'viewer'],
  'tokens:write': ['owner', 'admin', 'member'],
  'tokens:all': ['owner', 'admin'],
  /** Tokens for `/api`: they act as their user. */
  'tokens:admin': ['owner', 'admin'],
  'users:read': ['owner', 'admin', 'member', 'viewer', 'auditor'],
  'users:all': ['owner', 'admin', 'auditor'],
  'users:write': ['owner', 'admin'],
  /** To make, unmake, remove or act as an owner: an admin who could, would be one. */
  'owners:write': ['owner'],
  'usage:read': ['owner', 'admin', 'member', 'viewer', 'auditor'],
  'usage:all': ['owner', 'admin', 'auditor'],
  'audit:read': ['owner', 'admin', 'member', 'viewer', 'auditor'],
  'audit:all': ['owner', 'admin', 'auditor'],
  'alerts:read': ['owner', 'admin', 'member', 'viewer', 'auditor'],
  'alerts:all': ['owner', 'admin', 'auditor'],
  /** To acknowledge those that one sees. */
  'alerts:write': ['owner', 'admin', 'member'],
  /** Their addresses may hold a secret of whoever listens there. */
  'webhooks:write': ['owner', 'admin'],
  'workspace:read': ['owner', 'admin', 'member', 'viewer', 'auditor'],
  'workspace:write': ['owner', 'admin'],
} as const satisfies Record<string, readonly Role[]>;

export type Action = keyof typeof table;

export function can(role: Role, action: Action): boolean {
  return (table[action] as readonly Role[]).includes(role);
}

/** @throws {SallyportError} FORBIDDEN, naming the role and never what the act was aimed at. */
export function demand(caller: Pick<Caller, 'role'>, action: Action): void {
  if (can(caller.role, action)) return;
  throw new SallyportError('FORBIDDEN', `The role ${caller.role} may not do this (${action}).`);
}

/** What concerns every workspace no role of one gives. @throws {SallyportError} FORBIDDEN with this message */
export function demandOperator(
  { isOperator }: Pick<Caller, 'isOperator'>,
  message = 'This is for the operator of the installation alone.',
): void {
  if (!isOperator) throw new SallyportError('FORBIDDEN', message);
}
