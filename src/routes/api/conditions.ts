import type { FastifyRequest } from 'fastify';
import { SallyportError } from '../../errors.ts';

/** Headers that make a request conditional or repeatable. Sent twice, Node joins them, and a joined one is refused. */
export function idempotencyKeyOf(request: FastifyRequest): string | null {
  return one(request, 'idempotency-key', 255);
}

export function ifMatchOf(request: FastifyRequest): string | null {
  return one(request, 'if-match', 1024);
}

function one(request: FastifyRequest, name: string, maxLength: number): string | null {
  const value = request.headers[name];
  if (value === undefined) return null;
  if (typeof value !== 'string' || value === '' || value.length > maxLength) {
    throw new SallyportError(
      'REQUEST_INVALID',
      `The header ${name} has to be 1 to ${maxLength} characters, once.`,
    );
  }
  return value;
}
