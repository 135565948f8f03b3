/** Whether PostgreSQL refused a row of `table` because one like it exists (SQLSTATE 23505, unique_violation). */
export function violates(error: unknown, table: string): boolean {
  const told = error as { code?: unknown; table?: unknown } | null;
  return told?.code === '23505' && told.table === table;
}
