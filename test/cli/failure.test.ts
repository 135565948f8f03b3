import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { exits, failureOf } from '../../src/cli/failure.ts';
import { prepareAdminSocket } from '../../src/cli/admin-socket.ts';
import { type ConnectionOptions, withClient } from '../../src/db/connection.ts';
import { emptyDatabase, inDatabase } from '../support/database.ts';

async function faultOf(connection: ConnectionOptions, statement: string): Promise<unknown> {
  return withClient(connection, (client) => client.query(statement)).catch((error: unknown) => error);
}

t.test('what a database refuses at its door is told as its refusal, and may be tried again', async (t) => {
  const connection = await emptyDatabase(t);
  const refused = failureOf(await faultOf(inDatabase(connection, 'nowhere'), 'select 1'));
  t.match(refused, {
    // No supervisor starts a program again that ends with CONFIG_INVALID's 78.
    code: 'GATEWAY_UNREACHABLE',
    exit: exits.unreachable,
    message: 'The database refused the connection: database "nowhere" does not exist.',
    fix: /DATABASE_URL/,
  });

  // No password is to be compared for want of room.
  for (const [state, what] of [
    ['53100', 'disk'],
    ['53200', 'memory'],
  ]) {
    const short = `do $$ begin raise exception 'no room' using errcode = '${state}'; end $$`;
    t.match(failureOf(await faultOf(connection, short)), {
      code: 'GATEWAY_UNREACHABLE',
      exit: exits.unreachable,
      message: `The database is short of ${what}: no room.`,
      fix: /^Make room/,
    });
  }

  // What it says to somebody whom it has let in is no matter of the way to it.
  t.match(failureOf(await faultOf(connection, 'select nothing')), { code: 'INTERNAL', exit: exits.refused });
});

t.test('a DATA_DIR that is no folder is a wrong setting', async (t) => {
  const file = path.join(t.testdir(), 'file');
  writeFileSync(file, '');
  const error = await prepareAdminSocket(file).catch((reason: unknown) => reason);
  t.match(failureOf(error), {
    code: 'CONFIG_INVALID',
    exit: exits.config,
    message: `${file}/run cannot be used`,
  });
});

t.test('a full disk is told as one', { skip: process.platform !== 'linux' }, (t) => {
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  try {
    writeSync(full, 'x');
    t.fail('it was not full');
  } catch (error) {
    t.match(failureOf(error), { exit: exits.unreachable, fix: /^Make room/ });
  }
  t.end();
});
