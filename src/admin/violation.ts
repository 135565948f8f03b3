/** Whether PostgreSQL refused a row of `table` because one like it exists (SQLSTATE 23505, unique_violation). */
export function violates(error: unknown, table: string): boolean {
  const told = error as { code?: unknown; table?: unknown } | null;
  return told?.code === '23505' && told.table === table;
}

/** Whether PostgreSQL ended the transaction so that another one could go on (SQLSTATE 40P01): the same again may well pass. */
export function isDeadlock(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === '40P01';
}
