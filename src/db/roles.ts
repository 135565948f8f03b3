import { type Kysely, sql } from 'kysely';
import { SallyportError } from '../errors.ts';

const roles = ['sallyport_app', 'sallyport_system'] as const;

interface RoleRow {
  readonly name: string;
  readonly isStrong: boolean;
}

async function existing(db: Kysely<unknown>): Promise<readonly RoleRow[]> {
  const { rows } = await sql<RoleRow>`select rolname as name, (rolsuper or rolbypassrls) as "isStrong"
    from pg_roles where rolname in ('sallyport_app', 'sallyport_system')`.execute(db);
  return rows;
}

function refusal(message: string, fix: string): SallyportError {
  return new SallyportError('CONFIG_INVALID', message, { fix });
}

/**
 * Before anything is made: can the roles be what they have to be?
 *
 * @throws {SallyportError} CONFIG_INVALID when one of them passes row security by, or is missing and this user can't create it.
 */
export async function checkRoles(db: Kysely<unknown>): Promise<void> {
  const found = await existing(db);
  const strong = found.find((role) => role.isStrong);
  if (strong !== undefined) {
    throw refusal(
      `Role ${strong.name} passes row security by, so workspaces would see each other.`,
      `alter role ${strong.name} nosuperuser nobypassrls`,
    );
  }
  const missing = roles.filter((name) => !found.some((role) => role.name === name));
  if (missing.length === 0) return;
  const { rows } = await sql<{
    may: boolean;
    me: string;
  }>`select (rolsuper or rolcreaterole) as may, quote_ident(rolname) as me
    from pg_roles where rolname = current_user`.execute(db);
  if (rows[0]?.may === true) return;
  throw refusal(
    `The database user ${rows[0]?.me} may not create the roles ${missing.join(' and ')}.`,
    `As a superuser: ${missing.map((name) => `create role ${name} nologin;`).join(' ')} grant ${roles.join(', ')} to ${rows[0]?.me};`,
  );
}

/** May `user` set its role to `role`? PostgreSQL 16 parted being a member from being allowed to take the role. */
async function canTake(db: Kysely<unknown>, user: string, role: string): Promise<boolean> {
  const { rows } = await sql<{ can: boolean }>`select coalesce((select pg_has_role(rolname, ${role},
    case when current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end)
    from pg_roles where rolname = ${user}), false) as can`.execute(db);
  return rows[0]?.can === true;
}

/**
 * PostgreSQL 15 knows neither WITH SET nor WITH INHERIT. From 16 on the right to take the role is given without its rights: the owner
 * then sees no row until a transaction takes a role. Membership is cluster-wide and the migration lock is not: when another database's
 * migrator grants the same at this moment, one of the two statements fails, and both are content.
 */
async function grant(db: Kysely<unknown>, user: string, role: string): Promise<void> {
  const block = `
    begin
      if current_setting('server_version_num')::int >= 160000 then
        execute format('grant %I to %I with set true, inherit false', ${literal(role)}, ${literal(user)});
      else
        execute format('grant %I to %I', ${literal(role)}, ${literal(user)});
      end if;
    exception
      when unique_violation or internal_error or insufficient_privilege or undefined_object then null;
    end`;
  await sql`do ${sql.lit(block)}`.execute(db);
}

const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/**
 * Lets the connection's user, and `runtimeUser`, take both roles per transaction.
 *
 * @throws {SallyportError} CONFIG_INVALID with the statement for a superuser, where this user may not grant them.
 */
export async function takeRoles(db: Kysely<unknown>, runtimeUser?: string): Promise<void> {
  const { rows } = await sql<{ me: string }>`select current_user::text as me`.execute(db);
  const users = new Set([rows[0]?.me as string, ...(runtimeUser === undefined ? [] : [runtimeUser])]);
  for (const user of users) {
    for (const role of roles) {
      if (await canTake(db, user, role)) continue;
      await grant(db, user, role);
      if (await canTake(db, user, role)) continue;
      throw refusal(
        `The database user ${user} may not take the role ${role}.`,
        `As a superuser: grant ${roles.join(', ')} to "${user}";`,
      );
    }
  }
}
